"""Parameters of weak labels: points instead of masks, and the consistency that makes up for them."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ctseg.config.base import Component, Float, Int


class Points(Component):
    """Masks become what somebody would have clicked: a point in each lesion, as many points beside. Only in the
    slices that are learnt from; those held out keep their masks.
    """

    enabled: bool = Field(False, description="Learn from points instead of masks.")
    seed: Int = Field(1, ge=0, description="Of the background's points.")
    empty: Int = Field(
        1, ge=0, le=1000, description="Background points of a slice without a lesion. 0: it teaches nothing."
    )


class Consistency(Component):
    """The network is to say the same of a slice and of its mirrored or turned copy, labelled or not."""

    weight: Float = Field(
        0.0, ge=0, le=1000, description="Of the mean difference of logits; 0: off. A second pass through the network."
    )
    transform: Literal["flip", "rotate", "both"] = Field(
        "flip",
        description="flip: left and right. rotate: by 90, 180 or 270 degrees. both: left and right, then by 0 to 270.",
    )
