"""The trainer on a real GPU: what cannot be seen on a CPU. `make gpu`; skipped where torch sees none."""

from __future__ import annotations

import gc
import json
import math
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import orkrun
from ctseg import batches, config, losses, models
from ctseg.__main__ import main as ctseg
from ctseg.augment import augment
from ctseg.data.load import load
from ctseg.data.samples import Samples
from ctseg.losses.build import FUNCTIONS
from ctseg.ranks import Several
from ctseg.training.loop import Training
from tests.unit.ctseg.test_train import OBJECTIVE, assert_same, series, state, tiny, train

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="torch sees no GPU here")

GPU = torch.device("cuda")


@pytest.fixture(scope="module")
def samples() -> Samples:
    return load(config.parse(tiny()).data, mount=None, workers=1)


@pytest.fixture
def memory_of() -> Iterator[Any]:
    """Leaves this process only so many MiB of the GPU's memory."""

    def limit(mib: int) -> None:
        gc.collect()
        torch.cuda.empty_cache()
        used = torch.cuda.memory_reserved() / 2**20
        total = torch.cuda.get_device_properties(0).total_memory / 2**20
        torch.cuda.set_per_process_memory_fraction(min((used + mib) / total, 1.0))

    yield limit
    torch.cuda.set_per_process_memory_fraction(1.0)
    torch.cuda.empty_cache()


def training(folder: Path, samples: Samples, params: dict[str, Any]) -> Training:
    """Before its first step."""
    run = orkrun.run(orkrun.local_config(params, output=folder), environ={}).__enter__()
    return Training(run, config.parse(run.params), samples)


# --- precision, memory format -----------------------------------------------------------------------------------------


@pytest.mark.parametrize("precision", ["auto", "fp32", "bf16", "fp16"])
def test_it_learns_in_every_precision(tmp_path: Path, samples: Samples, precision: str) -> None:
    made = training(tmp_path / "looked at", samples, tiny(precision=precision))
    assert made.device.type == "cuda"
    assert made.format is torch.channels_last
    if precision == "auto":
        assert made.precision.name == ("bf16" if torch.cuda.is_bf16_supported(including_emulation=False) else "fp16")
    params = tiny(precision=precision, epochs=12, optimizer={"lr": 5e-3})
    assert train(tmp_path / "run", samples, params)["outcome"] == "Succeeded"
    found = series(tmp_path / "run")
    assert found[12]["train/loss"] < 0.8 * found[1]["train/loss"]


@pytest.mark.parametrize("stops", [[1], [4, 1, 3]], ids=["mid-epoch", "three times"])
@pytest.mark.parametrize("precision", ["bf16", "fp16"])
def test_a_resumed_training_ends_as_one_that_was_never_stopped(
    tmp_path: Path, samples: Samples, stops: list[int], precision: str
) -> None:
    """To the bit: `deterministic` is the default."""
    params = tiny(precision=precision, teacher={"weight": 1, "ramp_up_epochs": 1})
    train(tmp_path / "through", samples, params)
    for steps in stops:
        train(tmp_path / "stopped", samples, params, stop_after=steps)
    assert train(tmp_path / "stopped", samples, params)["outcome"] == "Succeeded"
    assert_same(state(tmp_path / "stopped"), state(tmp_path / "through"))
    assert series(tmp_path / "stopped") == series(tmp_path / "through")


# --- memory -----------------------------------------------------------------------------------------------------------


def test_where_memory_ends_the_batch_is_taken_in_parts_and_is_the_same_batch(
    tmp_path: Path, samples: Samples, memory_of: Any
) -> None:
    """With torch's own error of a full GPU, not one of ours."""
    params = tiny(
        model={"architecture": "Unet", "encoder": "resnet18"},
        data__image_size=256,
        data__phantom={"patients": 3, "slices": 8, "size": 64},
        batch_size=16,
        epochs=1,
        precision="fp32",
    )
    large = load(config.parse(params).data, mount=None, workers=1)
    memory_of(1000)
    record = train(tmp_path, large, params)
    assert record["outcome"] == "Succeeded"
    progress = state(tmp_path)["progress"]
    assert progress["out_of_memory"] >= 1
    assert 1 <= progress["micro_batch"] <= 8
    assert series(tmp_path)[1]["micro_batch_size"] == progress["micro_batch"]
    assert math.isfinite(series(tmp_path)[1]["train/loss"])


def test_one_slice_that_is_too_much_ends_as_out_of_memory(tmp_path: Path, samples: Samples, memory_of: Any) -> None:
    params = tiny(model={"architecture": "Unet", "encoder": "resnet18"}, data__image_size=1024)
    large = load(config.parse(params).data, mount=None, workers=1)
    memory_of(150)
    with pytest.raises(SystemExit) as ended:
        train(tmp_path, large, params)
    assert ended.value.code
    failure = json.loads((tmp_path / "result.json").read_text())["record"]["failure"]
    assert failure["type"].endswith("OutOfMemoryError")


# --- what a step is made of -------------------------------------------------------------------------------------------


