"""The language of conditions, in the hub's filters and in a Sweep's constraints: text to a tree. Own tokens, a Pratt
parser, no eval; pure.

    state == "Failed" and (params.batch_size >= 8 or metrics["val/dice"].best > 0.7) and not name ~ "unet*"
    model.encoder != "resnet50" || batch_size <= 16

Which names there are is the business of a `Names`; everything else is the same in both places. `&&`, `||` and `!(...)`
say what and, or and not say, and `in` takes round brackets as well as square ones, for those who write CEL. Binding,
loosest first: or, and, not, comparison. Length, depth and number of parts are limited, so that no text costs more than
a few milliseconds.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, NamedTuple, Protocol

MAX_LENGTH = 2000
"""Characters of one text."""
MAX_DEPTH = 32
MAX_NODES = 200
"""Comparisons and values in one text."""

Scalar = str | float | int | bool | None


class QueryError(ValueError):
    """The text cannot be read. `position` counts characters from 0."""

    def __init__(self, message: str, *, position: int) -> None:
        super().__init__(f"{message} (at character {position + 1})")
        self.position = position


class Names(Protocol):
    """What can be compared in one place."""

    noun: str
    """What one is called there: "column"."""
    examples: str
    """For whoever wrote none: "such as state or params.lr"."""
    comparison: str
    """A whole one: 'state == "Failed"'."""

    def begins(self, word: str) -> bool:
        """Whether a name may begin with this word."""

    def ref(self, head: str, parts: list[str], position: int) -> Any:
        """The name that was written as head.part.part. Raises QueryError where there is none such."""


@dataclass(frozen=True, slots=True)
class Literal:
    value: Scalar
    position: int


@dataclass(frozen=True, slots=True)
class Column:
    ref: Any
    """What `Names.ref` made of it."""
    text: str
    """As it was written, for messages."""
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
    |(?P<operator>==|!=|<=|>=|!~|&&|\|\||<|>|~|!)
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
_BINDINGS = {"or": 1, "||": 1, "and": 2, "&&": 2}
_CLOSING = {"(": ")", "[": "]"}
_MISTAKES = {
    "=": "compare with ==",
    "&": 'write "and"',
    "|": 'write "or"',
}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "b": "\b", "f": "\f"}
_ESCAPE = re.compile(r"\\(?:u([0-9a-fA-F]{4})|(.))", re.DOTALL)


class _Token(NamedTuple):
    kind: str
    text: str
    position: int


def parse(text: str, names: Names, *, what: str) -> Node | None:
    """None for an empty text. `what` the text is, for messages: "a filter". Raises QueryError."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"{what} has at most {MAX_LENGTH} characters, not {len(text)}", position=MAX_LENGTH)
    parser = _Parser(text, names)
    if parser.peek.kind == "end":
        return None
    node = parser.expression(0, depth=0)
    parser.expect_end('"and", "or" or the end')
    return node


def parse_names(text: str, names: Names, *, signed: bool) -> list[tuple[Any, bool]]:
    """Names, separated by commas, and whether each has a `-` before it, which only `signed` takes. Raises
    QueryError."""
    if len(text) > MAX_LENGTH:
        raise QueryError(f"a list of {names.noun}s has at most {MAX_LENGTH} characters", position=MAX_LENGTH)
    parser = _Parser(text, names)
    found: list[tuple[Any, bool]] = []
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


def like(pattern: str) -> Callable[[str], bool]:
    """What `~` means: contains, whatever the case; with a `*` the pattern has to be the whole text. Never slower than
    the text is long: the parts between the stars are looked for one after the other.
    """
    wanted = pattern.lower()
    if "*" not in wanted:
        return lambda text: wanted in text.lower()
    first, *middle, last = wanted.split("*")

    def fits(text: str) -> bool:
        text = text.lower()
        if len(text) < len(first) + len(last) or not text.startswith(first) or not text.endswith(last):
            return False
        position, end = len(first), len(text) - len(last)
        for part in middle:
            found = text.find(part, position, end)
            if found < 0:
                return False
            position = found + len(part)
        return True

    return fits


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
    def __init__(self, text: str, names: Names) -> None:
        self.text = text
        self.tokens = _tokens(text)
        self.names = names
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
            binding = _BINDINGS.get(token.text, 0) if token.kind in ("word", "operator") else 0
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
        if token.kind == "operator" and token.text == "!":
            self.next()
            if self.peek != ("mark", "(", self.peek.position):
                # In CEL it would belong to the name alone.
                raise QueryError('"!" stands before "(", as in !(a == 1); or write "not"', position=token.position)
            return Not(self._operand(depth + 1))
        return self._comparison()

    def _comparison(self) -> Node:
        self._count()
        first = self.peek
        if first.kind in ("number", "string") or first.text in _WORDS:
            raise QueryError(
                f"a comparison begins with a {self.names.noun}, such as {self.names.comparison}; "
                f"not with {first.text[:40]}",
                position=first.position,
            )
        left = self.column()
        token = self.peek
        if token.kind == "operator" and token.text not in _BINDINGS and token.text != "!":
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
        raise self._unexpected(f"a comparison (==, !=, <, <=, >, >=, ~, in) after {left.text}")

    def _in(self, left: Column) -> In:
        bracket = self.peek
        if bracket.kind != "mark" or bracket.text not in _CLOSING:
            raise self._unexpected('"(" and values')
        self.next()
        values: list[Literal] = []
        while True:
            value = self._value()
            if isinstance(value, Column):
                raise QueryError(f"in takes values, not {self.names.noun}s; quote texts", position=value.position)
            values.append(value)
            self._count()
            if (self.peek.kind, self.peek.text) != ("mark", ","):
                break
            self.next()
        self.expect("mark", _CLOSING[bracket.text], f'"," or "{_CLOSING[bracket.text]}"')
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
            if not self.names.begins(token.text):
                raise QueryError(
                    f'{token.text} is no {self.names.noun}; a text stands in quotes: "{token.text}"',
                    position=token.position,
                )
            return self.column()
        raise self._unexpected(f"a value: a number, a quoted text, true, false, null, or a {self.names.noun}")

    def column(self) -> Column:
        """A reference."""
        first = self.peek
        if first.kind != "word" or first.text in _KEYWORDS or first.text in _WORDS:
            raise self._unexpected(f"a {self.names.noun}, {self.names.examples}")
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
        last = self.tokens[self.index - 1]
        written = self.text[first.position : last.position + len(last.text)]
        return Column(self.names.ref(first.text, parts, first.position), written, first.position)

    def _count(self) -> None:
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise QueryError(f"at most {MAX_NODES} comparisons and values in one text", position=self.peek.position)

    def _unexpected(self, what: str) -> QueryError:
        token = self.peek
        found = "the end" if token.kind == "end" else token.text[:40]
        return QueryError(f"expected {what}, found {found}", position=token.position)


def _unquoted(text: str) -> str:
    """Escapes are JSON's; before any other character a backslash only keeps it."""
    return _ESCAPE.sub(_escaped, text[1:-1])


def _escaped(match: re.Match[str]) -> str:
    return chr(int(match[1], 16)) if match[1] else _ESCAPES.get(match[2], match[2])
