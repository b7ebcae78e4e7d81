"""A run as the writer holds it during a transaction: what a new line changes in it. Pure.

Whatever the order of lines, the end is the same: "last" is the largest (attempt, seq), "first" the smallest of the
newest attempt, extremes are of all lines.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, field

from orkhaven.hub.lines import Line


@dataclass(slots=True)
class SummaryState:
    """Field for field a row of `summaries`, without the run."""

    metric: int
    """Its id."""
    count: int = 0
    last_attempt: int = 0
    last_seq: int = 0
    last_step: int = 0
    last_value: float | None = None
    min_value: float | None = None
    min_step: int | None = None
    max_value: float | None = None
    max_step: int | None = None
    changed: bool = False
    """Not in the store as it is here."""

    def add(self, attempt: int, seq: int, step: int, value: float | None) -> None:
        self.count += 1
        self.changed = True
        if attempt > self.last_attempt or (attempt == self.last_attempt and seq > self.last_seq):
            self.last_attempt, self.last_seq, self.last_step, self.last_value = attempt, seq, step, value
        low, high = self.min_value, self.max_value
        if value is None or (low is not None and high is not None and low < value < high) or not math.isfinite(value):
            return
        if low is None or high is None or self.max_step is None or self.min_step is None:
            self.min_value = self.max_value = value
            self.min_step = self.max_step = step
            return
        if value > high or (value == high and step < self.max_step):
            self.max_value, self.max_step = value, step
        if value < low or (value == low and step < self.min_step):
            self.min_value, self.min_step = value, step

    def row(self) -> tuple[float | int | None, ...]:
        return (
            self.metric,
            self.count,
            self.last_attempt,
            self.last_seq,
            self.last_step,
            self.last_value,
            self.min_value,
            self.min_step,
            self.max_value,
            self.max_step,
        )


@dataclass(slots=True, kw_only=True)
class RunState:
    """The columns of `runs` that a line changes, and the run's summaries."""

    id: int
    sweep: str | None
    objective: str | None
    minimize: bool | None
    ladder: str | None
    lines: int
    points: int
    attempt: int
    first_seq: int
    first_step: int
    first_time: float
    last_seq: int
    last_step: int
    last_time: float
    total_steps: int | None
    total_attempt: int
    total_seq: int
    revision: int
    summaries: dict[str, SummaryState] = field(default_factory=dict)
    """By metric name."""
    seen: set[tuple[int, int]] = field(default_factory=set)
    """(attempt, seq) of the lines that this transaction adds."""

    def is_certainly_new(self, line: Line) -> bool:
        """Newer than everything known: no need to ask the store. False: it may still be new."""
        return line.attempt > self.attempt or (line.attempt == self.attempt and line.seq > self.last_seq)

    def add(self, line: Line) -> None:
        self.seen.add((line.attempt, line.seq))
        self.lines += 1
        if line.attempt > self.attempt:
            self.attempt = line.attempt
            self.first_seq, self.first_step, self.first_time = line.seq, line.step, line.time
            self.last_seq, self.last_step, self.last_time = line.seq, line.step, line.time
        elif line.attempt == self.attempt:
            if line.seq > self.last_seq:
                self.last_seq, self.last_step, self.last_time = line.seq, line.step, line.time
            if line.seq < self.first_seq:
                self.first_seq, self.first_step, self.first_time = line.seq, line.step, line.time
        if line.total_steps is not None and (line.attempt, line.seq) > (self.total_attempt, self.total_seq):
            self.total_steps, self.total_attempt, self.total_seq = line.total_steps, line.attempt, line.seq
