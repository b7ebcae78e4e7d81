"""Users' patterns: the same answers as Python's `re`, but never more than a step a character."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.core.pattern import MAX_STATES, Pattern

ATOMS = st.sampled_from(
    ["a", "b", "-", ".", r"\d", r"\w", r"\s", r"\.", "[ab]", "[^a]", "[0-9a]", r"[\d-]", "^", "$", r"\b"]
)
TAILS = st.sampled_from(["", "*", "+", "?", "{2}", "{1,3}", "{0,2}", "{2,}", "*?"])


def _repeated(inner: st.SearchStrategy[str]) -> st.SearchStrategy[str]:
    return st.one_of(
        st.tuples(inner, inner).map("".join),
        st.tuples(inner, inner).map("|".join),
        st.tuples(inner, TAILS).map(lambda pair: f"({pair[0]}){pair[1]}"),
    )


@given(pattern=st.recursive(ATOMS, _repeated, max_leaves=8), line=st.text("ab-1. _", max_size=12))
@settings(max_examples=300, deadline=None)
def test_a_pattern_says_what_pythons_says(pattern: str, line: str) -> None:
    try:
        expected = re.search(pattern, line) is not None
    except re.error:
        return
    assert Pattern(pattern).search(line) is expected


CASES = {
    "a literal in the middle": ("licen[cs]e server", "cannot reach license server lic1", True),
    "case counts": ("Oom", "oom", False),
    "case does not count where asked for": ("(?i)oom|OUT of memory", "Out Of Memory", True),
    "a named group": ("(?P<host>lic\\d+) is down", "lic12 is down", True),
    "an ordinary brace": ("{x}", "a {x} b", True),
    "a negated class": ("E[^0-9]R", "E1R", False),
    "from the start": ("^fatal", "a fatal", False),
    "to the end": ("code 7$", "exit code 77", False),
}


@pytest.mark.parametrize(("pattern", "line", "found"), CASES.values(), ids=CASES)
def test_a_pattern_is_found_anywhere_in_a_line(pattern: str, line: str, found: bool) -> None:
    assert Pattern(pattern).search(line) is found


WRONG = {
    "(": "without its )",
    ")": "without its (",
    "[a": "without its ]",
    "*a": "nothing before *",
    r"(a)\1": "back-references",
    "(?=a)": "look-around",
    "(?<!a)b": "look-around",
    "a**": "repetition of a repetition",
    "\\": "at the end",
    "[z-a]": "range",
    "(a{500}){500}": "repeats too much",
    "a{3,1}": "repetition",
    r"\q": "is not known",
    "(" * 60 + ")" * 60: "nested",
}


@pytest.mark.parametrize(("pattern", "says"), WRONG.items(), ids=WRONG)
def test_what_is_wrong_with_a_pattern_is_said(pattern: str, says: str) -> None:
    with pytest.raises(ValueError, match=re.escape(says)):
        Pattern(pattern)


@pytest.mark.parametrize("pattern", ["(a*)*b", "(a|a)*b", "(a+)+b", "(.*)(.*)(.*)(.*)b", "(a?){60}a{60}"])
def test_no_pattern_takes_more_than_a_step_a_character(pattern: str) -> None:
    made = Pattern(pattern)
    steps = 0
    original = made._reached

    def counted(*args: object) -> object:
        nonlocal steps
        steps += 1
        return original(*args)  # type: ignore[arg-type]

    made._reached = counted  # type: ignore[method-assign, assignment]
    assert made.search("a" * 1999 + "c") is (pattern == "(a?){60}a{60}")
    assert steps <= 2001
    assert len(made._states) <= MAX_STATES
