"""A combination as numbers: what the history of a search is kept in, sent in and compared by.

One element per parameter, in the spec's order: the place among its `choices` where it has them, the value itself where
it is continuous, None where `when` leaves it out. So the same combination is always the same tuple, whatever JSON its
values are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from orkhaven.api.search import Parameter, Range, Scale
from orkhaven.core.identity import canonical_json
from orkhaven.core.search.space import Condition, Overlay, choices, conditions, lookup, span_of

Point = tuple[int | float | None, ...]
DIGITS = 6
"""Of continuous values: readable, and equal where two C libraries differ in the last bit."""
_FEW = 1000
"""Choices whose conditions are looked up, not computed."""


class Points:
    """The points of one space."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        """Raises ValueError like `conditions`."""
        self.parameters = tuple(parameters)
        self.choices = [choices(parameter) for parameter in parameters]
        self._conditions = conditions(parameters)
        self._places = [
            {canonical_json(value): place for place, value in enumerate(values)} if isinstance(values, list) else None
            for values in self.choices
        ]
        self._allowed: dict[tuple[int, Condition], frozenset[int]] = {}
        for wanted in (one for each in self._conditions for one in each):
            values = self.choices[wanted.position]
            if values is not None and len(values) <= _FEW:
                fitting = (place for place, value in enumerate(values) if canonical_json(value) in wanted.allowed)
                self._allowed[wanted.position, wanted] = frozenset(fitting)

    def is_set(self, position: int, before: Sequence[int | float | None]) -> bool:
        """Whether the parameter at `position` counts, given the elements before it."""
        return all(self._holds(wanted, before[wanted.position]) for wanted in self._conditions[position])

    def is_conditional(self, position: int) -> bool:
        return bool(self._conditions[position])

    def branches(self) -> list[tuple[int, ...]]:
        """Positions that are set together, in the order in which they can be chosen: first those that always are."""
        found: dict[tuple[Condition, ...], list[int]] = {(): []}
        for position, wanted in enumerate(self._conditions):
            found.setdefault(wanted, []).append(position)
        return [tuple(positions) for positions in found.values() if positions]

    def of(self, params: Mapping[str, Any]) -> Point | None:
        """The point of a trial's whole parameters; None where they are not of this space."""
        return self._read(lambda name: lookup(params, name))

    def of_overlay(self, overlay: Overlay) -> Point | None:
        """The point of what a trial sets: the inverse of `overlay`."""
        return self._read(lambda name: (name in overlay, overlay.get(name)))

    def _read(self, read: Callable[[str], tuple[bool, Any]]) -> Point | None:
        elements: list[int | float | None] = []
        for position, parameter in enumerate(self.parameters):
            element = None
            if self.is_set(position, elements):
                there, value = read(parameter.name)
                element = self._element(position, value) if there else None
                if element is None:
                    return None
            elements.append(element)
        return tuple(elements)

    def overlay(self, point: Point) -> Overlay:
        """What a trial at `point` sets."""
        return {
            parameter.name: self.value(position, element)
            for position, (parameter, element) in enumerate(zip(self.parameters, point, strict=True))
            if element is not None
        }

    def value(self, position: int, element: int | float) -> Any:
        values = self.choices[position]
        return element if values is None else values[int(element)]

    def at(self, unit: Callable[[int], float]) -> Point:
        """The point at a place of the unit cube: position -> [0, 1]."""
        elements: list[int | float | None] = []
        for position in range(len(self.parameters)):
            elements.append(self.from_unit(position, unit(position)) if self.is_set(position, elements) else None)
        return tuple(elements)

    def from_unit(self, position: int, unit: float) -> int | float:
        values = self.choices[position]
        if values is not None:
            return min(int(unit * len(values)), len(values) - 1)
        span = span_of(self.parameters[position])
        if span.scale is Scale.LOG:
            low, high = math.log(span.min), math.log(span.max)
            return self.rounded(position, math.exp(low + unit * (high - low)))
        return self.rounded(position, span.min + unit * (span.max - span.min))

    def to_unit(self, position: int, element: int | float) -> float:
        """The middle of what `from_unit` maps there."""
        values = self.choices[position]
        if values is not None:
            return (element + 0.5) / len(values)
        span = span_of(self.parameters[position])
        low, high, at = span.min, span.max, float(element)
        if span.scale is Scale.LOG:
            low, high, at = math.log(low), math.log(high), math.log(at)
        return (at - low) / (high - low)

    def rounded(self, position: int, value: float) -> float:
        """A continuous value as it is written."""
        span = span_of(self.parameters[position])
        return min(max(float(f"{value:.{DIGITS}g}"), span.min), span.max)

    def _holds(self, wanted: Condition, element: int | float | None) -> bool:
        if element is None:
            return False
        known = self._allowed.get((wanted.position, wanted))
        if known is not None:
            return element in known
        return canonical_json(self.value(wanted.position, element)) in wanted.allowed

    def _element(self, position: int, value: Any) -> int | float | None:
        places = self._places[position]
        if places is not None:
            try:
                return places.get(canonical_json(value))
            except ValueError:
                return None
        span = span_of(self.parameters[position])
        if isinstance(value, bool) or not isinstance(value, int | float) or not span.min <= value <= span.max:
            return None
        return _place(self.choices[position], span, value)


def _place(values: Sequence[Any] | None, span: Range, value: float) -> int | float | None:
    if values is None:
        return float(value)
    near = round((value - span.min) / (span.step or 1))
    return near if 0 <= near < len(values) and values[near] == value else None
