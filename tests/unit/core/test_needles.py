"""Searching where a word stands says what searching everywhere says."""

from __future__ import annotations

import re

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.core.failures import machine, program
from orkhaven.core.failures.fingerprint import last_lines
from orkhaven.core.failures.needles import Words, fold, needles_of, words

RULES = {
    name: value for module in (machine, program) for name, value in vars(module).items() if isinstance(value, Words)
}


@pytest.mark.parametrize(
    ("branch", "needles"),
    [
        pytest.param("out of memory", ("out of memory",), id="plain words"),
        pytest.param("Xid", ("xid",), id="cases do not count"),
        pytest.param(r"loss \d+ percent", (" percent",), id="the longest run"),
        pytest.param("colou?rs", ("colo",), id="a character that may be missing"),
        pytest.param("colo*rs", ("col",), id="one that may repeat or be missing"),
        pytest.param("colo+rs", ("colo",), id="one that may repeat"),
        pytest.param("ab{0,2}cdef", ("cdef",), id="counted"),
        pytest.param("(?:broken|cut off) file", ("broken", "cut off"), id="the alternatives of a group"),
        pytest.param("(?:broken|cut off)? file", (" file",), id="a group that may be missing"),
        pytest.param("(a(?:b|c)|d)efg", ("efg",), id="groups in groups"),
        pytest.param(r"(?:\d+|gone) now", (" now",), id="a group with an alternative that says nothing"),
        pytest.param(r"\[Errno 5\]", ("[errno 5]",), id="escaped"),
        pytest.param("[^])|]abc", ("abc",), id="a set with what ends groups"),
        pytest.param("KeyError: (?-i:'[A-Z]+')", ("keyerror: ",), id="a group with flags"),
        pytest.param("(?=never)odd", ("odd",), id="what only looks ahead is no part of it"),
        pytest.param(r"\w+\s\d", (), id="nothing at all"),
    ],
)
def test_the_words_that_every_match_has(branch: str, needles: tuple[str, ...]) -> None:
    assert needles_of(branch) == needles


@pytest.mark.parametrize("name", RULES)
def test_each_alternative_of_the_rules_has_such_a_word(name: str) -> None:
    without = [b.pattern.pattern for b in RULES[name].branches if min(map(len, b.needles), default=0) < 3]
    assert without == [], "these are tried on every text"


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_whatever_an_alternative_matches_has_its_word(name: str, data: st.DataObject) -> None:
    branch = data.draw(st.sampled_from(RULES[name].branches))
    text = data.draw(st.from_regex(branch.pattern))
    assert branch.may_match(fold(text))


@pytest.mark.parametrize("name", RULES)
@settings(max_examples=30, deadline=None)
@given(data=st.data())
def test_a_search_says_what_re_says(name: str, data: st.DataObject) -> None:
    rule = RULES[name]
    whole = re.compile("|".join(b.pattern.pattern for b in rule.branches), re.MULTILINE | re.IGNORECASE)
    parts = st.one_of(st.text(max_size=20), *(st.from_regex(b.pattern) for b in rule.branches[:20]))
    text = "\n".join(data.draw(st.lists(parts, max_size=4)))
    ours, theirs = rule.search(text), whole.search(text)
    assert (ours and ours.span()) == (theirs and theirs.span())


def test_letters_that_are_others_in_capitals_are_found() -> None:
    assert words("size mismatch").search("ſİze mıSmatch") is not None


@given(text=st.text(st.sampled_from("ab\n\r\x0b\x85\u2028"), max_size=400), count=st.integers(1, 3))
def test_the_last_lines_are_those_of_the_whole_text(text: str, count: int) -> None:
    text *= 20
    assert last_lines(text, count) == text.splitlines()[-count:]
