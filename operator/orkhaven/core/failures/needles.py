"""Long alternatives of words, searched for only where they can stand.

`re` tries every alternative at every character: a few hundred of them in 4 KiB take milliseconds. Most alternatives
have a word that each of their matches contains, and whether a text has a word is nearly free. Owns how that word is
found; the answer is the one that `re` would give.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

_FLAGS = re.MULTILINE | re.IGNORECASE
# What `re` takes for an i or an s when cases do not count, and str.lower() does not.
_ALIKE = str.maketrans({"\u0130": "i", "\u0131": "i", "\u017f": "s"})
_HEAD = 4
_GROUP = re.compile(r"\?(?:-?[a-z]+)?:")
"""How a group that takes part in the match begins, besides the plain one. Others look around."""


@dataclass(frozen=True, slots=True)
class Branch:
    """One alternative."""

    pattern: re.Pattern[str]
    needles: tuple[str, ...]
    """Every match has one of these, folded; none: it has to be tried."""

    def may_match(self, folded: str) -> bool:
        return not self.needles or any(map(folded.__contains__, self.needles))


@dataclass(frozen=True, slots=True)
class Words:
    """A regular expression, its alternatives apart. Cases do not count, `^` and `$` are those of lines."""

    branches: tuple[Branch, ...]
    heads: frozenset[str]
    """What the needles of all of them begin with; none: one of them has none, or a short one."""

    def search(self, text: str) -> re.Match[str] | None:
        """The match that begins first; of several that begin there that of the first alternative."""
        folded = fold(text)
        if self.heads and self.heads.isdisjoint(_pieces(folded)):
            return None
        best: re.Match[str] | None = None
        for branch in self.branches:
            if branch.may_match(folded):
                found = branch.pattern.search(text)
                if found is not None and (best is None or found.start() < best.start()):
                    best = found
        return best


@lru_cache(maxsize=256)
def words(pattern: str) -> Words:
    """`pattern` must not refer back to its groups."""
    branches = tuple(Branch(re.compile(branch, _FLAGS), needles_of(branch)) for branch in _split(pattern))
    known = all(branch.needles and min(map(len, branch.needles)) >= _HEAD for branch in branches)
    return Words(
        branches, frozenset(needle[:_HEAD] for b in branches for needle in b.needles) if known else frozenset()
    )


@lru_cache(maxsize=16)
def fold(text: str) -> str:
    """As cases do not count. Every rule asks for the same few texts."""
    return (text if text.isascii() else text.translate(_ALIKE)).lower()


@lru_cache(maxsize=16)
def _pieces(folded: str) -> frozenset[str]:
    """All that stands in a text, in pieces as long as a head: most rules are ruled out by one look at these."""
    return frozenset(folded[at : at + _HEAD] for at in range(len(folded) - _HEAD + 1))


def needles_of(branch: str) -> tuple[str, ...]:
    """Words of which each match of `branch`, which has no alternatives outside of groups, contains at least one. Of
    several such choices the one whose shortest word is longest."""
    choices: list[tuple[str, ...]] = []
    run = ""
    last: str | tuple[str, ...] = ""
    """What a quantifier would be about: a character of the run, or the words of a group."""
    for kind, atom in _atoms(branch):
        if kind == "char":
            run, last = run + atom, atom
            continue
        if kind == "optional":
            if isinstance(last, str):
                run = run[: len(run) - len(last)]
            else:
                choices.remove(last)
        choices += [(fold(run),)] if run else []
        run, last = "", ""
        if kind == "group" and (inner := _of_group(atom)):
            choices.append(inner)
            last = inner
    choices += [(fold(run),)] if run else []
    return max(choices, key=lambda choice: min(map(len, choice)), default=())


def _of_group(content: str) -> tuple[str, ...]:
    if content.startswith("?"):
        begins = _GROUP.match(content)
        if begins is None:
            return ()
        content = content[begins.end() :]
    inner = [needles_of(branch) for branch in _split(content)]
    return tuple(dict.fromkeys(needle for needles in inner for needle in needles)) if all(inner) else ()


def _atoms(pattern: str) -> Iterator[tuple[str, str]]:
    """(kind, text) of what a pattern is made of: char, group, optional (what stands before may be missing), other."""
    at = 0
    while at < len(pattern):
        char = pattern[at]
        end = _end_of_atom(pattern, at)
        if char == "(":
            yield "group", pattern[at + 1 : end - 1]
        elif char == "\\" and not pattern[at + 1].isalnum():
            yield "char", pattern[at + 1]
        elif char in "?*{":
            yield "optional", ""
        elif char in "\\[.^$+":
            yield "other", ""
        else:
            yield "char", char
        at = end


def _end_of_atom(pattern: str, at: int) -> int:
    """The place after the escape, the set, the group, the quantifier or the character at `at`."""
    if pattern[at] == "\\":
        return at + 2
    if pattern[at] == "[":
        # A ] that stands first is a member.
        at += 2 if pattern[at + 1] == "^" else 1
        at += pattern[at] == "]"
        while pattern[at] != "]":
            at += 2 if pattern[at] == "\\" else 1
        return at + 1
    if pattern[at] == "(":
        at += 1
        while pattern[at] != ")":
            at = _end_of_atom(pattern, at)
        return at + 1
    if pattern[at] == "{":
        return pattern.index("}", at) + 1
    return at + 1


def _split(pattern: str) -> list[str]:
    """The alternatives outside of groups."""
    parts, begin, at = [], 0, 0
    while at < len(pattern):
        if pattern[at] == "|":
            parts.append(pattern[begin:at])
            begin = at + 1
        at = _end_of_atom(pattern, at)
    return [*parts, pattern[begin:]]
