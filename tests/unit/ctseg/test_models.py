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
from ctseg.models.network import BatchNormOfOne
from tests.unit.ctseg.conftest import TRAINER
from tests.unit.ctseg.presets import trains_and_resumes


def build(architecture: str = "Unet", encoder: str = "mobilenet_v2", size: int = 64, **more: Any) -> models.Network:
    chosen = config.Model.model_validate({"architecture": architecture, "encoder": encoder, **more})
    return models.build(chosen, image_size=size)


def preset(name: str, size: int = 50, channels: int = 1) -> models.Network:
    return models.build(config.Model.model_validate({"preset": name}), image_size=size, channels=channels)


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
    ("architecture", "encoder"), [("DPT", "mobilenet_v2"), ("DeepLabV3", "tu-test_vit"), ("UnetPlusPlus", "mit_b0")]
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


CHEAP = (
    *("pspnet-resnet34", "fpn-mobilenetv4-small", "segformer-mit-b0", "deeplabv3plus-mobilenet-v2"),
    *("pan-resnet34", "linknet-resnet34", "deeplabv3-resnet34", "upernet-swin-tiny", "dpt-vit-tiny"),
)
"""One or two of each kind of need: padding, a told size, an interpolated position, a pooling to one pixel."""


@pytest.mark.parametrize("name", CHEAP)
def test_a_preset_trains_a_step_of_one_slice_of_any_size_and_resumes(name: str) -> None:
    trains_and_resumes(preset, name, size=50, batch_size=1)


@pytest.mark.parametrize("name", ["pspnet-resnet34", "segformer-mit-b0", "unet-resnet18"])
def test_the_cost_in_the_table_is_what_is_measured(name: str) -> None:
    from ctseg.models.cost import measure

    listed, measured = config.PRESETS[name], measure(config.Model.model_validate({"preset": name}))
    assert measured.parameters == pytest.approx(listed.parameters, abs=0.006)
    assert measured.gflop == pytest.approx(listed.gflop, abs=0.06)


def test_presets_cover_every_architecture_and_sizes_from_3_to_120_million() -> None:
    sizes = [preset.parameters for preset in config.PRESETS.values()]
    assert {preset.architecture for preset in config.PRESETS.values()} == set(config.ARCHITECTURES)
    assert sum(3 <= size <= 140 for size in sizes) >= 24
    assert sizes == sorted(sizes)
    assert max(sizes) > 120


def test_a_preset_is_its_pair_and_contradicts_no_other() -> None:
    chosen = config.parse({"model": {"preset": "fpn-resnet34"}}).model
    assert (chosen.architecture, chosen.encoder) == ("FPN", "resnet34")
    assert config.Model.model_validate(chosen.model_dump()) == chosen
    with pytest.raises(orkrun.InvalidParams, match="preset fpn-resnet34 is FPN with resnet34, but encoder is 'vgg16'"):
        config.parse({"model": {"preset": "fpn-resnet34", "encoder": "vgg16"}})
    with pytest.raises(orkrun.InvalidParams, match=r"model\.preset: .*did you mean unet-resnet34"):
        config.parse({"model": {"preset": "unet_resnet34"}})


def test_padding_changes_nothing_where_the_image_fits_and_is_cropped_back_where_not() -> None:
    model = build("FPN", "tu-test_efficientnet", 64).eval()
    image = torch.rand(1, 1, 64, 64)
    assert torch.equal(model(image), model.network(image))
    # Borders that are continued by hand: 5 and 9 pixels before, 6 and 10 after.
    inner = image[..., 5:58, 9:54]
    by_hand = torch.nn.functional.pad(inner, (9, 10, 5, 6), mode="replicate")
    assert torch.equal(model(inner), model.network(by_hand)[..., 5:58, 9:54])


def test_one_value_is_normalised_as_in_evaluation_and_two_as_ever() -> None:
    own, plain = BatchNormOfOne(3), torch.nn.BatchNorm2d(3)
    for layer in (own, plain):
        layer(torch.arange(6.0).view(2, 3, 1, 1))
    assert all(torch.equal(value, plain.state_dict()[name]) for name, value in own.state_dict().items())
    one, before = torch.rand(1, 3, 1, 1), {name: value.clone() for name, value in own.state_dict().items()}
    assert torch.equal(own(one), plain.eval()(one))
    assert all(torch.equal(value, before[name]) for name, value in own.state_dict().items())


def test_parameters_without_effect_do_not_count_and_do_not_learn() -> None:
    model = preset("pspnet-resnet34")
    unused = [name for name, value in model.named_parameters() if not value.requires_grad]
    assert unused
    assert all(name.startswith(("network.encoder.layer3", "network.encoder.layer4")) for name in unused)


def test_weights_with_the_names_of_the_library_fit_too(tmp_path: Path) -> None:
    source = build("FPN", "tu-test_efficientnet")
    torch.save(source.network.state_dict(), tmp_path / "weights.pt")
    model = build("FPN", "tu-test_efficientnet", weights=str(tmp_path / "weights.pt"))
    assert all(torch.equal(value, source.state_dict()[name]) for name, value in model.state_dict().items())
