"""Losses of overlap. All take what `prepare` returns and give (N,).

True and false pixels of soft targets are counted by minimum and difference, tp = sum min(p, t), fp = sum max(p - t, 0),
fn = sum max(t - p, 0), so that the best prediction is the target itself; with products (sum p t) it would be 0 or 1
(Wang et al. 2023, "Dice semimetric losses" and "Jaccard metric losses"). For hard targets both are the same.

`over="batch"`: one fraction over all slices, as in nnU-Net: (sum of numerators) / (sum of denominators). A slice's
value is its own numerator over the common denominator, times the number of slices that have labels: the mean over these
is the batch's loss, and a slice's value says how much of it is its doing.
`over="slice"`: one fraction for each slice.
"""

from __future__ import annotations

import torch
from torch.nn import functional as F

TINY = 1e-6


def total(values: torch.Tensor) -> torch.Tensor:
    """(N,): the sum over each slice's pixels."""
    return values.flatten(1).sum(1)


def labelled_slices(valid: torch.Tensor) -> torch.Tensor:
    """How many slices have a label, at least 1; a scalar."""
    return (total(valid) > 0).sum().clamp(min=1)


def counts(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Soft true positives, false positives and false negatives, (N,) each."""
    p = torch.sigmoid(logits)
    difference = p - target
    return (
        total(torch.minimum(p, target) * valid),
        total(F.relu(difference) * valid),
        total(F.relu(-difference) * valid),
    )


def fraction(
    numerator: torch.Tensor, denominator: torch.Tensor, valid: torch.Tensor, *, smooth: float, over: str
) -> tuple[torch.Tensor, torch.Tensor]:
    """Each slice's value, and the loss it belongs to: its own or the batch's. See the module's docstring."""
    if over == "slice":
        value = numerator / (denominator + smooth)
        return value, value
    below = denominator.sum() + smooth
    return numerator * labelled_slices(valid) / below, numerator.sum() / below


def tversky(
    logits: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    *,
    false_positives: float,
    false_negatives: float,
    smooth: float,
    over: str,
) -> torch.Tensor:
    """1 - (tp + s) / (tp + a fp + b fn + s) (Salehi et al. 2017). Soft targets: yes."""
    tp, fp, fn = counts(logits, target, valid)
    wrong = false_positives * fp + false_negatives * fn
    return fraction(wrong, tp + wrong, valid, smooth=smooth, over=over)[0]


def dice(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, smooth: float, over: str) -> torch.Tensor:
    """1 - (2 tp + s) / (sum p + sum t + s) (Milletari et al. 2016, without the squares). Soft targets: yes."""
    return tversky(logits, target, valid, false_positives=0.5, false_negatives=0.5, smooth=smooth / 2, over=over)


def jaccard(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, smooth: float, over: str
) -> torch.Tensor:
    """1 - (tp + s) / (tp + fp + fn + s). Soft targets: yes."""
    return tversky(logits, target, valid, false_positives=1.0, false_negatives=1.0, smooth=smooth, over=over)


def focal_tversky(
    logits: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    *,
    false_positives: float,
    false_negatives: float,
    gamma: float,
    smooth: float,
    over: str,
) -> torch.Tensor:
    """The Tversky loss to the power 1 / gamma (Abraham and Khan 2019). Soft targets: yes.

    Below 1e-6 a straight line, since the power's slope at 0 is infinite.
    """
    tp, fp, fn = counts(logits, target, valid)
    wrong = false_positives * fp + false_negatives * fn
    value, whole = fraction(wrong, tp + wrong, valid, smooth=smooth, over=over)
    return value * whole.clamp(min=TINY) ** (1 / gamma - 1)


def mcc(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, over: str) -> torch.Tensor:
    """1 - Matthews' correlation coefficient, from soft counts (Abhishek and Hamarneh 2021). Soft targets: yes.

    1e-5 pixels are added to each count: without lesion in label and prediction the coefficient would be 0 / 0. Over the
    batch it is no sum over slices: every slice with labels is given the batch's value.
    """
    tp, fp, fn = counts(logits, target, valid)
    tn = total(valid) - tp - fp - fn
    if over == "batch":
        tp, fp, fn, tn = (value.sum() for value in (tp, fp, fn, tn))
    # tn is a difference of large sums, which rounding may leave just below 0.
    tp, fp, fn, tn = (value.clamp(min=0) + 1e-5 for value in (tp, fp, fn, tn))
    # Roots one by one: the product of four counts of 10^7 pixels is near the end of float32.
    below = (tp + fp).sqrt() * (tp + fn).sqrt() * (tn + fp).sqrt() * (tn + fn).sqrt()
    return (1 - (tp * tn - fp * fn) / below) * (total(valid) > 0)


def lovasz(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """The Lovasz hinge of each slice: the convex closure of its Jaccard loss (Berman et al. 2018, algorithm 1).

    Hard targets only: soft ones are cut at 0.5. A slice without a lesion gives its largest hinge error.
    """
    labels = ((target > 0.5) & (valid > 0)).flatten(1).to(logits.dtype)
    errors = 1 - logits.flatten(1) * (2 * labels - 1)
    # Pixels without a label go to the end of the order, where the hinge is 0.
    errors = torch.where(valid.flatten(1) > 0, errors, torch.finfo(errors.dtype).min)
    errors, order = torch.sort(errors, dim=1, descending=True)
    labels = labels.gather(1, order)
    lesion = labels.sum(1, keepdim=True)
    intersection = lesion - labels.cumsum(1)
    union = lesion + (1 - labels).cumsum(1)
    loss = 1 - intersection / union
    steps = torch.diff(loss, dim=1, prepend=torch.zeros_like(loss[:, :1]))
    return (F.relu(errors) * steps).sum(1)
