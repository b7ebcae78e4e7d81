"""Parameters of the augmentation."""

from __future__ import annotations

from pydantic import Field

from ctseg.config.base import Component, Float


class Augmentation(Component):
    """What is varied between epochs; all of it also applies to the mask, except intensity."""

    flip: bool = Field(True, description="Mirrored at either axis, each with probability 1/2.")
    rotate: Float = Field(15.0, ge=0, le=180, description="Largest angle in degrees, uniform in both directions.")
    scale: Float = Field(0.1, ge=0, lt=1, description="Largest relative change of size.")
    intensity: Float = Field(0.1, ge=0, le=1, description="Largest relative change of contrast and of brightness.")
