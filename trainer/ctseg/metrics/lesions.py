"""Lesions as things, not as pixels: how many are found.

A lesion is a connected component, neighbours by corners too (26 in a volume, 8 in a slice). A true lesion is found
where at least HIT of its voxels are predicted, a predicted one is right where at least HIT of its voxels are lesion:
one voxel in common is luck, and half would punish the outlines observers differ in most.

    recall = found / true      precision = right / predicted      F1 = 2 precision recall / (precision + recall)

Empty ones: with neither F1 is 1, with one of the two 0.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import numpy.typing as npt

HIT = 0.1
RULE = f"components by corners; found or right where at least {HIT:.0%} of the component is in the other mask"


class Lesions(NamedTuple):
    true: int
    found: int
    predicted: int
    right: int

    @property
    def f1(self) -> float:
        if not self.true or not self.predicted:
            return 1.0 if self.true == self.predicted else 0.0
        recall, precision = self.found / self.true, self.right / self.predicted
        return 2 * precision * recall / (precision + recall) if precision + recall else 0.0


def match(prediction: npt.NDArray[np.bool_], target: npt.NDArray[np.bool_]) -> Lesions:
    """Of two masks of one shape, in 2D or 3D."""
    true, found = _covered(target, prediction)
    predicted, right = _covered(prediction, target)
    return Lesions(true, found, predicted, right)


def _covered(mask: npt.NDArray[np.bool_], other: npt.NDArray[np.bool_]) -> tuple[int, int]:
    """How many components, and how many of them the other mask covers by HIT."""
    from scipy.ndimage import label

    parts, number = label(mask, structure=np.ones((3,) * mask.ndim))
    size = np.bincount(parts.ravel(), minlength=number + 1)[1:]
    common = np.bincount(parts[other], minlength=number + 1)[1:]
    return int(number), int((common >= HIT * size).sum())
