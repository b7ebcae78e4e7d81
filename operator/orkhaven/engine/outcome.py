"""How one look at an object, or one decision about the GPUs, ended: what the loop goes by."""

from __future__ import annotations

from dataclasses import dataclass, field

from orkhaven.core.views import Key


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one look ended."""

    result: str
    """For the meters: unchanged, changed, conflict, gone, refused, error-<code>, bug."""
    again_after: float | None = None
    """Seconds until it has to be looked at again; with `retry` the least that the back-off waits."""
    retry: bool = False
    """It could not be done: back off and try again."""
    also: tuple[Key, ...] = field(default=())
    """Experiments that have to be looked at because of it."""


GONE = Outcome(result="gone")


def both(one: Outcome, other: Outcome) -> Outcome:
    """Of two plans about one object."""
    again = [outcome.again_after for outcome in (one, other) if outcome.again_after is not None]
    worst = other if other.retry and not one.retry else one
    if worst.result == "unchanged":
        worst = other
    return Outcome(
        result=worst.result,
        again_after=min(again) if again else None,
        retry=one.retry or other.retry,
        also=(*one.also, *other.also),
    )
