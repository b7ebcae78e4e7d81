"""Which optimizer, over which groups of parameters."""

from __future__ import annotations

import torch

from ctseg.config import Optimizer


def build(model: torch.nn.Module, config: Optimizer) -> torch.optim.Optimizer:
    """AdamW or SGD with Nesterov momentum. Biases and the scales of normalisations are not decayed."""
    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    groups = [
        {"params": [p for p in trained if p.ndim > 1], "weight_decay": config.weight_decay},
        {"params": [p for p in trained if p.ndim <= 1], "weight_decay": 0.0},
    ]
    if config.name == "adamw":
        return torch.optim.AdamW(groups, lr=config.lr)
    return torch.optim.SGD(groups, lr=config.lr, momentum=config.momentum, nesterov=config.momentum > 0)
