"""A body as metric lines: what is wrong is named, what is good is kept."""

from __future__ import annotations

import json
import math
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from orkhaven.hub import lines
from orkhaven.hub.lines import parse
from tests.unit.hub.conftest import line

BAD_LINES = {
    "not json": ("{", "", "not JSON"),
    "not an object": ("[1]", "", "a metric line is a JSON object"),
    "not utf-8": (b"\xff\xfe", "", "not JSON"),
    "no seq": ({"attempt": 1, "step": 1, "time": 1, "metrics": {}}, "seq", "a whole number from 1"),
    "seq zero": (line(0, a=1), "seq", "not 0"),
    "seq not whole": ({**line(1, a=1), "seq": 1.5}, "seq", "not 1.5"),
    "seq a boolean": ({**line(1, a=1), "seq": True}, "seq", "not True"),
    "seq too large": ({**line(1, a=1), "seq": 2**31}, "seq", "2147483647"),
    "attempt a text": ({**line(1, a=1), "attempt": "1"}, "attempt", "not '1'"),
    "step negative": (line(1, step=-1, a=1), "step", "not -1"),
    "step huge": (line(1, step=10**400, a=1), "step", "a whole number"),
    "time a text": ({**line(1, a=1), "time": "now"}, "time", "not 'now'"),
    "time nan": (b'{"attempt":1,"seq":1,"step":1,"time":NaN,"metrics":{}}', "time", "not nan"),
    "total negative": (line(1, total=-5, a=1), "totalSteps", "not -5"),
    "metrics a list": ({**line(1), "metrics": [1]}, "metrics", "not a list"),
    "value a boolean": (line(1, a=True), "metrics['a']", "not True"),
    "value nothing": (line(1, a=None), "metrics['a']", "not nothing"),
    "value a text": (line(1, a="good"), "metrics['a']", "not 'good'"),
    "value too large": (line(1, a=10**400), "metrics['a']", "a metric is a number"),
    "name empty": ({**line(1), "metrics": {"": 1}}, "metrics['']", "the first a letter"),
    "name with a tag": ({**line(1), "metrics": {"<script>": 1}}, "metrics['<script>']", "letters, digits"),
    "name with a newline": ({**line(1), "metrics": {"a\nb": 1}}, "metrics['a\\nb']", "letters, digits"),
    "name a path": ({**line(1), "metrics": {"a/../b": 1}}, "metrics['a/../b']", "part of a URL"),
    "name too long": ({**line(1), "metrics": {"x" * 129: 1}}, f"metrics[{'x' * 129!r}]", "at most 128"),
}  # fmt: skip


@pytest.mark.parametrize(("bad", "field", "message"), BAD_LINES.values(), ids=BAD_LINES)
def test_what_is_bad_is_named_and_the_lines_around_it_are_kept(bad: Any, field: str, message: str) -> None:
    raw = bad if isinstance(bad, bytes) else bad.encode() if isinstance(bad, str) else json.dumps(bad).encode()
    body = json.dumps(line(7, loss=0.5)).encode() + b"\n\n" + raw + b"\r\n" + json.dumps(line(8, loss=0.4)).encode()
    parsed = parse(body)
    assert [(one.seq, one.metrics) for one in parsed.lines if one.number != 3] == [
        (7, (("loss", 0.5),)),
        (8, (("loss", 0.4),)),
    ]
    (refusal,) = parsed.refusals
    assert (refusal.line, refusal.field) == (3, field)
    assert refusal.where == (f"line 3, {field}" if field else "line 3")
    assert message in refusal.message
    assert len(refusal.message) < 200


@given(st.binary(max_size=200))
def test_no_body_at_all_makes_it_fail(body: bytes) -> None:
    parsed = parse(body)
    assert len(parsed.lines) + len(parsed.refusals) <= body.count(b"\n") + 1


_json = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=5),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=5,
)


@settings(suppress_health_check=[HealthCheck.too_slow])  # a busy machine
@given(st.dictionaries(st.sampled_from(["attempt", "seq", "step", "time", "totalSteps", "metrics"]), _json))
def test_no_json_at_all_makes_it_fail(value: Any) -> None:
    parsed = parse(json.dumps(value).encode())
    for good in parsed.lines:
        assert 1 <= good.attempt < 2**31
        assert 1 <= good.seq < 2**31
        assert all(number is None or isinstance(number, float) for _, number in good.metrics)


@given(
    st.dictionaries(
        st.sampled_from(["loss", "dice", "<b>"]),
        st.sampled_from([0.5, -1.0, math.inf, -math.inf, math.nan, 1, True, "NaN", "x", None]),
    )
)
def test_a_line_is_read_the_same_whether_its_names_are_known_or_new(metrics: dict[str, Any]) -> None:
    body = json.dumps({**line(1), "metrics": metrics}).encode()
    lines._known_names.clear()
    assert parse(body) == parse(body)
