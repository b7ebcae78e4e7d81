"""From the config to one function, and the mean over slices."""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import torch

from ctseg.config import Loss
from ctseg.losses import pixels, regions, robust

LossFunction = Callable[[torch.Tensor, torch.Tensor, torch.Tensor], torch.Tensor]
"""(logits, target, valid) -> (N,)"""

FUNCTIONS: dict[str, Callable[..., torch.Tensor]] = {
    "dice": regions.dice,
    "jaccard": regions.jaccard,
    "tversky": regions.tversky,
    "focal_tversky": regions.focal_tversky,
    "lovasz": regions.lovasz,
    "mcc": regions.mcc,
    "cross_entropy": pixels.cross_entropy,
    "focal": pixels.focal,
    "wbce_wiou": pixels.wbce_wiou,
    "gce": robust.gce,
    "sce": robust.sce,
    "nr_dice": robust.nr_dice,
    "mae": robust.mae,
    "bootstrap": robust.bootstrap,
}


def prepare(
    logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The same in at least float32, with 0 for logit and target where there is no label.

    Sums over 512 x 512 pixels overflow float16 and lose pixels in bfloat16. `where`, not a product: 0 times infinity is
    not a number. Raises ValueError for shapes that would broadcast instead of match.
    """
    if not logits.shape == target.shape == valid.shape:
        raise ValueError(
            f"logits, target and valid must be of one shape, not {tuple(logits.shape)}, {tuple(target.shape)} and "
            f"{tuple(valid.shape)}"
        )
    dtype = torch.promote_types(logits.dtype, torch.float32)
    labelled = valid > 0
    zero = torch.zeros((), dtype=dtype, device=logits.device)
    return (
        torch.where(labelled, logits.to(dtype), zero),
        torch.where(labelled, target.to(dtype), zero),
        labelled.to(dtype),
    )


def build(config: Loss) -> LossFunction:
    """The weighted sum that the config names."""
    terms = [(weight, partial(FUNCTIONS[name], **options)) for name, weight, options in config.terms()]

    def loss(logits: torch.Tensor, target: torch.Tensor, valid: torch.Tensor) -> torch.Tensor:
        logits, target, valid = prepare(logits, target, valid)
        total = logits.new_zeros(len(logits))
        for weight, function in terms:
            total = total + weight * function(logits, target, valid)
        return total

    return loss


def mean(per_slice: torch.Tensor, valid: torch.Tensor, weights: torch.Tensor | None = None) -> torch.Tensor:
    """The mean over the slices that have a label: a scalar, 0 with zero gradient where none has.

    `weights` (N,) multiply the slices' values first (see `ctseg.robust.select`).
    """
    labelled = (valid.flatten(1) > 0).any(1)
    if weights is not None:
        per_slice = per_slice * weights
    return torch.where(labelled, per_slice, torch.zeros_like(per_slice)).sum() / labelled.sum().clamp(min=1)
