"""How far a figure would move with other patients: percentile bootstrap over cases (Efron). Slices of a patient are
alike, so it is patients that are drawn again, never slices.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

LEVEL = 0.95
RESAMPLES = 2000


class Interval(NamedTuple):
    low: float
    high: float


def draw(cases: int, *, rng: np.random.Generator, resamples: int = RESAMPLES) -> npt.NDArray[np.int64]:
    """Which cases each resample has, (resamples, cases). Draw once: all figures then see the same patients."""
    return rng.integers(0, cases, (resamples, cases))


def of_mean(values: npt.NDArray[np.float64], drawn: npt.NDArray[np.int64]) -> Interval | None:
    """Of the mean over cases, (cases,); NaN is left out. None where fewer than two are defined."""
    defined = np.isfinite(values)
    if defined.sum() < 2:
        return None
    total = np.where(defined, values, 0.0)[drawn].sum(axis=1)
    number = defined[drawn].sum(axis=1)
    return _interval(total[number > 0] / number[number > 0])


def of_pooled(
    counts: npt.NDArray[np.int64],
    drawn: npt.NDArray[np.int64],
    figure: Callable[[npt.NDArray[np.int64]], npt.NDArray[np.float64]],
) -> Interval | None:
    """Of a ratio of sums: `figure` takes (resamples, k) sums of the (cases, k) counts."""
    if len(counts) < 2:
        return None
    values = figure(counts[drawn].sum(axis=1))
    defined = values[np.isfinite(values)]
    return _interval(defined) if defined.size else None


def _interval(values: npt.NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
