"""What a person wants tried first: points of the space, whole or in part."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from orkhaven.api.expressions import nearest
from orkhaven.api.search import Algorithm, Parameter
from orkhaven.api.sweep import SweepSpec
from orkhaven.core.identity import canonical_json
from orkhaven.core.search.constraints import Constraint
from orkhaven.core.search.grid import MAX_LOOKS, Grid
from orkhaven.core.search.random import Space, Uniform, hashed
from orkhaven.core.search.space import Overlay, choices, holds_value

MAX_TRIES = 10_000
"""Draws of what the points leave out, over all of them: half a second."""


def initial_points(spec: SweepSpec, constraints: Sequence[Constraint]) -> list[Overlay]:
    """The points of spec.initialPoints, each with what it leaves out: of a Grid the first combination that has the
    rest, otherwise drawn at random. Points that come to the same stand once.

    Raises ValueError with the field's path where a point is outside the space or breaks a constraint, and where too
    much of it would have to be looked for.
    """
    fill = _Grid(spec, constraints) if spec.search.algorithm is Algorithm.GRID else _Drawn(spec, constraints)
    found: dict[bytes, Overlay] = {}
    for index, point in enumerate(spec.initial_points):
        path = f"spec.initialPoints[{index}]"
        fixed = _checked(point, spec.parameters, path)
        whole = fill.up(fixed, index)
        if whole is None:
            raise ValueError(f"{path}: {_why_not(spec.parameters, constraints, fixed)}")
        found.setdefault(canonical_json(whole), whole)
    return list(found.values())


def _checked(point: Mapping[str, Any], parameters: Sequence[Parameter], path: str) -> dict[str, Any]:
    by_name = {parameter.name: parameter for parameter in parameters}
    fixed = {}
    for name, value in point.items():
        parameter = by_name.get(name)
        if parameter is None:
            hint = nearest(name, by_name) or f"; there are {', '.join(list(by_name)[:20])}"
            raise ValueError(f"{path}: no parameter of this search is called {name}{hint}")
        if not holds_value(parameter, value):
            raise ValueError(f"{path}.{name}: {json.dumps(value)[:80]} is none of its values: {_values(parameter)}")
        own = choices(parameter)
        # As the search itself would write it: 8, not 8.0.
        fixed[name] = value if own is None else next(one for one in _near(own, value) if _equal(one, value))
    return fixed


def _near(values: Sequence[Any], value: Any) -> Sequence[Any]:
    return (int(value),) if isinstance(values, range) else values if isinstance(values, list) else (value,)


def _equal(one: Any, other: Any) -> bool:
    return canonical_json(one) == canonical_json(other)


class _Grid:
    """Fills a point up with the first combination that has its values."""

    def __init__(self, spec: SweepSpec, constraints: Sequence[Constraint]) -> None:
        self._parameters, self._constraints = spec.parameters, constraints
        self._looks = 0

    def up(self, fixed: Mapping[str, Any], index: int) -> Overlay | None:
        only = {name: [value] for name, value in fixed.items()}
        for parameter in reversed(self._parameters):  # a condition's own conditions stand before it
            if parameter.name in only:
                for name, allowed in parameter.when.items():
                    held = only.get(name) or next(choices(p) or [] for p in self._parameters if p.name == name)
                    only[name] = [value for value in held if any(_equal(value, one) for one in allowed)]
        if not all(only.values()):
            return None
        grid = Grid.of(self._parameters, self._constraints, only=only)
        found = grid.overlay(0) if grid.count else None
        self._looks += grid.looks
        if self._looks > MAX_LOOKS:
            raise ValueError(
                f"spec.initialPoints[{index}]: too many combinations were looked at for what the points leave out; "
                "name more parameters in them"
            )
        return found


class _Drawn:
    """Fills a point up at random."""

    def __init__(self, spec: SweepSpec, constraints: Sequence[Constraint]) -> None:
        self._space, self._seed, self._constraints = Space(spec.parameters), spec.search.seed, constraints
        self._names = [parameter.name for parameter in spec.parameters]
        self._tries = 0

    def up(self, fixed: Mapping[str, Any], index: int) -> Overlay | None:
        for redraw in range(MAX_TRIES):
            whole = self._space.at(self._uniform(index, redraw), fixed=fixed)
            if fixed.keys() <= whole.keys() and not any(one.breaks(whole) for one in self._constraints):
                return whole
            self._tries += 1
            if self._tries >= MAX_TRIES:
                break
        return None

    def _uniform(self, index: int, redraw: int) -> Uniform:
        return lambda position: hashed(self._seed, f"initial {index}", redraw, self._names[position])


def _why_not(parameters: Sequence[Parameter], constraints: Sequence[Constraint], fixed: Mapping[str, Any]) -> str:
    by_name = {parameter.name: parameter for parameter in parameters}
    for name in fixed:
        for other, allowed in by_name[name].when.items():
            if other in fixed and not any(_equal(fixed[other], one) for one in allowed):
                wanted = " or ".join(json.dumps(one) for one in allowed[:8])
                return f"{name} is only set where {other} is {wanted}, not {json.dumps(fixed[other])[:80]}"
    broken = next((constraint for constraint in constraints if constraint.breaks(fixed)), None)
    if broken is not None:
        return f"breaks {broken.path}: {broken.text}"
    return "no combination with these values was found that keeps the conditions and the constraints"


def _values(parameter: Parameter) -> str:
    if parameter.range is not None:
        span = parameter.range
        step = f" in steps of {span.step:g}" if span.step is not None else ""
        whole = "whole numbers " if isinstance(choices(parameter), range) else ""
        return f"{whole}from {span.min:g} to {span.max:g}{step}"
    values = parameter.values or []
    return ", ".join(json.dumps(value)[:40] for value in values[:8]) + (", ..." if len(values) > 8 else "")
