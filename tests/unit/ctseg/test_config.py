"""Parameters: every wrong one is refused by its dotted name, with what would be right."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import pytest

import orkrun
from ctseg import config
from tests.unit.ctseg.conftest import TRAINER

NAN = float("nan")


@pytest.mark.parametrize(
    ("params", "name", "says"),
    [
        ({"batch_size": 0}, "batch_size", "greater than or equal to 1"),
        ({"batch_size": NAN}, "batch_size", "finite"),
        ({"batch_size": "NaN"}, "batch_size", "'NaN'"),
        ({"batch_size": 2.5}, "batch_size", "2.5"),
        ({"batch_size": True}, "batch_size", "not true or false"),
        ({"batch_size": None}, "batch_size", "None"),
        ({"batchsize": 4}, "batchsize", "did you mean batch_size"),
        ({"epochs": -1}, "epochs", "-1"),
        ({"optimizer": {"lr": NAN}}, "optimizer.lr", "finite"),
        ({"optimizer": {"lr": "fast"}}, "optimizer.lr", "'fast'"),
        ({"optimizer": {"lr": 0}}, "optimizer.lr", "greater than 0"),
        ({"optimizer": {"learning_rate": 0.1}}, "optimizer.learning_rate", "optimizer.lr"),
        ({"optimizer": {"name": "sdg"}}, "optimizer.name", "did you mean sgd"),
        ({"optimizer": "adamw"}, "optimizer", "'adamw'"),
        ({"optimizer": {"schedule": {"name": "cosin"}}}, "optimizer.schedule.name", "did you mean cosine"),
        ({"optimizer": {"schedule": {"warmup": 1}}}, "optimizer.schedule.warmup", "warmup_epochs"),
        ({"lr": 0.1}, "lr", "optimizer.lr"),
        ({"model": {"architecture": "unet"}}, "model.architecture", "did you mean Unet"),
        ({"model": {"architecture": "UNet3D"}}, "model.architecture", "DeepLabV3Plus"),
        ({"model": {"encoder": 3}}, "model.encoder", "string"),
        ({"loss": {"name": "focall"}}, "loss.name", "did you mean focal"),
        ({"loss": {"name": "dice", "combination": [{"name": "focal"}]}}, "loss", "not both"),
        ({"loss": {"combination": [{"name": "dics"}]}}, "loss.combination.0.name", "did you mean dice"),
        ({"loss": {"combination": [{"name": "dice", "weight": 0}]}}, "loss.combination.0.weight", "greater than 0"),
        ({"data": {"image_size": 100}}, "data.image_size", "multiple of 32"),
        ({"data": {"split": {"val_fraction": 1}}}, "data.split.val_fraction", "less than 1"),
        ({"data": {"windows": [[100, -100]]}}, "data", "below the upper end"),
        ({"augmentation": {"rotate": 181}}, "augmentation.rotate", "180"),
        ({"optimizer.lr": 0.1}, "optimizer.lr", "no such parameter"),
    ],
    ids=str,
)
def test_a_wrong_parameter_is_refused_by_name(params: dict[str, Any], name: str, says: str) -> None:
    with pytest.raises(orkrun.InvalidParams) as raised:
        config.parse(params)
    assert raised.value.param == name
    assert says in str(raised.value)


def test_all_wrong_parameters_are_told_at_once() -> None:
    with pytest.raises(orkrun.InvalidParams, match=r"batch_size: 0.*; epochs: 0"):
        config.parse({"batch_size": 0, "epochs": 0})


def test_nothing_is_needed() -> None:
    assert config.parse({}) == config.Params()


@pytest.mark.parametrize(("given", "value"), [(8.0, 8), ("8", 8)])
def test_whole_numbers_are_taken_however_they_are_written(given: object, value: int) -> None:
    assert config.parse({"batch_size": given}).batch_size == value


def test_yaml_without_a_point_is_still_a_number() -> None:
    assert config.parse({"optimizer": {"lr": "1e-3"}}).optimizer.lr == 1e-3


def test_dotted_assignments_nest() -> None:
    params: dict[str, Any] = {"optimizer": {"lr": 1}}
    config.set_dotted(params, "optimizer.schedule.name", "poly")
    assert params == {"optimizer": {"lr": 1, "schedule": {"name": "poly"}}}
    with pytest.raises(orkrun.InvalidParams, match=r"optimizer.lr is 1"):
        config.set_dotted(params, "optimizer.lr.x", 2)


def test_parameters_are_read_without_torch() -> None:
    code = "import sys, ctseg.config, ctseg.__main__; sys.exit('torch' in sys.modules or 'numpy' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(TRAINER)}, check=False).returncode == 0
