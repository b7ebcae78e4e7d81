"""One attempt as it is now: what its Job and its pod show, and how that is booked in the Experiment's status.

An attempt's Job may have several pods one after the other (each suspension by hand ends one), but never two at a time.
Where the queue takes the GPUs back, the attempt ends with its pod: the next one is another Job. The
record names the pod that it counts at present; its GPU-seconds are those of pods that have ended, this one included
once `endTime` is set.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from enum import StrEnum
from typing import Protocol

from orkhaven.api import ExperimentSpec, Reason
from orkhaven.api.experiment import Attempt, State
from orkhaven.core.actions import ReadPod
from orkhaven.core.failures import (
    Cause,
    Evidence,
    Loss,
    classify,
    classify_success,
    gather,
    wants_events,
    wants_log,
)
from orkhaven.core.failures.rules import CONFIG_REASONS, HOPELESS, IMAGE_REASONS
from orkhaven.core.job import image_of
from orkhaven.core.stalls import not_started, silent
from orkhaven.core.status import clip, whole_seconds
from orkhaven.core.views import Defaults, ExperimentView, JobView, NodeView, PodView
from orkrun.contract import Outcome

POD_PHASES_ENDED = frozenset({"Succeeded", "Failed"})
GRACE_SECONDS = 15.0
"""How long a Job may be finished before a pod that does not show it counts as lost: the two watches are not in step."""
OBJECTIVE_SECONDS = 30.0
"""How long a run without a final record may be over before its objective, which then only the hub has, counts as
missing. Longer than the hub's own period of 10 s."""


class _Gather(Protocol):
    """Collects the evidence only where it is needed."""

    def __call__(self, loss: Loss | None = None, *, with_pod: bool = True) -> Evidence: ...


class Phase(StrEnum):
    WAITING = "waiting"
    """Its Job is suspended and no pod is there."""
    LIVE = "live"
    ENDED = "ended"


@dataclass(frozen=True, slots=True, kw_only=True)
class Observed:
    """What is seen of one attempt."""

    number: int
    job: JobView | None
    pod: PodView | None
    """The latest of its pods."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Verdict:
    """What an attempt is at. `cause` None on ENDED: it succeeded."""

    phase: Phase
    state: State = State.QUEUED
    reason: Reason = Reason.WAITING_FOR_GPUS
    message: str = ""
    cause: Cause | None = None
    evidence: Evidence | None = None
    recheck: float | None = None
    """Seconds until time alone can change the verdict."""
    gave_way: bool = False
    """A queue took its GPUs back: nothing has failed, and no node is to blame."""
    read: ReadPod | None = None
    """Of one that has ended: it cannot be said of what before this is read, and nothing is booked until then."""


def alive(pod: PodView, nodes: Mapping[str, NodeView]) -> bool:
    """Whether a pod may still be writing and holding its GPUs. One that is being deleted on a node that does not
    answer will never report its end, and is not waited for."""
    return pod.phase not in POD_PHASES_ENDED and lost_with_node(pod, nodes) is None


def lost_with_node(pod: PodView, nodes: Mapping[str, NodeView]) -> Loss | None:
    """How a pod that is being deleted was lost with its node; None: it was not. Without any node in sight nothing is
    known."""
    if not pod.meta.deleting or pod.node is None or not nodes:
        return None
    node = nodes.get(pod.node)
    if node is None:
        return Loss.NODE_GONE
    return None if node.ready else Loss.NODE_NOT_READY


def observe(number: int, *, jobs: Sequence[JobView], pods: Sequence[PodView], job_name: str) -> Observed:
    """The attempt's Job and its latest pod."""
    job = next((job for job in jobs if job.attempt == number), None)
    own = [pod for pod in pods if pod.job_name == job_name]
    return Observed(
        number=number, job=job, pod=max(own, key=lambda pod: (pod.meta.created, pod.meta.key.name), default=None)
    )


