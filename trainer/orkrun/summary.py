"""What a run has reported so far, in short: last and best of each metric, the objective's best. Standard library
only.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import Any

from orkrun.contract import MetricSummary, Objective, ObjectiveValue, decode_number, encode_number, is_minimized


class Summary:
    """Fed by every report; its state goes into checkpoints, so that a best from before an interruption is not
    forgotten.
    """

    def __init__(self, objective: Objective | None) -> None:
        self._objective = objective
        self.step = 0
        self.total_steps: int | None = None
        self.metrics: dict[str, MetricSummary] = {}

    def add(self, step: int, metrics: Mapping[str, float], *, total_steps: int | None = None) -> None:
        """A non-finite value is a `last`, never a `best`. Of two equal bests the earlier stays."""
        self.step = max(self.step, step)
        self.total_steps = total_steps if total_steps is not None else self.total_steps
        for name, value in metrics.items():
            entry = self.metrics.setdefault(name, {"last": 0.0})
            entry["last"] = encode_number(value)
            if not math.isfinite(value):
                continue
            minimize = is_minimized(name, self._objective)
            if "best" not in entry or (value < entry["best"] if minimize else value > entry["best"]):
                entry["best"] = value
                entry["bestStep"] = step

    def objective(self) -> ObjectiveValue | None:
        """The best value of the objective so far; None while it was never reported as a finite number."""
        entry = self.metrics.get(self._objective["metric"]) if self._objective else None
        if entry is None or "best" not in entry:
            return None
        return {"value": entry["best"], "step": entry["bestStep"]}

    def state_dict(self) -> dict[str, Any]:
        return {
            "step": self.step,
            "total_steps": self.total_steps,
            "metrics": {name: dict(entry) for name, entry in self.metrics.items()},
        }

    def load_state_dict(self, state: Mapping[str, Any]) -> None:
        """The opposite of `state_dict`. Raises KeyError or ValueError for a state of another shape."""
        self.step = int(state["step"])
        self.total_steps = None if state["total_steps"] is None else int(state["total_steps"])
        self.metrics = {}
        for name, raw in state["metrics"].items():
            entry: MetricSummary = {"last": encode_number(decode_number(raw["last"]))}
            if "best" in raw:
                entry["best"] = float(raw["best"])
                entry["bestStep"] = int(raw["bestStep"])
            self.metrics[str(name)] = entry
