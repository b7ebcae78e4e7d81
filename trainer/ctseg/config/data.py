"""Parameters of the data: which folder, how it is read, what is held out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ctseg.config.base import Component, Float, Int
from ctseg.config.labels import Annotators
from ctseg.config.weak import Points

Windows = tuple[tuple[Float, Float], ...]
"""(low, high) in Hounsfield units, one for each channel."""


class Phantom(Component):
    """The generated patients, where there is no folder to read."""

    patients: Int = Field(10, ge=2, le=10_000)
    slices: Int = Field(8, ge=1, le=1_000, description="Per patient.")
    size: Int = Field(160, ge=32, le=1024, description="Pixels of a side.")
    seed: Int = Field(0, ge=0)
    annotators: tuple[str, ...] = Field(
        (),
        max_length=10,
        description="Masks with known faults to learn from: exact, careful, generous, strict, hasty, eager, partial "
        "or NAME=STYLE. Held-out slices are judged by the truth. Without: learnt from the truth.",
    )
    noise: Float = Field(
        0.0, ge=0, le=1, description="Share of the slices that each annotator has spoilt; without annotators of one's."
    )


class Split(Component):
    """What is held out: whole patients; where patients are unknown, whole groups of slices that look alike."""

    val_fraction: Float = Field(0.2, gt=0, lt=1, description="Of the patients or groups. Without folds.")
    folds: Int | None = Field(None, ge=2, le=1000, description="Cross-validation: so many parts, one is held out.")
    fold: Int = Field(0, ge=0, description="Which one, from 0.")
    seed: Int = Field(0, ge=0)
    published: bool = Field(
        False, description="The data set's own test part is held out, though patients may be on both sides (leaky)."
    )

    @model_validator(mode="after")
    def _fold_of_folds(self) -> Split:
        if self.fold >= (self.folds or 1):
            raise ValueError(f"fold: {self.fold} of {self.folds or 'no'} folds; they are counted from 0")
        return self


class Data(Component):
    """What is learnt from."""

    kind: Literal["auto", "phantom", "generic", "covid-semiseg", "covid-ct-seg", "ubc", "mosmed"] = Field(
        "auto", description="auto: by what lies in the folder; without a folder the embedded phantom."
    )
    root: str | None = Field(None, description="The folder. Default: the experiment's first data mount.")
    subset: Literal["doctor", "pseudo", "both"] = Field(
        "doctor", description="covid-semiseg: whose masks. both: judged by the doctor's alone."
    )
    extra_share: Float = Field(
        0.5,
        ge=0,
        lt=1,
        description="Share of an epoch's slices that are taken from those which are only learnt from (subset both); at "
        "most all of them, other ones each epoch.",
    )
    image_size: Int = Field(160, ge=32, le=2048, multiple_of=32, description="Slices are resized to this square.")
    windows: Windows = Field(
        ((-1250.0, 250.0),),
        min_length=1,
        max_length=8,
        description="One channel each: the HU that become black and white (HU data only).",
    )
    spacing: Float | None = Field(
        None, gt=0, le=50, description="mm of a pixel; slices are then cut or padded to image_size, not stretched."
    )
    grey_range: tuple[Float, Float] | None = Field(
        None, description="The HU that 0 and 255 stand for in volumes of grey values; without it they are refused."
    )
    ignore_label: Int | None = Field(None, ge=1, le=255, description="Value in masks (generic) of what is unlabelled.")
    cache: str | None = Field(
        "auto", description="Folder of decoded slices, shared by trials. auto: beside the output; null: none."
    )
    split: Split = Split()
    annotators: Annotators = Annotators()
    phantom: Phantom = Phantom()
    points: Points = Points()

    @model_validator(mode="after")
    def _windows_in_order(self) -> Data:
        for low, high in self.windows:
            if low >= high:
                raise ValueError(f"windows: the lower end {low} must be below the upper end {high}")
        if self.grey_range is not None and self.grey_range[0] >= self.grey_range[1]:
            raise ValueError(f"grey_range: {self.grey_range[0]} must be below {self.grey_range[1]}")
        return self
