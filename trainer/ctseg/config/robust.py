"""Parameters of learning in spite of wrong labels: a teacher that is the student's past, and small losses first."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ctseg.config.base import Component, Float


class Teacher(Component):
    """Self-ensembling: a mean over the network's past weights, with which the network is to agree."""

    weight: Float = Field(0.0, ge=0, le=1000, description="Of the mean squared difference of probabilities; 0: off.")
    ramp_up_epochs: Float = Field(
        5.0, ge=0, le=100_000, description="Until the weight is reached: exp(-5 (1 - epoch / this)^2) of it before."
    )
    decay: Float = Field(0.99, ge=0, lt=1, description="What the teacher keeps of itself at each step.")
    skip_above: Float | None = Field(
        None,
        ge=1,
        le=100,
        description="The teacher learns nothing from a step whose loss is above this many times the mean of late. "
        "Null: it learns from every step.",
    )


class Selection(Component):
    """Small-loss selection: what fits worst is most often labelled wrongly, and is left out of the step."""

    keep: Float = Field(1.0, gt=0, le=1, description="Share that is learnt from once `epochs` are over; 1: off.")
    epochs: Float = Field(
        10.0, ge=0, le=100_000, description="From everything down to `keep`, in a straight line (exponent 1)."
    )
    exponent: Float = Field(1.0, gt=0, le=10, description="Below 1 the share falls faster at first.")
    by: Literal["slice", "pixel"] = Field(
        "slice", description="slice: whole slices of a batch. pixel: of each slice, lesion and background apart."
    )