def judge(
    seen: Observed,
    exp: ExperimentView,
    spec: ExperimentSpec,
    *,
    nodes: Mapping[str, NodeView],
    defaults: Defaults,
    now: datetime,
) -> Verdict:
    """What the attempt is at. Where Job and pod contradict each other for a moment, it is unknown, never failed."""
    job, pod = seen.job, seen.pod
    last = exp.status.attempts[-1] if exp.status.attempts else None

    def evidence(loss: Loss | None = None, *, with_pod: bool = True) -> Evidence:
        return gather(
            spec=spec,
            image=image_of(spec, defaults),
            job=job,
            pod=pod if with_pod else None,
            nodes=nodes,
            known_objective=exp.status.objective is not None,
            known_node=last.node if last is not None and job is not None and last.job == job.meta.key.name else None,
            loss=loss,
            rules=defaults.failure_rules,
        )

    if pod is not None and pod.phase in POD_PHASES_ENDED:
        verdict = _ended_pod(pod, job, evidence(), defaults=defaults, now=now)
        return unless_unclear(verdict, pod, exp, defaults=defaults)
    if pod is not None and (loss := lost_with_node(pod, nodes)) is not None:
        return _failed(evidence(loss))
    if job is not None and job.finished is not None:
        left = GRACE_SECONDS - (now - job.finished).total_seconds()
        if left > 0:
            message = "its Job is over, but its pod does not say so yet"
            return _live(State.RUNNING, Reason.STATUS_UNKNOWN, message, recheck=left)
        if job.succeeded and job.failed_reason is None:
            cause = classify_success(evidence(with_pod=False))
            return Verdict(phase=Phase.ENDED, cause=cause, evidence=evidence(with_pod=False))
        return _failed(evidence(Loss.POD_GONE, with_pod=False))
    if pod is not None:
        verdict = _live_pod(pod, job, evidence, exp, spec, defaults=defaults, now=now)
        return unless_unclear(verdict, pod, exp, defaults=defaults)
    if job is None:
        return _failed(evidence(Loss.JOB_GONE))
    if job.suspended and job.preempted_for:
        # One that its Job still counts has not been seen here yet.
        return _gives_way(job) if job.active else _failed(evidence())
    if job.suspended:
        return Verdict(phase=Phase.WAITING)
    if job.meta.deleting:
        return _live(State.STARTING, Reason.STATUS_UNKNOWN, "its Job is being deleted")
    return _live(State.STARTING, Reason.WAITING_FOR_POD, "released; its pod is about to be made")


def _ended_pod(pod: PodView, job: JobView | None, evidence: Evidence, *, defaults: Defaults, now: datetime) -> Verdict:
    record = evidence.record
    well = (pod.phase == "Succeeded" or evidence.exit_code == 0) and (
        record is None or record.outcome == Outcome.SUCCEEDED
    )
    if not well:
        if job is not None and job.suspended and not job.preempted_for and not evidence.deadline:
            # Told to stop, and it did; whatever its exit code, it goes on from its checkpoint.
            return Verdict(phase=Phase.WAITING, evidence=evidence)
        return _failed(evidence)
    cause = classify_success(evidence)
    if cause is not None and record is None and defaults.hub_url:
        left = OBJECTIVE_SECONDS - (now - (pod.container.finished or pod.meta.created)).total_seconds()
        if left > 0:
            message = f"ended with exit code 0 and no final record; {evidence.objective} may still arrive from the hub"
            return _live(State.RUNNING, Reason.STATUS_UNKNOWN, message, recheck=left)
    return Verdict(phase=Phase.ENDED, cause=cause, evidence=evidence)