def test_slices_that_lie_on_the_gpu_are_those_that_are_copied_batch_by_batch(samples: Samples) -> None:
    resident, copied = (batches.Batches(samples, GPU, resident=where) for where in (True, False))
    for one, other in zip(resident.take([3, 0, 4]), copied.take([3, 0, 4]), strict=True):
        assert one.device.type == other.device.type == "cuda"
        assert torch.equal(one, other)


def test_an_augmented_batch_is_the_cpus_but_for_its_noise(samples: Samples) -> None:
    settings = config.Augmentation.model_validate({"preset": "strong", "noise": 0.0})
    found = []
    for place in (torch.device("cpu"), GPU):
        taken = batches.Batches(samples, torch.device("cpu")).take(range(8))
        generator = batches.generator(seed=0, step=0)
        found.append(augment(*(tensor.to(place) for tensor in taken), config=settings, generator=generator))
    for one, other in zip(*found, strict=True):
        # A nearest pixel may be another where a coordinate falls between two.
        apart = (one - other.cpu()).abs() > 1e-3
        assert apart.float().mean() < 1e-3


@pytest.mark.parametrize("name", sorted(FUNCTIONS))
def test_every_loss_and_its_gradient_are_the_cpus(name: str) -> None:
    loss = losses.build(config.Loss.model_validate({"name": name}))
    rng = torch.Generator().manual_seed(0)
    logits, target = torch.randn(3, 1, 16, 16, generator=rng), torch.rand(3, 1, 16, 16, generator=rng) > 0.6
    valid = (torch.rand(3, 1, 16, 16, generator=rng) > 0.2).float()
    found = []
    for place in (torch.device("cpu"), GPU):
        own = logits.clone().to(place).requires_grad_()
        value = losses.mean(loss(own, target.float().to(place), valid.to(place)), valid.to(place))
        value.backward()
        assert own.grad is not None
        found.append((value.detach().cpu(), own.grad.cpu()))
    for one, other in zip(*found, strict=True):
        torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("name", sorted(config.PRESETS))
def test_every_preset_takes_a_step_in_bf16(name: str) -> None:
    parsed = config.parse({"model": {"preset": name}, "precision": "bf16"})
    model = models.build(parsed.model, image_size=128, channels=1).to(GPU, memory_format=torch.channels_last)
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    images = torch.rand(2, 1, 128, 128, device=GPU)
    before = [p.detach().clone() for p in model.parameters()]
    with torch.autocast("cuda", dtype=torch.bfloat16):
        valid = torch.ones_like(images)
        loss = losses.mean(losses.build(parsed.loss)(model(images), (images > 0.9).float(), valid), valid)
    loss.backward()
    optimizer.step()
    assert math.isfinite(float(loss.detach()))
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))


def test_a_compiled_training_learns_the_same(tmp_path: Path, samples: Samples) -> None:
    """Or, where the compiler is wrong about this GPU's layouts (seen with torch 2.11 at this size), as it is."""
    params = tiny(precision="fp32", epochs=2, model={"architecture": "Unet", "encoder": "resnet18"})
    train(tmp_path / "as it is", samples, params)
    assert train(tmp_path / "compiled", samples, {**params, "compile": True})["outcome"] == "Succeeded"
    as_it_is, compiled = (series(tmp_path / name) for name in ("as it is", "compiled"))
    assert compiled[1]["train/loss"] == pytest.approx(as_it_is[1]["train/loss"], rel=0.05)


def test_sums_over_processes_work_over_nccl(tmp_path: Path) -> None:
    """A group of one: several need several GPUs."""
    with Several(0, 1, GPU, url=f"file://{tmp_path / 'store'}") as alone:
        values = torch.arange(4.0, device=GPU)
        alone.add_up(values)
        assert values.tolist() == [0, 1, 2, 3]
        assert alone.agree(True, False) == (True, False)
        assert alone.added(np.array([5, 6])).tolist() == [5, 6]


# --- the commands -----------------------------------------------------------------------------------------------------


def test_a_gpus_training_is_evaluated_predicts_and_is_exported(tmp_path: Path, samples: Samples) -> None:
    train(tmp_path / "run", samples, tiny())
    assert ctseg(["evaluate", str(tmp_path / "run"), "--tta"]) == 0
    assert json.loads((tmp_path / "run" / "report-tta" / "result.json").read_text())["figures"]
    assert ctseg(["export", str(tmp_path / "run"), "--out", str(tmp_path / "export")]) == 0
    assert any((tmp_path / "export").iterdir())


def test_without_determinism_it_trains_too(tmp_path: Path, samples: Samples) -> None:
    assert train(tmp_path, samples, tiny(deterministic=False))["outcome"] == "Succeeded"
    assert OBJECTIVE["metric"] in series(tmp_path)[1]


def test_the_cpu_is_used_where_it_is_asked_for(tmp_path: Path, samples: Samples) -> None:
    assert training(tmp_path, samples, tiny(device="cpu")).device.type == "cpu"
    assert os.environ.get("CUBLAS_WORKSPACE_CONFIG")
