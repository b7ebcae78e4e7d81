"""The filter language: text to a tree. Own tokens, a Pratt parser, no eval; pure.

    state == "Failed" and (params.batch_size >= 8 or metrics["val/dice"].best > 0.7) and not name ~ "unet*"

Binding, loosest first: or, and, not, comparison. Length, depth and number of parts are limited, so that no text costs
more than a few milliseconds.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import NamedTuple

from orkhaven.hub.query.fields import FIELDS, METRIC_PARTS, REPEAT_PARTS, Group, Ref

MAX_LENGTH = 2000
"""Characters of a filter."""
MAX_DEPTH = 32
MAX_NODES = 200
"""Comparisons and values in one filter."""

Scalar = str | float | int | bool | None


class QueryError(ValueError):
    """The text cannot be read. `position` counts characters from 0."""

    def __init__(self, message: str, *, position: int) -> None:
        super().__init__(f"{message} (at character {position + 1})")
        self.position = position


@dataclass(frozen=True, slots=True)
class Literal:
    value: Scalar
    position: int


@dataclass(frozen=True, slots=True)
class Column:
    ref: Ref
    position: int


@dataclass(frozen=True, slots=True)
class Compare:
    left: Column
    operator: str
    right: Literal | Column


@dataclass(frozen=True, slots=True)
class In:
    left: Column
    values: tuple[Literal, ...]


@dataclass(frozen=True, slots=True)
class Not:
    inner: Node


@dataclass(frozen=True, slots=True)
class And:
    left: Node
    right: Node


@dataclass(frozen=True, slots=True)
class Or:
    left: Node
    right: Node


Node = Compare | In | Not | And | Or

_TOKENS = re.compile(
    r"""(?P<space>\s+)
    |(?P<number>[-+]?\d+(?:\.\d+)?(?:[eE][-+]?\d+)?(?![A-Za-z0-9_]))
    |(?P<string>"(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*')
    |(?P<operator>==|!=|<=|>=|!~|<|>|~)
    |(?P<mark>[()\[\],.])
    |(?P<word>-?[^\W\d][\w-]*)""",
    re.VERBOSE | re.DOTALL,
)
_WORDS: dict[str, Scalar] = {
    "true": True,
    "false": False,
    "null": None,
    "NaN": float("nan"),
    "Infinity": float("inf"),
    "-Infinity": float("-inf"),
}
_KEYWORDS = {"and", "or", "not", "in"}
_MISTAKES = {
    "=": "compare with ==",
    "&": 'write "and"',
    "|": 'write "or"',
    "!": 'write "not"',
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r"}


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def parse_filter(text: str) -> Node | None:
    """None for an empty text: everything. Raises QueryError."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"a filter has at most {MAX_LENGTH} characters, not {len(text)}", position=MAX_LENGTH)
    parser = _Parser(_tokens(text))
    if parser.peek.kind == "end":
        return None
    node = parser.expression(0, depth=0)
    parser.expect_end('"and", "or" or the end')
    return node


def parse_ref(text: str) -> Ref:
    """One column's name. Raises QueryError."""
    refs = parse_refs(text)
    if len(refs) != 1:
        raise QueryError(f"one column's name, not {len(refs)}", position=0)
    return refs[0]


def parse_refs(text: str) -> list[Ref]:
    """Columns' names, separated by commas. Raises QueryError."""
    return [ref for ref, _ in _list_of(text, signed=False)]


def parse_sort(text: str) -> list[tuple[Ref, bool]]:
    """Columns' names, separated by commas, and whether each is wanted descending: `-` before it. Raises QueryError."""
    return _list_of(text, signed=True)


def _list_of(text: str, *, signed: bool) -> list[tuple[Ref, bool]]:
    if len(text) > MAX_LENGTH:
        raise QueryError(f"a list of columns has at most {MAX_LENGTH} characters", position=MAX_LENGTH)
    parser = _Parser(_tokens(text))
    found: list[tuple[Ref, bool]] = []
    while parser.peek.kind != "end":
        if found:
            parser.expect("mark", ",", "a comma")
        token = parser.peek
        descending = signed and token.kind == "word" and token.text.startswith("-")
        if descending:
            parser.tokens[parser.index] = _Token("word", token.text[1:], token.position + 1)
        found.append((parser.column().ref, descending))
    return found


def nearest(name: str, known: Iterable[str]) -> str:
    """A hint for whoever mistyped: "; did you mean ...?", or nothing."""
    known = list(known)
    by_lower = {one.lower(): one for one in reversed(known)}
    close = difflib.get_close_matches(name.lower(), by_lower, n=3, cutoff=0.6)
    return f"; did you mean {' or '.join(by_lower[one] for one in close)}?" if close else ""


def _tokens(text: str) -> list[_Token]:
    tokens: list[_Token] = []
    position = 0
    while position < len(text):
        match = _TOKENS.match(text, position)
        if match is None:
            character = text[position]
            if character in "\"'":
                raise QueryError(f"the text that begins here has no closing {character}", position=position)
            hint = _MISTAKES.get(character)
            raise QueryError(f"{character!r} means nothing here" + (f"; {hint}" if hint else ""), position=position)
        kind = match.lastgroup or ""
        if kind != "space":
            tokens.append(_Token(kind, match[0], position))
        position = match.end()
    tokens.append(_Token("end", "", len(text)))
    return tokens


class _Parser:
    def __init__(self, tokens: list[_Token]) -> None:
        self.tokens = tokens
        self.index = 0
        self._nodes = 0

    @property
    def peek(self) -> _Token:
        return self.tokens[self.index]

    def next(self) -> _Token:
        token = self.tokens[self.index]
        if token.kind != "end":
            self.index += 1
        return token

    def expect(self, kind: str, text: str, what: str) -> _Token:
        token = self.peek
        if (token.kind, token.text) != (kind, text):
            raise self._unexpected(what)
        return self.next()

    def expect_end(self, what: str) -> None:
        if self.peek.kind != "end":
            raise self._unexpected(what)

    def expression(self, power: int, *, depth: int) -> Node:
        """Everything that binds tighter than `power`: 1 is or, 2 is and."""
        if depth > MAX_DEPTH:
            raise QueryError(f"at most {MAX_DEPTH} levels of parentheses and nots", position=self.peek.position)
        left = self._operand(depth)
        while True:
            token = self.peek
            binding = {"or": 1, "and": 2}.get(token.text, 0) if token.kind == "word" else 0
            if binding <= power:
                return left
            self.next()
            right = self.expression(binding, depth=depth)
            left = Or(left, right) if binding == 1 else And(left, right)

    def _operand(self, depth: int) -> Node:
        token = self.peek
        if token == ("mark", "(", token.position):
            self.next()
            inner = self.expression(0, depth=depth + 1)
            self.expect("mark", ")", '")"')
            return inner
        if token.kind == "word" and token.text == "not":
            self.next()
            # Tighter than `and`, looser than a comparison.
            return Not(self.expression(3, depth=depth + 1))
        return self._comparison()

    def _comparison(self) -> Node:
        self._count()
        first = self.peek
        if first.kind in ("number", "string") or first.text in _WORDS:
            raise QueryError(
                f'a comparison begins with a column, such as state == "Failed"; not with {first.text[:40]}',
                position=first.position,
            )
        left = self.column()
        token = self.peek
        if token.kind == "operator":
            self.next()
            right = self._value()
            if token.text in ("~", "!~"):
                if not isinstance(right, Literal) or not isinstance(right.value, str):
                    raise QueryError(f'{token.text} needs a quoted text, such as "unet*"', position=right.position)
                compare = Compare(left, "~", right)
                return compare if token.text == "~" else Not(compare)
            if isinstance(right, Literal) and right.value is None and token.text not in ("==", "!="):
                raise QueryError("null is compared by == and != only", position=right.position)
            return Compare(left, token.text, right)
        if token.kind == "word" and token.text == "not":
            self.next()
            self.expect("word", "in", '"in"')
            return Not(self._in(left))
        if token.kind == "word" and token.text == "in":
            self.next()
            return self._in(left)
        raise self._unexpected(f"a comparison (==, !=, <, <=, >, >=, ~, in) after {left.ref.key}")

    def _in(self, left: Column) -> In:
        self.expect("mark", "(", '"(" and values')
        values: list[Literal] = []
        while True:
            value = self._value()
            if isinstance(value, Column):
                raise QueryError("in takes values, not columns; quote texts", position=value.position)
            values.append(value)
            self._count()
            if (self.peek.kind, self.peek.text) != ("mark", ","):
                break
            self.next()
        self.expect("mark", ")", '"," or ")"')
        return In(left, tuple(values))

    def _value(self) -> Literal | Column:
        token = self.peek
        if token.kind == "number":
            self.next()
            is_whole = re.fullmatch(r"[-+]?\d{1,30}", token.text) is not None
            return Literal(int(token.text) if is_whole else float(token.text), token.position)
        if token.kind == "string":
            self.next()
            return Literal(_unquoted(token.text), token.position)
        if token.kind == "word" and token.text in _WORDS:
            self.next()
            return Literal(_WORDS[token.text], token.position)
        if token.kind == "word" and token.text not in _KEYWORDS:
            if token.text not in FIELDS and token.text not in ("params", "metrics", "repeats"):
                raise QueryError(
                    f'{token.text} is no column; a text stands in quotes: "{token.text}"', position=token.position
                )
            return self.column()
        raise self._unexpected("a value: a number, a quoted text, true, false, null, or a column")

    def column(self) -> Column:
        """A reference."""
        first = self.peek
        if first.kind != "word" or first.text in _KEYWORDS or first.text in _WORDS:
            raise self._unexpected('a column, such as state, params.lr or metrics["loss"].last')
        self.next()
        parts: list[str] = []
        while self.peek.kind == "mark" and self.peek.text in ".[":
            if self.next().text == "[":
                token = self.next()
                if token.kind != "string":
                    raise QueryError('a quoted name, as in metrics["val/dice"]', position=token.position)
                parts.append(_unquoted(token.text))
                self.expect("mark", "]", '"]"')
            else:
                token = self.next()
                if token.kind not in ("word", "number"):
                    raise QueryError(
                        'a name after the dot; one with other characters stands in brackets: params["a b"]',
                        position=token.position,
                    )
                parts.append(token.text)
        return Column(_ref(first, parts), first.position)

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise QueryError(f"at most {MAX_NODES} comparisons and values in one filter", position=self.peek.position)

    def _unexpected(self, what: str) -> QueryError:
        token = self.peek
        found = "the end" if token.kind == "end" else token.text[:40]
        return QueryError(f"expected {what}, found {found}", position=token.position)


def _ref(first: _Token, parts: list[str]) -> Ref:
    head = first.text
    if head == "params":
        if not parts:
            raise QueryError("say which parameter: params.NAME", position=first.position)
        return Ref(Group.PARAM, ".".join(parts))
    if head == "metrics":
        if len(parts) < 2 or parts[-1] not in METRIC_PARTS:
            hint = nearest(parts[-1], METRIC_PARTS) if len(parts) >= 2 else ""
            raise QueryError(
                f'say which number of which metric: metrics["NAME"].{" or .".join(METRIC_PARTS)}{hint}',
                position=first.position,
            )
        return Ref(Group.METRIC, ".".join(parts[:-1]), parts[-1])
    if head == "repeats":
        if len(parts) != 1 or parts[0] not in REPEAT_PARTS:
            raise QueryError("repeats has .n, .mean and .std", position=first.position)
        return Ref(Group.REPEATS, parts[0])
    if head not in FIELDS:
        known = [*FIELDS, "params", "metrics", "repeats"]
        raise QueryError(
            f"there is no column {head}{nearest(head, known) or '; columns are ' + ', '.join(known)}"
            "; a parameter is params.NAME",
            position=first.position,
        )
    if parts:
        raise QueryError(f"{head} has no parts; write {head} alone", position=first.position)
    return Ref(Group.FIELD, head)


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", lambda match: _ESCAPES.get(match[1], match[1]), text[1:-1], flags=re.DOTALL)
