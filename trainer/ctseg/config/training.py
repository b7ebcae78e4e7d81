"""Parameters of the loop around the components."""

from __future__ import annotations

from pydantic import Field

from ctseg.config.base import Component, Float, Int


class Checkpoint(Component):
    """How much work a killed process can lose. At SIGTERM one is saved anyway."""

    every_epochs: Int = Field(1, ge=1)
    keep_last: Int = Field(
        2, ge=1, le=100, description="How many stay: where the newest is damaged, the one before is taken."
    )


class Ema(Component):
    """A running mean of the weights, which is what is judged and kept where it is on."""

    decay: Float | None = Field(None, gt=0, lt=1, description="What the mean keeps of itself at each step. Null: off.")
    warmup: bool = Field(True, description="Keep less at first: 1 - (1 + step) ** -2/3 at most.")


class EarlyStopping(Component):
    """Ends a training whose objective gets no better."""

    patience: Int | None = Field(None, ge=1, description="Epochs without a better value. Null: off.")
    min_delta: Float = Field(0.0, ge=0, description="How much better counts as better.")
    min_epochs: Int = Field(1, ge=1, description="Never before so many epochs.")
