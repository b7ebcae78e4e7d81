"""What Kueue's Workload means for the attempt that it is of: an eviction ends it, a suspended run deactivates it."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace

from orkhaven.api import ExperimentSpec, Reason
from orkhaven.api.experiment import Attempt
from orkhaven.core.actions import ActivateWorkload, LabelJob, SuspendJob
from orkhaven.core.attempts import Observed, Phase, Verdict
from orkhaven.core.failures import Cause
from orkhaven.core.kueue.labels import LABEL_PRIORITY_CLASS, LABEL_QUEUE, labels_of, queue_of
from orkhaven.core.kueue.why import NOT_SERVED
from orkhaven.core.kueue.workload import Kueue, Seen, Told, WorkloadView
from orkhaven.core.queue.request import is_booked
from orkhaven.core.views import Defaults, ExperimentView, JobView

_BY_OUR_OWN_ACCOUNT = (Reason.SUSPENDING, Reason.DRAINED)
"""What a live attempt is said to be at while its pod is told to stop."""


def open_job(exp: ExperimentView, jobs: Iterable[JobView]) -> JobView | None:
    """The Job whose turn is waited for: of the latest attempt, as long as the status does not say how that ended."""
    latest = max(jobs, key=lambda job: job.attempt, default=None)
    return None if latest is None or is_booked(exp, latest) else latest


def eviction_of(attempt: Attempt, seen: Observed, workload: WorkloadView | None) -> Told | None:
    """How Kueue took the GPUs back from this attempt; None: it did not, or not for good.

    A Workload that is deactivated, by us or by hand, waits in its place: that is no eviction in favour of others. One
    that had no pod yet has lost nothing, and waits on in its place too.
    """
    if seen.job is None or workload is None or queue_of(seen.job.meta.labels) is None:
        return None
    if attempt.pod is None and seen.pod is None:
        return None
    told = workload.evicted
    if told is None or not told.holds or not workload.active or told.reason.startswith("Deactivated"):
        return None
    if told.since is not None and attempt.start_time is not None and told.since < attempt.start_time:
        return None  # of an earlier pod
    return told


def with_eviction(verdict: Verdict, attempt: Attempt, seen: Observed, workload: WorkloadView | None) -> Verdict:
    """The verdict, with what Kueue says of it. A pod that ended by itself has the last word."""
    told = eviction_of(attempt, seen, workload)
    if told is None:
        return verdict
    message = f"evicted by Kueue: {told}"
    if verdict.phase is Phase.LIVE and verdict.reason in _BY_OUR_OWN_ACCOUNT:
        return replace(verdict, reason=Reason.PREEMPTED, message=f"{message}; saves a checkpoint and stops")
    removed = verdict.phase is Phase.ENDED and verdict.cause is not None and verdict.cause.reason == Reason.DRAINED
    if verdict.phase is Phase.WAITING or removed:
        cause = Cause(reason=Reason.PREEMPTED, message=message)
        return replace(verdict, phase=Phase.ENDED, cause=cause, gave_way=True)
    return verdict


def stop(job: JobView, seen: Seen) -> SuspendJob | ActivateWorkload | None:
    """What takes the GPUs back from the run of this Job, which is to be suspended; None: that was done, or Kueue has
    still to say how. A Job of Kueue's that is suspended past it would be released again at once."""
    if queue_of(job.meta.labels) is None or seen.kueue is Kueue.MISSING:
        return None if job.suspended else SuspendJob(job.meta.key, job.meta.uid, suspend=True)
    workload = seen.workload
    if workload is None or not workload.active:
        return None
    return ActivateWorkload(workload.meta.key, workload.meta.uid, version=workload.version, active=False)


def cannot_stop(job: JobView, seen: Seen) -> str | None:
    """Why a run of Kueue's that is to be suspended is not."""
    unread = seen.kueue not in (Kueue.SERVED, Kueue.MISSING) and seen.workload is None
    return f"is not suspended: {NOT_SERVED[seen.kueue]}" if unread and queue_of(job.meta.labels) else None


def go_on(seen: Seen) -> ActivateWorkload | None:
    """Takes a deactivation of ours back. One that a person or Kueue made is theirs to take back."""
    workload = seen.workload
    if workload is None or workload.active or not workload.held:
        return None
    return ActivateWorkload(workload.meta.key, workload.meta.uid, version=workload.version, active=True)


def relabel(job: JobView, spec: ExperimentSpec, defaults: Defaults) -> LabelJob | None:
    """What a suspended Job has to be told anew, since its run's queue or priority was edited."""
    wanted = labels_of(spec, defaults.kueue_priority_classes)
    changed = {
        name: wanted.get(name)
        for name in (LABEL_QUEUE, LABEL_PRIORITY_CLASS)
        if job.meta.labels.get(name) != wanted.get(name)
    }
    return LabelJob(job.meta.key, job.meta.uid, changed) if changed else None


def flavor_of(attempt: Attempt, seen: Seen, *, gpus: int) -> str | None:
    """The GPU model to be noted for the attempt: its node's, else the flavor that Kueue admitted it to."""
    if attempt.gpu_model is not None or attempt.node is None or not gpus or seen.workload is None:
        return attempt.gpu_model
    return seen.workload.flavor
