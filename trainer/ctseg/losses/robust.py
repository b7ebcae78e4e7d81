"""Losses that wrong labels pull less. All take what `prepare` returns and give (N,)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ctseg.losses.pixels import entropy, pixel_mean
from ctseg.losses.regions import fraction, total


def gce(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, q: float) -> torch.Tensor:
    """(1 - p_y^q) / q, p_y the probability of the label (Zhang and Sabuncu 2018): q -> 0 cross-entropy, 1 MAE.

    Soft targets: yes, as the expectation over the label.
    """
    # p^q as exp(q log p): its slope stays finite where p is 0.
    lesion = -torch.expm1(q * F.logsigmoid(logits)) / q
    background = -torch.expm1(q * F.logsigmoid(-logits)) / q
    return pixel_mean(target * lesion + (1 - target) * background, valid)


def mae(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
    """|p - t| (Ghosh, Kumar, Sastry 2017). Soft targets: yes."""
    return pixel_mean((torch.sigmoid(logits) - target).abs(), valid)


def sce(
    logits: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    *,
    forward: float,
    reverse: float,
    log_zero: float,
) -> torch.Tensor:
    """a CE(t, p) + b RCE, RCE = -p log t - (1 - p) log(1 - t), log 0 := A (Wang et al. 2019). Soft targets: yes."""
    log_lesion, log_background = target.log().clamp(min=log_zero), (1 - target).log().clamp(min=log_zero)
    backward = -torch.sigmoid(logits) * log_lesion - torch.sigmoid(-logits) * log_background
    return pixel_mean(forward * entropy(logits, target) + reverse * backward, valid)


def bootstrap(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, beta: float, hard: bool
) -> torch.Tensor:
    """Cross-entropy against beta t + (1 - beta) z, z the prediction itself (Reed et al. 2015). Soft targets: yes.

    z is the probability, gradient and all, or with `hard` 1 where it is above 0.5.
    """
    if hard:
        own = entropy(logits, (logits > 0).to(logits.dtype))
    else:
        # The entropy of p, in a form whose terms do not cancel at large logits.
        size = logits.abs()
        own = F.softplus(-size) + size * torch.sigmoid(-size)
    return pixel_mean(beta * entropy(logits, target) + (1 - beta) * own, valid)


def nr_dice(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, gamma: float, over: str
) -> torch.Tensor:
    """sum |p - t|^gamma / (sum p^2 + sum t^2 + 1e-5), mean over lesion and background (Wang et al. 2020, COPLE-Net).

    gamma 2 is Dice with squares, 1 is like MAE. Soft targets: yes. A class of which there is less than half a pixel is
    left out: with nothing to find, the fraction is smallest for the wrong answer (p = 1 everywhere: 1; p = 0.01: 10).
    """
    p, q = torch.sigmoid(logits), torch.sigmoid(-logits)
    wrong = total((p - target).abs() ** gamma * valid)
    value, classes = torch.zeros_like(wrong), torch.zeros_like(wrong)
    for predicted, truth in ((p, target), (q, 1 - target)):
        there = total(truth * valid)
        present = ((there if over == "slice" else there.sum()) >= 0.5).to(wrong.dtype)
        squares = total((predicted.square() + truth.square()) * valid)
        value = value + present * fraction(wrong, squares, valid, smooth=1e-5, over=over)[0]
        classes = classes + present
    return value / classes.clamp(min=1)
