"""Parameters of the optimizer and of the learning rate's schedule."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ctseg.config.base import Component, Float, Int


class Schedule(Component):
    """The learning rate over the run, as a factor of `optimizer.lr`."""

    name: Literal["constant", "cosine", "poly", "step", "onecycle", "plateau"] = "cosine"
    warmup_epochs: Float = Field(
        1.0, ge=0, description="Linear from 0 to lr over these epochs, before the schedule. onecycle has its own."
    )
    power: Float = Field(0.9, gt=0, description="poly: (1 - progress) ** power.")
    step_epochs: Int = Field(10, ge=1, description="step: epochs between two reductions; 1 is exponential decay.")
    step_factor: Float = Field(0.1, gt=0, le=1, description="step and plateau: factor of each reduction.")
    cycles: Int = Field(1, ge=1, le=1000, description="cosine: how often it runs from lr to the end's factor.")
    cycle_decay: Float = Field(1.0, gt=0, le=1, description="cosine: each cycle begins with this times the one before.")
    rise: Float = Field(0.3, gt=0, lt=1, description="onecycle: the share of the run in which the rate rises.")
    start: Float = Field(0.04, gt=0, le=1, description="onecycle: the factor it begins with.")
    patience: Int = Field(
        5, ge=1, description="plateau: epochs without a better objective after which the rate is reduced."
    )
    final: Float = Field(
        0.0, ge=0, le=1, description="cosine, poly and onecycle: the factor at the end; plateau: the smallest."
    )


class Optimizer(Component):
    """How it is minimized. adamw, adam and sgd are torch's, the others timm's."""

    name: Literal[
        "adamw", "sgd", "adam", "nadamw", "radam", "adamp", "adabelief", "adan", "adopt", "lamb", "lion", "rmsprop"
    ] = "adamw"
    lr: Float = Field(2e-3, gt=0, le=10)
    weight_decay: Float = Field(1e-2, ge=0, description="Not of biases and of the scales of normalisations.")
    momentum: Float = Field(0.9, ge=0, lt=1, description="sgd (Nesterov) and rmsprop; the others keep their own betas.")
    encoder_lr_factor: Float = Field(
        1.0, gt=0, le=10, description="The encoder's learning rate is lr times this: below 1 for pretrained weights."
    )
    clip_norm: Float | None = Field(None, gt=0, description="Gradients above this norm are scaled down to it.")
    schedule: Schedule = Schedule()
