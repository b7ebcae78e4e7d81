"""What the queue decides from, gathered from the store."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping, Sequence, Set
from datetime import datetime

from orkhaven.core.attempts import POD_PHASES_ENDED
from orkhaven.core.debug import is_debug
from orkhaven.core.devices import WHOLE, GpuResource
from orkhaven.core.queue import (
    QueuePlan,
    Quota,
    Request,
    Shares,
    going_past,
    is_booked,
    left_by_its_run,
    plan_queue,
    request_of,
    wants_release,
)
from orkhaven.core.sweep import may_stop, starts_no_more
from orkhaven.core.views import ExperimentView, JobView, Key
from orkhaven.engine.ports import Kind
from orkhaven.engine.store import Store

KEPT_SECONDS = 60.0
"""How long the place of a trial is kept whose end is not booked: longer than that takes where all is well."""


class Requests:
    """What Jobs ask for, as long as neither they nor their Experiments change: few of ten thousand do between two
    decisions."""

    def __init__(self) -> None:
        self._known: dict[str, tuple[ExperimentView, JobView, Request | None]] = {}
        """By uid of the Job."""

    def of(self, experiment: ExperimentView, job: JobView, kinds: Sequence[GpuResource]) -> Request | None:
        """`kinds`: of GPUs, as the settings name them: always the same."""
        known = self._known.get(job.meta.uid)
        if known is not None and known[0] is experiment and known[1] is job:
            return known[2]
        request = request_of(experiment, job, kinds)
        self._known[job.meta.uid] = experiment, job, request
        return request

    def keep(self, jobs: int, there: Callable[[JobView], bool]) -> None:
        """Forgets those of Jobs that are gone, once they are many. `jobs`: how many there are."""
        if len(self._known) > 2 * jobs + 100:
            self._known = {uid: known for uid, known in self._known.items() if there(known[1])}


def plan_admission(
    store: Store,
    requests: Requests,
    *,
    shares: Shares,
    quotas: Mapping[str, Quota],
    foreign_gpus: Mapping[str, Mapping[str, int]],
    unseen: Set[str] = frozenset(),
    kinds: Sequence[GpuResource] = (WHOLE,),
    avoided: Set[str] = frozenset(),
    kept: Set[Key] = frozenset(),
    now: datetime,
) -> QueuePlan:
    """Who gets the GPUs, as things stand in the store. `unseen`: nodes of which it is not known what others hold there.
    `kinds`: of GPUs, as the settings name them. `avoided`: nodes that all runs go past. `kept`: as the
    plan before this one said."""
    nodes = store.nodes()
    deciding = {key for key, sweep in store.all(Kind.SWEEP).items() if sweep.spec is not None and may_stop(sweep.spec)}
    pods = [pod for pod in store.all_pods() if pod.phase not in POD_PHASES_ENDED]
    there = {Key(pod.meta.key.namespace, pod.job_name or "") for pod in pods}
    ended = _whose_pod_has_ended(store)
    waiting, running, leaving = [], [], []
    for job in store.all_jobs():
        if is_debug(job):
            continue  # it was never queued; what its pod holds is counted as a pod's
        over = not job.suspended and job.meta.uid in ended and job.meta.key not in there
        if over or job.succeeded or job.failed_reason is not None or job.meta.deleting:
            # A finished Job holds nothing; what pods it may still have are counted as pods.
            if deciding and (request := _undecided(store, job, deciding, kinds, now=now)) is not None:
                running.append(request)
            continue
        experiment = store.owner_of_job(job)
        if experiment is None:
            if not job.suspended:
                running.append(left_by_its_run(job))
            continue
        request = requests.of(experiment, job, kinds)
        if request is None:
            continue
        if not job.suspended:
            running.append(request)
        elif wants_release(experiment, job):
            waiting.append(going_past(request, experiment, all_runs=avoided, nodes=nodes))
        elif job.meta.key in there:
            leaving.append(request)
    requests.keep(len(store.all(Kind.JOB)), lambda job: store.job(job.meta.key) is job)
    return plan_queue(
        nodes=list(nodes.values()),
        pods=pods,
        foreign_gpus=foreign_gpus,
        unseen=unseen,
        waiting=waiting,
        running=running,
        leaving=leaving,
        parallelism={
            key: sweep.spec.parallelism for key, sweep in store.all(Kind.SWEEP).items() if sweep.spec is not None
        },
        stopped=_stopped(store, waiting),
        shares=shares,
        quotas=quotas,
        kept=kept,
        now=now,
    )


def _whose_pod_has_ended(store: Store) -> set[str | None]:
    """Uids of Jobs that say only seconds later that they are over: their controller gathers ended pods before it looks,
    while the scheduler gives the GPUs away at once. None of ours makes a second pod (`core.job`); but one that is
    suspended and released again does, after the pod that it told to stop."""
    return {pod.meta.owner_uid for pod in store.all_pods() if pod.phase in POD_PHASES_ENDED and not pod.meta.deleting}


def _undecided(
    store: Store, job: JobView, deciding: Set[Key], kinds: Sequence[GpuResource], *, now: datetime
) -> Request | None:
    """A trial that is over, as its Job or its pod says, while its sweep does not know yet how it ended: that may be the
    end of the sweep, and its place is kept from the others until then."""
    experiment = store.owner_of_job(job)
    if experiment is None or job.meta.deleting or is_booked(experiment, job):
        return None
    if job.finished is not None and (now - job.finished).total_seconds() > KEPT_SECONDS:
        return None
    request = request_of(experiment, job, kinds)
    return request if request is not None and request.sweep in deciding else None


def _stopped(store: Store, waiting: Iterable[Request]) -> set[Key]:
    """Experiments of those that wait, whose sweep starts no more of its trials."""
    by_sweep: dict[Key, list[Key]] = {}
    for request in waiting:
        if request.sweep is not None:
            by_sweep.setdefault(request.sweep, []).append(request.experiment)
    stopped = set()
    for key, experiments in by_sweep.items():
        sweep = store.sweep(key)
        stop = starts_no_more(sweep, store.children(sweep)) if sweep is not None else None
        if stop is not None:
            children = [child for one in experiments if (child := store.experiment(one)) is not None]
            stopped |= {child.meta.key for child in children if stop.holds_back(child)}
    return stopped
