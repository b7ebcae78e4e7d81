"""Parameters of the optimizer and of the learning rate's schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ctseg.config.base import Component, Float, Int


class Schedule(Component):
    """The learning rate over the run, as a factor of `optimizer.lr`."""

    name: Literal["constant", "cosine", "poly", "step"] = "cosine"
    warmup_epochs: Float = Field(1.0, ge=0, description="Linear from 0 to lr over these epochs.")
    power: Float = Field(0.9, gt=0, description="poly: (1 - progress) ** power.")
    step_epochs: Int = Field(10, ge=1, description="step: epochs between two reductions.")
    step_factor: Float = Field(0.1, gt=0, le=1, description="step: factor of each reduction.")
    final: Float = Field(0.0, ge=0, le=1, description="cosine and poly: the factor at the end.")


class Optimizer(Component):
    """How it is minimized."""

    name: Literal["adamw", "sgd"] = "adamw"
    lr: Float = Field(2e-3, gt=0, le=10)
    weight_decay: Float = Field(1e-2, ge=0)
    momentum: Float = Field(0.9, ge=0, lt=1, description="sgd only (Nesterov); adamw uses betas 0.9 and 0.999.")
    clip_norm: Float | None = Field(None, gt=0, description="Gradients above this norm are scaled down to it.")
    schedule: Schedule = Schedule()
