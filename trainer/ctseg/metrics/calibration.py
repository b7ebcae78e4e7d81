"""Whether a probability of 0.7 is right in seven of ten pixels.

    ECE = sum over bins of (pixels in the bin / all pixels) * |mean probability - share of lesion|   (Guo et al. 2017)

Bins are of equal width over 0..1, the upper end belongs to the last. Background is most of a slice and easy: the ECE
over all pixels is small for any model; look at the bins.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

BINS = 15


@dataclass(frozen=True, slots=True)
class Reliability:
    """(BINS,) each: pixels, their mean probability and share of lesion (NaN in an empty bin)."""

    pixels: npt.NDArray[np.int64]
    probability: npt.NDArray[np.float64]
    lesion: npt.NDArray[np.float64]

    @property
    def ece(self) -> float:
        """NaN of no pixels."""
        total = self.pixels.sum()
        gap = np.nan_to_num(np.abs(self.probability - self.lesion))
        return float((gap * self.pixels).sum() / total) if total else float("nan")


def reliability(
    probability: npt.NDArray[np.floating],
    target: npt.NDArray[np.bool_],
    valid: npt.NDArray[np.bool_] | None = None,
    *,
    bins: int = BINS,
    between: Callable[[], None] = lambda: None,
) -> Reliability:
    """Of probabilities and truths of one shape, where `valid`. Goes along the first axis, so that what it needs beside
    them is of one slice, and calls `between` before each, which may raise.
    """
    if valid is None:
        valid = np.ones(target.shape, bool)
    edges, sums = np.linspace(0, 1, bins + 1), np.zeros((3, bins))
    for said, true, where in zip(*(np.atleast_2d(one) for one in (probability, target, valid)), strict=True):
        between()
        values = said[where].astype(np.float64)
        # As right-closed searches do: the edge between two bins belongs to the upper one.
        index = np.clip(np.searchsorted(edges, values, side="right") - 1, 0, bins - 1)
        weights = (None, values, true[where].astype(np.float64))
        sums += np.stack([np.bincount(index, weights=one, minlength=bins) for one in weights])
    pixels, total, lesion = sums
    some = np.maximum(pixels, 1)
    return Reliability(
        pixels.astype(np.int64), np.where(pixels > 0, total / some, np.nan), np.where(pixels > 0, lesion / some, np.nan)
    )
