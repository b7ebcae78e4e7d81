"""What a run waits for while Kueue decides: Kueue's own reason and words, copied."""

from __future__ import annotations

from datetime import datetime

from orkhaven.api import ExperimentStatus, Reason
from orkhaven.core.kueue.labels import LABEL_PRIORITY_CLASS
from orkhaven.core.kueue.workload import Kueue, Seen, Told, WorkloadView
from orkhaven.core.views import JobView, Why

TAKEN_UP_SECONDS = 30.0
"""How long Kueue may take to make a Job's Workload before it is said that there is none: a second where all is well."""
RETOLD_SECONDS = 60.0
"""Least time between two messages that differ in Kueue's words alone."""

NOT_SERVED = {
    Kueue.MISSING: "Kueue is not installed in this cluster",
    Kueue.FORBIDDEN: "Kueue's Workloads may not be read: the operator needs get, list, watch and patch on "
    "workloads.kueue.x-k8s.io (chart: kueue.enabled)",
    Kueue.UNKNOWN: "Kueue's Workloads cannot be read at present",
    Kueue.OFF: "Kueue is switched off in the operator's settings (ORKHAVEN_KUEUE)",
}


def kueue_why(
    queue: str, job: JobView | None, seen: Seen, *, stored: ExperimentStatus, now: datetime
) -> tuple[Why, float | None]:
    """What the run that is in LocalQueue `queue` waits for, and the seconds until time alone changes that.

    `job`: of its open attempt, suspended; None: about to be made.
    """
    if seen.kueue is not Kueue.SERVED:
        message = f"{NOT_SERVED[seen.kueue]}; without spec.queueName ({queue}) the built-in queue decides"
        return _say(message), None
    place, workload = f"LocalQueue {queue} of Kueue", seen.workload
    if workload is None:
        return _not_taken_up(place, job, now=now)
    if not workload.active:
        return _say(f"{place}: {_deactivated(workload)}"), None
    told = workload.reserved
    if told is None:
        return _say(f"is in {place}"), None
    if told.holds:
        return _reserved(place, workload, stored), None
    return _pending(place, told, seen, stored)


def _say(message: str) -> Why:
    return Why(Reason.WAITING_FOR_KUEUE, message)


def _not_taken_up(place: str, job: JobView | None, *, now: datetime) -> tuple[Why, float | None]:
    left = TAKEN_UP_SECONDS - (now - job.meta.created).total_seconds() if job is not None else None
    if job is None or left is None or left > 0:
        return _say(f"is in {place}"), left
    named = job.meta.labels.get(LABEL_PRIORITY_CLASS)
    # Nothing but an Event on the Job tells of a class that is not there.
    first = f"there is no WorkloadPriorityClass {named}, or Kueue" if named else "Kueue"
    return _say(
        f"{place} has not taken it up: {first} does not run or does not look after Jobs of this namespace; the Events "
        f"of Job {job.meta.key.name} may say more"
    ), None


def _deactivated(workload: WorkloadView) -> str:
    told = next((t for t in (workload.evicted, workload.reserved) if t and t.reason.startswith("Deactivated")), None)
    said = f" ({told})" if told is not None else ""
    return f"Workload {workload.meta.key.name} is deactivated{said}; its spec.active: true lets the run go on"


def _reserved(place: str, workload: WorkloadView, stored: ExperimentStatus) -> Why:
    where = f"ClusterQueue {workload.cluster_queue}" if workload.cluster_queue else "a ClusterQueue"
    if workload.admitted is None or not workload.admitted.holds:
        return _say(f"{place}: has its quota in {where} and waits for the admission checks")
    # The next thing that happens is its release, a moment later: not worth a write of its own.
    if stored.reason == Reason.WAITING_FOR_KUEUE and stored.message and "admission checks" not in stored.message:
        return _say(stored.message)
    return _say(f"is in {place}")


def _pending(place: str, told: Told, seen: Seen, stored: ExperimentStatus) -> tuple[Why, float | None]:
    kind, message = f"{place}: {told.reason}", f"{place}: {told}"
    known = stored.message or ""
    alike = stored.reason == Reason.WAITING_FOR_KUEUE and (known == kind or known.startswith(f"{kind}: "))
    if alike and known != message and not seen.may_retell:
        return _say(known), RETOLD_SECONDS
    return _say(message), None
