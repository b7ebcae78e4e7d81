"""The termination record: whatever a run leaves behind, it fits, parses, and keeps what matters."""

from __future__ import annotations

import json
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orkrun.contract import TERMINATION_LIMIT
from orkrun.record import encode

text = st.text(max_size=6000)
summaries = st.fixed_dictionaries(
    {"last": st.one_of(st.floats(allow_nan=False, allow_infinity=False), st.just("NaN"))},
    optional={"best": st.floats(allow_nan=False, allow_infinity=False), "bestStep": st.integers(0, 10**6)},
)
records = st.fixed_dictionaries(
    {"version": st.just(1), "outcome": st.just("Failed"), "step": st.integers(0, 10**9)},
    optional={
        "objective": st.fixed_dictionaries({"value": st.floats(-1e6, 1e6), "step": st.integers(0, 10**6)}),
        "metrics": st.dictionaries(st.text(min_size=1, max_size=200), summaries, max_size=60),
        "note": st.text(max_size=300),
        "checkpoint": st.fixed_dictionaries({"step": st.integers(0, 10**6), "path": text}),
        "failure": st.fixed_dictionaries(
            {"type": st.text(min_size=1, max_size=3000), "message": text},
            optional={"location": text, "fingerprint": st.text("0123456789abcdef", max_size=12), "excerpt": text},
        ),
    },
)


@given(records)
def test_any_record_fits_and_keeps_outcome_objective_step_and_fingerprint(record: Any) -> None:
    content = encode(record, objective="val/dice")
    short = json.loads(content)
    assert len(content) <= TERMINATION_LIMIT
    for key in ("version", "outcome", "step", "objective"):
        assert short.get(key) == record.get(key)
    assert ("failure" in short) == ("failure" in record)
    if "failure" in record:
        assert record["failure"]["type"].encode("utf-8", "replace").decode().startswith(short["failure"]["type"])
        assert short["failure"].get("fingerprint") == record["failure"].get("fingerprint")


def test_a_record_that_fits_is_left_alone() -> None:
    record: Any = {"version": 1, "outcome": "Succeeded", "metrics": {"a": {"last": 1.0}}, "step": 3}
    assert json.loads(encode(record)) == record


def test_the_objectives_metric_outlives_the_others_and_the_message_the_excerpt() -> None:
    record: Any = {
        "version": 1,
        "outcome": "Failed",
        "metrics": {f"metric/{i:03}": {"last": i, "best": i, "bestStep": i} for i in range(200)}
        | {"val/dice": {"last": 0.5}},
        "failure": {"type": "ValueError", "message": "what it was", "excerpt": "line\n" * 3000 + "the last line"},
    }
    short = json.loads(encode(record, objective="val/dice"))
    assert short["metrics"]["val/dice"] == {"last": 0.5}
    assert "metric/000" in short["metrics"]
    assert short["failure"]["message"] == "what it was"
    assert short["failure"]["excerpt"].endswith("the last line")
