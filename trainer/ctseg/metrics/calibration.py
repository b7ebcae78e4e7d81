"""Whether a probability of 0.7 is right in seven of ten pixels.

    ECE = sum over bins of (pixels in the bin / all pixels) * |mean probability - share of lesion|   (Guo et al. 2017)

Bins are of equal width over 0..1, the upper end belongs to the last. Background is most of a slice and easy: the ECE
over all pixels is small for any model; look at the bins.
"""

from __future__ import annotations

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
    probability: npt.NDArray[np.floating], target: npt.NDArray[np.bool_], *, bins: int = BINS
) -> Reliability:
    """Of probabilities and truths of one shape."""
    values = probability.ravel().astype(np.float64)
    # As right-closed searches do: the edge between two bins belongs to the upper one.
    index = np.clip(np.searchsorted(np.linspace(0, 1, bins + 1), values, side="right") - 1, 0, bins - 1)
    pixels = np.bincount(index, minlength=bins)
    some = np.maximum(pixels, 1)
    means = np.bincount(index, weights=values, minlength=bins) / some
    share = np.bincount(index, weights=target.ravel().astype(np.float64), minlength=bins) / some
    return Reliability(
        pixels.astype(np.int64), np.where(pixels > 0, means, np.nan), np.where(pixels > 0, share, np.nan)
    )
