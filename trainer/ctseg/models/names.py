"""The names of encoders."""

from __future__ import annotations

import difflib

import segmentation_models_pytorch as smp
import timm

import orkrun


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
