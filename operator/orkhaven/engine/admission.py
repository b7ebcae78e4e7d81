"""What the queue decides from, gathered from the store."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Set
from datetime import datetime

from orkhaven.core.debug import is_debug
from orkhaven.core.queue import QueuePlan, Request, going_past, is_booked, plan_queue, request_of, wants_release
from orkhaven.core.sweep import may_stop, starts_no_more
from orkhaven.core.views import JobView, Key
from orkhaven.engine.ports import Kind
from orkhaven.engine.store import Store

KEPT_SECONDS = 60.0
"""How long the place of a trial is kept whose end is not booked: longer than that takes where all is well."""


def plan_admission(
    store: Store, *, foreign_gpus: Mapping[str, int], avoided: Set[str] = frozenset(), now: datetime
) -> QueuePlan:
    """Who gets the GPUs, as things stand in the store. `avoided`: nodes that all runs go past."""
    nodes = store.nodes()
    deciding = {key for key, sweep in store.all(Kind.SWEEP).items() if sweep.spec is not None and may_stop(sweep.spec)}
    waiting, running = [], []
    for job in store.all_jobs():
        if is_debug(job):
            continue  # it was never queued; what its pod holds is counted as a pod's
        if job.succeeded or job.failed_reason is not None or job.meta.deleting:
            # A finished Job holds nothing; what pods it may still have are counted as pods.
            if deciding and (request := _undecided(store, job, deciding, now=now)) is not None:
                running.append(request)
            continue
        experiment = store.owner_of_job(job)
        if experiment is None or (request := request_of(experiment, job)) is None:
            continue
        if not job.suspended:
            running.append(request)
        elif wants_release(experiment, job):
            waiting.append(going_past(request, experiment, all_runs=avoided, nodes=nodes))
    return plan_queue(
        nodes=list(nodes.values()),
        pods=[pod for pod in store.all_pods() if pod.phase not in ("Succeeded", "Failed")],
        foreign_gpus=foreign_gpus,
        waiting=waiting,
        running=running,
        parallelism={
            key: sweep.spec.parallelism for key, sweep in store.all(Kind.SWEEP).items() if sweep.spec is not None
        },
        stopped=_stopped(store, waiting),
        now=now,
    )


def _undecided(store: Store, job: JobView, deciding: Set[Key], *, now: datetime) -> Request | None:
    """A trial that is over, as its Job says, while its sweep does not know yet how it ended: that may be the end of the
    sweep, and its place is kept from the others until then."""
    experiment = store.owner_of_job(job)
    if experiment is None or job.meta.deleting or is_booked(experiment, job):
        return None
    if job.finished is not None and (now - job.finished).total_seconds() > KEPT_SECONDS:
        return None
    request = request_of(experiment, job)
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
