"""The network's parameters."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Literal

from pydantic import Field, model_validator

from ctseg.config.base import Component
from ctseg.config.presets import PRESETS

ARCHITECTURES = (
    "Unet",
    "UnetPlusPlus",
    "MAnet",
    "Linknet",
    "FPN",
    "PSPNet",
    "PAN",
    "DeepLabV3",
    "DeepLabV3Plus",
    "UPerNet",
    "Segformer",
    "DPT",
)
"""The decoders of segmentation-models-pytorch, by their class names."""


class Model(Component):
    """The network: a preset by name, or an architecture and an encoder."""

    preset: Literal[tuple(PRESETS)] | None = Field(  # type: ignore[valid-type]
        None, description="A pair of architecture and encoder by one name: `ctseg models` lists them."
    )
    architecture: Literal[ARCHITECTURES] = Field("Unet", description="The decoder.")  # type: ignore[valid-type]
    encoder: str = Field(
        "mobilenet_v2", description="An encoder of segmentation-models-pytorch, or any of timm's as tu-<name>."
    )
    weights: str | None = Field(
        None,
        description="File with weights of the encoder or the whole model (.safetensors, or a state dict of torch). "
        "None: from scratch. Nothing is ever downloaded.",
    )

    @model_validator(mode="before")
    @classmethod
    def _pair_of_the_preset(cls, given: Any) -> Any:
        if not isinstance(given, Mapping):
            return given
        name = given.get("preset")
        preset = PRESETS.get(name) if isinstance(name, str) else None
        if preset is None:
            return given
        pair = {"architecture": preset.architecture, "encoder": preset.encoder}
        for field, value in pair.items():
            if given.get(field, value) != value:
                raise ValueError(
                    f"preset {name} is {preset.architecture} with {preset.encoder}, but {field} is {given[field]!r}: "
                    f"give either the preset or architecture and encoder"
                )
        return {**given, **pair}
