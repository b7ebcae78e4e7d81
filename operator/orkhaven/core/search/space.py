"""The space of a search: its dimensions, which of them count where, and how a point of it becomes nested parameters."""

from __future__ import annotations

import copy
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import datetime
from decimal import Decimal
from typing import Any, Protocol, overload

from orkhaven.api.search import Parameter, Range, Scale
from orkhaven.core.identity import canonical_json

Overlay = Mapping[str, Any]
"""Dotted name -> value: what one trial sets."""


@dataclass(frozen=True, slots=True)
class Trouble:
    """Why a search cannot go on at the moment."""

    reason: str
    message: str
    until: datetime
    """When it is tried again."""


class TrialSource(Protocol):
    """The trials of a sweep by index."""

    names: tuple[str, ...]
    """Dotted names of the parameters that differ between trials, in the order in which the user wrote them."""

    @property
    def trouble(self) -> Trouble | None:
        """Why no more can be had at the moment."""

    @property
    def shortfall(self) -> str | None:
        """Why there are fewer than were asked for, where the search gave up."""

    @property
    def total(self) -> int:
        """How many there are. Where that is not known yet: the most that there can be."""

    def look_ahead(self, wanted: int, *, tries: int | None = None) -> bool:
        """Searches until `wanted` trials are known, or until it is known that there are fewer, which `total` then says.
        False: not yet, after so many tries; call again. ValueError where there is none at all."""

    def is_known(self, index: int) -> bool:
        """Whether the parameters of trial `index` follow from the spec alone, not from the results of others."""

    def params(self, index: int) -> dict[str, Any]:
        """The full parameters of trial `index`, 0 <= index < total: an object of its own for every call. IndexError
        where there is none, LookupError where it is not known."""


class Trials:
    """A `TrialSource` that knows how many there are."""

    shortfall: str | None = None
    trouble: Trouble | None = None

    def __init__(
        self, template: Mapping[str, Any], *, total: int, names: Sequence[str], overlay: Callable[[int], Overlay]
    ) -> None:
        self.total = total
        self.names = tuple(names)
        self._template = template
        self._overlay = overlay

    def look_ahead(self, wanted: int, *, tries: int | None = None) -> bool:
        return True

    def is_known(self, index: int) -> bool:
        return True

    def params(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.total:
            raise IndexError(f"trial {index} of {self.total}")
        return lay_over(self._template, self._overlay(index))


def lay_over(template: Mapping[str, Any], overlay: Overlay) -> dict[str, Any]:
    """A copy of `template` with every dotted name of `overlay` set.

    Raises ValueError where a name leads through something that is no object.
    """
    params: dict[str, Any] = copy.deepcopy(dict(template))
    for name, value in overlay.items():
        *parents, last = name.split(".")
        place = params
        for depth, part in enumerate(parents):
            inner = place.setdefault(part, {})
            if not isinstance(inner, dict):
                above = ".".join(parents[: depth + 1])
                raise ValueError(
                    f"spec.template.params.{above}: is {json.dumps(inner)[:80]}, so that {name} cannot be set "
                    "below it; make it an object, or leave it out"
                )
            place = inner
        place[last] = copy.deepcopy(value)
    return params


def lookup(params: Mapping[str, Any], name: str) -> tuple[bool, Any]:
    """Whether `params` has the dotted name, and its value."""
    place: Any = params
    for part in name.split("."):
        if not isinstance(place, Mapping) or part not in place:
            return False, None
        place = place[part]
    return True, place


def choices(parameter: Parameter) -> Sequence[Any] | None:
    """The distinct values of a parameter in their order; None where it is continuous. Never a list of a wide range."""
    if parameter.values is not None:
        return distinct(parameter.values)
    span = parameter.range
    if span is not None and span.scale is Scale.INTEGER:
        return range(int(span.min), int(span.max) + 1, int(span.step or 1))
    if span is not None and span.step is not None:
        return Steps(Decimal(repr(span.min)), Decimal(repr(span.max)), Decimal(repr(span.step)))
    return None


def holds_value(parameter: Parameter, value: Any) -> bool:
    """Whether a trial may give the parameter this value."""
    span = parameter.range
    if span is None:
        text = canonical_json(value)
        return any(canonical_json(one) == text for one in parameter.values or ())
    if isinstance(value, bool) or not isinstance(value, int | float) or not span.min <= value <= span.max:
        return False
    values = choices(parameter)
    if values is None:
        return True
    near = round((value - span.min) / (span.step or 1))
    return 0 <= near < len(values) and values[near] == value


class Steps(Sequence[float]):
    """low, low + step, ... up to high, as a person would write them: 0.1 and 0.1 and 0.1 is 0.3."""

    def __init__(self, low: Decimal, high: Decimal, step: Decimal) -> None:
        self._low, self._step = low, step
        self._count = int((high - low) // step) + 1

    def __len__(self) -> int:
        return self._count

    @overload
    def __getitem__(self, index: int) -> float: ...
    @overload
    def __getitem__(self, index: slice) -> Sequence[float]: ...
    def __getitem__(self, index: int | slice) -> float | Sequence[float]:
        if isinstance(index, slice):
            return [self[place] for place in range(*index.indices(self._count))]
        if not -self._count <= index < self._count:
            raise IndexError(index)
        return float(self._low + (index % self._count) * self._step)


def distinct(values: Iterable[Any]) -> list[Any]:
    """Without what is there already; 1 and 1.0 are one value."""
    seen: dict[bytes, Any] = {}
    for value in values:
        seen.setdefault(canonical_json(value), value)
    return list(seen.values())


@dataclass(frozen=True, slots=True)
class Condition:
    """One entry of `when`: the parameter at `position` has to have one of `allowed` (canonical JSON)."""

    position: int
    allowed: frozenset[bytes]


def conditions(parameters: Sequence[Parameter]) -> list[tuple[Condition, ...]]:
    """`when` of each parameter, by position. Raises ValueError where it names one that does not stand before it."""
    positions: dict[str, int] = {}
    found = []
    for index, parameter in enumerate(parameters):
        unknown = [name for name in parameter.when if name not in positions]
        if unknown:
            raise ValueError(f"spec.parameters[{index}].when: {unknown[0]} does not stand before {parameter.name}")
        found.append(
            tuple(
                Condition(positions[name], frozenset(canonical_json(value) for value in values))
                for name, values in parameter.when.items()
            )
        )
        positions[parameter.name] = index
    return found


def varying(parameters: Sequence[Parameter]) -> tuple[str, ...]:
    """The names whose value, or whose being there, differs between trials."""
    return tuple(p.name for p in parameters if p.when or (values := choices(p)) is None or len(values) > 1)


def span_of(parameter: Parameter) -> Range:
    """The range of a parameter without values."""
    if parameter.range is None:
        raise ValueError(f"spec.parameters: {parameter.name} needs either values or range")
    return parameter.range
