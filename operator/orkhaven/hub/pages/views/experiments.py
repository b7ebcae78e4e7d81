"""An Experiment as its page shows it: why it is in its state, its attempts, its parameters, how to run it again."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orkhaven.api.experiment import TERMINAL_STATES
from orkhaven.api.rerun import rerun_spec
from orkhaven.api.retry import avoided_in_words, changes_in_words
from orkhaven.hub.pages.text import parse_time
from orkhaven.hub.pages.views.timeline import Timeline, timeline
from orkhaven.hub.query.rows import flatten
from orkrun import contract


@dataclass(frozen=True, slots=True, kw_only=True)
class AttemptView:
    number: int
    pod: str | None
    node: str | None
    gpu: str | None
    started: str | None
    seconds: float | None
    exit_code: int | None
    signal: str
    reason: str
    message: str

    @property
    def failure(self) -> str:
        """What it died of, as the program said it where that is known; empty where it did not."""
        return "" if self.exit_code in (None, 0) else self.message or self.reason


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentView:
    namespace: str
    name: str
    uid: str
    sweep: str | None
    trial: str | None
    state: str
    reason: str
    message: str
    suspended: bool
    created: str | None
    started: str | None
    finished: str | None
    seconds: float | None
    step: int | None
    total_steps: int | None
    eta: str | None
    objective: str | None
    direction: str
    value: float | None
    value_step: int | None
    gpu_hours: float
    reused_from: str | None
    rerun_of: str | None
    """The Experiment that failed and in whose place it is."""
    """Who did the work: its history, log and files are there."""
    attempt_count: int
    attempts: tuple[AttemptView, ...]
    conditions: tuple[Mapping[str, Any], ...]
    failure: Mapping[str, Any] | None
    checkpoint: Mapping[str, Any] | None
    params: tuple[tuple[str, Any], ...]
    hashes: tuple[tuple[str, str], ...]
    image: str
    seed: int
    asks: str
    """What it needs to start, in words."""
    retry_at: str | None
    changes: str
    """What retries have changed."""
    avoided: str
    """Nodes that its next attempts go past, and why."""
    silent_since: str | None
    """Since when nothing is heard of a run that runs."""
    when: Timeline | None

    @property
    def is_over(self) -> bool:
        return self.state in TERMINAL_STATES


_SIGNALS = {137: "SIGKILL", 139: "SIGSEGV", 143: "SIGTERM", 134: "SIGABRT", 135: "SIGBUS"}


def experiment_view(body: Mapping[str, Any], *, now: datetime) -> ExperimentView:
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels = metadata.get("labels") or {}
    objective, reached, progress = (
        spec.get("objective") or {}, status.get("objective") or {}, status.get("progress") or {}
    )  # fmt: skip
    started = parse_time(status.get("startTime"))
    ended = parse_time(status.get("completionTime"))
    attempts = sorted(status.get("attempts") or [], key=lambda one: -int(one.get("number") or 0))
    return ExperimentView(
        namespace=metadata["namespace"],
        name=metadata["name"],
        uid=metadata["uid"],
        sweep=labels.get(contract.LABEL_SWEEP),
        trial=labels.get(contract.LABEL_TRIAL),
        state=str(status.get("state") or "Pending"),
        reason=str(status.get("reason") or ""),
        message=str(
            status.get("message") or ("" if status else "The operator has not looked at it yet; is it running?")
        ),
        suspended=bool(spec.get("suspend")),
        created=metadata.get("creationTimestamp"),
        started=status.get("startTime"),
        finished=status.get("completionTime"),
        seconds=((ended or now) - started).total_seconds() if started else None,
        step=progress.get("step"),
        total_steps=progress.get("totalSteps"),
        eta=progress.get("eta"),
        objective=objective.get("metric"),
        direction=str(objective.get("direction") or "Maximize"),
        value=reached.get("value"),
        value_step=reached.get("step"),
        gpu_hours=float(status.get("gpuSeconds") or 0) / 3600,
        reused_from=status.get("reusedFrom"),
        rerun_of=(body["metadata"].get("labels") or {}).get(contract.LABEL_RERUN_OF),
        attempt_count=int(status.get("attemptCount") or len(attempts)),
        attempts=tuple(_attempt(one, now=now) for one in attempts),
        conditions=tuple(status.get("conditions") or ()),
        failure=status.get("failure"),
        checkpoint=status.get("checkpoint"),
        params=tuple(sorted(flatten(spec.get("params") or {}).items())),
        hashes=tuple(
            (label, str(status[key]))
            for label, key in (("run hash", "runHash"), ("parameters' hash", "paramHash"))
            if status.get(key)
        ),
        image=str(spec.get("image") or "the operator's default"),
        seed=int(spec.get("seed") or 0),
        asks=_asks(spec),
        retry_at=status.get("retryAt"),
        changes=changes_in_words(status.get("overrides")),
        avoided=avoided_in_words(status.get("avoid")),
        silent_since=(progress.get("silent") or {}).get("since") if status.get("state") == "Running" else None,
        when=timeline(body, now=now),
    )


def _asks(spec: Mapping[str, Any]) -> str:
    resources = spec.get("resources") or {}
    gpus = int(resources.get("gpus", 1))
    models = " or ".join(resources.get("gpuModels") or [])
    gpu = f"{gpus} GPU{'s' if gpus > 1 else ''}{f' {models}' if models else ''}" if gpus else "no GPU"
    if gpus and resources.get("minGpuMemory"):
        gpu += f" with {resources['minGpuMemory']} or more"
    parts = [
        gpu,
        *(f"{resources[key]} {word}" for key, word in (("cpu", "CPU"), ("memory", "memory")) if key in resources),
    ]
    if spec.get("priority"):
        parts.append(f"priority {spec['priority']}")
    if spec.get("queueName"):
        parts.append(f"queue {spec['queueName']}")
    return ", ".join(parts)


def _attempt(body: Mapping[str, Any], *, now: datetime) -> AttemptView:
    started, ended = parse_time(body.get("startTime")), parse_time(body.get("endTime"))
    code = body.get("exitCode")
    return AttemptView(
        number=int(body.get("number") or 0),
        pod=body.get("pod"),
        node=body.get("node"),
        gpu=body.get("gpuModel"),
        started=body.get("startTime"),
        seconds=((ended or now) - started).total_seconds() if started else None,
        exit_code=code,
        signal=_SIGNALS.get(code, "") if code is not None else "",
        reason=str(body.get("reason") or ("" if ended else "running")),
        message=str(body.get("message") or ""),
    )


def again(body: Mapping[str, Any]) -> dict[str, Any]:
    """The same run as a resource of its own: under the same parameters, without what the server or a sweep added.

    With the same seed it is the same run; its metadata gets a name that the API server makes.
    """
    metadata = body["metadata"]
    labels = {
        key: value
        for key, value in (metadata.get("labels") or {}).items()
        if not key.startswith(f"{contract.LABEL_SWEEP.partition('/')[0]}/")
    }
    made: dict[str, Any] = {
        "generateName": f"{metadata['name'][:40].rstrip('-')}-again-",
        "namespace": metadata["namespace"],
    }
    if labels:
        made["labels"] = labels
    return {
        "apiVersion": body.get("apiVersion", "orkhaven.io/v1alpha1"),
        "kind": "Experiment",
        "metadata": made,
        "spec": rerun_spec(body, body.get("spec") or {}),
    }
