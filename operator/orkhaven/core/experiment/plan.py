"""The way in: what has to be refused, what is over, and whom to ask about the rest."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime
from typing import Any

from orkhaven.api import ExperimentSpec, Reason
from orkhaven.api.experiment import Dedupe, State
from orkhaven.core.actions import DeleteExperiment, Plan, ReadPod
from orkhaven.core.attempts import observe
from orkhaven.core.experiment.attempt import after, look
from orkhaven.core.experiment.draft import Around, Draft, hashes_of
from orkhaven.core.experiment.first import first
from orkhaven.core.experiment.label import relabel
from orkhaven.core.kueue.attempt import open_job
from orkhaven.core.kueue.why import kueue_why
from orkhaven.core.kueue.workload import NOTHING, Seen
from orkhaven.core.outcome import is_over
from orkhaven.core.overrides import effective
from orkhaven.core.retention import retire
from orkhaven.core.reuse import Twin, dedupe_of, own_folder
from orkhaven.core.status import owned
from orkhaven.core.views import Defaults, ExperimentView, JobView, NodeView, PodView, Why


def plan_experiment(
    exp: ExperimentView,
    *,
    jobs: Sequence[JobView],
    pods: Sequence[PodView],
    nodes: Mapping[str, NodeView],
    waiting: Why | str | None,
    twins: Sequence[Twin] = (),
    left: Sequence[PodView] = (),
    avoided: Set[str] = frozenset(),
    kueue: Seen = NOTHING,
    defaults: Defaults,
    now: datetime,
) -> Plan:
    """What is to be done for `exp`, and its status.

    `nodes`: by name. `waiting`: what the queue says it waits for (`QueuePlan.reasons`); None: it has not looked yet.
    `twins`: the namespace's other Experiments with its run hash; `left`: pods of deleted ones. `avoided`: nodes that
    all runs go past. One that is being deleted gets an empty plan, a finished one at most the removal of what it leaves
    behind: of its status nothing changes but observedGeneration.
    """
    if exp.meta.deleting:
        return Plan()
    if is_over(exp):
        retired = replace(retire(exp, jobs=jobs, defaults=defaults, now=now), status=_seen_again(exp))
        return _labelled(exp, retired, now=now)
    draft = Draft(exp, now=now)
    if exp.spec is None:
        return draft.refuse(exp.invalid or "spec: cannot be read")
    try:
        spec = effective(exp.spec, exp.status.overrides)
        hashes = hashes_of(spec, defaults)
    except ValueError as error:
        return draft.refuse(f"spec.params: {error}")
    unknown = _unknown_resource(spec, defaults)
    if unknown is not None and not exp.status.attempts and not jobs:
        return draft.refuse(unknown)
    why = Why(Reason.WAITING_FOR_GPUS, waiting) if isinstance(waiting, str) else waiting
    own = [job for job in jobs if job.meta.owner_uid == exp.meta.uid]
    again = None
    if spec.queue_name:
        job = open_job(exp, own)
        why, again = kueue_why(spec.queue_name, job, kueue, stored=exp.status, now=now)
    around = Around(
        spec=spec,
        jobs=own,
        pods=pods,
        nodes=nodes,
        twins=twins,
        left=left,
        why=why or Why(Reason.WAITING_FOR_GPUS, "waits for its turn in the queue"),
        why_until=again,
        kueue=kueue,
        avoided=avoided,
        defaults=defaults,
    )
    return _labelled(exp, _run(draft, around, hashes), now=now)


def _unknown_resource(spec: ExperimentSpec, defaults: Defaults) -> str | None:
    """What is wrong with the name of its GPUs."""
    known, name = [kind.name for kind in defaults.gpu_resources], spec.resources.gpu_resource
    if name is None or name in known:
        return None
    return f"spec.resources.gpuResource: {name} is none of the GPUs that this operator gives out: {', '.join(known)}"


def _seen_again(exp: ExperimentView) -> dict[str, Any] | None:
    """The status of one that has ended and whose spec was changed since: nothing follows from that, but who waits for
    observedGeneration is told that it was seen. None: nothing to say."""
    if exp.status.observed_generation in (None, exp.meta.generation):
        return None
    return {**owned(exp.raw_status), "observedGeneration": exp.meta.generation}


def _labelled(exp: ExperimentView, plan: Plan, *, now: datetime) -> Plan:
    label, left = relabel(exp, now=now)
    if any(isinstance(action, DeleteExperiment | ReadPod) for action in plan.actions):
        return plan
    again = min((seconds for seconds in (plan.requeue_after, left) if seconds is not None), default=None)
    return replace(plan, actions=(*plan.actions, label) if label is not None else plan.actions, requeue_after=again)


def _run(draft: Draft, around: Around, hashes: tuple[str, str]) -> Plan:
    stored = draft.exp.status
    draft.param_hash = hashes[0]
    draft.run_hash = draft.run_hash or hashes[1]
    fresh = not stored.attempts and around.spec.resume_from is None
    if fresh and dedupe_of(around.spec, around.defaults) is Dedupe.NEVER:
        draft.output_folder = own_folder(draft.run_hash, draft.exp.meta.uid)
    if stored.state is State.PRUNED:
        draft.completion_time = None  # a person lets it go on
    jobs = around.jobs
    number = max([job.attempt for job in jobs] + [attempt.number for attempt in draft.attempts], default=0)
    if number == 0:
        first(draft, around)
        return draft.plan()
    if not draft.attempts or draft.attempts[-1].number < number:
        # Its Job was made, but the status write after it was lost.
        draft.open(number, avoid=next((job.avoid for job in jobs if job.attempt == number), ()))
    seen = observe(number, jobs=jobs, pods=around.pods, job_name=draft.attempts[-1].job)
    if draft.attempts[-1].reason is None:
        look(draft, around, seen)
    else:
        after(draft, around, seen, recorded=True)
    return draft.plan()
