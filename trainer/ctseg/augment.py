"""Augmentation of a batch in one go, on its device. All randomness comes from the generator given.

Shapes: images (N, 1, H, W) in 0..1, masks (N, 1, H, W) of 0 and 1.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from ctseg.config import Augmentation


def augment(
    images: torch.Tensor, masks: torch.Tensor, *, config: Augmentation, generator: torch.Generator
) -> tuple[torch.Tensor, torch.Tensor]:
    """Varied copies of images and masks; masks stay 0 and 1. The generator lives on the CPU: the same draws on any
    device.
    """
    count = images.shape[0]

    def draw() -> torch.Tensor:
        return torch.rand(count, generator=generator)

    # The same number of draws whatever is switched on, so that one switch does not change the others' luck.
    mirror_x, mirror_y, angle, size, contrast, brightness = (draw() for _ in range(6))
    turn = (2 * angle - 1) * math.radians(config.rotate)
    zoom = 1 + (2 * size - 1) * config.scale
    flip_x = torch.where(mirror_x < 0.5, -1.0, 1.0) if config.flip else torch.ones(count)
    flip_y = torch.where(mirror_y < 0.5, -1.0, 1.0) if config.flip else torch.ones(count)
    if config.rotate or config.scale:
        # Rows map output to input coordinates: rotation and size, then the mirror.
        cos, sin = torch.cos(turn) / zoom, torch.sin(turn) / zoom
        zero = torch.zeros(count)
        theta = torch.stack(
            [torch.stack([cos * flip_x, -sin * flip_y, zero], 1), torch.stack([sin * flip_x, cos * flip_y, zero], 1)], 1
        ).to(images.device)
        grid = F.affine_grid(theta, list(images.shape), align_corners=False)
        images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        masks = F.grid_sample(masks, grid, mode="nearest", padding_mode="zeros", align_corners=False)
    elif config.flip:
        images, masks = (_mirror(batch, flip_x, flip_y) for batch in (images, masks))
    if config.intensity:
        gain = (1 + (2 * contrast - 1) * config.intensity).to(images.device).view(-1, 1, 1, 1)
        shift = ((2 * brightness - 1) * config.intensity).to(images.device).view(-1, 1, 1, 1)
        images = (images * gain + shift).clamp(0, 1)
    return images, masks


def _mirror(batch: torch.Tensor, flip_x: torch.Tensor, flip_y: torch.Tensor) -> torch.Tensor:
    for axis, flip in ((3, flip_x), (2, flip_y)):
        flags = (flip < 0).to(batch.device).view(-1, 1, 1, 1)
        batch = torch.where(flags, batch.flip(axis), batch)
    return batch