def _live_pod(
    pod: PodView,
    job: JobView | None,
    evidence: _Gather,
    exp: ExperimentView,
    spec: ExperimentSpec,
    *,
    defaults: Defaults,
    now: datetime,
) -> Verdict:
    container = pod.container
    waiting = container.waiting_reason or ""
    if job is not None and job.suspended and job.preempted_for:
        return _gives_way(job)
    if job is not None and job.suspended:
        return _live(State.RUNNING, Reason.SUSPENDING, "saves a checkpoint and stops")
    if pod.meta.deleting:
        late = evidence().deadline
        why = "ran longer than maxRunTime" if late else "its pod is being deleted"
        return _live(State.RUNNING, Reason.TIMEOUT if late else Reason.DRAINED, f"{why}; saves a checkpoint and stops")
    if waiting in IMAGE_REASONS | CONFIG_REASONS:
        left = defaults.image_pull_timeout_seconds - (now - (pod.started or pod.meta.created)).total_seconds()
        seen = evidence()
        if left <= 0 or waiting in HOPELESS:
            return _failed(seen)
        reason = Reason.PULLING_IMAGE if waiting in IMAGE_REASONS else Reason.CONTAINER_CREATING
        return _live(State.STARTING, reason, classify(seen).message, recheck=left)
    if pod.phase == "Unknown":
        return _live(State.RUNNING, Reason.STATUS_UNKNOWN, f"node {pod.node} does not say how its pod is")
    if pod.phase == "Running" or container.started is not None:
        stalled = silent(pod, spec, exp.status.progress, defaults=defaults)
        if stalled is not None:
            return Verdict(phase=Phase.ENDED, cause=stalled, evidence=evidence())
        return _live(State.RUNNING, Reason.TRAINING, f"on node {pod.node}")
    if pod.unschedulable is not None and pod.node is None:
        return _live(State.QUEUED, Reason.UNSCHEDULABLE, pod.unschedulable)
    if pod.node is None:
        return _live(State.STARTING, Reason.WAITING_FOR_POD, "its pod is being scheduled")
    hung, left = not_started(pod, image=image_of(spec, defaults), defaults=defaults, now=now)
    if hung is not None:
        # Which volume, which image: the kubelet says that in Events alone.
        why = f"; last warning: {clip(str(pod.heard.events[-1]), 600)}" if pod.heard.events else ""
        cause = replace(hung, message=f"{hung.message}{why}")
        return Verdict(phase=Phase.ENDED, cause=cause, evidence=evidence())
    if pod.sandbox is None:
        doing = "mounts its volumes, pulls its image"
    else:
        doing = "pulls its image" if pod.sandbox else "mounts its volumes"
    return _live(State.STARTING, Reason.CONTAINER_CREATING, f"on node {pod.node}: {doing}", recheck=left)


def _gives_way(job: JobView) -> Verdict:
    return _live(State.RUNNING, Reason.PREEMPTED, f"saves a checkpoint and stops: {job.preempted_for}")


def _live(state: State, reason: Reason, message: str, *, recheck: float | None = None) -> Verdict:
    return Verdict(phase=Phase.LIVE, state=state, reason=reason, message=message, recheck=recheck)


def _failed(evidence: Evidence) -> Verdict:
    cause = classify(evidence)
    ours = bool(evidence.preempted_for) and cause.reason == Reason.PREEMPTED
    return Verdict(phase=Phase.ENDED, cause=cause, evidence=evidence, gave_way=ours)


def unless_unclear(verdict: Verdict, pod: PodView, exp: ExperimentView, *, defaults: Defaults) -> Verdict:
    """The verdict, or what has to be read before it. Asked for once: that it could not be read is an answer."""
    cause, evidence = verdict.cause, verdict.evidence
    if verdict.phase is not Phase.ENDED or cause is None or evidence is None or not defaults.read_seconds:
        return verdict
    log, events = wants_log(evidence, cause), wants_events(evidence, cause)
    if not (log or events):
        return verdict
    read = ReadPod(
        pod.meta.key,
        pod.meta.uid,
        experiment=exp.meta.key,
        log=log,
        events=events,
        seconds=float(defaults.read_seconds),
    )
    return Verdict(phase=Phase.LIVE, state=State.RUNNING, reason=Reason.STATUS_UNKNOWN, read=read)


def pruned(verdict: Verdict, job: JobView | None, why: str) -> Verdict:
    """The end of an attempt that waits and is not to go on: unless its Job still counts a pod, which has not been seen
    here yet."""
    if job is not None and job.active:
        return _live(State.RUNNING, Reason.SUSPENDING, "saves a checkpoint and stops")
    cause = Cause(reason=Reason.EARLY_STOPPED, message=why or "stopped early")
    return replace(verdict, phase=Phase.ENDED, cause=cause)


# --- bookkeeping ------------------------------------------------------------------------------------------------------


