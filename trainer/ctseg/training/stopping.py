"""Early stopping: when a training is ended because it gets no better. Pure; its state is in `Progress`."""

from __future__ import annotations

from ctseg.config import EarlyStopping
from ctseg.training.state import Progress


def watch(config: EarlyStopping, progress: Progress, value: float | None, *, minimize: bool, metric: str) -> str:
    """Takes the value of the epoch that has just ended (`progress.epochs` counts it). Returns why to stop, or "".

    An epoch without the value counts as one that was no better.
    """
    if config.patience is None:
        return ""
    if value is not None and better(value, progress.watched, by=config.min_delta, minimize=minimize):
        progress.watched, progress.waited = value, 0
    else:
        progress.waited += 1
    if progress.waited < config.patience or progress.epochs < config.min_epochs:
        return ""
    held = "was never reported" if progress.watched is None else f"got no better than {progress.watched:.6g}"
    return f"stopped early after epoch {progress.epochs}: {metric} {held} for {progress.waited} epochs"


def better(value: float, held: float | None, *, minimize: bool, by: float = 0.0) -> bool:
    if held is None:
        return True
    return value < held - by if minimize else value > held + by
