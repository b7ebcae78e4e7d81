"""Who gets the GPUs: which suspended Jobs are released now, and what every other one waits for.

First come, first served by creation, then by number in the sweep, then by name. A run that cannot start now, but could
on a node once GPUs are freed, keeps what is free there from those behind it, so that small runs never starve a large
one; all other nodes stay open to them. One that no node can ever hold, or that its sweep's parallelism holds back,
keeps nothing from anybody.
"""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orkhaven.api import Reason
from orkhaven.core.actions import SuspendJob
from orkhaven.core.attempts import POD_PHASES_ENDED
from orkhaven.core.queue.places import Places
from orkhaven.core.queue.request import Request
from orkhaven.core.views import Key, NodeView, PodView, Why
from orkrun import contract


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlan:
    release: tuple[SuspendJob, ...] = ()
    """In order; all with suspend=False."""
    reasons: Mapping[Key, Why] = field(default_factory=dict)
    """By Experiment: what each of `waiting` that is not released waits for."""


def plan_queue(
    *,
    nodes: Sequence[NodeView],
    pods: Sequence[PodView],
    foreign_gpus: Mapping[str, int],
    waiting: Sequence[Request],
    running: Sequence[Request],
    parallelism: Mapping[Key, int],
    stopped: Collection[Key] = (),
    now: datetime,
) -> QueuePlan:
    """Which of `waiting` to release.

    `pods`: ours, those that have not ended; one that is bound to a node holds its GPUs there. `foreign_gpus`: by node,
    what pods that are not ours hold. `running`: Jobs that are released and not finished; those without a bound pod get
    a place before anybody waiting. `parallelism`: by sweep, how many of its trials may hold a place (one that is
    missing here has no limit). `stopped`: Experiments whose sweep starts no more trials.
    """
    del now  # Order is by creation; nothing depends on the time yet.
    live = [pod for pod in pods if pod.phase not in POD_PHASES_ENDED]
    bound = [pod for pod in live if pod.node is not None]
    places = Places(nodes, foreign_gpus)
    for pod in bound:
        places.take(pod.node or "", pod.gpus)
    placed = {_job_of(pod) for pod in bound}
    for request in sorted(running, key=_order):
        if request.gpus and request.job not in placed and not places.put(request):
            places.keep(request)
    # A trial whose Job is suspended again holds its place until its pod is gone.
    holders: dict[Key, set[Key]] = {}
    jobs_with_pods = {_job_of(pod) for pod in live}
    for request in (*running, *(r for r in waiting if r.job in jobs_with_pods)):
        if request.sweep is not None:
            holders.setdefault(request.sweep, set()).add(request.job)
    for pod in live:
        sweep = pod.meta.labels.get(contract.LABEL_SWEEP)
        if sweep:
            holders.setdefault(Key(pod.meta.key.namespace, sweep), set()).add(_job_of(pod))

    release: list[SuspendJob] = []
    reasons: dict[Key, Why] = {}
    for request in sorted(waiting, key=_order):
        why = _why_not(request, places, holders, parallelism, stopped, stopping=request.job in jobs_with_pods)
        if why is not None:
            reasons[request.experiment] = why
            continue
        news = request.said is not None and set(request.needs.avoid) != set(request.said)
        avoid = request.needs.avoid if news else ()
        affinity = request.needs.affinity() if news else None
        release.append(SuspendJob(request.job, request.uid, suspend=False, avoid=avoid, affinity=affinity))
        if request.sweep is not None:
            holders.setdefault(request.sweep, set()).add(request.job)
    return QueuePlan(release=tuple(release), reasons=reasons)


def _why_not(
    request: Request,
    places: Places,
    holders: Mapping[Key, set[Key]],
    parallelism: Mapping[Key, int],
    stopped: Collection[Key],
    *,
    stopping: bool,
) -> Why | None:
    """None: it starts, and its place is taken."""
    if request.gpus:
        misfit = places.misfit(request)
        if misfit is not None:
            return Why(Reason.NO_FITTING_NODE, misfit)
    if stopping:
        return Why(Reason.WAITING_FOR_GPUS, "waits until its pod, which was told to stop, has ended")
    if request.sweep is not None and request.experiment in stopped:
        return Why(Reason.WAITING_FOR_GPUS, f"is not started: sweep {request.sweep.name} starts no more trials")
    if request.sweep is not None and request.sweep in parallelism:
        limit = parallelism[request.sweep]
        held = len(holders.get(request.sweep, ()))
        if held >= limit:
            return Why(
                Reason.WAITING_FOR_GPUS,
                f"waits for another trial to end: sweep {request.sweep.name} has parallelism {limit}"
                if limit
                else f"waits because sweep {request.sweep.name} has parallelism 0",
            )
    if not request.gpus or places.put(request):
        return None
    places.keep(request)
    return Why(Reason.WAITING_FOR_GPUS, places.wait_message(request))


def _order(request: Request) -> tuple[datetime, int, str, str]:
    # A sweep makes dozens of trials within the second that a timestamp tells: its own order is that of their numbers.
    return (request.created, request.trial, request.experiment.namespace, request.experiment.name)


def _job_of(pod: PodView) -> Key:
    return Key(pod.meta.key.namespace, pod.job_name or "")
