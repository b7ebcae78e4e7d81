"""What a run had reached at each rung of its ladder, out of its points.

A rung is passed once the objective was reported at its step or later, be it as NaN; a report of other metrics alone
passes nothing. Its value is the best finite one up to its step, and where nothing was reported by then (the metric
comes less often) that of the first report after it. Of all reports, as the objective itself: also of those that a
resumed attempt repeats. It depends on the set of reports only, so one that comes late corrects the rungs that it
belongs to.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

from sqlalchemy import Connection, case, func, select

from orkhaven.hub.storage.models import Point

_LARGEST = sys.float_info.max


class RungValue(NamedTuple):
    step: int
    value: float | None
    """None: reported, but not a finite number."""


def to_text(ladder: Sequence[int]) -> str | None:
    """As `runs` keeps it."""
    return " ".join(map(str, sorted(set(ladder)))) or None


def from_text(text: str | None) -> tuple[int, ...]:
    return tuple(map(int, (text or "").split()))


def passes(ladder: str | None, before: int, after: int) -> bool:
    """Whether there is a rung above the step `before` and not above `after`."""
    return ladder is not None and any(before < rung <= after for rung in from_text(ladder))


def rungs_of(
    connection: Connection, run_id: int, metric_id: int, ladder: Sequence[int], *, minimize: bool
) -> tuple[RungValue, ...]:
    """The rungs that it has passed, lowest first. One walk over the run's points of this metric."""
    stretch = case(*((Point.step <= rung, index) for index, rung in enumerate(ladder)), else_=len(ladder))
    finite = case((Point.value.between(-_LARGEST, _LARGEST), Point.value))
    best = (func.min if minimize else func.max)(finite)
    of_metric = (Point.run_id == run_id, Point.metric_id == metric_id)
    rows = connection.execute(
        select(stretch.label("stretch"), func.min(Point.step), func.max(Point.step), best)
        .where(*of_metric)
        .group_by("stretch")
    ).all()
    if not rows:
        return ()
    first, last = min(row[1] for row in rows), max(row[2] for row in rows)
    better = min if minimize else max
    passed = []
    for index, rung in enumerate(ladder):
        if rung > last:
            break
        if rung < first:
            value = connection.scalar(select(best).where(*of_metric, Point.step == first))
        else:
            value = better((row[3] for row in rows if row[0] <= index and row[3] is not None), default=None)
        passed.append(RungValue(rung, value))
    return tuple(passed)
