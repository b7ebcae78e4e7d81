"""Sweeps and Experiments as the hub keeps them: parsed once, frozen, small. Pure.

10,000 Experiments have to fit into a few ten MB, so that what many have in common (names, parameters' keys, the
objective) stands once, and numbers stand in arrays.
"""

from __future__ import annotations

import sys
from array import array
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from datetime import datetime
from functools import lru_cache
from typing import Any

from orkhaven.api.container import Resources
from orkhaven.api.policy import held_reason
from orkhaven.api.sharing import Run, run_of
from orkhaven.hub.ports import Body, is_finished
from orkrun import contract

Json = Any
DEFAULT_GPUS: int = Resources.model_fields["gpus"].default


@dataclass(frozen=True, slots=True)
class Objective:
    metric: str
    minimize: bool

    @property
    def direction(self) -> str:
        return "Minimize" if self.minimize else "Maximize"


@dataclass(frozen=True, slots=True)
class StatusMetrics:
    """`status.metrics`: what is known of a run whose history is not in the store."""

    names: tuple[str, ...]
    numbers: array[float]
    """last, best, bestStep of each name; NaN: not said."""

    def __iter__(self) -> Iterator[tuple[str, float | None, float | None, int | None]]:
        for index, name in enumerate(self.names):
            last, best, step = self.numbers[3 * index : 3 * index + 3]
            yield name, _given(last), _given(best), None if step != step else int(step)

    def __eq__(self, other: object) -> bool:
        # By bytes: NaN stands for "not said", and is no number that differs from itself.
        if not isinstance(other, StatusMetrics):
            return NotImplemented
        return self.names == other.names and self.numbers.tobytes() == other.numbers.tobytes()


@dataclass(frozen=True, slots=True)
class AttemptRow:
    """One attempt that has started. Times are seconds since the epoch."""

    number: int
    node: str | None
    gpu_model: str | None
    start: float
    end: float | None
    exit_code: int | None
    reason: str | None


@dataclass(frozen=True, slots=True)
class HeldRow:
    """What an attempt has held of GPUs, started or not. Times are seconds since the epoch."""

    number: int
    pod: str
    """The latest of its pods; empty: there was none."""
    gpu_model: str | None
    start: float | None
    end: float | None
    gpu_seconds: float
    """Of its pods that have ended."""
    reason: str | None


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentRow:
    """Times are RFC 3339 in UTC, as the API server writes them; None: there is none yet."""

    namespace: str
    name: str
    uid: str
    version: str
    """resourceVersion."""
    created: str | None
    sweep: str | None
    trial: int | None
    """Index in the sweep's search."""
    rerun_of: str | None
    """The Experiment that failed and in whose place it is."""
    params: Mapping[str, Json]
    """Nested, as in the spec."""
    seed: int
    param_hash: str | None
    suspended: bool
    finished: bool
    state: str | None
    reason: str | None
    message: str | None
    objective: Objective | None
    value: float | None
    """The objective's best value, as the status says."""
    value_step: int | None
    step: int | None
    total_steps: int | None
    eta: str | None
    attempts: int
    node: str | None
    """Of the newest attempt, as are `gpu_model` and `exit_code`."""
    gpu_model: str | None
    exit_code: int | None
    gpu_seconds: float
    saved_gpu_seconds: float | None
    """What the run has cost whose result it took over."""
    gpus: int
    created_by: str
    """Empty: not known."""
    started: str | None
    ended: str | None
    metrics: StatusMetrics | None
    sharing: Run | None
    """What it asks for, and what it holds; None once it has ended."""
    trail: tuple[AttemptRow, ...]
    """The attempts that its status names and that have started, the first one first."""
    held: tuple[HeldRow, ...]
    """All that its status names, in the same order."""

    @property
    def seconds(self) -> float | None:
        """From the first attempt's start to the end; None while it runs."""
        if self.started is None or self.ended is None:
            return None
        return seconds_of(self.ended) - seconds_of(self.started)


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepRow:
    namespace: str
    name: str
    uid: str
    version: str
    created: str | None
    labels: Mapping[str, str]
    objective: Objective
    goal: float | None
    algorithm: str
    parameters: tuple[str, ...]
    """Dotted names of what is searched."""
    parallelism: int | None
    resources: Mapping[str, Json]
    """What each trial asks for, as the template says."""
    suspended: bool
    finished: bool
    status: Mapping[str, Json]
    """As in the resource: counters, ten leaders, causes; below 100 KB."""

    @property
    def state(self) -> str | None:
        return self.status.get("state")


