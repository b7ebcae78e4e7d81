"""Parameters of the augmentation."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from ctseg.config.base import Component, Float

AUGMENTATIONS: dict[str, dict[str, Any]] = {
    "none": {"flip": False, "rotate": 0.0, "scale": 0.0, "intensity": 0.0},
    "light": {},
    "medium": {
        **{"rotate": 20.0, "scale": 0.15, "intensity": 0.15},
        **{"elastic": 0.01, "gamma": 0.2, "noise": 0.02, "window": 0.05},
    },
    "strong": {
        **{"rotate": 30.0, "scale": 0.25, "intensity": 0.2},
        **{"elastic": 0.03, "gamma": 0.5, "noise": 0.05, "window": 0.1},
    },
}
"""What a preset has other than the fields' defaults, which are those of `light`."""


class Augmentation(Component):
    """What is varied between epochs: a preset, and single fields that override it. Mirrors, rotation, size and elastic
    shift move the labels with the image; what comes from outside of the picture is not labelled.
    """

    preset: Literal[tuple(AUGMENTATIONS)] = Field(  # type: ignore[valid-type]
        "light", description="Fields that are not given have this preset's values."
    )
    probability: Float = Field(
        0.25,
        ge=0,
        le=1,
        description="Of each change but the mirrors, for each slice: the move (rotate, scale and elastic at once), "
        "window, intensity, gamma, noise. Below 1, so that slices are also seen as they are: turning one smooths it.",
    )
    flip: bool = Field(True, description="Mirrored at either axis, each with probability 1/2.")
    rotate: Float = Field(15.0, ge=0, le=180, description="Largest angle in degrees, uniform in both directions.")
    scale: Float = Field(0.1, ge=0, lt=1, description="Largest relative change of size.")
    elastic: Float = Field(
        0.0, ge=0, le=0.2, description="Largest elastic shift, as a part of the side; smooth over an eighth of it."
    )
    intensity: Float = Field(0.1, ge=0, le=1, description="Largest relative change of contrast and of brightness.")
    gamma: Float = Field(0.0, ge=0, le=3, description="Largest exponent of grey values, less 1; or 1 over it.")
    noise: Float = Field(
        0.0, ge=0, le=1, description="Largest standard deviation of Gaussian noise; grey values are 0..1."
    )
    window: Float = Field(
        0.0, ge=0, le=0.9, description="Largest shift of the window's centre and change of its width, relative to it."
    )

    @model_validator(mode="before")
    @classmethod
    def _fields_of_the_preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        name = given.get("preset")
        return {**AUGMENTATIONS.get(name, {}), **given} if isinstance(name, str) else given
