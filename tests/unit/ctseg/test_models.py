"""Networks by name."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import orkrun
from ctseg import config, models
from tests.unit.ctseg.conftest import TRAINER


def build(architecture: str = "Unet", encoder: str = "mobilenet_v2", size: int = 64, **more: Any) -> torch.nn.Module:
    chosen = config.Model.model_validate({"architecture": architecture, "encoder": encoder, **more})
    return models.build(chosen, image_size=size)


@pytest.mark.parametrize("architecture", config.ARCHITECTURES)
def test_every_architecture_is_built_and_learns_from_grey_values(architecture: str) -> None:
    size = 128 if architecture == "PAN" else 64
    model = build(architecture, "tu-test_vit" if architecture == "DPT" else "tu-test_efficientnet", size)
    assert model.training
    logits = model(torch.zeros(2, 1, size, size))
    assert logits.shape == (2, 1, size, size)
    logits.mean().backward()
    gradients = [p.grad for p in model.parameters() if p.grad is not None]
    assert gradients
    assert all(torch.isfinite(gradient).all() for gradient in gradients)


def test_an_image_too_small_for_the_network_is_told_by_its_size() -> None:
    with pytest.raises(orkrun.InvalidParams, match=r"PAN on 64 x 64 pixels: .*too small"):
        build("PAN", "tu-test_efficientnet")


@pytest.mark.parametrize(
    ("encoder", "says"),
    [
        ("resnet43", "did you mean resnet34"),
        ("tu-convnext_tinny", "tu-convnext_tiny"),
        ("convnext_tiny", "did you mean tu-convnext_tiny"),
        ("", "is unknown"),
    ],
)
def test_an_unknown_encoder_is_refused_with_the_nearest_names(encoder: str, says: str) -> None:
    with pytest.raises(orkrun.InvalidParams, match=says) as raised:
        build(encoder=encoder)
    assert raised.value.param == "model.encoder"


@pytest.mark.parametrize(
    ("architecture", "encoder"), [("DPT", "mobilenet_v2"), ("Unet", "tu-swin_tiny_patch4_window7_224")]
)
def test_a_pair_that_does_not_fit_is_refused_by_name(architecture: str, encoder: str) -> None:
    with pytest.raises(orkrun.InvalidParams, match=f"{encoder} does not work with {architecture}"):
        build(architecture, encoder)


def test_nothing_is_downloaded(monkeypatch: pytest.MonkeyPatch) -> None:
    import socket

    def refuse(*_: Any, **__: Any) -> None:
        raise AssertionError("a network connection was opened")

    monkeypatch.setattr(socket.socket, "connect", refuse)
    build(encoder="tu-resnet18.a1_in1k")
    build(encoder="resnet18")


def test_weights_of_a_model_or_of_its_encoder_are_taken_from_a_file(tmp_path: Path) -> None:
    torch.manual_seed(1)
    source = build("Linknet", "tu-test_efficientnet")
    torch.save({"model": source.state_dict(), "epoch": 3}, tmp_path / "best.pt")
    torch.save(source.encoder.state_dict(), tmp_path / "encoder.pt")
    torch.manual_seed(2)
    whole, part = (
        build("Linknet", "tu-test_efficientnet", weights=str(tmp_path / name)) for name in ("best.pt", "encoder.pt")
    )
    own = source.state_dict()
    assert all(torch.equal(value, own[name]) for name, value in whole.state_dict().items())
    same = {name: torch.equal(value, own[name]) for name, value in part.state_dict().items()}
    assert all(equal for name, equal in same.items() if name.startswith("encoder."))
    assert not all(same.values())


@pytest.mark.parametrize(
    "content", [None, b"text", {"other": torch.zeros(1)}], ids=["missing", "text", "another model"]
)
def test_weights_that_do_not_fit_are_refused(tmp_path: Path, content: Any) -> None:
    path = tmp_path / "weights.pt"
    if isinstance(content, bytes):
        path.write_bytes(content)
    elif content is not None:
        torch.save(content, path)
    with pytest.raises(orkrun.InvalidParams, match=r"model\.weights: .*weights\.pt"):
        build(weights=str(path))


def test_the_compiler_is_not_imported_until_it_is_used() -> None:
    code = """
import sys
from ctseg import models
import torch
torch.optim.AdamW([torch.nn.Parameter(torch.ones(1))]).step()
assert "sympy" not in sys.modules and "torch._dynamo.config" not in sys.modules
import torch._dynamo.config
assert torch._dynamo.config is sys.modules["torch._dynamo.config"]
assert callable(torch._dynamo.optimize) and "sympy" in sys.modules
"""
    environ = {"PYTHONPATH": str(TRAINER)}
    done = subprocess.run([sys.executable, "-c", code], env=environ, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr
