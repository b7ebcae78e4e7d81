"""Lines of the ledger added up: by whom or what they are asked for, by day, week or month. Pure.

All times are UTC. What spans midnight is split, evenly over its time.
"""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from enum import StrEnum
from typing import Any

from orkhaven.api.usage import SAVED, Spent
from orkhaven.hub.query.leaderboard import ParameterError
from orkhaven.hub.usage.lines import Line

LONGEST = timedelta(days=3700)
PARTS = tuple(spent.value for spent in Spent)
COLUMNS = ("total", *PARTS, "lost", SAVED)
"""GPU-hours. `total` is the sum of the outcomes; `lost` is a part of preempted, `saved` stands beside."""


class By(StrEnum):
    NAMESPACE = "namespace"
    USER = "user"
    SWEEP = "sweep"
    MODEL = "model"
    CAUSE = "cause"


_KEYS: dict[By, Callable[[Line], str]] = {
    By.NAMESPACE: lambda line: line.namespace,
    By.USER: lambda line: line.creator,
    By.SWEEP: lambda line: line.sweep,
    By.MODEL: lambda line: line.model,
    By.CAUSE: lambda line: line.cause,
}


class Per(StrEnum):
    DAY = "day"
    WEEK = "week"
    MONTH = "month"


@dataclass(frozen=True, slots=True)
class Span:
    since: datetime
    until: datetime

    @property
    def last(self) -> datetime:
        """The last day in it."""
        return self.until - timedelta(days=1)

    @property
    def seconds(self) -> tuple[float, float]:
        return self.since.timestamp(), self.until.timestamp()


@dataclass(slots=True)
class Tally:
    """GPU-seconds by what they were spent on; `lost` and `saved` beside them."""

    parts: dict[str, float] = field(default_factory=dict)

    def add(self, part: str, seconds: float) -> None:
        self.parts[part] = self.parts.get(part, 0.0) + seconds

    def hours(self) -> dict[str, float]:
        """By column."""
        hours = {part: round(self.parts.get(part, 0.0) / 3600, 6) for part in COLUMNS}
        hours["total"] = round(sum(self.parts.get(part, 0.0) for part in PARTS) / 3600, 6)
        return hours


@dataclass(frozen=True, slots=True, kw_only=True)
class Report:
    span: Span
    by: By
    per: Per
    total: dict[str, float]
    rows: list[dict[str, Any]]
    """By key, the largest first; the key is under the name of `by`."""
    periods: list[dict[str, Any]]
    """`start` (a date) and the columns, oldest first, without gaps."""
    cells: list[dict[str, Any]]
    """Both: `period`, the key, the columns; only where something was spent or saved."""


def span_of(since: str, until: str, *, now: datetime) -> Span:
    """Of "7d" (the last seven days, today among them), "4w", or dates; `until` is the last day that counts. Raises
    ParameterError.
    """
    tomorrow = _day(now) + timedelta(days=1)
    last = _date(until, "until") + timedelta(days=1) if until else tomorrow
    match = re.fullmatch(r"([1-9][0-9]{0,3})([dw])", since)
    if match is not None:
        first = last - timedelta(days=int(match[1]) * (7 if match[2] == "w" else 1))
    else:
        first = _date(since, "since")
    if not first < last:
        raise ParameterError("since", f"{since!r} is not before {until or 'now'!r}")
    if last - first > LONGEST:
        raise ParameterError("since", "at most 3700 days at once")
    return Span(first, last)


def _date(text: str, parameter: str) -> datetime:
    try:
        return datetime.strptime(text, "%Y-%m-%d").replace(tzinfo=UTC)
    except ValueError:
        raise ParameterError(
            parameter, f"{text!r} is no day such as 2026-11-30, and no span such as 7d or 4w"
        ) from None


def report(lines: Iterable[Line], span: Span, *, by: By, per: Per, now: datetime) -> Report:
    starts = list(_starts(span, per))
    total, rows = Tally(), dict[str, Tally]()
    periods = {start: Tally() for start in starts}
    cells: dict[tuple[datetime, str], Tally] = {}
    edges = [*(start.timestamp() for start in starts), span.until.timestamp()]
    edges[0] = span.since.timestamp()
    for line in lines:
        key = _KEYS[by](line)
        for index, part, seconds in _shares(line, edges, now=now.timestamp()):
            start = starts[index]
            for tally in (
                total,
                rows.setdefault(key, Tally()),
                periods[start],
                cells.setdefault((start, key), Tally()),
            ):
                tally.add(part, seconds)
    ordered = sorted(rows.items(), key=lambda item: (-item[1].hours()["total"], item[0]))
    return Report(
        span=span,
        by=by,
        per=per,
        total=total.hours(),
        rows=[{by.value: key, **tally.hours()} for key, tally in ordered],
        periods=[{"start": f"{start:%Y-%m-%d}", **tally.hours()} for start, tally in periods.items()],
        cells=[
            {"period": f"{start:%Y-%m-%d}", by.value: key, **tally.hours()}
            for (start, key), tally in sorted(cells.items())
        ],
    )


def _shares(line: Line, edges: Sequence[float], *, now: float) -> Iterator[tuple[int, str, float]]:
    """(index of the period, part, GPU-seconds) of what the line has in each."""
    ended, held = line.ended, line.gpu_seconds
    if ended is None:
        ended = max(now, line.began)
        held += (ended - line.began) * line.gpus
    for index, (low, high) in enumerate(itertools.pairwise(edges)):
        if line.began >= high or ended < low:
            continue
        if ended > line.began:
            share = (min(ended, high) - max(line.began, low)) / (ended - line.began)
        else:
            share = 1.0 if low <= ended < high else 0.0
        if share > 0 and held > 0:
            yield index, line.spent, held * share
            if line.lost:
                yield index, "lost", line.lost * share


def _starts(span: Span, per: Per) -> Iterator[datetime]:
    start = span.since
    if per is Per.WEEK:
        start -= timedelta(days=start.weekday())
    elif per is Per.MONTH:
        start = start.replace(day=1)
    while start < span.until:
        yield start
        if per is Per.MONTH:
            start = (start + timedelta(days=32)).replace(day=1)
        else:
            start += timedelta(days=7 if per is Per.WEEK else 1)


def _day(moment: datetime) -> datetime:
    return moment.astimezone(UTC).replace(hour=0, minute=0, second=0, microsecond=0)
