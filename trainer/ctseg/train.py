"""The training under its short name; it is a package, `ctseg.training`."""

from __future__ import annotations

from ctseg.training.loop import DEFAULT_OBJECTIVE, Training, train

__all__ = ["DEFAULT_OBJECTIVE", "Training", "train"]
