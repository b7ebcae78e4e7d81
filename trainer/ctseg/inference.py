"""The best model of a run, and the probabilities it gives."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
import torch

import orkrun
from ctseg import checkpoint, config, models
from ctseg.data.samples import Uint8


@dataclass(frozen=True, slots=True)
class Trained:
    model: torch.nn.Module
    """In evaluation mode, on the CPU."""
    params: config.Params
    channels: int
    path: Path
    epoch: int


def load(place: Path) -> Trained:
    """From a run's folder (its best model) or a best.pt. Raises orkrun.DataError."""
    path = place / checkpoint.BEST if place.is_dir() else place
    state = checkpoint.load(path)
    if state is None:
        raise orkrun.DataError(path, "there is no such file: the folder of a run that has finished an epoch is needed")
    if "params" not in state or "model" not in state:
        raise orkrun.DataError(path, f"holds no model with its parameters; the {checkpoint.BEST} of a run does")
    params = config.parse({**state["params"], "model": {**state["params"]["model"], "weights": None}})
    weights: dict[str, Any] = state["model"]
    # Data of pictures has one channel whatever windows are asked for: the first convolution knows.
    for channels in sorted({1, len(params.data.windows)}, reverse=True):
        model = models.build(params.model, image_size=params.data.image_size, channels=channels)
        try:
            model.load_state_dict(weights)
        except RuntimeError as error:
            problem = error
            continue
        return Trained(model.eval(), params, channels, path, int(state.get("epoch", 0)))
    raise orkrun.DataError(path, f"does not fit the network of its own parameters: {str(problem)[:300]}")


def probabilities(
    model: torch.nn.Module, images: Uint8, *, batch_size: int, flips: bool = False
) -> npt.NDArray[np.float32]:
    """Of (n, C, H, W) slices, (n, H, W). `flips`: the mean over the four flips of a slice. Leaves the model's mode."""
    was_training, device = model.training, next(model.parameters()).device
    model.eval()
    parts = []
    try:
        with torch.inference_mode():
            for start in range(0, len(images), batch_size):
                chosen = np.array(images[start : start + batch_size])  # a memory map is read-only, torch wants its own
                batch = torch.from_numpy(chosen).to(device).float() / 255
                ways = list(_flips()) if flips else [[]]
                total = torch.zeros(batch.shape[0], 1, *batch.shape[2:], device=device)
                for axes in ways:
                    given = batch.flip(axes) if axes else batch
                    answer = torch.sigmoid(model(given).float())
                    total += answer.flip(axes) if axes else answer
                parts.append((total / len(ways)).squeeze(1).cpu().numpy())
    finally:
        model.train(was_training)
    return np.concatenate(parts)


def _flips() -> Iterator[list[int]]:
    yield from ([], [2], [3], [2, 3])
