"""A running mean of the weights (Polyak and Juditsky 1992), as timm keeps it."""

from __future__ import annotations

from typing import Any

import torch

from ctseg.config import Ema


def build(model: torch.nn.Module, config: Ema) -> Mean | None:
    return None if config.decay is None else Mean(model, config)


class Mean:
    """Weights and statistics of batch normalisation, averaged. Its decay is a function of the step alone."""

    def __init__(self, model: torch.nn.Module, config: Ema) -> None:
        from timm.utils import ModelEmaV3

        self._mean = ModelEmaV3(model, decay=config.decay, use_warmup=config.warmup)
        self._mean.requires_grad_(False)

    @property
    def model(self) -> torch.nn.Module:
        module: torch.nn.Module = self._mean.module
        return module

    def update(self, model: torch.nn.Module, *, steps: int) -> None:
        """After a step of the optimizer; `steps` are done, this one included."""
        self._mean.update(model, step=steps)

    def state_dict(self) -> dict[str, Any]:
        return self.model.state_dict()

    def load_state_dict(self, state: dict[str, Any]) -> None:
        self.model.load_state_dict(state)
