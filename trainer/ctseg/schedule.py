"""The learning rate as a pure function of the step: nothing to save, nothing that a resume could get wrong.

The curves are timm's, asked for one step at a time; onecycle, which timm has not, is torch's. `plateau` alone looks at
how the training goes: what it has reduced so far is a number of `Progress`.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from types import SimpleNamespace
from typing import Any

from ctseg.config import Schedule

Curve = Callable[[int], float]


def build(config: Schedule, *, steps_per_epoch: int, epochs: int) -> Curve:
    """What `optimizer.lr` is multiplied with at optimizer step `step` (from 0).

    Warm-up is linear and reaches 1 at its last step; the rest runs from 1 (first step after it) towards `final` (the
    end).
    """
    total = epochs * steps_per_epoch
    if config.name == "onecycle":
        return lambda step: _one_cycle(config, step=step, total=total)
    warmup = min(round(config.warmup_epochs * steps_per_epoch), total - 1)
    curve = _curve(config, length=max(total - warmup, 1), warmup=warmup, steps_per_epoch=steps_per_epoch)
    return lambda step: (step + 1) / warmup if step < warmup else curve(step)


def _curve(config: Schedule, *, length: int, warmup: int, steps_per_epoch: int) -> Curve:
    """After the warm-up, which stays here: timm's begins at a rate of 0, and a step of it would be lost."""
    match config.name:
        case "cosine" if length > 1:
            from timm.scheduler.cosine_lr import CosineLRScheduler

            cycle = length / config.cycles if config.cycles > 1 else length
            more: dict[str, Any] = {"cycle_limit": config.cycles, "cycle_decay": config.cycle_decay}
            timm = CosineLRScheduler(_one(), t_initial=cycle, lr_min=config.final, **more)
            return lambda step: _asked(timm, step - warmup)
        case "poly" if length > 1:
            from timm.scheduler.poly_lr import PolyLRScheduler

            timm = PolyLRScheduler(_one(), t_initial=length, power=config.power, lr_min=config.final)
            return lambda step: _asked(timm, step - warmup)
        case "step":
            from timm.scheduler.step_lr import StepLRScheduler

            every = config.step_epochs * steps_per_epoch  # from the start of the run, warm-up or not
            timm = StepLRScheduler(_one(), decay_t=every, decay_rate=config.step_factor)
            return lambda step: _asked(timm, step)
    return lambda step: 1.0


def _one() -> SimpleNamespace:
    """What timm's schedulers need of an optimizer: a rate of 1, so that its values are factors."""
    return SimpleNamespace(param_groups=[{"lr": 1.0}])


def _asked(timm: Any, step: int) -> float:
    return float(timm._get_lr(step)[0])


def _one_cycle(config: Schedule, *, step: int, total: int) -> float:
    """torch.optim.lr_scheduler.OneCycleLR (Smith and Topin 2018): cosine from `start` to 1, cosine to `final`."""
    if total == 1:
        return 1.0
    top = config.rise * total - 1
    if step <= top:
        return _between(config.start, 1.0, step / top if top > 0 else 1.0)
    return _between(1.0, config.final, (step - top) / (total - 1 - top))


def _between(first: float, last: float, progress: float) -> float:
    return last + (first - last) * (1 + math.cos(math.pi * progress)) / 2
