"""Every preset trains a step and resumes, with what it costs; and the first 20 trials of the search over networks train
a step each with their own parameters. `make bench`, or
`pytest tests/bench/bench_models.py -s -o python_files='bench_*.py'`. Parameters and GFLOP of its table are in
docs/trainer/models.md.
"""

from __future__ import annotations

import math
import statistics
import time
from typing import Any

import pytest
import torch

from ctseg import augment, batches, config, losses, models
from ctseg.data.load import load
from ctseg.models.cost import measure
from tests.examples import trials
from tests.unit.ctseg.presets import trains_and_resumes

SIZE, BATCH, STEPS = 128, 2, 3


def build(name: str, size: int, channels: int = 1) -> models.Network:
    return models.build(config.Model.model_validate({"preset": name}), image_size=size, channels=channels)


def seconds_per_step(model: models.Network) -> float:
    """The median of a few, after one that warms up."""
    optimizer = torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=1e-4)
    images, times = torch.rand(BATCH, 1, SIZE, SIZE), []
    for _ in range(STEPS + 1):
        started = time.perf_counter()
        optimizer.zero_grad(set_to_none=True)
        model(images).square().mean().backward()
        optimizer.step()
        times.append(time.perf_counter() - started)
    return statistics.median(times[1:])


def test_every_preset_costs_what_the_table_says_trains_and_resumes() -> None:
    print(f"\n| preset | architecture | encoder | M parameters | GFLOP | s/step ({BATCH} x {SIZE} px, CPU) |")
    print("|---|---|---|---|---|---|")
    for name, preset in config.PRESETS.items():
        measured = measure(config.Model.model_validate({"preset": name}))
        assert measured.parameters == pytest.approx(preset.parameters, abs=0.006), name
        assert measured.gflop == pytest.approx(preset.gflop, abs=0.06), name
        trains_and_resumes(build, name, size=50, batch_size=1)
        step = seconds_per_step(build(name, SIZE))
        print(
            f"| `{name}` | {preset.architecture} | {preset.encoder} | {preset.parameters:.1f} | {preset.gflop:.1f} | "
            f"{step:.2f} |",
            flush=True,
        )


@pytest.mark.parametrize("params", trials("covid-architectures.yaml")[:20], ids=lambda p: p["model"]["preset"])
def test_the_first_trial_of_each_network_of_the_search_trains(params: dict[str, Any]) -> None:
    small = {"kind": "phantom", "image_size": 64, "phantom": {"patients": 3, "slices": 4, "size": 64}}
    chosen = config.parse({**params, "data": small})
    samples = load(chosen.data, mount=None, workers=1)
    chosen_loss, slices = losses.build(chosen.loss), batches.Batches(samples, torch.device("cpu"))
    batches.seed_start(seed=0)
    model = models.build(chosen.model, image_size=64, channels=samples.channels)
    before = [p.detach().clone() for p in model.parameters()]
    images, target, valid = augment.augment(
        *slices.take(range(chosen.batch_size)),
        config=chosen.augmentation,
        generator=batches.generator(seed=0, step=0),
    )
    value = losses.mean(chosen_loss(model(images), target, valid), valid)
    value.backward()
    torch.optim.AdamW([p for p in model.parameters() if p.requires_grad], lr=chosen.optimizer.lr).step()
    assert math.isfinite(float(value.detach()))
    assert any(not torch.equal(old, new) for old, new in zip(before, model.parameters(), strict=True))
