"""Explicit trials, as they stand in the spec: nested objects, dotted names, or both."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from orkhaven.core.identity import canonical_json
from orkhaven.core.search.space import Overlay, lookup

SHOWN = 8
"""Pairs of equal trials that are named to people."""


def listed_overlays(
    trials: Sequence[Mapping[str, Any]], template: Mapping[str, Any]
) -> tuple[list[Overlay], tuple[str, ...]]:
    """(what each trial sets, the dotted names that differ between them). Two that come to the same parameters are one
    trial.

    Raises ValueError where a trial sets a place twice.
    """
    overlays: dict[bytes, Overlay] = {}
    for flat in _flat(trials, template):
        overlays.setdefault(canonical_json(flat), flat)
    found = list(overlays.values())
    return found, tuple(dict.fromkeys(name for overlay in found for name in overlay)) if len(found) > 1 else ()


def listed_duplicates(trials: Sequence[Mapping[str, Any]], template: Mapping[str, Any]) -> list[tuple[int, int]]:
    """(place, place of the first that comes to the same parameters) of each trial that is not run again.

    Raises ValueError as `listed_overlays` does.
    """
    first: dict[bytes, int] = {}
    twice = []
    for index, flat in enumerate(_flat(trials, template)):
        place = first.setdefault(canonical_json(flat), index)
        if place != index:
            twice.append((index, place))
    return twice


def duplicates_message(twice: Sequence[tuple[int, int]]) -> str:
    """What a person is told of them; empty where there are none."""
    if not twice:
        return ""
    shown = ", ".join(f"trials[{first}] and trials[{index}]" for index, first in twice[:SHOWN])
    more = f", and {len(twice) - SHOWN} more" if len(twice) > SHOWN else ""
    return f"spec.trials: {shown}{more} are the same: each is run once"


def _flat(trials: Sequence[Mapping[str, Any]], template: Mapping[str, Any]) -> Iterator[dict[str, Any]]:
    for index, trial in enumerate(trials):
        flat: dict[str, Any] = {}
        for name, value in _leaves(trial, ""):
            clash = next((held for held in flat if _overlaps(held, name)), None)
            if clash is not None:
                raise ValueError(f"spec.trials[{index}]: {name} and {clash} set the same place")
            if not _says_nothing(template, name, value):
                flat[name] = value
        yield flat


def _says_nothing(template: Mapping[str, Any], name: str, value: Any) -> bool:
    """Whether the template has it so already. An empty object, laid over one, changes nothing."""
    there, held = lookup(template, name)
    if not there:
        return False
    if isinstance(held, Mapping) and isinstance(value, Mapping) and not value:
        return True
    return canonical_json(held) == canonical_json(value)


def _leaves(trial: Mapping[str, Any], prefix: str) -> Iterator[tuple[str, Any]]:
    for key, value in trial.items():
        if isinstance(value, Mapping) and value:
            yield from _leaves(value, f"{prefix}{key}.")
        else:
            yield f"{prefix}{key}", value


def _overlaps(one: str, other: str) -> bool:
    return one == other or one.startswith(f"{other}.") or other.startswith(f"{one}.")
