"""The losses, on logits. Each is a mean over pixels or slices, so that its size does not depend on the batch.

Shapes: logits and targets (N, 1, H, W); targets 0 or 1 as floats. All computed in float32.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch.nn import functional as F

from ctseg.config import Loss

LossFunction = Callable[[torch.Tensor, torch.Tensor], torch.Tensor]


def dice(logits: torch.Tensor, target: torch.Tensor, *, smooth: float) -> torch.Tensor:
    """Soft Dice loss over the batch: 1 - (2 sum(p t) + s) / (sum(p) + sum(t) + s), p = sigmoid(logits).

    Milletari, Navab, Ahmadi 2016 (V-Net), without the squares. Summed over the whole batch, because a slice without a
    lesion alone has no gradient worth following.
    """
    probability = torch.sigmoid(logits)
    overlap = (probability * target).sum()
    return 1 - (2 * overlap + smooth) / (probability.sum() + target.sum() + smooth)


def cross_entropy(logits: torch.Tensor, target: torch.Tensor, *, positive_weight: float) -> torch.Tensor:
    """Mean binary cross-entropy; the lesion's pixels count `positive_weight` times."""
    weight = torch.tensor(positive_weight, dtype=logits.dtype, device=logits.device)
    return F.binary_cross_entropy_with_logits(logits, target, pos_weight=weight)


def focal(logits: torch.Tensor, target: torch.Tensor, *, gamma: float, alpha: float | None) -> torch.Tensor:
    """Mean of (1 - p_t)^gamma * -log(p_t), p_t the probability of the true class (Lin et al. 2017).

    With `alpha` the lesion's pixels count alpha, the others 1 - alpha.
    """
    entropy = F.binary_cross_entropy_with_logits(logits, target, reduction="none")
    # 1 - p_t = sigmoid(-logit) for the lesion, sigmoid(logit) for the background.
    missing = torch.sigmoid(logits * (1 - 2 * target))
    value = missing.pow(gamma) * entropy
    if alpha is not None:
        value = value * (alpha * target + (1 - alpha) * (1 - target))
    return value.mean()


def build(config: Loss) -> LossFunction:
    """The weighted sum that the config names."""

    def loss(logits: torch.Tensor, target: torch.Tensor) -> torch.Tensor:
        logits = logits.float()
        total = logits.new_zeros(())
        for term in config.terms():
            if term.name == "dice":
                value = dice(logits, target, smooth=config.smooth)
            elif term.name == "focal":
                value = focal(logits, target, gamma=config.gamma, alpha=config.alpha)
            else:
                value = cross_entropy(logits, target, positive_weight=config.positive_weight)
            total = total + term.weight * value
        return total

    return loss
