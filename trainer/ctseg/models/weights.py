"""Weights from a file into a network or into its encoder."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import torch

import orkrun
from ctseg.models.network import Network

_PREFIXES = ("module.", "network.")
"""Of distributed training, and of `Network`: segmentation-models-pytorch's own names fit as well."""


def load_weights(model: Network, path: Path) -> None:
    """Fills the model, or its encoder alone, from a file. Raises orkrun.InvalidParams naming model.weights."""
    state = _read(path)
    for part, label in ((model.network, "model"), (model.encoder, "encoder")):
        own = part.state_dict()
        fitting = {name: state[name] for name in own if name in state and state[name].shape == own[name].shape}
        if len(fitting) == len(own):
            part.load_state_dict(fitting)
            print(f"ctseg: {label} starts from {path} ({len(fitting)} tensors)", flush=True)
            return
    missing = [name for name in own if name not in fitting]
    raise orkrun.InvalidParams(
        "model.weights",
        f"{path} fits neither the model nor its encoder: {len(fitting)} of {len(own)} tensors of the encoder match; "
        f"missing or of another shape: {', '.join(missing[:3])}",
    )


def _read(path: Path) -> dict[str, Any]:
    if not path.is_file():
        raise orkrun.InvalidParams("model.weights", f"there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: Any = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise orkrun.InvalidParams("model.weights", f"{path} cannot be read as weights: {error}") from error
    if isinstance(state, dict) and isinstance(state.get("model"), dict):
        state = state["model"]
    if not isinstance(state, dict) or not all(isinstance(value, torch.Tensor) for value in state.values()):
        raise orkrun.InvalidParams("model.weights", f"{path} holds no mapping of names to tensors")
    for prefix in _PREFIXES:
        state = {name.removeprefix(prefix): value for name, value in state.items()}
    tensors: dict[str, Any] = state
    return tensors
