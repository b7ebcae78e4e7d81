"""Parameters of the data: which folder, how it is read, what is held out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ctseg.config.base import Component, Float, Int

Windows = tuple[tuple[Float, Float], ...]
"""(low, high) in Hounsfield units, one for each channel."""


class Phantom(Component):
    """The generated patients, where there is no folder to read."""

    patients: Int = Field(10, ge=2, le=10_000)
    slices: Int = Field(8, ge=1, le=1_000, description="Per patient.")
    size: Int = Field(160, ge=32, le=1024, description="Pixels of a side.")
    seed: Int = Field(0, ge=0)


class Data(Component):
    """What is learnt from."""

    kind: Literal["auto", "phantom", "covid-semiseg"] = Field(
        "auto", description="auto: by what lies in the folder; without a folder the embedded phantom."
    )
    root: str | None = Field(None, description="The folder. Default: the experiment's first data mount.")
    subset: Literal["doctor", "pseudo"] = Field("doctor", description="covid-semiseg: whose masks.")
    image_size: Int = Field(160, ge=32, le=2048, multiple_of=32, description="Slices are resized to this square.")
    windows: Windows = Field(
        ((-1250.0, 250.0),),
        min_length=1,
        max_length=8,
        description="One channel each: the HU that become black and white (HU data only).",
    )
    val_fraction: Float = Field(
        0.2, gt=0, lt=1, description="Of the patients; of the slices where patients are unknown."
    )
    split_seed: Int = Field(0, ge=0)
    phantom: Phantom = Phantom()

    @model_validator(mode="after")
    def _windows_in_order(self) -> Data:
        for low, high in self.windows:
            if low >= high:
                raise ValueError(f"windows: the lower end {low} must be below the upper end {high}")
        return self
