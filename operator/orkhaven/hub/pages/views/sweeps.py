"""A sweep in a line and in a header: how far, how good, what it cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from typing import Any

from orkhaven.api.policy import held_message
from orkhaven.api.retry import avoided_in_words
from orkhaven.api.sweep import SweepSpec
from orkhaven.hub.pages.text import parse_time
from orkhaven.hub.query.lists import OWNER_LABEL
from orkhaven.hub.query.rows import SweepRow

DEFAULT_PARALLELISM: int = SweepSpec.model_fields["parallelism"].default

SEGMENTS = (
    ("succeeded", "good", "succeeded"),
    ("failed", "bad", "failed"),
    ("pruned", "held", "stopped early"),
    ("running", "running", "running"),
    ("skipped", "held", "skipped"),
    ("suspended", "held", "suspended"),
    ("queued", "waiting", "queued"),
)
"""(counter of the status, colour, word), in the order of the bar."""


@dataclass(frozen=True, slots=True)
class Segment:
    word: str
    tone: str
    count: int
    start: float
    """Per cent of the bar's width."""
    width: float


@dataclass(frozen=True, slots=True, kw_only=True)
class Leader:
    experiment: str
    value: float
    step: int | None
    std: float | None = None
    repeats: int | None = None
    """Of whose values `value` is the mean."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepView:
    namespace: str
    name: str
    uid: str
    state: str
    state_note: str
    """Why it is in that state, where a condition says so."""
    suspended: bool
    """Whether its spec says so; the state follows."""
    parallelism: int
    metric: str
    minimize: bool
    algorithm: str
    total: int
    ended: int
    reused: int
    """Of those that succeeded: by the result of an identical run."""
    segments: tuple[Segment, ...]
    running: int
    failed: int
    best: Leader | None
    gpu_hours: float
    gpu_hours_failed: float
    gpu_hours_pruned: float
    owner: str | None
    created: str | None
    started: str | None
    finished: str | None
    seconds_left: float | None
    """By the mean pace since the first trial; None before one has ended and after the end."""
    avoided: str
    """Nodes that its runs go past, and why."""
    suggestion: str
    """For a sweep without a state: what is missing."""

    @property
    def is_over(self) -> bool:
        return self.state in ("Succeeded", "Failed")

    @property
    def percent(self) -> int:
        return int(100 * self.ended / self.total) if self.total else 0


def sweep_view(row: SweepRow, *, now: datetime) -> SweepView:
    status = row.status
    trials = status.get("trials") or {}
    total = int(trials.get("total") or 0)
    counts = {key: int(trials.get(key) or 0) for key, _, _ in SEGMENTS}
    best = status.get("best")
    hours = status.get("gpuHours") or {}
    state = row.state or "Pending"
    ended = counts["succeeded"] + counts["failed"] + counts["pruned"] + counts["skipped"]
    return SweepView(
        namespace=row.namespace,
        name=row.name,
        uid=row.uid,
        state=state,
        state_note=held_message(status) or _note(status.get("conditions") or [], state),
        avoided=avoided_in_words(status.get("avoidedNodes")),
        suspended=row.suspended,
        parallelism=row.parallelism if row.parallelism is not None else DEFAULT_PARALLELISM,
        metric=row.objective.metric,
        minimize=row.objective.minimize,
        algorithm=row.algorithm,
        total=total,
        ended=ended,
        reused=int(trials.get("reused") or 0),
        segments=_segments(counts, total),
        running=counts["running"],
        failed=counts["failed"],
        best=_leader(best) if best else None,
        gpu_hours=float(hours.get("total") or 0),
        gpu_hours_failed=float(hours.get("failed") or 0),
        gpu_hours_pruned=float(hours.get("pruned") or 0),
        owner=row.labels.get(OWNER_LABEL),
        created=row.created,
        started=status.get("startTime"),
        finished=status.get("completionTime"),
        seconds_left=_seconds_left(status, total=total, ended=ended, now=now),
        suggestion="" if status else "The operator has not looked at it yet; is it running?",
    )


def _segments(counts: Mapping[str, int], total: int) -> tuple[Segment, ...]:
    made: list[Segment] = []
    whole = max(total, sum(counts.values()), 1)
    start = 0.0
    for key, tone, word in SEGMENTS:
        if counts[key]:
            width = 100 * counts[key] / whole
            made.append(Segment(word, tone, counts[key], round(start, 3), round(width, 3)))
            start += width
    return tuple(made)


def _seconds_left(status: Mapping[str, Any], *, total: int, ended: int, now: datetime) -> float | None:
    started = parse_time(status.get("startTime"))
    if started is None or status.get("completionTime") or not 0 < ended < total or status.get("state") != "Running":
        return None
    return (now - started).total_seconds() / ended * (total - ended)


def _leader(row: Mapping[str, Any]) -> Leader:
    return Leader(
        experiment=row["experiment"],
        value=row["value"],
        step=row.get("step"),
        std=row.get("std"),
        repeats=row.get("n"),
    )


def _note(conditions: Sequence[Mapping[str, Any]], state: str) -> str:
    """The sentence of the condition that the state comes from."""
    wanted = {"Suspended": ("Suspended",), "Failed": ("Succeeded", "Finished"), "Succeeded": ("Succeeded",)}
    for kind in wanted.get(state, ("Running", "Accepted")):
        for condition in conditions:
            if condition.get("type") == kind and condition.get("message"):
                return str(condition["message"])
    return ""


SORTS = {
    "name": lambda sweep: sweep.name,
    "state": lambda sweep: sweep.state,
    "progress": lambda sweep: sweep.percent,
    "best": lambda sweep: sweep.best.value if sweep.best else float("-inf"),
    "running": lambda sweep: sweep.running,
    "failed": lambda sweep: sweep.failed,
    "gpu": lambda sweep: sweep.gpu_hours,
    "age": lambda sweep: sweep.created or "",
}


def select(sweeps: Sequence[SweepView], *, words: str, state: str, sort: str) -> list[SweepView]:
    """Those whose name, owner or metric has every word, of that state, in that order; "-age" is newest first."""
    wanted = words.lower().split()
    chosen = [
        sweep
        for sweep in sweeps
        if (not state or sweep.state == state)
        and all(word in f"{sweep.name} {sweep.owner or ''} {sweep.metric} {sweep.algorithm}".lower() for word in wanted)
    ]
    chosen.sort(key=lambda sweep: sweep.name)
    key = SORTS.get(sort.removeprefix("-"))
    if key is not None:
        chosen.sort(key=key, reverse=sort.startswith("-"))
    return chosen
