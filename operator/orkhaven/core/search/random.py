"""Trials drawn at random or from Sobol's sequence, each by its own number: the i-th is the same in every process and on
every machine.

Randomness is SHA-256 of (seed, trial, redraw, parameter's name), not a generator's state: no version of Python changes
it, and one more parameter leaves the draws of the others alone. Continuous values are rounded to few digits: readable,
and equal where two C libraries differ in the last bit.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from orkhaven.api.search import Parameter, Scale
from orkhaven.core.identity import canonical_json
from orkhaven.core.search.constraints import Constraint
from orkhaven.core.search.grid import Grid, TooMany
from orkhaven.core.search.sobol import scrambled
from orkhaven.core.search.space import Overlay, choices, conditions, span_of

REDRAWS = 64
"""Draws of one trial until it differs from all before it; after that the space is searched in order."""
MAX_TRIES = 10_000
"""Draws of one trial until it keeps the constraints, where the space cannot be searched in order. Half a second."""
DIGITS, MORE_DIGITS = 6, 15

Uniform = Callable[[int], float]
"""Position of a parameter -> where in its range, in [0, 1)."""
Points = Callable[[int, int, int], Uniform]
"""(trial, redraw, draws before) -> a point of the space."""


def random_points(parameters: Sequence[Parameter], seed: int) -> Points:
    names = [parameter.name for parameter in parameters]
    return lambda trial, redraw, _: lambda position: hashed(seed, trial, redraw, names[position])


def sobol_points(parameters: Sequence[Parameter], seed: int) -> Points:
    """A dimension for each parameter that has a choice: the first ones are the most even."""
    several = [p for p, parameter in enumerate(parameters) if (c := choices(parameter)) is None or len(c) > 1]
    dimensions = {position: dimension for dimension, position in enumerate(several)}

    def point(trial: int, redraw: int, number: int) -> Uniform:
        return lambda position: scrambled(number, dimensions[position], seed=seed) if position in dimensions else 0.0

    return point


def hashed(seed: int, trial: int | str, redraw: int, name: str) -> float:
    """In [0, 1), 53 bits."""
    text = f"{seed}/{trial}/{redraw}/{name}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big") / 2**64 * (1 - 2**-53)


class Space:
    """What a point of the unit cube sets."""

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self._parameters = tuple(parameters)
        self._choices = [choices(parameter) for parameter in parameters]
        self._conditions = conditions(parameters)

    @property
    def is_finite(self) -> bool:
        return all(values is not None for values in self._choices)

    def at(self, uniform: Uniform, *, digits: int = DIGITS, fixed: Overlay | None = None) -> dict[str, Any]:
        """`fixed`: what is set already; it stands in the result only where its condition holds."""
        drawn: dict[str, Any] = {}
        for position, parameter in enumerate(self._parameters):
            if all(
                (name := self._parameters[wanted.position].name) in drawn
                and canonical_json(drawn[name]) in wanted.allowed
                for wanted in self._conditions[position]
            ):
                values = self._choices[position]
                if fixed is not None and parameter.name in fixed:
                    drawn[parameter.name] = fixed[parameter.name]
                elif values is not None:
                    drawn[parameter.name] = values[min(int(uniform(position) * len(values)), len(values) - 1)]
                else:
                    drawn[parameter.name] = _between(parameter, uniform(position), digits=digits)
        return drawn


class Draws:
    """The distinct draws of one search, remembered as far as they were asked for."""

    def __init__(
        self,
        parameters: Sequence[Parameter],
        points: Points,
        *,
        seed: int,
        constraints: Sequence[Constraint] = (),
        first: Sequence[Overlay] = (),
    ) -> None:
        """`first`: what is tried before anything is drawn. Raises ValueError like `Grid.of`."""
        self._space = Space(parameters)
        self._points = points
        self._seed = seed
        self._constraints = constraints
        self._grid, self.space = counted(parameters, constraints) if self._space.is_finite else (None, None)
        """`space`: distinct combinations that keep the constraints; None: more than can be counted."""
        self._overlays: list[Overlay] = []
        self._seen: set[bytes] = set()
        for overlay in first:
            if self._is_new(overlay):
                self._overlays.append(overlay)
        self._search = self._looked_for()
        self.dry = False
        """Whether there are no more than are known."""
        self.shortfall: str | None = None
        """Why, where that is for want of luck."""

    @property
    def known(self) -> int:
        return len(self._overlays)

    def overlay(self, index: int) -> Overlay:
        """What trial `index` sets. Different from every smaller index; IndexError where there are not so many."""
        self.look_ahead(index + 1)
        return self._overlays[index]

    def look_ahead(self, wanted: int, *, tries: int | None = None) -> bool:
        """Goes on until `wanted` trials are known, or it is known that there are fewer. False: not yet, after so many
        tries."""
        while len(self._overlays) < wanted and not self.dry:
            if tries is not None:
                if tries == 0:
                    return False
                tries -= 1
            found = next(self._search, _NO_MORE)
            if found is _NO_MORE:
                self.dry = True
            elif found is not None:
                self._overlays.append(found)
        return True

    def _looked_for(self) -> Iterator[Overlay | None]:
        """One step per try, None where it failed."""
        number = 0
        limit = MAX_TRIES if self._grid is None and self._constraints else REDRAWS
        for trial in count():
            doubles = 0
            for redraw in range(limit):
                # Few digits can run out where a single range is all there is.
                digits = DIGITS if doubles < REDRAWS // 2 else MORE_DIGITS
                drawn = self._space.at(self._points(trial, redraw, number), digits=digits)
                number += 1
                if not any(constraint.breaks(drawn) for constraint in self._constraints):
                    if self._is_new(drawn):
                        yield drawn
                        break
                    doubles += 1
                yield None
            else:
                if self._grid is None or self.space is None:
                    breaking = "broke a constraint or " if self._constraints else ""
                    self.shortfall = f"{limit:,} draws in a row {breaking}had been made already"
                    return
                start = int(hashed(self._seed, trial, REDRAWS, "") * self.space)
                for step in range(min(len(self._seen) + 1, self.space)):  # at most so many are taken
                    found = self._grid.overlay((start + step) % self.space)
                    if self._is_new(found):
                        yield found
                        break
                    yield None
                else:
                    return

    def _is_new(self, overlay: Overlay) -> bool:
        text = hashlib.sha256(canonical_json(overlay)).digest()[:16]
        if text in self._seen:
            return False
        self._seen.add(text)
        return True


_NO_MORE: Mapping[str, Any] = {}
"""Told from an overlay by identity."""


def counted(parameters: Sequence[Parameter], constraints: Sequence[Constraint]) -> tuple[Grid | None, int | None]:
    """A space that is finite as a grid, and how many of its combinations keep the constraints; (None, None): too many
    to count."""
    try:
        grid = Grid.of(parameters, constraints)
        return grid, grid.count
    except TooMany:
        return None, None


def _between(parameter: Parameter, uniform: float, *, digits: int) -> float:
    span = span_of(parameter)
    if span.scale is Scale.LOG:
        low, high = math.log(span.min), math.log(span.max)
        value = math.exp(low + uniform * (high - low))
    else:
        value = span.min + uniform * (span.max - span.min)
    return min(max(float(f"{value:.{digits}g}"), span.min), span.max)