def experiment_row(body: Body) -> ExperimentRow:
    metadata, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels = metadata.get("labels") or {}
    trial = labels.get(contract.LABEL_TRIAL, "")
    progress, reached = status.get("progress") or {}, status.get("objective") or {}
    attempts = status.get("attempts") or []
    latest = max(attempts, key=lambda attempt: attempt.get("number", 0)) if attempts else {}
    return ExperimentRow(
        namespace=sys.intern(metadata["namespace"]),
        name=metadata["name"],
        uid=metadata["uid"],
        version=str(metadata["resourceVersion"]),
        created=metadata.get("creationTimestamp"),
        sweep=_shared(labels.get(contract.LABEL_SWEEP)),
        trial=int(trial) if trial.isdecimal() else None,
        rerun_of=labels.get(contract.LABEL_RERUN_OF),
        params=_compact(spec.get("params") or {}),
        seed=spec.get("seed") or 0,
        param_hash=_shared(status.get("paramHash") or labels.get(contract.LABEL_PARAM_HASH)),
        suspended=bool(spec.get("suspend")),
        finished=is_finished(body),
        state=_shared(status.get("state")),
        reason=_shared(status.get("reason")),
        message=_shared(status.get("message")),
        objective=_objective(spec.get("objective")),
        value=reached.get("value"),
        value_step=reached.get("step"),
        step=progress.get("step"),
        total_steps=progress.get("totalSteps"),
        eta=progress.get("eta"),
        attempts=status.get("attemptCount") or len(attempts),
        node=_shared(latest.get("node")),
        gpu_model=_shared(latest.get("gpuModel")),
        exit_code=latest.get("exitCode"),
        gpu_seconds=status.get("gpuSeconds") or 0.0,
        saved_gpu_seconds=status.get("savedGpuSeconds"),
        gpus=int((spec.get("resources") or {}).get("gpus", DEFAULT_GPUS)),
        created_by=sys.intern((metadata.get("annotations") or {}).get(contract.ANNOTATION_CREATED_BY) or ""),
        started=status.get("startTime"),
        ended=status.get("completionTime"),
        metrics=_metrics(status.get("metrics")),
        sharing=run_of(body),
        trail=tuple(
            AttemptRow(
                number=attempt.get("number", 0),
                node=_shared(attempt.get("node")),
                gpu_model=_shared(attempt.get("gpuModel")),
                start=seconds_of(attempt["startTime"]),
                end=seconds_of(attempt["endTime"]) if attempt.get("endTime") else None,
                exit_code=attempt.get("exitCode"),
                reason=_shared(attempt.get("reason")),
            )
            for attempt in sorted(attempts, key=lambda attempt: attempt.get("number", 0))
            if attempt.get("startTime")
        ),
        held=tuple(
            HeldRow(
                number=attempt.get("number", 0),
                pod=attempt.get("pod") or "",
                gpu_model=_shared(attempt.get("gpuModel")),
                start=seconds_of(attempt["startTime"]) if attempt.get("startTime") else None,
                end=seconds_of(attempt["endTime"]) if attempt.get("endTime") else None,
                gpu_seconds=attempt.get("gpuSeconds") or 0.0,
                reason=_shared(attempt.get("reason")),
            )
            for attempt in sorted(attempts, key=lambda attempt: attempt.get("number", 0))
        ),
    )


def sweep_row(body: Body) -> SweepRow:
    metadata, spec = body["metadata"], body.get("spec") or {}
    objective = spec.get("objective") or {}
    return SweepRow(
        namespace=sys.intern(metadata["namespace"]),
        name=metadata["name"],
        uid=metadata["uid"],
        version=str(metadata["resourceVersion"]),
        created=metadata.get("creationTimestamp"),
        labels=metadata.get("labels") or {},
        objective=_objective(objective) or Objective("", minimize=False),
        goal=objective.get("goal"),
        algorithm=(spec.get("search") or {}).get("algorithm") or "Grid",
        parameters=tuple(parameter["name"] for parameter in spec.get("parameters") or ()),
        parallelism=spec.get("parallelism"),
        resources=(spec.get("template") or {}).get("resources") or {},
        suspended=bool(spec.get("suspend")) or held_reason(body.get("status")) is not None,
        finished=is_finished(body),
        status=body.get("status") or {},
    )


def flatten(params: Mapping[str, Json]) -> dict[str, Json]:
    """Nested parameters by dotted name. Lists and empty objects are values."""
    flat: dict[str, Json] = {}
    stack: list[tuple[str, Mapping[str, Json]]] = [("", params)]
    while stack:
        prefix, level = stack.pop()
        for key, value in level.items():
            if isinstance(value, Mapping) and value:
                stack.append((f"{prefix}{key}.", value))
            else:
                flat[sys.intern(prefix + key)] = value
    return flat


@lru_cache(maxsize=65_536)
def seconds_of(time: str) -> float:
    """Of an RFC 3339 time, since the epoch."""
    return datetime.fromisoformat(time).timestamp()


def _objective(spec: Body | None) -> Objective | None:
    if not spec or not spec.get("metric"):
        return None
    return _shared_objective(spec["metric"], spec.get("direction") == "Minimize")


@lru_cache(maxsize=1024)
def _shared_objective(metric: str, minimize: bool) -> Objective:
    return Objective(metric, minimize)


def _metrics(status: Body | None) -> StatusMetrics | None:
    if not status:
        return None
    numbers = array("d")
    for summary in status.values():
        numbers.extend(
            float("nan") if summary.get(key) is None else summary[key] for key in ("last", "best", "bestStep")
        )
    return StatusMetrics(_shared_names(tuple(status)), numbers)


@lru_cache(maxsize=1024)
def _shared_names(names: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(sys.intern(name) for name in names)


def _compact(value: Json) -> Json:
    """The same JSON with its texts shared: keys and values repeat from trial to trial."""
    if isinstance(value, dict):
        return {sys.intern(key): _compact(inner) for key, inner in value.items()}
    if isinstance(value, list):
        return [_compact(inner) for inner in value]
    return _shared(value) if isinstance(value, str) else value


def _shared(text: str | None) -> str | None:
    return None if text is None else sys.intern(text)


def _given(number: float) -> float | None:
    return None if number != number else number
