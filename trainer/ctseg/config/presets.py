"""Networks by one name: (decoder, encoder) pairs from 1.5 to 121 million parameters, with what each costs. Data alone.

Parameters and GFLOP were measured by `ctseg models --measure` (one grey channel in, one class out); a test measures
some again, a bench all.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Preset:
    """One named network. Whatever needs its size or its channels told is found out when it is built."""

    architecture: str
    encoder: str
    parameters: float
    """In millions, of those that learn: PSPNet uses two of the four stages of its encoder."""
    gflop: float
    """10^9 operations, two for each multiply-add, of one forward pass of one slice of 512 x 512 pixels."""
    stride: int = 32
    """Pixels. An image of another size is continued at its borders to the next multiple, and the logits cropped."""
    smallest: int = 0
    """Pixels of a side that an image is continued to at least."""


PRESETS: dict[str, Preset] = {
    "pspnet-resnet34": Preset("PSPNet", "resnet34", 1.49, 17.9, stride=8),
    "fpn-mobilenetv4-small": Preset("FPN", "tu-mobilenetv4_conv_small", 3.18, 18.0),
    "segformer-mit-b0": Preset("Segformer", "mit_b0", 3.71, 15.4),
    "deeplabv3plus-mobilenet-v2": Preset("DeepLabV3Plus", "mobilenet_v2", 4.38, 11.8, stride=16),
    "unet-efficientnet-b0": Preset("Unet", "efficientnet-b0", 5.84, 23.6),
    "unet-mobilenet-v2": Preset("Unet", "mobilenet_v2", 6.63, 26.7),
    "unet-mobilenetv4-medium": Preset("Unet", "tu-mobilenetv4_conv_medium", 11.09, 32.5),
    "unetplusplus-efficientnet-b3": Preset("UnetPlusPlus", "efficientnet-b3", 13.03, 61.4),
    "unet-densenet121": Preset("Unet", "densenet121", 13.6, 66.3),
    "unet-resnet18": Preset("Unet", "resnet18", 14.32, 42.4),
    "unet-regnety-016": Preset("Unet", "tu-regnety_016", 14.49, 41.5),
    "unet-hrnet-w18": Preset("Unet", "tu-hrnet_w18", 16.05, 66.5),
    "pan-resnet34": Preset("PAN", "resnet34", 21.47, 58.7, stride=16, smallest=128),
    "linknet-resnet34": Preset("Linknet", "resnet34", 21.77, 39.4),
    "deeplabv3plus-resnet34": Preset("DeepLabV3Plus", "resnet34", 22.43, 62.2, stride=16),
    "fpn-resnet34": Preset("FPN", "resnet34", 23.15, 54.0),
    "unet-vgg16": Preset("Unet", "vgg16_bn", 23.76, 197.3),
    "unet-resnet34": Preset("Unet", "resnet34", 24.43, 61.7),
    "segformer-mit-b2": Preset("Segformer", "mit_b2", 24.72, 49.9),
    "fpn-resnext50": Preset("FPN", "resnext50_32x4d", 25.58, 62.9),
    "deeplabv3-resnet34": Preset("DeepLabV3", "resnet34", 26.0, 217.6, stride=8),
    "unetplusplus-resnet34": Preset("UnetPlusPlus", "resnet34", 26.07, 146.2),
    "manet-efficientnetv2-s": Preset("MAnet", "tu-efficientnetv2_rw_s", 26.29, 50.1),
    "upernet-resnet34": Preset("UPerNet", "resnet34", 29.59, 142.9),
    "manet-resnet34": Preset("MAnet", "resnet34", 31.78, 65.8),
    "unet-convnext-tiny": Preset("Unet", "tu-convnext_tiny", 31.93, 71.3),
    "unet-resnet50": Preset("Unet", "resnet50", 32.51, 84.2),
    "unet-seresnext50": Preset("Unet", "se_resnext50_32x4d", 34.52, 85.7),
    "dpt-vit-tiny": Preset("DPT", "tu-vit_tiny_patch16_224", 34.59, 258.0, stride=16),
    "upernet-swin-tiny": Preset("UPerNet", "tu-swin_tiny_patch4_window7_224", 36.74, 157.1),
    "deeplabv3plus-resnet101": Preset("DeepLabV3Plus", "resnet101", 45.66, 111.1, stride=16),
    "dpt-vit-small": Preset("DPT", "tu-vit_small_patch16_224", 52.06, 303.3, stride=16),
    "upernet-convnext-small": Preset("UPerNet", "tu-convnext_small", 58.68, 196.9),
    "segformer-mit-b5": Preset("Segformer", "mit_b5", 81.96, 148.2),
    "dpt-vit-base": Preset("DPT", "tu-vit_base_patch16_224", 120.61, 462.9, stride=16),
}
"""By parameters, the smallest first."""
