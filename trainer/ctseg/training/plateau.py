"""The schedule `plateau`: the learning rate is reduced when the objective gets no better. Pure; its state is in
`Progress`, so that a resumed training reduces it at the same epoch.
"""

from __future__ import annotations

from ctseg.config import Schedule
from ctseg.training.state import Progress
from ctseg.training.stopping import better


def watch(config: Schedule, progress: Progress, value: float | None, *, minimize: bool) -> bool:
    """Takes the value of the epoch that has just ended; True where the rate is smaller from here on.

    torch.optim.lr_scheduler.ReduceLROnPlateau without threshold and cooldown. An epoch without the value is no better.
    """
    if config.name != "plateau":
        return False
    if value is not None and better(value, progress.rate_watched, minimize=minimize):
        progress.rate_watched, progress.rate_waited = value, 0
        return False
    progress.rate_waited += 1
    if progress.rate_waited < config.patience or progress.rate_factor <= config.final:
        return False
    progress.rate_factor = max(progress.rate_factor * config.step_factor, config.final)
    progress.rate_waited = 0
    return True
