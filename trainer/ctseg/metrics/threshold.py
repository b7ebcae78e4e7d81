"""Above which probability a pixel is lesion. Chosen on the validation part alone; what chose it is kept with it."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ctseg.metrics import overlap

GRID = tuple(round(0.05 * i, 2) for i in range(1, 20))
FIXED = 0.5


@dataclass(frozen=True, slots=True)
class Threshold:
    value: float
    rule: str
    """For people: by what it was chosen, on what."""


def choose(
    probability: npt.NDArray[np.floating],
    target: npt.NDArray[np.bool_],
    valid: npt.NDArray[np.bool_],
    *,
    cases: Sequence[str],
) -> Threshold:
    """The one of GRID with the highest mean Dice over validation cases; of equals the nearest to 0.5."""
    means = []
    for value in GRID:
        counts = overlap.by_case(overlap.count(probability > value, target, valid), cases)
        means.append(float(overlap.ratios(counts)["dice"].mean()))
    best = max(zip(means, GRID, strict=True), key=lambda item: (round(item[0], 9), -abs(item[1] - FIXED)))
    return Threshold(
        best[1], f"highest mean Dice over the validation cases ({best[0]:.4f}) of {GRID[0]} to {GRID[-1]} by 0.05"
    )
