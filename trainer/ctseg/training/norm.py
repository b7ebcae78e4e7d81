"""Batch normalisation over the slices of several GPUs."""

from __future__ import annotations

import torch

import orkrun
from ctseg.models import Network


def synchronise(model: Network, device: torch.device) -> None:
    """From here on with statistics over all processes' slices; names and values stay. Raises orkrun.InvalidParams on a
    CPU.
    """
    if device.type != "cuda":
        raise orkrun.InvalidParams("sync_batch_norm", "torch has it for GPUs only: false, or device cuda")
    from timm.layers import convert_sync_batchnorm  # torch's own loses the activation in timm's layers

    model.network = convert_sync_batchnorm(model.network)
