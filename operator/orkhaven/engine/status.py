"""Whether a status has to be written, and what a written one means for the meters."""

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
    model = ExperimentStatus if kind is Kind.EXPERIMENT else SweepStatus
    try:
        return bool(model.model_validate(stored) != model.model_validate(desired))
    except ValueError:
        # What is stored cannot be read, e.g. written by hand: replace it.
        return True


def ended_attempts(stored: ExperimentStatus, desired: dict[str, Any]) -> list[str]:
    """Reasons of the attempts that this write is the first to call ended.

    An attempt has ended once it has a reason: a suspended one has an endTime too, and goes on.
    """
    ended = {attempt.number for attempt in stored.attempts if attempt.reason is not None}
    return [
        str(attempt["reason"])
        for attempt in desired.get("attempts", ())
        if attempt.get("reason") is not None and attempt["number"] not in ended
    ]
