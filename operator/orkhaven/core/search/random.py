"""Trials drawn at random, each by its own number: the i-th is the same in every process and on every machine.

Randomness is SHA-256 of (seed, trial, redraw, parameter's name), not a generator's state: no version of Python changes
it, and one more parameter leaves the draws of the others alone. Continuous values are rounded to few digits: readable,
and equal where two C libraries differ in the last bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Mapping, Sequence
from typing import Any

from orkhaven.api.sweep import Parameter, Scale
from orkhaven.core.identity import canonical_json
from orkhaven.core.search.grid import Grid
from orkhaven.core.search.space import choices, conditions, span_of, varying

REDRAWS = 64
"""Draws of one trial until it differs from all before it; after that the space is searched in order."""
DIGITS, MORE_DIGITS = 6, 15


class Draws:
    """The distinct draws of one search, remembered as far as they were asked for."""

    def __init__(self, parameters: Sequence[Parameter], seed: int) -> None:
        self.names = varying(parameters)
        self._seed = seed
        self._parameters = tuple(parameters)
        self._choices = [choices(parameter) for parameter in parameters]
        self._conditions = conditions(parameters)
        self._grid = Grid.of(parameters) if all(values is not None for values in self._choices) else None
        self.space: int | None = self._grid.count if self._grid else None
        """Distinct combinations; None: more than can be counted."""
        self._overlays: list[Mapping[str, Any]] = []
        self._seen: set[bytes] = set()

    def overlay(self, index: int) -> Mapping[str, Any]:
        """What trial `index` sets. Different from every smaller index; index < space."""
        while len(self._overlays) <= index:
            self._overlays.append(self._fresh(len(self._overlays)))
        return self._overlays[index]

    def _fresh(self, index: int) -> Mapping[str, Any]:
        for redraw in range(REDRAWS):
            # Few digits can run out where a single range is all there is.
            drawn = self._draw(index, redraw, digits=DIGITS if redraw < REDRAWS // 2 else MORE_DIGITS)
            if self._is_new(drawn):
                return drawn
        if self._grid is None:
            raise ValueError(f"spec.parameters: {REDRAWS} draws in a row gave nothing new after {index} trials")
        count = self._grid.count
        start = int(self._uniform(index, REDRAWS, "") * count)
        for step in range(len(self._seen) + 1):  # at most so many are taken
            found = self._grid.overlay((start + step) % count)
            if self._is_new(found):
                return found
        raise IndexError(f"trial {index} of {count} combinations")

    def _is_new(self, overlay: Mapping[str, Any]) -> bool:
        text = hashlib.sha256(canonical_json(overlay)).digest()[:16]
        if text in self._seen:
            return False
        self._seen.add(text)
        return True

    def _draw(self, index: int, redraw: int, *, digits: int) -> Mapping[str, Any]:
        drawn: dict[str, Any] = {}
        for position, parameter in enumerate(self._parameters):
            if all(
                (name := self._parameters[wanted.position].name) in drawn
                and canonical_json(drawn[name]) in wanted.allowed
                for wanted in self._conditions[position]
            ):
                uniform = self._uniform(index, redraw, parameter.name)
                values = self._choices[position]
                if values is not None:
                    drawn[parameter.name] = values[min(int(uniform * len(values)), len(values) - 1)]
                else:
                    drawn[parameter.name] = _between(parameter, uniform, digits=digits)
        return drawn

    def _uniform(self, index: int, redraw: int, name: str) -> float:
        """In [0, 1), 53 bits."""
        text = f"{self._seed}/{index}/{redraw}/{name}".encode()
        return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64 * (1 - 2**-53)


def _between(parameter: Parameter, uniform: float, *, digits: int) -> float:
    span = span_of(parameter)
    if span.scale is Scale.LOG:
        low, high = math.log(span.min), math.log(span.max)
        value = math.exp(low + uniform * (high - low))
    else:
        value = span.min + uniform * (span.max - span.min)
    return min(max(float(f"{value:.{digits}g}"), span.min), span.max)
