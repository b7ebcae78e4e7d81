"""What a search that learns is told of each trial."""

from __future__ import annotations

from typing import Any

import pytest

from orkhaven.api import ExperimentStatus
from orkhaven.core.parse import parse_experiment
from orkhaven.core.search import Asked, trial_params
from orkhaven.core.search.history import Outcome, Result
from orkhaven.core.sweep.asking import Asking, joined_result, outcome_of
from tests.unit.core.world import SweepWorld, make_experiment, make_sweep

POINT = (0.5,)
REACHED = {"objective": {"value": 0.7, "step": 4}, "metrics": {"dice": {"last": 0.6, "best": 0.7}}}


@pytest.mark.parametrize(
    ("status", "told"),
    [
        ({}, (Outcome.RUNNING, None, 0)),
        ({"state": "Running", **REACHED}, (Outcome.RUNNING, None, 0)),
        ({"state": "Suspended", **REACHED}, (Outcome.RUNNING, None, 0)),
        ({"state": "Succeeded", **REACHED}, (Outcome.COMPLETE, 0.7, 4)),
        ({"state": "Succeeded"}, (Outcome.FAILED, None, 0)),
        ({"state": "Succeeded", "reason": "Reused", **REACHED}, (Outcome.COMPLETE, 0.7, 4)),
        ({"state": "Failed", **REACHED}, (Outcome.FAILED, None, 0)),
        ({"state": "Skipped"}, (Outcome.FAILED, None, 0)),
        ({"state": "Pruned", "progress": {"step": 6}, **REACHED}, (Outcome.PRUNED, 0.6, 6)),
        ({"state": "Pruned", "objective": {"value": 0.7, "step": 4}}, (Outcome.PRUNED, 0.7, 4)),
        ({"state": "Pruned"}, (Outcome.FAILED, None, 0)),
    ],
    ids=[
        "new", "running", "suspended", "succeeded", "without a value", "taken over", "failed", "skipped",
        "stopped: its last value", "stopped, only its best is known", "stopped before its first value",
    ],
)  # fmt: skip
def test_a_trials_state_becomes_what_the_search_learns(
    status: dict[str, Any], told: tuple[Outcome, float | None, int]
) -> None:
    assert outcome_of(ExperimentStatus.model_validate(status), metric="dice") == told


@pytest.mark.parametrize(
    ("repeats", "told"),
    [
        ([("Complete", 0.6), ("Complete", 0.8)], (Outcome.COMPLETE, 0.7)),
        ([("Complete", 0.6), ("Running", None)], (Outcome.RUNNING, None)),
        ([("Complete", 0.6)], (Outcome.RUNNING, None)),
        ([("Complete", 0.6), ("Failed", None)], (Outcome.COMPLETE, 0.6)),
        ([("Complete", 0.6), ("Pruned", 0.2)], (Outcome.COMPLETE, 0.6)),
        ([("Pruned", 0.4), ("Pruned", 0.2)], (Outcome.PRUNED, 0.3)),
        ([("Failed", None), ("Failed", None)], (Outcome.FAILED, None)),
    ],
    ids=["mean", "one runs", "one is not made", "one failed", "one was stopped", "both were stopped", "both failed"],
)
def test_repeats_are_told_as_one_by_their_mean(
    repeats: list[tuple[str, float | None]], told: tuple[Outcome, float | None]
) -> None:
    results = [Result(number, POINT, Outcome(outcome), value) for number, (outcome, value) in enumerate(repeats)]
    joined = joined_result(7, results, 2)
    assert (joined.number, joined.point, joined.outcome) == (7, POINT, told[0])
    assert joined.value == (told[1] if told[1] is None else pytest.approx(told[1]))


def test_one_that_was_stopped_and_goes_on_is_told_anew() -> None:
    body = make_sweep(
        parameters=[{"name": "lr", "range": {"min": 0, "max": 1}}], search={"algorithm": "TPE", "maxTrials": 5}
    )
    view = SweepWorld(body).view()
    assert view.spec is not None
    source = trial_params(view.spec, {})
    assert isinstance(source, Asked)
    asking = Asking.of(source, view.spec, view.meta)

    def told(status: dict[str, Any]) -> Result:
        trial = make_experiment("s-0", labels={"orkhaven.io/trial": "0"}, params={"lr": 0.5}) | {"status": status}
        (result,) = asking.ask([parse_experiment(trial)], [1]).results
        return result

    running = told({"state": "Running"})
    assert told({"state": "Running", "progress": {"step": 1}}) is running
    stopped = told({"state": "Pruned", "objective": {"value": 0.2, "step": 3}})
    assert (stopped.outcome, stopped.value) == (Outcome.PRUNED, 0.2)
    assert told({"state": "Queued", "objective": {"value": 0.2, "step": 3}}).outcome is Outcome.RUNNING
    ended = told({"state": "Succeeded", "objective": {"value": 0.9, "step": 9}})
    assert (ended.outcome, ended.value) == (Outcome.COMPLETE, 0.9)
