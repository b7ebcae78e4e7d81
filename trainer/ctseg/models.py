"""Networks by name: segmentation-models-pytorch's decoders over its own and timm's encoders. Nothing is ever
downloaded.

A name that does not exist and a pair that does not fit are `orkrun.InvalidParams`, found by a trial run on an empty
image.
"""

from __future__ import annotations

import difflib
from pathlib import Path
from typing import Any

import torch

import orkrun
from ctseg import quickstart
from ctseg.config import Model

# Before the first import of timm or torchvision, which is what it is about.
quickstart.install()

import segmentation_models_pytorch as smp  # noqa: E402
import timm  # noqa: E402


def encoder_names(*, with_timm: bool) -> list[str]:
    """The encoders of segmentation-models-pytorch, and timm's as tu-<name>."""
    own = [name for name in smp.encoders.get_encoder_names() if not name.startswith("timm-")]
    return own + ([f"tu-{name}" for name in timm.list_models()] if with_timm else [])


def check_encoder(name: str) -> None:
    """Raises orkrun.InvalidParams with the nearest names that exist."""
    if name in smp.encoders.get_encoder_names():
        return
    if name.startswith("tu-") and timm.is_model(name.removeprefix("tu-")):
        return
    known = encoder_names(with_timm=True)
    near = difflib.get_close_matches(name, known, n=3, cutoff=0.5)
    if not name.startswith("tu-") and timm.is_model(name):
        near = [f"tu-{name}"]
    hint = f"did you mean {' or '.join(near)}? " if near else ""
    raise orkrun.InvalidParams(
        "model.encoder", f"{name!r} is unknown; {hint}`ctseg models --encoders` lists all {len(known)}"
    )


def build(config: Model, *, image_size: int, channels: int = 1) -> torch.nn.Module:
    """The network: (N, channels, S, S) grey values to (N, 1, S, S) logits, for S = `image_size`. On the CPU, in training
    mode.

    Initialised from torch's global random state. Raises orkrun.InvalidParams.
    """
    check_encoder(config.encoder)
    decoder = getattr(smp, config.architecture)
    options: dict[str, Any] = {"dynamic_img_size": True} if config.architecture == "DPT" else {}
    try:
        model: torch.nn.Module = decoder(
            encoder_name=config.encoder, encoder_weights=None, in_channels=channels, classes=1, **options
        )
        with torch.inference_mode():
            shape = tuple(model.eval()(torch.zeros(1, channels, image_size, image_size)).shape)
    except (
        ValueError,
        TypeError,
        RuntimeError,
        KeyError,
        IndexError,
        AttributeError,
        AssertionError,
        NotImplementedError,
    ) as error:
        raise orkrun.InvalidParams(
            "model.encoder",
            f"{config.encoder} does not work with {config.architecture} on {image_size} x {image_size} pixels: {error}",
        ) from error
    if shape != (1, 1, image_size, image_size):
        raise orkrun.InvalidParams(
            "model.encoder",
            f"{config.encoder} with {config.architecture} makes {shape} of {image_size} x {image_size} pixels",
        )
    if config.weights is not None:
        load_weights(model, Path(config.weights))
    return model.train()


def load_weights(model: torch.nn.Module, path: Path) -> None:
    """Fills the model, or its encoder alone, from a file. Raises orkrun.InvalidParams naming model.weights."""
    if not path.is_file():
        raise orkrun.InvalidParams("model.weights", f"there is no file {path}")
    try:
        if path.suffix == ".safetensors":
            from safetensors.torch import load_file

            state: dict[str, Any] = load_file(path)
        else:
            state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:
        raise orkrun.InvalidParams("model.weights", f"{path} cannot be read as weights: {error}") from error
    state = state.get("model", state) if isinstance(state.get("model"), dict) else state
    state = {name.removeprefix("module."): value for name, value in state.items()}
    for part, label in ((model, "model"), (model.get_submodule("encoder"), "encoder")):
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


def parameter_count(model: torch.nn.Module) -> int:
    return sum(parameter.numel() for parameter in model.parameters())
