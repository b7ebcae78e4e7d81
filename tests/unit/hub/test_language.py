"""The filter language: what it means, what it refuses and how it says so, and that no text makes it slow or fall."""

from __future__ import annotations

import fnmatch
import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orkhaven.api.expressions import MAX_DEPTH, MAX_LENGTH, And, Compare, Literal, Not, Or, QueryError
from orkhaven.hub.query.evaluate import evaluate
from orkhaven.hub.query.fields import FIELDS, METRIC_PARTS, Group, Ref, param
from orkhaven.hub.query.language import (
    parse_filter,
    parse_ref,
    parse_refs,
    parse_sort,
)
from orkhaven.hub.query.rows import experiment_row
from orkhaven.hub.query.table import Table

FAST = settings(suppress_health_check=[HealthCheck.too_slow])


def table_of(*params: dict[str, Any]) -> Table:
    table = Table()
    table.put(
        experiment_row(
            {
                "metadata": {"namespace": "n", "name": f"r{number}", "uid": str(number), "resourceVersion": "1"},
                "spec": {"params": one},
            }
        )
        for number, one in enumerate(params)
    )
    return table


def matches(text: str, *params: dict[str, Any]) -> list[int]:
    node = parse_filter(text)
    assert node is not None
    return [number for number, fits in enumerate(evaluate(node, table_of(*params))) if fits]


def shape(node: Any) -> Any:
    """The tree as brackets."""
    match node:
        case And(left, right):
            return ["and", shape(left), shape(right)]
        case Or(left, right):
            return ["or", shape(left), shape(right)]
        case Not(inner):
            return ["not", shape(inner)]
        case Compare(left, _, Literal(value, _)):
            return f"{left.ref.name}{value}"
    return "?"


@pytest.mark.parametrize(
    ("text", "tree"),
    [
        ("step==1 or step==2 and step==3", ["or", "step1", ["and", "step2", "step3"]]),
        ("(step==1 or step==2) and step==3", ["and", ["or", "step1", "step2"], "step3"]),
        ("not step==1 and step==2", ["and", ["not", "step1"], "step2"]),
        ("not (step==1 and not step==2)", ["not", ["and", "step1", ["not", "step2"]]]),
        ("step==1 and step==2 and step==3", ["and", ["and", "step1", "step2"], "step3"]),
        ("step == -1.5e3", "step-1500.0"),
        ("step==1 || step==2 && step==3", ["or", "step1", ["and", "step2", "step3"]]),
        ("!(step==1 && step==2) && step==3", ["and", ["not", ["and", "step1", "step2"]], "step3"]),
    ],
)
def test_what_binds_tighter(text: str, tree: Any) -> None:
    assert shape(parse_filter(text)) == tree


@pytest.mark.parametrize(
    ("text", "rows"),
    [
        ("params.a == 1", [0]),
        ("params.a == 1.0", [0]),
        ("params.a == true", [1]),
        ('params.a == "1"', [2]),
        ("params.a == null", [3]),
        ("params.a != null", [0, 1, 2, 4, 5]),
        ("params.a != 1", [1, 2, 3, 4, 5]),
        ("params.a < 10", [0]),
        ("not params.a < 10", [1, 2, 3, 4, 5]),
        ("params.a >= Infinity", []),
        ('params.a ~ "X"', [4]),
        ('params.a ~ "*x"', []),
        ('params.a ~ "a*y*"', [4]),
        ('params.a !~ "x"', [0, 1, 2, 3, 5]),
        ('params.a in (1, "1", null)', [0, 2, 3]),
        ('params.a in [1, "1", null]', [0, 2, 3]),
        ('params["a"] > "1"', [4]),
    ],
)
def test_values_keep_their_types(text: str, rows: list[int]) -> None:
    params: list[Any] = [1, True, "1", None, "axyz", [1]]
    assert matches(text, *({"a": value} for value in params)) == rows


@pytest.mark.parametrize(
    ("text", "position", "message"),
    [
        ("state = 'x'", 6, "compare with =="),
        ("state == Failed", 9, 'a text stands in quotes: "Failed"'),
        ("state == 'Failed", 9, "has no closing '"),
        ("stat == 1", 0, "did you mean state"),
        ("state", 5, "expected a comparison (==, !=, <, <=, >, >=, ~, in) after state, found the end"),
        ("(state == 'Failed'", 18, 'expected ")", found the end'),
        ("state == 'Failed')", 17, 'expected "and", "or" or the end, found )'),
        ("state == 'Failed' step > 1", 18, 'expected "and", "or" or the end, found step'),
        ("3 < step", 0, "a comparison begins with a column"),
        ("metrics.loss > 1", 0, "say which number of which metric"),
        ("metrics.loss.lst > 1", 0, "did you mean last"),
        ("metrics[loss].last > 1", 8, "a quoted name"),
        ("params > 1", 0, "say which parameter"),
        ("name ~ 3", 7, "needs a quoted text"),
        ("state in 'Failed'", 9, 'expected "(" and values'),
        ("state in ()", 10, "expected a value"),
        ("step < null", 7, "by == and != only"),
        ("state.x == 1", 0, "state has no parts"),
        ("repeats.mode > 1", 0, "repeats has .n, .mean and .std"),
        ("step > 1 & step < 3", 9, 'write "and"'),
        ("! step > 1", 0, '"!" stands before "("'),
        ("step && 3", 5, "expected a comparison"),
        ("step in (1, 2]", 13, 'expected "," or ")"'),
        ("step > 12abc", 7, "means nothing here"),
        ("", 0, ""),
    ],
)
def test_an_error_says_where_and_what_would_be_right(text: str, position: int, message: str) -> None:
    if not text:
        assert parse_filter(text) is None
        return
    with pytest.raises(QueryError) as caught:
        parse_filter(text)
    assert message in str(caught.value)
    assert caught.value.position == position
    assert f"at character {position + 1}" in str(caught.value)