def gpus_of(seen: Observed, spec: ExperimentSpec) -> int:
    """What a pod of the attempt holds: the spec may have been edited since its Job was made."""
    made = (seen.job.gpus if seen.job is not None else 0) or (seen.pod.gpus if seen.pod is not None else 0)
    return made or spec.resources.gpus


def gone_at(job: JobView | None, *, grace: float, now: datetime) -> datetime:
    """When a pod of which nothing is seen any more has ended, at the latest. Usually that is now; but nobody may have
    looked for a while, and the Job says when it was told to stop."""
    known = [now]
    if job is not None and job.finished is not None:
        known.append(job.finished)
    if job is not None and job.suspended and job.suspended_since is not None:
        known.append(job.suspended_since + timedelta(seconds=grace))
    return min(known)


def book(
    attempt: Attempt,
    pod: PodView | None,
    *,
    gpus: int,
    nodes: Mapping[str, NodeView],
    over: bool,
    model_label: str,
    gone: datetime,
    now: datetime,
) -> Attempt:
    """The attempt's record with what its pod shows now.

    `over`: whatever the pod shows, nothing of this attempt runs any more. `gone`: when it ended, where it is seen no
    more. `model_label`: by which a node says the model of its GPUs.
    """

    def _model(node: NodeView | None) -> str | None:
        return node.meta.labels.get(model_label) if node is not None and gpus else None

    changes: dict[str, object] = {}
    booked = attempt.gpu_seconds or 0.0
    started, ended = attempt.start_time, attempt.end_time
    if pod is not None and attempt.pod != pod.meta.key.name:
        if attempt.pod is not None and ended is None:
            booked += _held(started, pod.meta.created, gpus)
        started = ended = None
        changes |= {"pod": pod.meta.key.name, "node": pod.node, "gpu_model": _model(nodes.get(pod.node or ""))}
    elif pod is not None and attempt.node is None and pod.node is not None:
        changes |= {"node": pod.node, "gpu_model": _model(nodes.get(pod.node))}
    if ended is None:
        if pod is not None:
            started = pod.container.started or started
        finished = pod is not None and pod.phase in POD_PHASES_ENDED
        vanished = pod is None and (changes.get("pod") or attempt.pod) is not None
        if finished or vanished or over:
            unseen = gone if pod is None and (started is None or gone > started) else now
            ended = whole_seconds((pod.container.finished if pod is not None else None) or unseen)
            booked += _held((pod.started if pod is not None else None) or started, ended, gpus)
    gpu_seconds = round(booked, 1) if booked or attempt.gpu_seconds is not None or ended is not None else None
    return attempt.model_copy(update={**changes, "start_time": started, "end_time": ended, "gpu_seconds": gpu_seconds})


def _held(started: datetime | None, ended: datetime, gpus: int) -> float:
    return 0.0 if started is None else max((ended - started) / timedelta(seconds=1), 0.0) * gpus


def held_on(attempt: Attempt, pod: PodView | None, *, gpus: int) -> Attempt:
    """The record of an attempt that has ended before its pod did, since the verdict did not wait for that: with the
    time until the pod had saved and stopped."""
    finished = pod.container.finished if pod is not None and pod.phase in POD_PHASES_ENDED else None
    if pod is None or finished is None or attempt.pod != pod.meta.key.name or attempt.end_time is None:
        return attempt
    finished = whole_seconds(finished)
    if finished <= attempt.end_time:
        return attempt
    booked = (attempt.gpu_seconds or 0.0) + _held(attempt.end_time, finished, gpus)
    return attempt.model_copy(update={"end_time": finished, "gpu_seconds": round(booked, 1)})


def close(attempt: Attempt, verdict: Verdict, *, now: datetime) -> Attempt:
    """The attempt's record with how it ended."""
    cause, evidence = verdict.cause, verdict.evidence
    return attempt.model_copy(
        update={
            "end_time": attempt.end_time or whole_seconds(now),
            "exit_code": evidence.exit_code if evidence else None,
            "reason": str(cause.reason if cause else Reason.COMPLETED),
            "message": clip(cause.message, 1024) if cause else None,
            "rule": (cause.rule or None) if cause else None,
        }
    )
