"""Optimizers by name and the learning rate over a run, against timm's and torch's own."""

from __future__ import annotations

import io
import math
import typing
from typing import Any

import pytest
import torch
from timm.optim import create_optimizer_v2
from timm.scheduler import CosineLRScheduler, PolyLRScheduler, StepLRScheduler

from ctseg import schedule
from ctseg.config import Optimizer, Schedule
from ctseg.training import optimizer, plateau
from ctseg.training.state import Progress

NAMES = typing.get_args(Optimizer.model_fields["name"].annotation)


class Net(torch.nn.Module):
    def __init__(self) -> None:
        super().__init__()
        torch.manual_seed(0)
        self.encoder = torch.nn.Sequential(torch.nn.Conv2d(1, 3, 3, bias=False), torch.nn.BatchNorm2d(3))
        self.head = torch.nn.Conv2d(3, 1, 1)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.encoder(images))  # type: ignore[no-any-return]


def step(model: Net, chosen: torch.optim.Optimizer, number: int) -> None:
    images = torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(number))
    chosen.zero_grad()
    model(images).square().mean().backward()
    optimizer.set_rate(chosen, 0.01 / (number + 1))
    chosen.step()


def config(name: str, **more: Any) -> Optimizer:
    return Optimizer.model_validate({"name": name, "lr": 0.01, **more})


@pytest.mark.parametrize("name", NAMES)
def test_each_learns_goes_on_bit_for_bit_and_is_what_timm_makes_of_its_name(name: str) -> None:
    through, other, resumed = Net(), Net(), Net()
    mine = optimizer.build(through, config(name))
    timm = create_optimizer_v2(other, name, lr=0.01, weight_decay=0.01, momentum=0.9)
    for number in range(3):
        step(through, mine, number)
        step(other, timm, number)
        if number == 0:
            buffer = io.BytesIO()
            torch.save({"model": through.state_dict(), "optimizer": mine.state_dict()}, buffer)
    buffer.seek(0)
    saved = torch.load(buffer, weights_only=True)
    resumed.load_state_dict(saved["model"])
    again = optimizer.build(resumed, config(name))
    again.load_state_dict(saved["optimizer"])
    for number in (1, 2):
        step(resumed, again, number)
    start = Net().state_dict()
    for key, value in through.state_dict().items():
        assert torch.equal(value, resumed.state_dict()[key]), key
        assert torch.equal(value, other.state_dict()[key]), key
        assert not torch.equal(value, start[key]), key


def test_the_encoder_learns_at_its_own_rate() -> None:
    model = Net()
    chosen = optimizer.build(model, config("sgd", momentum=0, weight_decay=0, encoder_lr_factor=0.1))
    before = {name: value.clone() for name, value in model.named_parameters()}
    step(model, chosen, 0)
    assert optimizer.rate(chosen) == 0.01
    for name, value in model.named_parameters():
        rate = 0.001 if name.startswith("encoder") else 0.01
        torch.testing.assert_close(value, before[name] - rate * value.grad, msg=name)
    assert [len(group["params"]) for group in chosen.param_groups] == [1, 1, 1, 2]


def test_biases_and_scales_do_not_decay() -> None:
    groups = optimizer.build(Net(), config("adamw", weight_decay=0.3)).param_groups
    assert [(group["weight_decay"], {p.ndim for p in group["params"]}) for group in groups] == [(0.3, {4}), (0, {1})]


# --- schedules --------------------------------------------------------------------------------------------------------


def curve(steps_per_epoch: int = 10, epochs: int = 10, **settings: Any) -> list[float]:
    factor = schedule.build(Schedule.model_validate(settings), steps_per_epoch=steps_per_epoch, epochs=epochs)
    return [factor(step) for step in range(steps_per_epoch * epochs)]


