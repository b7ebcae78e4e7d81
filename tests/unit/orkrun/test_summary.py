"""Last and best of each metric."""

from __future__ import annotations

import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orkrun.contract import Objective
from orkrun.summary import Summary

series = st.lists(st.floats(allow_nan=True, allow_infinity=True), min_size=1, max_size=20)


@given(series, st.sampled_from(["Maximize", "Minimize"]))
def test_best_is_the_first_of_the_extreme_finite_values(values: list[float], direction: str) -> None:
    objective: Objective = {"metric": "x", "direction": direction}  # type: ignore[typeddict-item]
    summary = Summary(objective)
    for step, value in enumerate(values):
        summary.add(step, {"x": value})
    finite = [(value, step) for step, value in enumerate(values) if math.isfinite(value)]
    if not finite:
        assert summary.objective() is None
        return
    best = (max if direction == "Maximize" else min)(value for value, _ in finite)
    assert summary.objective() == {"value": best, "step": next(step for value, step in finite if value == best)}


@given(series, st.integers(0, 20))
def test_a_summary_taken_up_from_its_state_ends_as_one_that_was_never_put_down(values: list[float], cut: int) -> None:
    whole, first, second = (Summary(None) for _ in range(3))
    for step, value in enumerate(values):
        whole.add(step, {"val/loss": value}, total_steps=20)
    for step, value in enumerate(values[:cut]):
        first.add(step, {"val/loss": value}, total_steps=20)
    second.load_state_dict(first.state_dict())
    for step, value in enumerate(values[cut:], start=cut):
        second.add(step, {"val/loss": value}, total_steps=20)
    assert second.state_dict() == whole.state_dict()


@pytest.mark.parametrize(("metric", "best"), [("val/loss", 0.1), ("val/dice", 0.9), ("epoch_seconds", 0.1)])
def test_without_an_objective_the_name_decides_what_is_better(metric: str, best: float) -> None:
    summary = Summary(None)
    for step, value in enumerate((0.5, 0.1, 0.9)):
        summary.add(step, {metric: value})
    assert summary.metrics[metric]["best"] == best
