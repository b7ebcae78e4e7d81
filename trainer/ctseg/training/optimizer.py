"""Which optimizer, over which groups of parameters."""

from __future__ import annotations

from typing import Any

import torch

from ctseg.config import Optimizer

_LR_SCALE = "lr_scale"
"""As timm names it: what the schedule's rate is multiplied with for a group."""


def build(model: torch.nn.Module, config: Optimizer) -> torch.optim.Optimizer:
    """Over the parameters of `model` that learn. Biases and the scales of normalisations are not decayed; those of
    `model.encoder` get their own learning rate where `encoder_lr_factor` is not 1.

    torch's own are made here, to what timm makes of the same name: `timm.optim` costs a second of every start.
    """
    groups, momentum = _groups(model, config), config.momentum
    match config.name:
        case "adamw":
            return torch.optim.AdamW(groups, lr=config.lr)
        case "adam":
            return torch.optim.Adam(groups, lr=config.lr)
        case "sgd":
            return torch.optim.SGD(groups, lr=config.lr, momentum=momentum, nesterov=momentum > 0)
    from timm.optim import create_optimizer_v2

    optimizer: torch.optim.Optimizer = create_optimizer_v2(groups, config.name, lr=config.lr, momentum=momentum)
    return optimizer


def set_rate(optimizer: torch.optim.Optimizer, rate: float) -> None:
    """For the next step, before it."""
    for group in optimizer.param_groups:
        group["lr"] = rate * group.get(_LR_SCALE, 1.0)


def rate(optimizer: torch.optim.Optimizer) -> float:
    """What was set last, of the parameters outside of the encoder."""
    value: float = optimizer.param_groups[0]["lr"]
    return value


def _groups(model: torch.nn.Module, config: Optimizer) -> list[dict[str, Any]]:
    encoder: set[torch.nn.Parameter] = set()
    if config.encoder_lr_factor != 1:
        encoder = set(model.get_submodule("encoder").parameters())
    groups = []
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    for part in (False, True) if encoder else (False,):
        own = [parameter for parameter in trained if (parameter in encoder) == part]
        scale = {_LR_SCALE: config.encoder_lr_factor} if part else {}
        groups.append({"params": [p for p in own if p.ndim > 1], "weight_decay": config.weight_decay, **scale})
        groups.append({"params": [p for p in own if p.ndim <= 1], "weight_decay": 0.0, **scale})
    return groups
