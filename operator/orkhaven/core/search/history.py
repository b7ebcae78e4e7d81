"""What a search with a history is asked and what it answers: values that go from the core to whoever runs Optuna, and
back.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from enum import StrEnum

from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search.points import Point


class Outcome(StrEnum):
    RUNNING = "Running"
    """Not ended: waits, runs or is suspended."""
    COMPLETE = "Complete"
    PRUNED = "Pruned"
    """Stopped early: its value is the last one it had."""
    FAILED = "Failed"
    """Without a finite value. It teaches nothing, but is not tried again."""


@dataclass(frozen=True, slots=True)
class Result:
    """What one trial has come to. Of those that ended, a PRUNED one may run again, where a person says so."""

    number: int
    point: Point
    outcome: Outcome
    value: float | None = None
    """Of the objective; of COMPLETE and PRUNED."""
    step: int = 0
    """Of a PRUNED one: where it was stopped."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Ask:
    """Which points the trials of these numbers get. The answer depends on nothing but this."""

    spec: SweepSpec
    results: tuple[Result, ...]
    """All other trials, by number."""
    numbers: tuple[int, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Answer:
    """At most one of the three reasons is set; what has a point may be used whatever they say."""

    points: Mapping[int, Point] = field(default_factory=dict)
    exhausted: str | None = None
    """Why there is no combination for the other numbers that was not tried before."""
    problem: str | None = None
    """Why there is no answer this time; another attempt may have one."""
    unavailable: str | None = None
    """Why this operator cannot search in this way."""
