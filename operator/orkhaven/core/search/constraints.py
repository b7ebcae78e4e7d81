"""Which combinations are never made: conditions over the parameters of one combination.

A combination is refused where a constraint is false. What depends on a parameter that the combination leaves out
(`when`) is neither true nor false: `gamma < 3 and lr < 0.1` asks only for the lr where there is no gamma, and
`gamma < 3` alone asks for nothing there. Only `== null`, `!= null` and null after `in` see that it is left out.
"""

from __future__ import annotations

import json
import math
import operator
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orkhaven.api.expressions import And, Column, Compare, In, Literal, Node, Not, Or, QueryError, like, nearest, parse
from orkhaven.api.search import Parameter
from orkhaven.core.search.space import Overlay, choices, holds_value

Verdict = bool | None
"""None: it depends on a parameter that is left out."""
Check = Callable[[Overlay], Verdict]

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_ABSENT = object()
_SHOWN = 8


@dataclass(frozen=True, slots=True)
class Constraint:
    text: str
    path: str
    positions: tuple[int, ...]
    """Of the parameters that it names, ascending."""
    check: Check
    atoms: Mapping[int, tuple[Check, ...]]
    """By position: what it asks of that parameter alone. Values that answer alike are alike to it."""
    joined: frozenset[int]
    """Positions of parameters that it compares with each other: each of their values is one of its own."""

    @property
    def size(self) -> int:
        """Comparisons: what a check costs."""
        return sum(map(len, self.atoms.values())) + len(self.joined)

    def breaks(self, overlay: Overlay) -> bool:
        return self.check(overlay) is False


def constraints(texts: Sequence[str], parameters: Sequence[Parameter]) -> tuple[Constraint, ...]:
    """Raises ValueError with the field's path where a text cannot be read, names what is no parameter of the search,
    or compares one with what it can never be."""
    names = _Parameters(parameters)
    found = []
    for index, text in enumerate(texts):
        path = f"spec.constraints[{index}]"
        names.atoms, names.joined = {}, set()
        try:
            node = parse(text, names, what="a constraint")
            if node is None:
                raise ValueError(f"{path}: is empty; say what has to hold, such as {names.comparison}")
            check = _compiled(node, names)
        except QueryError as error:
            raise ValueError(f"{path}: {error}") from error
        atoms = {position: tuple(checks) for position, checks in names.atoms.items()}
        found.append(
            Constraint(text, path, tuple(sorted({*atoms, *names.joined})), check, atoms, frozenset(names.joined))
        )
    return tuple(found)


class _Parameters:
    """`Names` of the parameters that are searched."""

    noun = "parameter"

    def __init__(self, parameters: Sequence[Parameter]) -> None:
        self.by_name = {parameter.name: (position, parameter) for position, parameter in enumerate(parameters)}
        self.atoms: dict[int, list[Check]] = {}
        self.joined: set[int] = set()
        first = next(iter(self.by_name), "lr")
        self.examples = f"such as {first}"
        value = next((p.values[0] for p in parameters if p.name == first and p.values), 1)
        self.comparison = f"{first} == {json.dumps(value)}"

    def begins(self, word: str) -> bool:
        return any(name == word or name.startswith(f"{word}.") for name in self.by_name)

    def ref(self, head: str, parts: list[str], position: int) -> Parameter:
        name = ".".join([head, *parts])
        if name not in self.by_name:
            hint = nearest(name, self.by_name) or f"; there are {', '.join(list(self.by_name)[:20])}"
            raise QueryError(f"no parameter of this search is called {name}{hint}", position=position)
        return self.by_name[name][1]

    def atom(self, name: str, check: Check) -> Check:
        self.atoms.setdefault(self.by_name[name][0], []).append(check)
        return check

    def join(self, *names: str) -> None:
        self.joined.update(self.by_name[name][0] for name in names)


def _compiled(node: Node, names: _Parameters) -> Check:
    match node:
        case And(left, right):
            return _and(_compiled(left, names), _compiled(right, names))
        case Or(left, right):
            return _not(_and(_not(_compiled(left, names)), _not(_compiled(right, names))))
        case Not(inner):
            return _not(_compiled(inner, names))
        case In(left, values):
            for literal in values:
                _check_possible(left, literal)
            return names.atom(left.ref.name, _one_of(left.ref.name, [literal.value for literal in values]))
        case Compare(left, sign, right):
            if isinstance(right, Literal):
                return names.atom(left.ref.name, _compared(left, sign, right))
            _check_comparable(left, sign, right)
            names.join(left.ref.name, right.ref.name)
            return _two(left.ref.name, sign, right.ref.name)