def timm_curve(kind: Any, steps: int, **settings: Any) -> list[float]:
    """As timm's own training uses it: an update before each step."""
    dummy = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    scheduler, rates = kind(dummy, t_in_epochs=False, **settings), []
    for update in range(steps):
        scheduler.step_update(update)
        rates.append(dummy.param_groups[0]["lr"])
    return rates


@pytest.mark.parametrize(
    ("settings", "kind", "of_timm"),
    [
        ({"name": "cosine"}, CosineLRScheduler, {"t_initial": 100}),
        ({"name": "cosine", "final": 0.1}, CosineLRScheduler, {"t_initial": 100, "lr_min": 0.1}),
        (
            {"name": "cosine", "cycles": 4, "cycle_decay": 0.5},
            CosineLRScheduler,
            {"t_initial": 25, "cycle_limit": 4, "cycle_decay": 0.5},
        ),
        (
            {"name": "poly", "power": 0.9, "final": 0.1},
            PolyLRScheduler,
            {"t_initial": 100, "power": 0.9, "lr_min": 0.1},
        ),
        ({"name": "step", "step_epochs": 3}, StepLRScheduler, {"decay_t": 30, "decay_rate": 0.1}),
    ],
    ids=["cosine", "cosine to an end", "cosine in cycles", "poly", "step"],
)
def test_the_curves_are_timms(settings: dict[str, Any], kind: Any, of_timm: dict[str, Any]) -> None:
    assert curve(warmup_epochs=0, **settings) == timm_curve(kind, 100, **of_timm)


def test_one_cycle_is_torchs() -> None:
    dummy = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    more = {"pct_start": 0.25, "div_factor": 20.0, "final_div_factor": 5.0, "cycle_momentum": False}
    scheduler = torch.optim.lr_scheduler.OneCycleLR(dummy, max_lr=1.0, total_steps=100, **more)
    expected = []
    for _ in range(100):
        expected.append(scheduler.get_last_lr()[0])
        dummy.step()
        scheduler.step() if len(expected) < 100 else None
    assert curve(name="onecycle", rise=0.25, start=0.05, final=0.01) == pytest.approx(expected, rel=1e-12)


@pytest.mark.parametrize("name", ["constant", "cosine", "poly", "plateau"])
def test_the_warm_up_is_linear_reaches_1_and_is_followed_by_the_whole_curve(name: str) -> None:
    rates = curve(name=name, warmup_epochs=0.5)
    assert rates[:5] == pytest.approx([0.2, 0.4, 0.6, 0.8, 1.0])
    assert rates[5] == 1.0
    assert rates[5:] == curve(steps_per_epoch=95, epochs=1, name=name, warmup_epochs=0)


@pytest.mark.parametrize("name", typing.get_args(Schedule.model_fields["name"].annotation))
@pytest.mark.parametrize("steps", [1, 2, 3])
def test_the_shortest_run_has_a_rate(name: str, steps: int) -> None:
    rates = curve(steps_per_epoch=1, epochs=steps, name=name)
    assert all(0 <= rate <= 1 for rate in rates)
    assert max(rates) > 0


def test_plateau_reduces_as_torchs_does() -> None:
    values = [0.5, 0.6, 0.6, 0.6, 0.55, 0.7, math.nan, 0.6, 0.6, 0.6, 0.6, 0.6, 0.6]
    dummy = torch.optim.SGD([torch.nn.Parameter(torch.zeros(1))], lr=1.0)
    torchs = torch.optim.lr_scheduler.ReduceLROnPlateau(
        dummy, mode="max", factor=0.5, patience=1, threshold=0, min_lr=0.2
    )
    settings = Schedule.model_validate({"name": "plateau", "patience": 2, "step_factor": 0.5, "final": 0.2})
    progress, mine, expected = Progress(), [], []
    for value in values:
        plateau.watch(settings, progress, None if math.isnan(value) else value, minimize=False)
        torchs.step(value)
        mine.append(progress.rate_factor)
        expected.append(dummy.param_groups[0]["lr"])
    assert mine == expected
    assert mine[-1] == 0.2
