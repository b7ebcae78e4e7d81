"""Where the GPU-hours went, as the status of a sweep and the meters tell it. Pure.

The unit is the attempt: a run that failed twice and then ended well has spent on all three. What its pods held stands
in each attempt's `gpuSeconds`. The ledger by day, person and model is the hub's, made of the same attempts.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from orkhaven.api import ExperimentStatus
from orkhaven.api.usage import Spent, spent_on
from orkhaven.core.views import ExperimentView


@dataclass(frozen=True, slots=True)
class Ended:
    """An attempt that has ended for good."""

    reason: str
    spent: Spent
    gpu_seconds: float


def ended(stored: ExperimentStatus, desired: ExperimentStatus) -> list[Ended]:
    """The attempts that `desired` is the first to call ended: each is told once in its life.

    An attempt has ended once it has a reason: a suspended one has an endTime too, and goes on.
    """
    known = {attempt.number for attempt in stored.attempts if attempt.reason is not None}
    return [
        Ended(attempt.reason, spent_on(attempt.reason), attempt.gpu_seconds or 0.0)
        for attempt in desired.attempts
        if attempt.reason is not None and attempt.number not in known
    ]


def saved(stored: ExperimentStatus, desired: ExperimentStatus) -> float:
    """GPU-seconds that `desired` is the first to call saved."""
    return 0.0 if stored.saved_gpu_seconds is not None else desired.saved_gpu_seconds or 0.0


def hours_preempted(children: Iterable[ExperimentView]) -> float:
    """GPU-hours of the attempts of these that were interrupted from outside, of those that their status lists."""
    return _hours(
        attempt.gpu_seconds or 0.0
        for child in children
        for attempt in child.status.attempts
        if attempt.reason is not None and spent_on(attempt.reason) is Spent.PREEMPTED
    )


def hours_saved(children: Iterable[ExperimentView]) -> float:
    """GPU-hours that the runs have cost whose results these took over."""
    return _hours(child.status.saved_gpu_seconds or 0.0 for child in children)


def _hours(seconds: Iterable[float]) -> float:
    return round(sum(seconds) / 3600, 3)