def _and(left: Check, right: Check) -> Check:
    def both(overlay: Overlay) -> Verdict:
        one = left(overlay)
        if one is False:
            return False
        other = right(overlay)
        return other if one is True or other is False else None

    return both


def _not(inner: Check) -> Check:
    def opposite(overlay: Overlay) -> Verdict:
        found = inner(overlay)
        return None if found is None else not found

    return opposite


def _one_of(name: str, allowed: Sequence[Any]) -> Check:
    takes_null = None in allowed

    def check(overlay: Overlay) -> Verdict:
        value = overlay.get(name, _ABSENT)
        if value is _ABSENT:
            return True if takes_null else None
        return any(_same(value, one) for one in allowed)

    return check


def _compared(left: Column, sign: str, right: Literal) -> Check:
    name, value = left.ref.name, right.value
    if sign == "~":
        if not _kinds(left.ref) & {"text"}:
            raise QueryError(f"{name} is never a text, which ~ needs", position=left.position)
        return _like(name, str(value))
    _check_possible(left, right, ordered=sign in _ORDER)
    if sign in _ORDER:
        compare = _ORDER[sign]

        def ordered(overlay: Overlay) -> Verdict:
            held = overlay.get(name, _ABSENT)
            return None if held is _ABSENT else _kind(held) == _kind(value) and compare(held, value)

        return ordered
    equal = _one_of(name, [value])
    if value is not None:
        return equal if sign == "==" else _not(equal)

    def is_null(overlay: Overlay) -> Verdict:
        return (overlay.get(name) is None) is (sign == "==")

    return is_null


def _two(name: str, sign: str, other: str) -> Check:
    def check(overlay: Overlay) -> Verdict:
        left, right = overlay.get(name, _ABSENT), overlay.get(other, _ABSENT)
        if left is _ABSENT or right is _ABSENT:
            return None
        if sign in _ORDER:
            return _kind(left) == _kind(right) and _kind(left) in ("number", "text") and _ORDER[sign](left, right)
        return _same(left, right) is (sign == "==")

    return check


def _like(name: str, pattern: str) -> Check:
    fits = like(pattern)

    def check(overlay: Overlay) -> Verdict:
        held = overlay.get(name, _ABSENT)
        return None if held is _ABSENT else isinstance(held, str) and fits(held)

    return check


# --- what can never be --------------------------------------------------------------------------------------------


def _check_possible(column: Column, literal: Literal, *, ordered: bool = False) -> None:
    """A constraint that compares with what the parameter never is does nothing: most likely it is misspelt."""
    parameter: Parameter = column.ref
    value, name, kinds = literal.value, parameter.name, _kinds(column.ref)
    if value is None:
        if "null" not in kinds and not parameter.when:
            raise QueryError(f"{name} is never null, and always set", position=literal.position)
        return
    if isinstance(value, float) and not math.isfinite(value):
        raise QueryError(f"{name} is never {value}", position=literal.position)
    kind = _kind(value)
    if ordered and kind not in ("number", "text"):
        raise QueryError(f"order is for numbers and texts, not for {json.dumps(value)}", position=literal.position)
    if kind not in kinds:
        raise QueryError(f"{name} is never a {kind}{_known(parameter, value)}", position=literal.position)
    if not ordered and not holds_value(parameter, value):
        raise QueryError(f"{name} is never {json.dumps(value)}{_known(parameter, value)}", position=literal.position)


def _check_comparable(left: Column, sign: str, right: Column) -> None:
    both = _kinds(left.ref) & _kinds(right.ref)
    if not (both & {"number", "text"} if sign in _ORDER else both):
        raise QueryError(f"{left.ref.name} and {right.ref.name} are never of one kind", position=left.position)


def _known(parameter: Parameter, value: Any) -> str:
    if parameter.range is not None:
        return f"; it is a number from {parameter.range.min:g} to {parameter.range.max:g}"
    values = choices(parameter) or ()
    hint = nearest(value, [one for one in values if isinstance(one, str)]) if isinstance(value, str) else ""
    more = ", ..." if len(values) > _SHOWN else ""
    return hint or f"; it is one of {', '.join(json.dumps(one) for one in values[:_SHOWN])}{more}"


def _kinds(parameter: Parameter) -> set[str]:
    return {"number"} if parameter.values is None else {_kind(value) for value in parameter.values}


def _kind(value: Any) -> str:
    if value is None:
        return "null"
    if isinstance(value, bool):
        return "truth value"
    if isinstance(value, str):
        return "text"
    if isinstance(value, int | float):
        return "number"
    return "object" if isinstance(value, Mapping) else "list"


def _same(one: Any, other: Any) -> bool:
    return bool(one == other) and _kind(one) == _kind(other)
