"""What both kinds of status share: conditions that keep their transition times, texts cut to their limits, times."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime
from typing import Any, Literal

from orkhaven.api.meta import Condition

HUB_FIELDS = ("progress", "objective", "metrics")
"""Fields of an Experiment's status that the hub and the final record write, never the plan's status."""

Status = Literal["True", "False", "Unknown"]


def owned(raw_status: Mapping[str, Any]) -> dict[str, Any]:
    """The part of an Experiment's stored status that `Plan.status` is compared with."""
    return {name: value for name, value in raw_status.items() if name not in HUB_FIELDS}


def whole_seconds(moment: datetime) -> datetime:
    """As Kubernetes keeps times."""
    return moment.replace(microsecond=0)


def clip(text: str, limit: int) -> str:
    """At most `limit` characters, from the start."""
    return text if len(text) <= limit else text[: limit - 1] + "…"


def clip_end(text: str, limit: int) -> str:
    """At most `limit` characters, from the end: where the last lines tell most."""
    return text if len(text) <= limit else "…" + text[-(limit - 1) :]


def word(text: str) -> str:
    """A condition's reason may not be empty and has a limit."""
    return clip(text, 64) or "Unknown"


class Conditions:
    """The conditions of one status, in the order in which they are set."""

    def __init__(self, stored: Sequence[Condition], *, generation: int, now: datetime) -> None:
        self._stored = {condition.type: condition for condition in stored}
        self._generation = generation
        self._now = whole_seconds(now)
        self._kept: list[Condition] = []

    def set(self, kind: str, status: Status, *, reason: str, message: str = "") -> None:
        before = self._stored.get(kind)
        changed = before is None or before.status != status
        self._kept.append(
            Condition(
                type=kind,
                status=status,
                reason=word(reason),
                message=clip(message, 2048),
                last_transition_time=self._now if changed or before is None else before.last_transition_time,
                observed_generation=self._generation,
            )
        )

    def as_list(self) -> list[Condition]:
        return self._kept


def holds(conditions: Sequence[Condition], kind: str) -> bool:
    """Whether the condition is there and True."""
    return any(condition.type == kind and condition.status == "True" for condition in conditions)


def reason_of(conditions: Sequence[Condition], kind: str) -> str | None:
    return next((condition.reason for condition in conditions if condition.type == kind), None)
