"""A POST's body as metric lines: parsed and checked line by line, so that a bad line never takes a good one with it.

Pure; knows neither HTTP nor the store.
"""

from __future__ import annotations

import math
import re
from dataclasses import dataclass
from typing import Any, NamedTuple

from pydantic_core import from_json

from orkrun import contract

MAX_NAME = 128
"""Characters of a metric name, as in spec.objective.metric."""
MAX_INT32 = 2**31 - 1
MAX_STEP = 2**53
"""Whole numbers that every JSON reader keeps exactly."""
MAX_TIME = 253_402_300_799
"""9999-12-31T23:59:59Z; later times have no date."""

_NAME = re.compile(r"\w[\w ./:@%+=,()\[\]-]*")
_KNOWN_NAMES_LIMIT = 50_000
_FLOATS = {float}
_known_names: set[str] = set()
"""Names that passed before. Only a cache: it is emptied when it is full."""


class Line(NamedTuple):
    """One report. A value of None is NaN: SQLite has no other way to keep it, so PostgreSQL does the same."""

    number: int
    """Where it stood in the body, from 1."""
    attempt: int
    seq: int
    step: int
    time: float
    total_steps: int | None
    metrics: tuple[tuple[str, float | None], ...]


class Refusal(NamedTuple):
    """What was not taken: a whole line, or one field of it."""

    line: int
    field: str
    message: str

    @property
    def where(self) -> str:
        return f"line {self.line}, {self.field}" if self.field else f"line {self.line}"


@dataclass(frozen=True, slots=True)
class Parsed:
    lines: tuple[Line, ...]
    refusals: tuple[Refusal, ...]

    @property
    def points(self) -> int:
        return sum(len(line.metrics) for line in self.lines)


class _BadLine(Exception):
    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


def parse(body: bytes) -> Parsed:
    """Never raises: what cannot be read is in `refusals`. Empty lines are passed over."""
    lines: list[Line] = []
    refusals: list[Refusal] = []
    for number, raw in enumerate(body.split(b"\n"), 1):
        if not raw or raw.isspace():
            continue
        try:
            lines.append(_line(number, raw, refusals))
        except _BadLine as bad:
            refusals.append(Refusal(number, bad.field, bad.message))
    return Parsed(tuple(lines), tuple(refusals))


def _line(number: int, raw: bytes, refusals: list[Refusal]) -> Line:
    try:
        data = from_json(raw)
    except ValueError as error:
        raise _BadLine("", f"not JSON: {error}") from None
    if not isinstance(data, dict):
        raise _BadLine("", f"a metric line is a JSON object, not {_kind(data)}")
    attempt = _integer(data, "attempt", 1, MAX_INT32)
    seq = _integer(data, "seq", 1, MAX_INT32)
    step = _integer(data, "step", 0, MAX_STEP)
    time = data.get("time")
    if isinstance(time, bool) or not isinstance(time, int | float):
        raise _BadLine("time", f"seconds since the epoch, a number, not {_kind(time)}")
    if not 0 <= time <= MAX_TIME:
        raise _BadLine("time", f"seconds since the epoch, from 0 to {MAX_TIME}, not {str(time)[:40]}")
    total = None if data.get("totalSteps") is None else _integer(data, "totalSteps", 0, MAX_STEP)
    metrics = data.get("metrics")
    if not isinstance(metrics, dict):
        raise _BadLine("metrics", f"an object of name and number, not {_kind(metrics)}")
    if _is_usual(metrics):
        return Line(number, attempt, seq, step, float(time), total, tuple(metrics.items()))
    points: list[tuple[str, float | None]] = []
    for name, value in metrics.items():
        if name not in _known_names and (complaint := _name_complaint(name)) is not None:
            refusals.append(Refusal(number, f"metrics[{name[: MAX_NAME + 1]!r}]", complaint))
        elif type(value) is float:
            points.append((name, None if value != value else value))
        else:
            try:
                decoded = contract.decode_number(value)
            except (TypeError, ValueError, OverflowError):
                message = f'a metric is a number, "NaN", "Infinity" or "-Infinity", not {_kind(value)}'
                refusals.append(Refusal(number, f"metrics[{name!r}]", message))
            else:
                points.append((name, None if math.isnan(decoded) else decoded))
    return Line(number, attempt, seq, step, float(time), total, tuple(points))


def _is_usual(metrics: dict[str, Any]) -> bool:
    """Names that passed before and floats without a NaN: nearly every line, told without a step of Python per point."""
    values = metrics.values()
    # A sum with NaN in it is NaN; so is one of opposite infinities, which are then looked at one by one.
    return _known_names.issuperset(metrics) and set(map(type, values)) == _FLOATS and not math.isnan(sum(values))


def _integer(data: dict[str, Any], field: str, low: int, high: int) -> int:
    value = data.get(field)
    if type(value) is float and value.is_integer():
        value = int(value)
    if type(value) is not int:
        raise _BadLine(field, f"a whole number from {low} to {high}, not {_kind(value)}")
    if not low <= value <= high:
        raise _BadLine(field, f"a whole number from {low} to {high}, not {str(value)[:40]}")
    return value


def _name_complaint(name: str) -> str | None:
    if len(name) > MAX_NAME:
        return f"a metric name has at most {MAX_NAME} characters, not {len(name)}"
    if _NAME.fullmatch(name) is None or name.endswith(" "):
        return (
            "a metric name is letters, digits, spaces and _ . - / : @ % + = , ( ) [ ], the first a letter, digit or _"
        )
    if any(part in ("", ".", "..") for part in name.split("/")):
        return "a metric name is part of a URL: no empty part, '.' or '..' between slashes"
    if len(_known_names) >= _KNOWN_NAMES_LIMIT:
        _known_names.clear()
    _known_names.add(name)
    return None


def _kind(value: Any) -> str:
    """The value as a reader of an error message wants to see it."""
    if value is None:
        return "nothing"
    if isinstance(value, dict | list):
        return "an object" if isinstance(value, dict) else "a list"
    text = repr(value)
    return text if len(text) <= 60 else f"{text[:57]}..."
