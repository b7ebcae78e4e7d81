"""Attempts as bars on lanes: a node has as many lanes as attempts ran on it at once. Pure.

What is drawn is bounded, however many trials there are: of more bars than fit, the short ones that stand in one stretch
of a lane become one bar that says how many they are and how they ended.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from enum import IntEnum

from orkhaven.api.reasons import Reason
from orkhaven.hub.query.rows import AttemptRow, ExperimentRow, seconds_of

MAX_BARS = 1_500
MAX_LANES = 48
"""A lane is a line of the plot; more are a plot that nobody scrolls through."""
NO_NODE = "no node known"


class Outcome(IntEnum):
    GOOD = 0
    BAD = 1
    HELD = 2
    """It was interrupted and cost no attempt, was suspended, or was stopped early."""
    RUNNING = 3


_HELD = frozenset(
    (
        *(Reason.PREEMPTED, Reason.DRAINED, Reason.NODE_LOST, Reason.SUSPENDED, Reason.SUSPENDING),
        *(Reason.CANCELLED, Reason.EARLY_STOPPED),
    )
)


@dataclass(frozen=True, slots=True)
class Lane:
    node: str
    gpu_model: str | None
    """None also where its attempts saw several."""
    slot: int
    """Counts from 0 on each node. Not the GPU's own index: Kubernetes does not tell which one a pod got."""


@dataclass(slots=True)
class Bar:
    lane: int
    start: float
    end: float
    counts: list[int]
    """By Outcome."""
    experiment: str | None
    """None: of several."""
    number: int = 0
    reason: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    lanes: tuple[Lane, ...]
    bars: list[Bar]
    start: float
    end: float
    """Of all attempts; `bars` are those of the window."""
    attempts: int
    merged: bool
    """Whether a bar stands for several attempts: a smaller window shows them."""
    hidden_nodes: int
    hidden_attempts: int


@dataclass(frozen=True, slots=True)
class Span:
    """An attempt of a run."""

    experiment: str
    attempt: AttemptRow
    end: float
    outcome: Outcome


def spans_of(rows: Iterable[ExperimentRow], *, now: float) -> Iterator[Span]:
    """`now`: seconds since the epoch; where an attempt that goes on ends for the time being."""
    for row in rows:
        for attempt in row.trail:
            end = attempt.end
            if end is None and row.ended is not None:
                end = seconds_of(row.ended)  # its end was not seen
            yield Span(row.name, attempt, max(attempt.start, now if end is None else end), _outcome(attempt, end))


def _outcome(attempt: AttemptRow, end: float | None) -> Outcome:
    if end is None:
        return Outcome.RUNNING
    if attempt.reason == Reason.COMPLETED or (attempt.reason is None and attempt.exit_code == 0):
        return Outcome.GOOD
    return Outcome.HELD if attempt.reason in _HELD else Outcome.BAD


@dataclass(slots=True)
class _Node:
    spans: list[Span] = field(default_factory=list)
    models: set[str | None] = field(default_factory=set)


def timeline(
    rows: Iterable[ExperimentRow], *, now: float, window: tuple[float, float] | None = None, most: int = MAX_BARS
) -> Timeline:
    """`window`: from and to, in seconds since the epoch; None: all of it."""
    nodes: defaultdict[str, _Node] = defaultdict(_Node)
    start, end, attempts = float("inf"), float("-inf"), 0
    for span in spans_of(rows, now=now):
        node = nodes[span.attempt.node or NO_NODE]
        node.spans.append(span)
        node.models.add(span.attempt.gpu_model)
        start, end, attempts = min(start, span.attempt.start), max(end, span.end), attempts + 1
    if not attempts:
        return Timeline(
            lanes=(), bars=[], start=now, end=now, attempts=0, merged=False, hidden_nodes=0, hidden_attempts=0
        )
    lanes: list[Lane] = []
    placed: list[list[Span]] = []
    hidden_nodes = hidden_attempts = 0
    # The nodes that did most are the ones that are shown; those shown stand in order of their name.
    busiest = sorted(nodes, key=lambda name: (-len(nodes[name].spans), name))
    packed = {name: _packed(nodes[name].spans) for name in busiest}
    shown: list[str] = []
    room = MAX_LANES
    for name in busiest:
        if shown and len(packed[name]) > room:
            hidden_nodes, hidden_attempts = hidden_nodes + 1, hidden_attempts + len(nodes[name].spans)
            continue
        room -= len(packed[name])
        shown.append(name)
    for name in sorted(shown):
        models = nodes[name].models
        model = next(iter(models)) if len(models) == 1 else None
        for slot, spans in enumerate(packed[name]):
            lanes.append(Lane(name, model, slot))
            placed.append(spans)
    low, high = window or (start, end)
    bars, merged = _bars(placed, low=low, high=high, most=most)
    return Timeline(
        lanes=tuple(lanes),
        bars=bars,
        start=start,
        end=end,
        attempts=attempts,
        merged=merged,
        hidden_nodes=hidden_nodes,
        hidden_attempts=hidden_attempts,
    )


def _packed(spans: list[Span]) -> list[list[Span]]:
    """Spans of one node on as few lanes as let none lie on another; the lane that was free first is taken first."""
    spans.sort(key=lambda span: (span.attempt.start, span.experiment))
    lanes: list[list[Span]] = []
    busy: list[tuple[float, int]] = []
    free: list[int] = []
    for span in spans:
        while busy and busy[0][0] <= span.attempt.start:
            heapq.heappush(free, heapq.heappop(busy)[1])
        if free:
            lane = heapq.heappop(free)
        else:
            lane = len(lanes)
            lanes.append([])
        lanes[lane].append(span)
        heapq.heappush(busy, (span.end, lane))
    return lanes


def _bars(placed: Sequence[Sequence[Span]], *, low: float, high: float, most: int) -> tuple[list[Bar], bool]:
    seen = [
        (lane, span)
        for lane, spans in enumerate(placed)
        for span in spans
        if span.end >= low and span.attempt.start <= high
    ]
    if len(seen) <= most:
        return [_bar(lane, span) for lane, span in seen], False
    # At most one long bar and one heap of short ones in each stretch of each lane.
    stretch = max((high - low) / max(1, most // (2 * max(1, len(placed)))), 1e-9)
    bars: list[Bar] = []
    heaps: dict[tuple[int, int], Bar] = {}
    for lane, span in seen:
        if span.end - span.attempt.start >= stretch:
            bars.append(_bar(lane, span))
            continue
        key = (lane, int((span.attempt.start - low) // stretch))
        heap = heaps.get(key)
        if heap is None:
            heap = heaps[key] = _bar(lane, span)
            bars.append(heap)
            continue
        heap.end = max(heap.end, span.end)
        heap.counts[span.outcome] += 1
        heap.experiment, heap.reason = None, ""
    return bars, True


def _bar(lane: int, span: Span) -> Bar:
    counts = [0, 0, 0, 0]
    counts[span.outcome] = 1
    attempt = span.attempt
    return Bar(lane, attempt.start, span.end, counts, span.experiment, attempt.number, attempt.reason or "")
