"""What a network costs: parameters, and operations of a forward pass."""

from __future__ import annotations

from typing import NamedTuple

import torch
from torch.func import functional_call
from torch.utils.flop_counter import FlopCounterMode

from ctseg.config import Model
from ctseg.models.build import build, parameter_count

SIZE = 512
"""Pixels of a side for which operations are given, as CT slices have them."""


class Cost(NamedTuple):
    parameters: float
    """In millions."""
    gflop: float
    stride: int
    smallest: int


def measure(config: Model, *, size: int = SIZE) -> Cost:
    """Counted by torch on the meta device: two operations for each multiply-add of convolutions, matrix products and
    attention, none for anything else. Computes nothing: about a second, most of it for building the network.
    """
    model = build(config, image_size=size).eval()
    state = {name: value.to("meta") for name, value in model.named_parameters()}
    state |= {name: value.to("meta") for name, value in model.named_buffers()}
    counter = FlopCounterMode(display=False)
    with torch.no_grad(), counter:
        functional_call(model, state, (torch.zeros(1, 1, size, size, device="meta"),))
    return Cost(parameter_count(model) / 1e6, counter.get_total_flops() / 1e9, model.stride, model.smallest)
