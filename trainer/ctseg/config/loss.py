"""The loss's parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ctseg.config.base import Component, Float


class LossTerm(Component):
    """One term of a combination."""

    name: Literal["dice", "cross_entropy", "focal"]
    weight: Float = Field(1.0, gt=0)


LOSSES: dict[str, tuple[LossTerm, ...]] = {
    "dice": (LossTerm(name="dice"),),
    "cross_entropy": (LossTerm(name="cross_entropy"),),
    "focal": (LossTerm(name="focal"),),
    "dice_ce": (LossTerm(name="dice"), LossTerm(name="cross_entropy")),
    "dice_focal": (LossTerm(name="dice"), LossTerm(name="focal")),
}


class Loss(Component):
    """What is minimized: a name, or a weighted combination of the three basic ones."""

    name: Literal["dice", "cross_entropy", "focal", "dice_ce", "dice_focal"] = "dice_ce"
    combination: tuple[LossTerm, ...] = Field((), description="Own terms and weights, instead of a name.")
    gamma: Float = Field(2.0, ge=0, le=10, description="Focal: how much easy pixels count less; 0 is cross-entropy.")
    alpha: Float | None = Field(None, gt=0, lt=1, description="Focal: weight of the lesion against the background.")
    positive_weight: Float = Field(1.0, gt=0, description="Cross-entropy: weight of a lesion pixel.")
    smooth: Float = Field(1.0, gt=0, description="Dice: pixels added to both sides of the fraction.")

    @model_validator(mode="after")
    def _name_or_combination(self) -> Loss:
        if self.combination and "name" in self.model_fields_set:
            raise ValueError("give a name or a combination, not both")
        return self

    def terms(self) -> tuple[LossTerm, ...]:
        """The weighted sum that is minimized."""
        return self.combination or LOSSES[self.name]
