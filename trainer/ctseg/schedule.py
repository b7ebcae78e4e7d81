"""The learning rate as a pure function of the step: nothing to save, nothing that a resume could get wrong."""

from __future__ import annotations

import math

from ctseg.config import Schedule


def factor(config: Schedule, *, step: int, steps_per_epoch: int, epochs: int) -> float:
    """What `optimizer.lr` is multiplied with at optimizer step `step` (from 0).

    Warm-up is linear and reaches 1 at its last step; the rest runs from 1 (first step after it) towards `final` (the
    end).
    """
    warmup = round(config.warmup_epochs * steps_per_epoch)
    total = epochs * steps_per_epoch
    warmup = min(warmup, total - 1)
    if step < warmup:
        return (step + 1) / warmup
    progress = (step - warmup) / max(total - warmup, 1)
    match config.name:
        case "constant":
            return 1.0
        case "cosine":
            return config.final + (1 - config.final) * (1 + math.cos(math.pi * progress)) / 2
        case "poly":
            return config.final + (1 - config.final) * math.pow(1 - progress, config.power)
        case "step":
            return float(config.step_factor ** (step // steps_per_epoch // config.step_epochs))
