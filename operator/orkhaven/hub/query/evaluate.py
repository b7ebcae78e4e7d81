"""A filter's tree against a table: one pass over a column per comparison. Pure.

What is missing is equal to null and to nothing else: `==` and order are false for it, `!=` is true. A text is never
equal to a number, nor true to 1. NaN is equal to NaN here, and neither smaller nor larger than anything.
"""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from typing import Any

from orkhaven.api.expressions import And, Column, Compare, In, Literal, Node, Not, Or, QueryError, like, nearest
from orkhaven.hub.query.fields import FIELDS, Group, Kind, Ref
from orkhaven.hub.query.table import Table

Mask = list[bool]

_ORDER: dict[str, Callable[[Any, Any], bool]] = {
    "<": operator.lt,
    "<=": operator.le,
    ">": operator.gt,
    ">=": operator.ge,
}
_DATE = re.compile(r"\d{4}(-\d{2}(-\d{2}(T\d{2}(:\d{2}(:\d{2}Z?)?)?)?)?)?")


def evaluate(node: Node, table: Table) -> Mask:
    """Which rows are meant. Raises QueryError for a column that the table has not, or a value that cannot be."""
    match node:
        case And(left, right):
            return [a and b for a, b in zip(evaluate(left, table), evaluate(right, table), strict=True)]
        case Or(left, right):
            return [a or b for a, b in zip(evaluate(left, table), evaluate(right, table), strict=True)]
        case Not(inner):
            return [not one for one in evaluate(inner, table)]
        case In(left, values):
            known = column_of(left, table)
            masks = [_equals(known, _checked(left, literal)) for literal in values]
            return [any(row) for row in zip(*masks, strict=True)]
        case Compare(left, sign, right):
            return _compare(left, sign, right, table)


def check_known(ref: Ref, table: Table, *, position: int = 0) -> None:
    """Raises QueryError where no run has such a parameter or metric. An empty table may yet get it."""
    if table.knows(ref) or not len(table):
        return
    if ref.group is Group.PARAM:
        known, what = table.params, "no run here has a parameter"
    else:
        known, what = table.metrics, "no run here has reported a metric"
    hint = nearest(ref.name, known) or (f"; there are {', '.join(known[:20])}" if known else "")
    raise QueryError(f"{what} {ref.name!r}{hint}", position=position)


def column_of(column: Column, table: Table) -> list[Any]:
    check_known(column.ref, table, position=column.position)
    return table.column(column.ref)


def _compare(left: Column, sign: str, right: Literal | Column, table: Table) -> Mask:
    values = column_of(left, table)
    if isinstance(right, Column):
        others = column_of(right, table)
        if sign in _ORDER:
            compare = _ORDER[sign]
            return [_comparable(a, b) and compare(a, b) for a, b in zip(values, others, strict=True)]
        wanted = sign == "=="
        return [_same(a, b) is wanted for a, b in zip(values, others, strict=True)]
    if sign == "~":
        return _matches(values, str(right.value))
    literal = _checked(left, right)
    if sign == "==":
        return _equals(values, literal)
    if sign == "!=":
        return [not one for one in _equals(values, literal)]
    return _ordered(values, sign, literal)


def _equals(values: list[Any], literal: Any) -> Mask:
    if literal is None:
        return [value is None for value in values]
    if isinstance(literal, bool):
        return [value is literal for value in values]
    if isinstance(literal, str):
        return [value == literal for value in values]
    if literal != literal:
        return [isinstance(value, float) and value != value for value in values]
    # The comparison comes first: it is almost always false, and the type is then not looked at.
    return [value == literal and value is not True and value is not False for value in values]


def _ordered(values: list[Any], sign: str, literal: Any) -> Mask:
    if isinstance(literal, str):
        compare = _ORDER[sign]
        return [isinstance(value, str) and compare(value, literal) for value in values]
    if isinstance(literal, bool) or literal != literal:
        return [False] * len(values)
    numbers = [value if type(value) is float or type(value) is int else float("nan") for value in values]
    # Written out: a call per row would take three times as long.
    match sign:
        case "<":
            return [number < literal for number in numbers]
        case "<=":
            return [number <= literal for number in numbers]
        case ">":
            return [number > literal for number in numbers]
    return [number >= literal for number in numbers]


def _matches(values: list[Any], pattern: str) -> Mask:
    fits = like(pattern)
    return [isinstance(value, str) and fits(value) for value in values]


def _checked(column: Column, literal: Literal) -> Any:
    """The value, if the column can have it at all. Raises QueryError."""
    ref, value = column.ref, literal.value
    if ref.kind is Kind.JSON or value is None:
        return value
    if ref.kind is Kind.NUMBER:
        if isinstance(value, str | bool):
            raise QueryError(f"{ref.key} is a number; compare it with one, without quotes", position=literal.position)
        return value
    if not isinstance(value, str):
        raise QueryError(f'{ref.key} is a text; compare it with one in quotes: "{value}"', position=literal.position)
    choices = FIELDS[ref.name].choices
    if choices and value not in choices:
        hint = nearest(value, choices) or f"; it is one of {', '.join(choices)}"
        raise QueryError(f"{ref.key} is never {value!r}{hint}", position=literal.position)
    if ref.kind is Kind.TIME and _DATE.fullmatch(value) is None:
        raise QueryError(
            f"{ref.key} is a time in UTC, such as 2026-09-01 or 2026-09-01T10:00:00Z", position=literal.position
        )
    return value


def _comparable(a: Any, b: Any) -> bool:
    if isinstance(a, str) or isinstance(b, str):
        return isinstance(a, str) and isinstance(b, str)
    return type(a) in (int, float) and type(b) in (int, float)


def _same(a: Any, b: Any) -> bool:
    if isinstance(a, bool) or isinstance(b, bool):
        return a is b
    return bool(a == b) or (a != a and b != b)
