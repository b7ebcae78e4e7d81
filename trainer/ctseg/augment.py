"""Augmentation of a batch in one go, on its device. All randomness comes from the generator given.

Shapes: images (N, C, H, W) in 0..1, target and valid (N, 1, H, W); target in 0..1, valid 1 where there is a label.
"""

from __future__ import annotations

import math

import torch
from torch.nn import functional as F

from ctseg.config import Augmentation

_KNOTS = 8
"""Of the elastic shift, to a side: independent draws, smooth between them."""


def augment(
    images: torch.Tensor,
    target: torch.Tensor,
    valid: torch.Tensor,
    *,
    config: Augmentation,
    generator: torch.Generator,
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Varied copies. The label of a pixel is that of the nearest pixel before, so hard masks stay hard and what is
    not labelled mixes with nothing; what comes from outside of the picture is black and not labelled.

    The generator lives on the CPU: the same draws on any device, but for the noise, which the device draws itself
    from a seed of this generator.
    """
    draws = _Draws(len(images), generator)
    grid = _grid(images, config, draws)
    if grid is not None:
        images = F.grid_sample(images, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
        target, valid = (
            F.grid_sample(labels, grid, mode="nearest", padding_mode="zeros", align_corners=False)
            for labels in (target, valid)
        )
    elif config.flip:
        images, target, valid = (_mirror(batch, draws.flip_x, draws.flip_y) for batch in (images, target, valid))
    return _greys(images, config, draws), target, valid


class _Draws:
    """Everything that is drawn for a step, whatever is switched on, so that one switch does not change the others'
    luck. (N,) each, on the CPU; signed ones are uniform in -1..1.
    """

    def __init__(self, count: int, generator: torch.Generator) -> None:
        def draw() -> torch.Tensor:
            return torch.rand(count, generator=generator)

        def signed() -> torch.Tensor:
            return 2 * draw() - 1

        self.flip_x, self.flip_y = (torch.where(draw() < 0.5, -1.0, 1.0) for _ in range(2))
        self.turn, self.size, self.contrast, self.brightness = (signed() for _ in range(4))
        self.gamma, self.centre, self.width, self.noise = signed(), signed(), signed(), draw()
        self.noise_seed = int(torch.randint(2**62, (), generator=generator))
        self.knots = 2 * torch.rand(count, 2, _KNOTS, _KNOTS, generator=generator) - 1
        self.moved, self.window_on, self.intensity_on, self.gamma_on, self.noise_on = (draw() for _ in range(5))


def _grid(images: torch.Tensor, config: Augmentation, draws: _Draws) -> torch.Tensor | None:
    """(N, H, W, 2): where in the image before each pixel comes from, in -1..1. None: from where it is, or mirrored."""
    if not (config.rotate or config.scale or config.elastic):
        return None
    count, _, height, width = images.shape
    moved = (draws.moved < config.probability).float()
    turn, zoom = moved * draws.turn * math.radians(config.rotate), 1 + moved * draws.size * config.scale
    flip_x, flip_y = (flip if config.flip else torch.ones(count) for flip in (draws.flip_x, draws.flip_y))
    # Rows map output to input coordinates: the mirror, then rotation and size. Both axes reach from -1 to 1 whatever
    # the sides are; in pixels it has to be a rotation.
    cos, sin, zero, aspect = torch.cos(turn) / zoom, torch.sin(turn) / zoom, torch.zeros(count), height / width
    theta = torch.stack(
        [
            torch.stack([cos * flip_x, -sin * flip_y * aspect, zero], 1),
            torch.stack([sin * flip_x / aspect, cos * flip_y, zero], 1),
        ],
        1,
    ).to(images.device)
    grid = F.affine_grid(theta, [count, 1, height, width], align_corners=False)
    if config.elastic:
        knots = (moved.view(-1, 1, 1, 1) * draws.knots * (2 * config.elastic)).to(images.device)  # a side is 2 long
        shift = F.interpolate(knots, size=(height, width), mode="bicubic", align_corners=True)
        grid = grid + shift.movedim(1, -1)
    return grid


def _greys(images: torch.Tensor, config: Augmentation, draws: _Draws) -> torch.Tensor:
    """What another scanner or another window would have shown. In 0..1 again."""

    def each(value: torch.Tensor, chance: torch.Tensor, unchanged: float) -> torch.Tensor:
        kept = torch.where(chance < config.probability, value, unchanged)
        return kept.to(images.device).view(-1, 1, 1, 1)

    if config.window:
        centre = each(draws.centre * config.window, draws.window_on, 0)
        width = each(1 + draws.width * config.window, draws.window_on, 1)
        images = ((images - 0.5 - centre) / width + 0.5).clamp(0, 1)
    if config.intensity:
        gain = each(1 + draws.contrast * config.intensity, draws.intensity_on, 1)
        shift = each(draws.brightness * config.intensity, draws.intensity_on, 0)
        images = (images * gain + shift).clamp(0, 1)
    if config.gamma:
        # Uniform in the logarithm: as often darker as brighter.
        images = images ** each(torch.exp(draws.gamma * math.log1p(config.gamma)), draws.gamma_on, 1)
    if config.noise:
        generator = torch.Generator(images.device).manual_seed(draws.noise_seed)
        noise = torch.randn(images.shape, generator=generator, device=images.device, dtype=images.dtype)
        images = (images + noise * each(draws.noise * config.noise, draws.noise_on, 0)).clamp(0, 1)
    return images


def _mirror(batch: torch.Tensor, flip_x: torch.Tensor, flip_y: torch.Tensor) -> torch.Tensor:
    for axis, flip in ((3, flip_x), (2, flip_y)):
        flags = (flip < 0).to(batch.device).view(-1, 1, 1, 1)
        batch = torch.where(flags, batch.flip(axis), batch)
    return batch
