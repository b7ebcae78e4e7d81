"""Losses that are a mean over each slice's labelled pixels. All take what `prepare` returns and give (N,)."""

from __future__ import annotations

import torch
from torch.nn import functional as F

from ctseg.losses.regions import total


def pixel_mean(values: torch.Tensor, weights: torch.Tensor) -> torch.Tensor:
    """(N,): the weighted mean over each slice's pixels, 0 where all weights are 0."""
    weight = total(weights)
    return total(values * weights) / torch.where(weight > 0, weight, torch.ones_like(weight))


def entropy(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
    """Binary cross-entropy of each pixel."""
    return F.binary_cross_entropy_with_logits(logits, target, reduction="none")


def cross_entropy(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, positive_weight: float, label_smoothing: float
) -> torch.Tensor:
    """-w t log p - (1 - t) log(1 - p), t smoothed towards 1/2 (Szegedy et al. 2016). Soft targets: yes."""
    if label_smoothing:
        target = target * (1 - label_smoothing) + label_smoothing / 2
    weight = logits.new_tensor(positive_weight)
    values = F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight, reduction="none")
    return pixel_mean(values, valid)


def focal(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, gamma: float, alpha: float | None
) -> torch.Tensor:
    """|t - p|^gamma times the cross-entropy: for hard targets (1 - p_t)^gamma * -log p_t (Lin et al. 2017).

    Soft targets: yes, in the form of Li et al. 2020 (quality focal loss). With `alpha` the lesion counts alpha, the
    background 1 - alpha.
    """
    # |t - p|, written so that nothing cancels near 0; not quite 0, where a power below 1 has no slope.
    miss = (target * torch.sigmoid(-logits) - (1 - target) * torch.sigmoid(logits)).abs().clamp(min=1e-12)
    values = miss**gamma * entropy(logits, target)
    if alpha is not None:
        values = values * (alpha * target + (1 - alpha) * (1 - target))
    return pixel_mean(values, valid)


def _window_mean(values: torch.Tensor, window: int) -> torch.Tensor:
    """The mean around each pixel, 0 outside. Rows, then columns: 62 additions a pixel and not 961."""
    rows = F.avg_pool2d(values, (window, 1), stride=1, padding=(window // 2, 0))
    return F.avg_pool2d(rows, (1, window), stride=1, padding=(0, window // 2))


def wbce_wiou(
    logits: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    *,
    boundary_weight: float,
    boundary_window: int,
) -> torch.Tensor:
    """Weighted cross-entropy + weighted IoU loss of Inf-Net (Fan et al. 2020; Wei et al. 2020), 1 as smoothing.

    w = 1 + 5 |mean of t in a window of 31 pixels - t|: near a border more. Outside the slice t is 0, as there; pixels
    without a label are left out of the window's mean. Soft targets: yes.
    """
    inside = _window_mean(torch.ones_like(valid), boundary_window)
    labelled = _window_mean(valid, boundary_window)
    around = _window_mean(target * valid, boundary_window) * inside / labelled.clamp(min=0.5 / boundary_window**2)
    weights = (1 + boundary_weight * (around - target).abs()) * valid
    p = torch.sigmoid(logits)
    intersection = total(torch.minimum(p, target) * weights)
    union = total(torch.maximum(p, target) * weights)
    return pixel_mean(entropy(logits, target), weights) + 1 - (intersection + 1) / (union + 1)
