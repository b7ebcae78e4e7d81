"""Counts of pixels and the ratios made of them: Dice, IoU, PPV, sensitivity, specificity; pooled, per slice and per
case.

With TP, FP, FN, TN the pixels of a slice, of a case (all slices of a patient added up) or of everything (pooled):

    Dice = 2 TP / (2 TP + FP + FN)     IoU = TP / (TP + FP + FN)      PPV = TP / (TP + FP)
    sensitivity = TP / (TP + FN)       specificity = TN / (TN + FP)

Empty ones: a slice (or case) without a lesion in which none is predicted has Dice and IoU 1, it is entirely right; one
predicted pixel makes both 0. PPV without a predicted pixel, sensitivity without a lesion and specificity without a
background are not defined: such slices are left out of that mean, and a mean over nothing is not reported. Means
weigh every slice (case) alike; pooled values weigh every pixel alike, so that large lesions decide them.

Numpy only: what decides who leads must be easy to check.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

Counts = npt.NDArray[np.int64]
"""Shape (n, 4): TP, FP, FN, TN of each slice, case or of everything (n = 1)."""

NAMES = ("dice", "iou", "ppv", "sensitivity", "specificity")


def count(
    prediction: npt.NDArray[np.bool_], target: npt.NDArray[np.bool_], valid: npt.NDArray[np.bool_] | None = None
) -> Counts:
    """Pixel counts of each slice; all (n, H, W), True where there is a lesion. What is not `valid` (nobody labelled
    it) is in no count. Raises ValueError for other shapes.
    """
    if prediction.shape != target.shape or prediction.ndim != 3:
        raise ValueError(f"predictions {prediction.shape} and targets {target.shape} must both be (n, H, W)")
    if valid is not None and valid.shape != target.shape:
        raise ValueError(f"valid {valid.shape} and targets {target.shape} must both be (n, H, W)")
    axes = (1, 2)
    pixels: npt.NDArray[np.int64] | int = prediction.shape[1] * prediction.shape[2]
    if valid is not None:
        # With nothing said and nothing there a pixel is a TN, whose number comes from `pixels`.
        prediction, target, pixels = prediction & valid, target & valid, valid.sum(axes)
    tp = (prediction & target).sum(axes)
    fp = (prediction & ~target).sum(axes)
    fn = (~prediction & target).sum(axes)
    tn = pixels - tp - fp - fn
    return np.stack([tp, fp, fn, tn], axis=1).astype(np.int64)


def by_case(counts: Counts, cases: Sequence[str]) -> Counts:
    """The counts of each case, in the order of the cases' names."""
    names = sorted(set(cases))
    index = {name: position for position, name in enumerate(names)}
    total = np.zeros((len(names), 4), dtype=np.int64)
    np.add.at(total, [index[case] for case in cases], counts)
    return total


def ratios(counts: Counts) -> dict[str, npt.NDArray[np.float64]]:
    """The five ratios of each row, NaN where one is not defined."""
    tp, fp, fn, tn = counts.T.astype(np.float64)
    return {
        "dice": _ratio(2 * tp, 2 * tp + fp + fn, empty=1.0),
        "iou": _ratio(tp, tp + fp + fn, empty=1.0),
        "ppv": _ratio(tp, tp + fp, empty=np.nan),
        "sensitivity": _ratio(tp, tp + fn, empty=np.nan),
        "specificity": _ratio(tn, tn + fp, empty=np.nan),
    }


def _ratio(top: npt.NDArray[np.float64], bottom: npt.NDArray[np.float64], *, empty: float) -> npt.NDArray[np.float64]:
    return np.divide(top, bottom, out=np.full_like(top, empty), where=bottom > 0)


def summarize(counts: Counts, cases: Sequence[str]) -> dict[str, float]:
    """Everything that is reported of an evaluation: `dice` (pooled), `dice_slice`, `dice_case`, and so on for the
    others.
    """
    result: dict[str, float] = {}
    levels = {"": counts.sum(axis=0, keepdims=True), "_slice": counts, "_case": by_case(counts, cases)}
    for suffix, level in levels.items():
        for name, values in ratios(level).items():
            defined = values[~np.isnan(values)]
            if defined.size:
                result[name + suffix] = float(defined.mean())
    return result
