"""Where a training is: plain numbers, which with the tensors' state are all that a resume needs.

There is no state of a sampler or of a random generator among them: the order of slices, augmentation, annotator,
dropout and learning rate are functions of the seed and of `step`.
"""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(slots=True)
class Progress:
    step: int = 0
    """Optimizer steps done."""
    epochs: int = 0
    """Epochs done, their evaluation included."""
    loss_sum: float = 0.0
    """Of this epoch so far, over slices."""
    loss_count: int = 0
    seconds: float = 0.0
    """Of this epoch so far."""
    best: float | None = None
    best_epoch: int = 0
    watched: float | None = None
    """The value that early stopping compares with."""
    waited: int = 0
    """Epochs since it was reached."""
    rate_factor: float = 1.0
    """What the schedule `plateau` has made of the learning rate so far."""
    rate_watched: float | None = None
    rate_waited: int = 0
    """Its own best value, and the epochs since."""
    stopped: str = ""
    """Why the training ended before its last epoch."""
    micro_batch: int = 0
    """Slices of one pass through the network; 0: not known yet."""
    out_of_memory: int = 0
    """How often the device had no memory left and the micro-batch was halved."""
