"""Regular expressions of users, matched in time that grows with the line alone.

Python's `re` can be made to take minutes by 30 characters, and cannot be stopped from the thread that it runs in. This
is the subset that an automaton can decide (RE2's): literals, classes, groups, alternatives, repetitions, `^`, `$`,
`\\b`, `(?i)`. No back-references and no look-around. A line costs one step a character, whatever the pattern: the
states that are possible are followed all at once, and each set of them that was met is remembered (as a DFA does).
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

MAX_STATES = 1000
"""Of one pattern, repetitions written out."""
LONGEST_LINE = 2000
_REMEMBERED = 4096
"""Steps kept for one pattern; then all are forgotten, so that no text can fill the memory."""

_START, _WORD, _OTHER, _END = range(4)
"""What stands beside a place in the line."""

_Accepts = Callable[[str], bool]


def _is_word(char: str) -> bool:
    return char.isalnum() or char == "_"


def _kind(char: str) -> int:
    return _WORD if _is_word(char) else _OTHER


_CLASSES: dict[str, _Accepts] = {"d": str.isdigit, "w": _is_word, "s": str.isspace}
_ESCAPES = {"n": "\n", "t": "\t", "r": "\r", "f": "\f", "v": "\v"}
_ASSERTIONS: dict[str, Callable[[int, int], bool]] = {
    "^": lambda before, _: before == _START,
    "$": lambda _, after: after == _END,
    "b": lambda before, after: (before == _WORD) != (after == _WORD),
    "B": lambda before, after: (before == _WORD) == (after == _WORD),
}
_ASSERTIONS |= {"A": _ASSERTIONS["^"], "z": _ASSERTIONS["$"]}


@dataclass(slots=True)
class _State:
    """One of three: takes a character, holds under a condition, or goes on in several ways. None of them: the end."""

    accepts: _Accepts | None = None
    holds: Callable[[int, int], bool] | None = None
    to: tuple[int, ...] = ()


class Pattern:
    """A compiled pattern. Not thread-safe. Raises ValueError with what is wrong and where."""

    def __init__(self, text: str) -> None:
        self.text = text
        states = _Compiler(text).compile()
        self._states, self._first = states
        self._steps: dict[tuple[frozenset[int], int, str], tuple[frozenset[int], bool]] = {}

    def __repr__(self) -> str:
        return f"Pattern({self.text!r})"

    def search(self, line: str) -> bool:
        """Whether the line (its first 2000 characters) has it anywhere."""
        known: frozenset[int] = frozenset()
        before = _START
        for char in line[:LONGEST_LINE]:
            step = self._steps.get((known, before, char))
            if step is None:
                step = self._step(known, before, char)
            known, found = step
            if found:
                return True
            before = _kind(char)
        return self._reached(known, before, _END)[1]

    def _step(self, known: frozenset[int], before: int, char: str) -> tuple[frozenset[int], bool]:
        reached, found = self._reached(known, before, _kind(char))
        after = frozenset(
            state.to[0] for state in map(self._states.__getitem__, reached) if state.accepts and state.accepts(char)
        )
        if len(self._steps) >= _REMEMBERED:
            self._steps.clear()
        self._steps[known, before, char] = after, found
        return after, found

    def _reached(self, known: frozenset[int], before: int, after: int) -> tuple[set[int], bool]:
        """All states that are possible at this place, a new start included, and whether the end is one of them."""
        reached: set[int] = set()
        todo = [self._first, *known]
        found = False
        while todo:
            number = todo.pop()
            if number in reached:
                continue
            reached.add(number)
            state = self._states[number]
            if state.accepts is not None:
                continue
            if state.holds is None and not state.to:
                found = True
            elif state.holds is None or state.holds(before, after):
                todo.extend(state.to)
        return reached, found


_Piece = tuple[int, list[int]]
"""(first state, states whose way on is still open)."""


class _Compiler:
    """Recursive descent over the pattern; Thompson's construction."""

    def __init__(self, text: str) -> None:
        self._text, self._at = text, 0
        self._states: list[_State] = []
        self._fold = False
        self._depth = 0

    def compile(self) -> tuple[list[_State], int]:
        if self._text.startswith("(?i)"):
            self._fold, self._at = True, 4
        first, ends = self._alternatives()
        if self._at < len(self._text):
            raise self._wrong("a ) without its (")
        self._close(ends, self._add(_State()))
        return self._states, first

    def _wrong(self, what: str) -> ValueError:
        return ValueError(f"{what}, at character {self._at + 1} of {self._text!r}")

    def _add(self, state: _State) -> int:
        if len(self._states) >= MAX_STATES:
            raise self._wrong(f"it repeats too much: more than {MAX_STATES} states")
        self._states.append(state)
        return len(self._states) - 1

    def _close(self, ends: list[int], to: int) -> None:
        for end in ends:
            self._states[end].to += (to,)

    def _peek(self) -> str:
        return self._text[self._at : self._at + 1]

    def _take(self) -> str:
        char = self._peek()
        self._at += 1
        return char

    # --- structure ---

    def _alternatives(self) -> _Piece:
        pieces = [self._sequence()]
        while self._peek() == "|":
            self._take()
            pieces.append(self._sequence())
        if len(pieces) == 1:
            return pieces[0]
        return self._add(_State(to=tuple(first for first, _ in pieces))), [end for _, ends in pieces for end in ends]

    def _sequence(self) -> _Piece:
        empty = self._add(_State())
        first, ends = empty, [empty]
        while self._peek() not in ("", "|", ")"):
            begin = self._at
            piece = self._repeated(begin)
            self._close(ends, piece[0])
            ends = piece[1]
        return first, ends

    def _repeated(self, begin: int) -> _Piece:
        piece = self._atom()
        times = self._times()
        while times is not None:
            piece = self._times_over(begin, piece, *times)
            if self._peek() == "?":
                self._take()  # greedy or not: whether there is a match is the same
            begin, times = begin, self._times()
            if times is not None:
                raise self._wrong("a repetition of a repetition: put the first into parentheses")
        return piece

    def _times(self) -> tuple[int, int | None] | None:
        char = self._peek()
        if char and char in "*+?":
            self._take()
            return {"*": (0, None), "+": (1, None), "?": (0, 1)}[char]
        if char != "{":
            return None
        inside, brace, _ = self._text[self._at + 1 :].partition("}")
        low, comma, high = inside.partition(",")
        if not brace or not low.isdecimal() or (high and not high.isdecimal()):
            return None  # an ordinary brace
        least, most = int(low), int(high) if high else None if comma else int(low)
        if least > MAX_STATES or (most is not None and (most > MAX_STATES or most < least)):
            raise self._wrong(f"a repetition from {least} to {most if most is not None else 'any number'}")
        self._at += len(inside) + 2
        return least, most

    def _times_over(self, begin: int, piece: _Piece, least: int, most: int | None) -> _Piece:
        """The piece, as often as asked for: it is compiled again for each further time."""
        after = self._at

        def again() -> _Piece:
            self._at = begin
            made = self._atom()
            self._at = after
            return made

        first, ends = self._many(piece, least, most, again)
        return first, ends

    def _many(self, piece: _Piece, least: int, most: int | None, again: Callable[[], _Piece]) -> _Piece:
        start = self._add(_State())
        open_ends, fresh = [start], True

        def next_piece() -> _Piece:
            nonlocal fresh
            made, fresh = (piece if fresh else again()), False
            return made

        for _ in range(least):
            first, ends = next_piece()
            self._close(open_ends, first)
            open_ends = ends
        if most is None:
            first, ends = next_piece()
            loop = self._add(_State(to=(first,)))
            self._close(open_ends, loop)
            self._close(ends, loop)
            return start, [loop]
        done: list[int] = []
        for _ in range(most - least):
            first, ends = next_piece()
            choice = self._add(_State(to=(first,)))
            self._close(open_ends, choice)
            done.append(choice)
            open_ends = ends
        return start, [*done, *open_ends]

    # --- what takes a character ---

    def _atom(self) -> _Piece:
        char = self._take()
        if char == "(":
            return self._group()
        if char == "[":
            return self._one(self._set())
        if char == ".":
            return self._one(lambda c: c != "\n")
        if char in "^$":
            return self._assertion(char)
        if char in "*+?":
            raise self._wrong(f"nothing before {char} to repeat")
        if char == "\\":
            escaped = self._take()
            if escaped in _ASSERTIONS and escaped in "bBAz":
                return self._assertion(escaped)
            return self._one(self._escape(escaped))
        return self._one(self._literal(char))

    def _group(self) -> _Piece:
        self._depth += 1
        if self._depth > 50:
            raise self._wrong("groups nested more than 50 deep")
        if self._peek() == "?":
            rest = self._text[self._at :]
            if rest.startswith("?:"):
                self._at += 2
            elif rest.startswith("?P<") and ">" in rest:
                self._at += rest.index(">") + 1
            else:
                raise self._wrong("look-around and flags inside are not known; (?i) may stand at the beginning")
        piece = self._alternatives()
        if self._take() != ")":
            raise self._wrong("a ( without its )")
        self._depth -= 1
        return piece

    def _one(self, accepts: _Accepts) -> _Piece:
        number = self._add(_State(accepts=accepts))
        return number, [number]

    def _assertion(self, name: str) -> _Piece:
        number = self._add(_State(holds=_ASSERTIONS[name]))
        return number, [number]

    def _literal(self, char: str) -> _Accepts:
        if self._fold:
            folded = char.casefold()
            return lambda c: c.casefold() == folded
        return lambda c: c == char

    def _escape(self, char: str) -> _Accepts:
        if char == "":
            raise self._wrong("a \\ at the end")
        if char.lower() in _CLASSES:
            accepts = _CLASSES[char.lower()]
            return accepts if char.islower() else lambda c: not accepts(c)
        if char in _ESCAPES:
            return self._literal(_ESCAPES[char])
        if char.isalnum():
            what = "back-references are not known" if char.isdigit() else f"\\{char} is not known"
            raise self._wrong(what)
        return self._literal(char)

    def _set(self) -> _Accepts:
        negated = self._peek() == "^"
        if negated:
            self._take()
        members: list[_Accepts] = []
        while True:
            char = self._take()
            if char == "":
                raise self._wrong("a [ without its ]")
            if char == "]" and members:
                break
            if char == "\\":
                escaped = self._take()
                if escaped.lower() in _CLASSES:
                    members.append(self._escape(escaped))
                    continue
                if escaped == "" or (escaped.isalnum() and escaped not in _ESCAPES):
                    raise self._wrong(f"\\{escaped} is not known inside [ ]")
                char = _ESCAPES.get(escaped, escaped)
            if self._peek() == "-" and self._text[self._at + 1 : self._at + 2] not in ("", "]"):
                self._take()
                members.append(self._span(char, self._take()))
            else:
                members.append(self._literal(char))

        def accepts(c: str) -> bool:
            return any(member(c) for member in members) is not negated

        return accepts

    def _span(self, low: str, high: str) -> _Accepts:
        if high == "\\":
            high = self._take()
        if low > high:
            raise self._wrong(f"a range from {low} back to {high}")
        if self._fold:
            return lambda c: low <= c <= high or low <= c.swapcase() <= high
        return lambda c: low <= c <= high
