"""How far a figure would move with other patients: percentile bootstrap over cases (Efron). Slices of a patient are
alike, so it is patients that are drawn again, never slices.
"""

from __future__ import annotations

from typing import Any, NamedTuple

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


def resampled(counts: npt.NDArray[Any], drawn: npt.NDArray[np.int64]) -> npt.NDArray[Any]:
    """Of (cases, k) counts the sums of each resample, (resamples, k): ratios of them are figures of other patients."""
    # In parts: with thousands of cases all at once would be gigabytes.
    parts = [counts[drawn[start : start + 100]].sum(axis=1) for start in range(0, len(drawn), 100)]
    return np.concatenate(parts)


def interval(values: npt.NDArray[np.float64], *, cases: int) -> Interval | None:
    """Of a figure of each resample; NaN is left out. None with fewer than two cases, or where nothing is defined."""
    defined = values[np.isfinite(values)]
    return _interval(defined) if cases > 1 and defined.size else None


def _interval(values: npt.NDArray[np.float64]) -> Interval:
    low, high = np.quantile(values, [(1 - LEVEL) / 2, (1 + LEVEL) / 2])
    return Interval(float(low), float(high))