@pytest.mark.parametrize(
    ("text", "message"),
    [
        ("step > " + "1" * MAX_LENGTH, "at most 2000 characters"),
        ("(" * (MAX_DEPTH + 2) + "step > 1" + ")" * (MAX_DEPTH + 2), "at most 32 levels"),
        ("not " * (MAX_DEPTH + 2) + "step > 1", "at most 32 levels"),
        ("step in (" + ",".join("1" * 201) + ")", "at most 200 comparisons"),
    ],
)
def test_what_would_cost_too_much_is_refused(text: str, message: str) -> None:
    with pytest.raises(QueryError, match=message):
        parse_filter(text)


# --- properties ---

KEYS = st.one_of(
    st.sampled_from(["a", "a.b", "optimizer.lr", "x-1"]),
    st.text(st.characters(blacklist_categories=("Cs",)), min_size=1, max_size=12),
)
REFS = st.one_of(
    st.sampled_from(list(FIELDS)).map(lambda name: Ref(Group.FIELD, name)),
    KEYS.map(param),
    st.builds(lambda name, part: Ref(Group.METRIC, name, part), KEYS, st.sampled_from(METRIC_PARTS)),
    st.sampled_from(["n", "mean", "std"]).map(lambda name: Ref(Group.REPEATS, name)),
)
WORDS = st.sampled_from(
    ["and", "or", "not", "in", "(", ")", "[", "]", ",", ".", "==", "!=", "<", "~", "state", "params", "params.a",
     "metrics", '"x"', "'y'", "1", "-2.5", "null", "NaN", "true", "=", "&&", "\\", '"', "step", 'metrics["a"].last']
)  # fmt: skip
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(-5, 5), st.floats(-5, 5), st.text("ab*", max_size=3), st.just(math.nan)
)


@given(REFS)
@FAST
def test_a_column_s_key_is_read_back_as_the_same_column(ref: Ref) -> None:
    assert parse_ref(ref.key) == ref


@given(st.lists(st.tuples(REFS, st.booleans()), max_size=4))
@FAST
def test_a_sort_is_read_back_as_the_same_sort(sort: list[tuple[Ref, bool]]) -> None:
    text = ",".join(("-" if descending else "") + ref.key for ref, descending in sort)
    if len(text) <= MAX_LENGTH:
        assert parse_sort(text) == sort
        assert parse_refs(",".join(ref.key for ref, _ in sort)) == [ref for ref, _ in sort]


@given(st.one_of(st.text(max_size=60), st.lists(WORDS, max_size=25).map(" ".join)))
@FAST
def test_any_text_is_read_or_refused_with_a_position_in_it(text: str) -> None:
    refused: QueryError | None = None
    try:
        node = parse_filter(text)
        if node is not None:
            evaluate(node, table_of({"a": 1}, {"a": "x"}))
    except QueryError as error:
        refused = error
    assert refused is None or 0 <= refused.position <= len(text)


def literal(value: Any) -> str:
    return "NaN" if isinstance(value, float) and value != value else json.dumps(value)


@given(st.lists(SCALARS, min_size=1, max_size=6), SCALARS)
@FAST
def test_equal_and_unequal_part_all_rows(values: list[Any], wanted: Any) -> None:
    rows = [{"a": value} for value in values]
    equal, unequal = (matches(f"params.a {sign} {literal(wanted)}", *rows) for sign in ("==", "!="))
    assert sorted(equal + unequal) == list(range(len(values)))
    same = [
        number
        for number, value in enumerate(values)
        if (type(value) is bool) == (type(wanted) is bool)
        and (value == wanted or (value != value and wanted != wanted))
    ]
    assert equal == same


@given(st.lists(SCALARS, min_size=1, max_size=6), st.floats(-5, 5))
@FAST
def test_smaller_larger_and_equal_part_the_numbers(values: list[Any], wanted: float) -> None:
    rows = [{"a": value} for value in values]
    found = [matches(f"params.a {sign} {wanted!r}", *rows) for sign in ("<", "==", ">")]
    numbers = [n for n, value in enumerate(values) if type(value) in (int, float) and value == value]
    assert sorted(number for part in found for number in part) == numbers


@given(st.text("ab", max_size=12), st.text("ab*", min_size=1, max_size=8))
@FAST
def test_a_star_stands_for_any_text(text: str, pattern: str) -> None:
    expected = fnmatch.fnmatchcase(text, pattern) if "*" in pattern else pattern in text
    assert bool(matches(f'params.a ~ "{pattern}"', {"a": text})) is expected


def test_a_pattern_that_nearly_fits_does_not_backtrack() -> None:
    """A hundred stars over texts that nearly fit: with backtracking this would never end."""
    assert matches(f'params.a ~ "{"a*" * 100}b"', *([{"a": "a" * 2000}] * 200)) == []
