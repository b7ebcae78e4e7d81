"""Everything that is known about how an attempt ended, as one value, so that rules are functions of it and nothing
else.

Owns the tolerant reading of the termination message (a record of the contract, or, from a container that keeps none,
the last lines of its log) and how that goes together with what was read of the log and of the pod's Events.
"""

from __future__ import annotations

import json
import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta
from enum import StrEnum
from typing import Any

from orkhaven.api import ExperimentSpec
from orkhaven.api.meta import parse_duration
from orkhaven.core.user_rules import UserRule
from orkhaven.core.views import NOT_HEARD, JobView, NodeView, PodView, ReadState
from orkrun import contract

# What the Job controller writes into the condition of a Job that our podFailurePolicy failed (see job.py).
_JOB_EXIT_CODE = re.compile(r"failed with exit code (\d+)")
_JOB_CONDITION = re.compile(r"has condition DisruptionTarget")


class Loss(StrEnum):
    """How a pod can be lost without a word of the container."""

    NODE_GONE = "its node is gone"
    NODE_NOT_READY = "its node does not answer"
    JOB_GONE = "its Job was deleted"
    POD_GONE = "its pod is gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class Record:
    """The termination record as far as it could be read."""

    outcome: str
    failure_type: str = ""
    failure_message: str = ""
    location: str | None = None
    excerpt: str | None = None
    objective: tuple[float, int] | None = None
    """(value, step)"""
    metrics: Mapping[str, Mapping[str, float | int]] = field(default_factory=dict)
    """Per metric last, best, bestStep: finite numbers only."""
    not_finite: frozenset[str] = frozenset()
    """Metrics whose last value was NaN or infinite."""
    step: int | None = None
    total_steps: int | None = None
    checkpoint: tuple[int, str] | None = None
    """(step, path)"""
    note: str = ""
    """What the training says of itself though nothing failed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Evidence:
    """One ended attempt. Empty texts mean that nothing of the kind was seen."""

    exit_code: int | None = None
    terminated_reason: str = ""
    waiting_reason: str = ""
    waiting_message: str = ""
    pod_reason: str = ""
    pod_message: str = ""
    node: str = ""
    node_ready: bool = True
    """False: it does not answer, or is gone."""
    disruption: str = ""
    disruption_message: str = ""
    removed: bool = False
    """Somebody deleted the pod, and only then the container ended."""
    loss: Loss | None = None
    preempted_for: str = ""
    """For whom our queue took its GPUs back; empty: it did not."""
    deadline: bool = False
    """The Job's activeDeadlineSeconds passed."""
    job_message: str = ""
    record: Record | None = None
    text: str = ""
    """What it said last: the record's failure, or the tail of the log; where it said nothing, what the pod's Events
    say."""
    log_state: ReadState = ReadState.UNREAD
    events_state: ReadState = ReadState.UNREAD
    ran: bool = False
    """Its container has run, so that there is a log."""
    from_log: bool = False
    """`text` has the end of the log, which was read for it."""
    objective: str | None = None
    """The metric that a run has to report; None: none is asked for."""
    has_objective: bool = False
    memory: str | None = None
    gpus: int = 0
    """How many it has been given."""
    max_run_time: str | None = None
    image: str = ""
    data_paths: tuple[str, ...] = ()
    rules: tuple[UserRule, ...] = ()
    """The users' own, in their order."""


def gather(
    *,
    spec: ExperimentSpec,
    image: str,
    job: JobView | None,
    pod: PodView | None,
    nodes: Mapping[str, NodeView],
    known_objective: bool,
    known_node: str | None = None,
    loss: Loss | None = None,
    rules: tuple[UserRule, ...] = (),
) -> Evidence:
    """The evidence of one attempt.

    `known_objective`: the hub has an objective of this run already. `known_node`: where its pod was, which may be gone.
    `loss`: how the pod was lost, where it cannot say
    so itself.
    """
    record = parse_record(pod.container.termination_message) if pod else None
    node = nodes.get(pod.node) if pod and pod.node else None
    message = pod.container.termination_message if pod else None
    heard = pod.heard if pod else NOT_HEARD
    exit_code = pod.container.exit_code if pod else _job_exit_code(job)
    disruption = (pod.disruption if pod else _job_disruption(job)) or ""
    return Evidence(
        exit_code=exit_code,
        terminated_reason=(pod and pod.container.terminated_reason) or "",
        waiting_reason=(pod and pod.container.waiting_reason) or "",
        waiting_message=(pod and pod.container.waiting_message) or "",
        pod_reason=(pod and pod.reason) or "",
        pod_message=(pod and pod.message) or "",
        node=(pod and pod.node) or known_node or "",
        node_ready=pod is None or not pod.node or not nodes or (node is not None and node.ready),
        disruption=disruption,
        disruption_message=(pod and pod.disruption_message) or "",
        removed=_was_removed(pod),
        loss=loss,
        preempted_for=(job and job.preempted_for) or "",
        deadline=_passed_deadline(spec, job, pod),
        job_message=(job and job.failed_message) or "",
        record=record,
        text=_with_log(text_of(record, message), heard.log_tail) or _of_events(pod),
        log_state=heard.log_state,
        events_state=heard.events_state,
        ran=pod is not None and pod.container.exit_code is not None,
        from_log=bool(heard.log_tail),
        objective=spec.objective.metric if spec.objective else None,
        has_objective=known_objective or (record is not None and record.objective is not None),
        memory=spec.resources.memory,
        gpus=spec.resources.gpus,
        max_run_time=spec.max_run_time,
        image=image,
        data_paths=tuple(volume.mount_path for volume in spec.data),
        rules=rules,
    )


