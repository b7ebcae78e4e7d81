"""When each attempt of a run waited and ran, as shares of the time from the run's creation to its end. Pure."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from typing import Any

from orkhaven.hub.pages.text import parse_time, span

WIDTH = 1000.0
"""Of a bar, in its own units."""
LEAST = 3.0
"""What lasted a moment is seen all the same."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bar:
    x: float
    width: float
    tone: str
    text: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Track:
    """Of one attempt."""

    number: int
    waited: float | None
    """Seconds before its container started; None: not known, because the attempt before is not listed any more."""
    bars: tuple[Bar, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class Timeline:
    begin: datetime
    end: datetime
    tracks: Mapping[int, Track]

    @property
    def seconds(self) -> float:
        return (self.end - self.begin).total_seconds()


def timeline(body: Mapping[str, Any], *, now: datetime) -> Timeline | None:
    """None: nothing is known of when it was."""
    status = body.get("status") or {}
    created = parse_time(body["metadata"].get("creationTimestamp"))
    attempts = sorted(status.get("attempts") or [], key=lambda one: int(one.get("number") or 0))
    if created is None or not attempts:
        return None
    first = int(attempts[0].get("number") or 1)
    starts = [time for one in attempts if (time := parse_time(one.get("startTime")))]
    begin = created if first == 1 or not starts else min(starts)
    ends = [time for one in attempts if (time := parse_time(one.get("endTime")))]
    over = parse_time(status.get("completionTime"))
    # Nodes' clocks differ: no bar may end after the whole.
    end = max([*ends, *starts, *([over] if over else [now]), begin + timedelta(seconds=1)])
    tracks = {}
    free: datetime | None = created if first == 1 else None
    for one in attempts:
        number = int(one.get("number") or 0)
        started, ended = parse_time(one.get("startTime")), parse_time(one.get("endTime"))
        until = started or ended or end
        bars = []
        waited = None
        if free is not None:
            waited = max(0.0, (until - free).total_seconds())
            if until > free:
                bars.append(_bar(free, until, begin, end, tone="waiting", text=f"waited {span(waited)}"))
        if started is not None:
            last = max(started, ended or end)
            ran = span((last - started).total_seconds())
            tone, text = _outcome(one, ended)
            bars.append(_bar(started, last, begin, end, tone=tone, text=f"{text} {ran}"))
        tracks[number] = Track(number=number, waited=waited, bars=tuple(bars))
        free = ended
    return Timeline(begin=begin, end=end, tracks=tracks)


def _outcome(attempt: Mapping[str, Any], ended: datetime | None) -> tuple[str, str]:
    if ended is None:
        return "running", "has run for"
    reason = str(attempt.get("reason") or "")
    if attempt.get("exitCode") == 0:
        return "good", "ran for"
    if reason in ("Preempted", "NodeLost", "Drained", "Suspended", "EarlyStopped"):
        return "held", f"{reason} after"
    return "bad", f"{reason or 'failed'} after"


def _bar(start: datetime, stop: datetime, begin: datetime, end: datetime, *, tone: str, text: str) -> Bar:
    whole = (end - begin).total_seconds()
    x = WIDTH * max(0.0, (start - begin).total_seconds()) / whole
    width = max(LEAST, WIDTH * (stop - start).total_seconds() / whole)
    x = min(x, WIDTH - LEAST)
    return Bar(x=round(x, 2), width=round(min(width, WIDTH - x), 2), tone=tone, text=text)
