"""Parameters of the data: which folder, how it is read, what is held out."""

from __future__ import annotations

from typing import Literal

from pydantic import Field, model_validator

from ctseg.config.base import Component, Float, Int


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
    window: tuple[Float, Float] = Field((-1250.0, 250.0), description="HU that become black and white (HU data only).")
    val_fraction: Float = Field(
        0.2, gt=0, lt=1, description="Of the patients; of the slices where patients are unknown."
    )
    split_seed: Int = Field(0, ge=0)
    phantom: Phantom = Phantom()

    @model_validator(mode="after")
    def _window_in_order(self) -> Data:
        if self.window[0] >= self.window[1]:
            raise ValueError(f"window: the lower end {self.window[0]} must be below the upper end {self.window[1]}")
        return self
