"""The network's parameters."""

from __future__ import annotations

from typing import Literal

from pydantic import Field

from ctseg.config.base import Component

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
    """The network."""

    architecture: Literal[ARCHITECTURES] = Field("Unet", description="The decoder.")  # type: ignore[valid-type]
    encoder: str = Field(
        "mobilenet_v2", description="An encoder of segmentation-models-pytorch, or any of timm's as tu-<name>."
    )
    weights: str | None = Field(
        None,
        description="File with weights of the encoder or the whole model (.safetensors, or a state dict of torch). "
        "None: from scratch. Nothing is ever downloaded.",
    )
