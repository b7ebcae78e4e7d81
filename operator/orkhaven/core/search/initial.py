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
from orkhaven.core.search.grid import Grid
from orkhaven.core.search.random import Space, Uniform, hashed
from orkhaven.core.search.space import Overlay, choices, holds_value

MAX_TRIES = 1000
"""Draws of what a point leaves out."""


def initial_points(spec: SweepSpec, constraints: Sequence[Constraint]) -> list[Overlay]:
    """The points of spec.initialPoints, each with what it leaves out: of a Grid the first combination that has the
    rest, otherwise drawn at random. Points that come to the same stand once.

    Raises ValueError with the field's path where a point is outside the space or breaks a constraint.
    """
    space = Space(spec.parameters)
    found: dict[bytes, Overlay] = {}
    for index, point in enumerate(spec.initial_points):
        path = f"spec.initialPoints[{index}]"
        fixed = _checked(point, spec.parameters, path)
        if spec.search.algorithm is Algorithm.GRID:
            whole = _of_grid(spec.parameters, constraints, fixed)
        else:
            whole = _drawn(space, spec, constraints, fixed, index)
        if whole is None:
            raise ValueError(f"{path}: {_why_not(space, spec.parameters, constraints, fixed)}")
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


def _of_grid(
    parameters: Sequence[Parameter], constraints: Sequence[Constraint], fixed: Mapping[str, Any]
) -> Overlay | None:
    only = {name: [value] for name, value in fixed.items()}
    for parameter in reversed(parameters):  # a condition's own conditions stand before it
        if parameter.name in only:
            for name, allowed in parameter.when.items():
                held = only.get(name) or next(choices(other) or [] for other in parameters if other.name == name)
                only[name] = [value for value in held if any(_equal(value, one) for one in allowed)]
    if not all(only.values()):
        return None
    grid = Grid.of(parameters, constraints, only=only)
    return grid.overlay(0) if grid.count else None


def _drawn(
    space: Space, spec: SweepSpec, constraints: Sequence[Constraint], fixed: Mapping[str, Any], index: int
) -> Overlay | None:
    for redraw in range(MAX_TRIES):
        whole = space.at(_uniform(spec, index, redraw), fixed=fixed)
        if fixed.keys() <= whole.keys() and not any(constraint.breaks(whole) for constraint in constraints):
            return whole
    return None


def _uniform(spec: SweepSpec, index: int, redraw: int) -> Uniform:
    return lambda position: hashed(spec.search.seed, f"initial {index}", redraw, spec.parameters[position].name)


def _why_not(
    space: Space, parameters: Sequence[Parameter], constraints: Sequence[Constraint], fixed: Mapping[str, Any]
) -> str:
    by_name = {parameter.name: parameter for parameter in parameters}
    for name in fixed:
        for other, allowed in by_name[name].when.items():
            if other in fixed and not any(_equal(fixed[other], one) for one in allowed):
                wanted = " or ".join(json.dumps(one) for one in allowed[:8])
                return f"{name} is only set where {other} is {wanted}, not {json.dumps(fixed[other])[:80]}"
    broken = next((constraint for constraint in constraints if constraint.breaks(fixed)), None)
    if broken is not None:
        return f"breaks {broken.path}: {broken.text}"
    return "no combination with these values keeps the conditions and the constraints"


def _values(parameter: Parameter) -> str:
    if parameter.range is not None:
        span = parameter.range
        step = f" in steps of {span.step:g}" if span.step is not None else ""
        whole = "whole numbers " if isinstance(choices(parameter), range) else ""
        return f"{whole}from {span.min:g} to {span.max:g}{step}"
    values = parameter.values or []
    return ", ".join(json.dumps(value)[:40] for value in values[:8]) + (", ..." if len(values) > 8 else "")
