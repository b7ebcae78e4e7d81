"""Whether a status has to be written."""

from __future__ import annotations

from typing import Any

from orkhaven.api import ExperimentStatus, SweepStatus
from orkhaven.engine.ports import Kind

HUB_FIELDS = frozenset({"progress", "objective", "metrics"})
"""What the hub (or the final record) owns of an Experiment's status; never part of the operator's own."""


def differs(kind: Kind, stored: dict[str, Any], desired: dict[str, Any]) -> bool:
    """Whether the stored status says anything else than the desired one.

    Compared as dicts first, which is what nearly always decides. Then by meaning: the server may have written a time
    or a default in another way, and a difference that never goes away would be written forever.
    """
    if kind is Kind.EXPERIMENT:
        stored = {key: value for key, value in stored.items() if key not in HUB_FIELDS}
        desired = {key: value for key, value in desired.items() if key not in HUB_FIELDS}
    if stored == desired:
        return False
    if stored.get("state") != desired.get("state"):
        # A word, which nobody writes in another way. Most writes are such, and reading two statuses costs more than all
        # else that is decided of a run that has failed.
        return True
    model = ExperimentStatus if kind is Kind.EXPERIMENT else SweepStatus
    try:
        return bool(model.model_validate(stored) != model.model_validate(desired))
    except ValueError:
        # What is stored cannot be read, e.g. written by hand: replace it.
        return True
