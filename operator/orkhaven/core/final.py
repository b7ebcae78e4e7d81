"""The final record's part of an Experiment's status: what the hub writes too, where the hub could be reached."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orkhaven.api.meta import shown
from orkhaven.core.failures import Record

MAX_METRICS = 32


def final_fields(record: Record, raw_status: Mapping[str, Any], *, objective: str | None = None) -> dict[str, Any]:
    """progress, objective and metrics of the record where the stored status says otherwise; empty where it agrees.

    Metrics that the record left out for want of space are the hub's and stay: they are written as a whole. At most 32,
    the objective's own among them.
    """
    fields: dict[str, Any] = {}
    if record.step is not None:
        fields["progress"] = {"step": record.step}
        if record.total_steps is not None:
            fields["progress"]["totalSteps"] = record.total_steps
    if record.objective is not None:
        value, step = record.objective
        fields["objective"] = {"value": shown(value), "step": step}
    names = sorted(record.metrics, key=lambda name: name != objective)[:MAX_METRICS]
    if names:
        own = {
            name: {key: shown(number) if key != "bestStep" else number for key, number in record.metrics[name].items()}
            for name in names
            if record.metrics[name]
        }
        held = raw_status.get("metrics")
        others = {name: value for name, value in held.items() if name not in own} if isinstance(held, Mapping) else {}
        fields["metrics"] = own | dict(list(others.items())[: MAX_METRICS - len(own)]) if own else {}
    return {name: value for name, value in fields.items() if value and not _within(value, raw_status.get(name))}


def _within(wanted: Any, held: Any) -> bool:
    """Whether `held` says all that `wanted` says."""
    if isinstance(wanted, Mapping):
        return isinstance(held, Mapping) and all(name in held and _within(wanted[name], held[name]) for name in wanted)
    return bool(wanted == held)
