"""Above which probability a pixel is lesion. Chosen on the validation part alone; what chose it is kept with it."""

from __future__ import annotations

from collections.abc import Callable, Sequence
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
    left_out_dice: float | None = None
    """Mean Dice over cases, each at the threshold that all other cases would have chosen: what is left of the gain
    where no case chooses its own. None of a single case, or where nothing was chosen.
    """


UNCHOSEN = Threshold(FIXED, "fixed, chosen by nothing")


def choose(
    probability: npt.NDArray[np.floating],
    target: npt.NDArray[np.bool_],
    valid: npt.NDArray[np.bool_],
    *,
    cases: Sequence[str],
    between: Callable[[], None] = lambda: None,
) -> Threshold:
    """The one of GRID with the highest mean Dice over validation cases; of equals the nearest to 0.5. All (n, H, W)."""
    counts = np.stack([_counts(*one, between=between) for one in zip(probability, target, valid, strict=True)])
    # (cases, GRID), never NaN: an empty case has a Dice too.
    dice = np.stack([overlap.ratios(overlap.by_case(counts[:, k], cases))["dice"] for k in range(len(GRID))], axis=1)
    best = _best(dice)
    left_out = [dice[i, _best(np.delete(dice, i, axis=0))] for i in range(len(dice))] if len(dice) > 1 else []
    return Threshold(
        GRID[best],
        f"highest mean Dice over {len(dice)} validation cases ({dice[:, best].mean():.4f}) of {GRID[0]} to {GRID[-1]} "
        "by 0.05",
        float(np.mean(left_out)) if left_out else None,
    )


def _best(dice: npt.NDArray[np.float64]) -> int:
    """The place in GRID with the highest mean over cases; of equals the nearest to 0.5."""
    means = dice.mean(axis=0)
    return max(range(len(GRID)), key=lambda k: (round(float(means[k]), 9), -abs(GRID[k] - FIXED)))


def _counts(
    probability: npt.NDArray[np.floating],
    target: npt.NDArray[np.bool_],
    valid: npt.NDArray[np.bool_],
    *,
    between: Callable[[], None],
) -> overlap.Counts:
    """(len(GRID), 4) of one slice: each pixel is looked at once, not once for each threshold."""
    between()
    # In the probability's own type, as a comparison with each threshold is.
    below = np.searchsorted(np.array(GRID, probability.dtype), probability[valid], side="left")
    said, true = len(GRID) + 1, target[valid]
    lesion, rest = (np.bincount(below[part], minlength=said)[::-1].cumsum()[::-1] for part in (true, ~true))
    tp, fp = lesion[1:], rest[1:]  # a pixel is said to be lesion at all thresholds that are below its probability
    return np.stack([tp, fp, lesion[0] - tp, rest[0] - fp], axis=1).astype(np.int64)