def _was_removed(pod: PodView | None) -> bool:
    if pod is None or pod.deletion_requested is None:
        return False
    finished = pod.container.finished
    return finished is None or finished >= pod.deletion_requested


def _passed_deadline(spec: ExperimentSpec, job: JobView | None, pod: PodView | None) -> bool:
    if job is not None and job.failed_reason == "DeadlineExceeded":
        return True
    if pod is None or spec.max_run_time is None:
        return False
    if pod.reason == "DeadlineExceeded":
        return True
    # The controller deletes the pod first and says why afterwards; in between only the clock tells.
    if job is None or job.started is None or pod.deletion_requested is None:
        return False
    return pod.deletion_requested - job.started >= parse_duration(spec.max_run_time) - timedelta(seconds=1)


def _job_exit_code(job: JobView | None) -> int | None:
    found = _JOB_EXIT_CODE.search((job and job.failed_message) or "")
    return int(found[1]) if found else None


def _job_disruption(job: JobView | None) -> str | None:
    return "DisruptionTarget" if _JOB_CONDITION.search((job and job.failed_message) or "") else None


def text_of(record: Record | None, message: str | None) -> str:
    """What a run said last: its record's failure, or the termination message as it is."""
    if record is None:
        return message or ""
    head = ": ".join(part for part in (record.failure_type, record.failure_message) if part)
    return "\n".join(part for part in (record.excerpt, head) if part)


def _with_log(text: str, tail: str | None) -> str:
    """The log before what was said last, which stands in it already where the kubelet took it from there."""
    if not tail or not tail.strip():
        return text
    return tail if text.strip() in tail else f"{tail.rstrip()}\n{text}"


def _of_events(pod: PodView | None) -> str:
    """What was warned of while the container ran, or kept it from running."""
    if pod is None:
        return ""
    since = pod.container.started
    return "\n".join(str(event) for event in pod.heard.events if since is None or not event.at or event.at >= since)


def parse_record(message: str | None) -> Record | None:
    """The termination record, None where the message is none: a log's tail, cut JSON, another program's JSON."""
    if not message or not message.lstrip().startswith("{"):
        return None
    try:
        raw = json.loads(message)
    except (ValueError, RecursionError):
        return None
    if not isinstance(raw, dict) or not isinstance(raw.get("outcome"), str):
        return None
    version = raw.get("version")
    if not isinstance(version, int) or version > contract.VERSION:
        return None
    failure = raw["failure"] if isinstance(raw.get("failure"), dict) else {}
    metrics, not_finite = _metrics(raw.get("metrics"))
    return Record(
        outcome=raw["outcome"],
        failure_type=_string(failure.get("type")) or "",
        failure_message=_string(failure.get("message")) or "",
        location=_string(failure.get("location")),
        excerpt=_string(failure.get("excerpt")),
        objective=_pair(raw.get("objective"), "value"),
        metrics=metrics,
        not_finite=not_finite,
        step=_whole(raw.get("step")),
        total_steps=_whole(raw.get("totalSteps")),
        checkpoint=_checkpoint(raw.get("checkpoint")),
        note=_string(raw.get("note")) or "",
    )


def _metrics(raw: Any) -> tuple[dict[str, dict[str, float | int]], frozenset[str]]:
    metrics: dict[str, dict[str, float | int]] = {}
    odd = set()
    for name, summary in raw.items() if isinstance(raw, dict) else ():
        if not isinstance(summary, dict):
            continue
        kept: dict[str, float | int] = {}
        for key in ("last", "best"):
            value = _finite(summary.get(key))
            if value is not None:
                kept[key] = value
        if _not_finite(summary.get("last")):
            odd.add(name)
        step = _whole(summary.get("bestStep"))
        if step is not None and "best" in kept:
            kept["bestStep"] = step
        metrics[name] = kept
    return metrics, frozenset(odd)


def _pair(raw: Any, key: str) -> tuple[float, int] | None:
    if not isinstance(raw, dict):
        return None
    value, step = _finite(raw.get(key)), _whole(raw.get("step"))
    return None if value is None or step is None else (value, step)


def _checkpoint(raw: Any) -> tuple[int, str] | None:
    if not isinstance(raw, dict):
        return None
    step, path = _whole(raw.get("step")), _string(raw.get("path"))
    return None if step is None or path is None else (step, path)


def _finite(value: Any) -> float | None:
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return value if math.isfinite(value) else None


def _not_finite(value: Any) -> bool:
    return value in ("NaN", "Infinity", "-Infinity") or (isinstance(value, float) and not math.isfinite(value))


def _whole(value: Any) -> int | None:
    return value if isinstance(value, int) and not isinstance(value, bool) else None


def _string(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None
