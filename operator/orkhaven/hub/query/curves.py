"""Learning curves: thinned out for a screen, and their mean with a band. Pure.

A curve's `y` of None is NaN, a gap. Infinite values are kept as they are and end a stretch as NaN does.
"""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any


class Axis(StrEnum):
    STEP = "step"
    EPOCH = "epoch"
    """The metric `epoch` that the run reported in the same line."""
    TIME = "time"
    """Seconds since the curve's first point, by the trainer's clock."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curve:
    experiment: str
    x: list[float]
    y: list[float | None]
    total: int
    """Points before thinning out."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Band:
    """Runs of one group, at each x that one of them reported."""

    label: str
    value: Any
    """Of the parameter that the group shares."""
    experiments: tuple[str, ...]
    x: list[float]
    mean: list[float]
    std: list[float]
    """Of the sample; 0 where one run is alone."""
    low: list[float]
    high: list[float]
    n: list[int]


def thin(x: Sequence[float], y: Sequence[float | None], limit: int) -> list[int]:
    """Positions of at most about `limit` points that show the same curve: Largest Triangle Three Buckets (Steinarsson
    2013) in each stretch of finite values, and one point for each gap between. Of more gaps than there is room for, the
    first ones stay.
    """
    count = len(x)
    if count <= limit:
        return list(range(count))
    stretches = _stretches(y)
    gaps = sum(1 for _, _, finite in stretches if not finite)
    drawn = count - sum(end - start for start, end, finite in stretches if not finite)
    room = max(limit - gaps, limit // 2)
    kept: list[int] = []
    for start, end, finite in stretches:
        if len(kept) >= limit:
            break
        if not finite:
            kept.append(start)
            continue
        share = max(2, room * (end - start) // max(drawn, 1))
        kept += _lttb(x, y, start, end, share)
    return kept[:limit]


def _stretches(y: Sequence[float | None]) -> list[tuple[int, int, bool]]:
    """(start, end, finite?) of values in a row that are all finite, or all not."""
    found: list[tuple[int, int, bool]] = []
    start = 0
    for index in range(1, len(y) + 1):
        if index == len(y) or _is_finite(y[index]) != _is_finite(y[start]):
            found.append((start, index, _is_finite(y[start])))
            start = index
    return found


def _is_finite(value: float | None) -> bool:
    return value is not None and math.isfinite(value)


def _lttb(x: Sequence[float], y: Sequence[float | None], start: int, end: int, limit: int) -> list[int]:
    """The stretch's first and last point, and of each bucket between the one that makes the largest triangle with the
    point kept before and the next bucket's mean.
    """
    size = end - start
    if size <= limit:
        return list(range(start, end))
    if limit < 3:
        return [start, end - 1][:limit]
    buckets = limit - 2
    width = (size - 2) / buckets
    kept = [start]
    left = start + 1
    for bucket in range(buckets):
        right = start + 1 + int((bucket + 1) * width)
        following = min(start + 1 + int((bucket + 2) * width), end - 1) if bucket + 1 < buckets else end
        span = range(right, max(following, right + 1))
        mean_x = math.fsum(x[i] for i in span) / len(span)
        mean_y = math.fsum(y[i] or 0.0 for i in span) / len(span)
        before_x, before_y = x[kept[-1]], y[kept[-1]] or 0.0
        run, rise = before_x - mean_x, mean_y - before_y
        best, best_area = left, -1.0
        for index in range(left, right):
            area = abs(run * ((y[index] or 0.0) - before_y) - (before_x - x[index]) * rise)
            if area > best_area:
                best, best_area = index, area
        kept.append(best)
        left = right
    kept.append(end - 1)
    return kept


def bands(curves: Iterable[tuple[Any, Curve]], *, points: int) -> list[Band]:
    """Mean and spread of the curves of each group (a parameter's value), groups in order of their label."""
    groups: dict[str, tuple[Any, list[Curve]]] = {}
    for value, curve in curves:
        groups.setdefault(label_of(value), (value, []))[1].append(curve)
    return [_band(label, *groups[label], points=points) for label in sorted(groups)]


def label_of(value: Any) -> str:
    if value is None:
        return "none"
    if isinstance(value, bool):
        return "true" if value else "false"
    return str(value)


def _band(label: str, value: Any, curves: list[Curve], *, points: int) -> Band:
    at: dict[float, list[float]] = {}
    for curve in curves:
        for x, y in zip(curve.x, curve.y, strict=True):
            if y is not None and math.isfinite(y):
                at.setdefault(x, []).append(y)
    xs = sorted(at)
    means = [statistics.fmean(at[x]) for x in xs]
    shown = thin(xs, means, points)
    values = [at[xs[index]] for index in shown]
    return Band(
        label=label,
        value=value,
        experiments=tuple(curve.experiment for curve in curves),
        x=[xs[index] for index in shown],
        mean=[means[index] for index in shown],
        std=[statistics.stdev(one) if len(one) > 1 else 0.0 for one in values],
        low=[min(one) for one in values],
        high=[max(one) for one in values],
        n=[len(one) for one in values],
    )
