"""The ledger as a page shows it: bars per period, a table of what came of the hours. Pure."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orkhaven.api.usage import Spent

PARTS = (
    (Spent.USEFUL.value, "good", "useful"),
    (Spent.FAILED.value, "bad", "failed"),
    (Spent.PRUNED.value, "held", "stopped early"),
    (Spent.PREEMPTED.value, "running soft", "preempted"),
    (Spent.CANCELLED.value, "bad soft", "cancelled"),
    (Spent.SUSPENDED.value, "held soft", "suspended"),
    (Spent.RUNNING.value, "running", "running"),
)
"""(outcome, colour, word), in the order of the bars."""
SPANS = (("7 days", "7d"), ("30 days", "30d"), ("90 days", "90d"), ("a year", "365d"))
NOBODY = "–"
HEIGHT = 100.0
"""Of the plot, in its own units, as is all below."""
STEP = 10.0


@dataclass(frozen=True, slots=True)
class Piece:
    tone: str
    y: float
    height: float


@dataclass(frozen=True, slots=True)
class Bar:
    label: str
    x: float
    told: str
    """What it says, in words."""
    pieces: list[Piece]


@dataclass(frozen=True, slots=True)
class Bars:
    width: float
    most: float
    """GPU-hours of the highest."""
    bars: list[Bar]


@dataclass(frozen=True, slots=True)
class Row:
    key: str
    hours: Mapping[str, float]
    useful_share: float | None
    """Per cent of what has ended."""


def shown_parts(total: Mapping[str, float]) -> list[tuple[str, str, str]]:
    """Those that there is something of; the first two always."""
    return [part for index, part in enumerate(PARTS) if index < 2 or total[part[0]]]


def row_of(row: Mapping[str, Any], by: str) -> Row:
    over = row["total"] - row[Spent.RUNNING.value] - row[Spent.SUSPENDED.value]
    share = 100 * row[Spent.USEFUL.value] / over if over > 0 else None
    return Row(key=row[by] or NOBODY, hours={k: v for k, v in row.items() if k != by}, useful_share=share)


def bars_of(periods: Sequence[Mapping[str, Any]]) -> Bars:
    most = max((one["total"] for one in periods), default=0.0)
    bars = []
    for index, one in enumerate(periods):
        top = HEIGHT
        pieces: list[Piece] = []
        told: list[str] = []
        for part, tone, word in PARTS:
            if not one[part] or not most:
                continue
            height = HEIGHT * one[part] / most
            top -= height
            pieces.append(Piece(tone, round(top, 3), round(height, 3)))
            told.append(f"{one[part]:.2f} {word}")
        said = ", ".join(told) or "nothing"
        bars.append(Bar(one["start"], index * STEP, f"{one['start']}: {one['total']:.2f} GPU-hours: {said}", pieces))
    return Bars(width=max(len(bars), 1) * STEP, most=most, bars=bars)
