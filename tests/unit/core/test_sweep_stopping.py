"""A sweep with early stopping: what it tells its trials, and what it makes of those that were stopped."""

from __future__ import annotations

from typing import Any

import pytest

from orkhaven.core.actions import PruneExperiment
from orkhaven.core.sweep.stopping import MAX_STOPS
from tests.unit.core.world import SweepWorld, make_sweep

ASHA = {"algorithm": "ASHA", "minSteps": 2, "reductionFactor": 2}


def grid(count: int, *, stopping: dict[str, Any] | None = ASHA, repeats: int = 1, **spec: Any) -> SweepWorld:
    """All trials are made and run."""
    search = {"algorithm": "Grid", "order": "Sequential", "repeats": repeats}
    world = SweepWorld(
        make_sweep(
            parameters=[{"name": "lr", "values": list(range(count))}],
            **{"search": search, "parallelism": count * repeats, **({"earlyStopping": stopping} if stopping else {})},
            **spec,
        )
    )
    world.settle()
    for name in world.children:
        world.set(name, "Running")
    return world


def report(world: SweepWorld, trial: int, *rungs: float | None, step: int | None = None, total: int = 99) -> None:
    """It has passed so many rungs of 2, 4, 8 with these values; None is NaN."""
    steps = [2, 4, 8][: len(rungs)]
    status = world.children[world.by_trial()[trial]].setdefault("status", {})
    status["progress"] = {"step": step or max(steps), "totalSteps": total}
    finite = [value for value in rungs if value is not None]
    status["metrics"] = {"val/dice": {"best": max(finite)} if finite else {}}
    if finite:
        noted = [{"step": at} | ({} if v is None else {"value": v}) for at, v in zip(steps, rungs, strict=True)]
        status["objective"] = {"value": max(finite), "step": max(steps), "rungs": noted}


def told(world: SweepWorld) -> dict[int, int]:
    """Trial -> rung, of what the next look tells."""
    names = world.by_trial()
    plan = world.plan()
    return {names.index(a.key.name): a.step for a in plan.actions if isinstance(a, PruneExperiment)}


def test_trials_carry_their_ladder_and_only_where_something_is_compared() -> None:
    assert [child["spec"]["rungs"][:3] for child in grid(2).children.values()] == [[2, 4, 8]] * 2
    for stopping in (None, {"algorithm": "Patience", "patience": 3}):
        assert all("rungs" not in child["spec"] for child in grid(2, stopping=stopping).children.values())


def test_the_worse_half_is_told_with_the_rung_and_why() -> None:
    world = grid(4)
    for trial, value in enumerate((0.1, 0.4, 0.3, 0.2)):
        report(world, trial, value)
    assert told(world) == {0: 2, 3: 2}
    world.look()
    spec = world.children[world.by_trial()[0]]["spec"]
    assert spec["prune"] == {
        "step": 2,
        "message": "rung 2: 0.1 is not among the best 2 of 4 trials (0.3 or better goes on)",
        "resume": False,
    }


def test_what_was_told_is_not_told_again() -> None:
    world = grid(4)
    for trial, value in enumerate((0.1, 0.4, 0.3, 0.2)):
        report(world, trial, value)
    world.look()
    assert told(world) == {}


@pytest.mark.parametrize("state", ["Succeeded", "Failed", "Suspended"])
def test_only_what_goes_on_is_told(state: str) -> None:
    world = grid(4)
    for trial, value in enumerate((0.1, 0.4, 0.3, 0.35)):
        report(world, trial, value)
    assert told(world) == {0: 2, 2: 2}
    world.set(world.by_trial()[0], state)
    # A failed one does not count: of three, one goes on.
    assert told(world) == ({2: 2, 3: 2} if state == "Failed" else {2: 2})


def test_one_that_has_done_its_last_step_is_left_to_end() -> None:
    world = grid(2)
    report(world, 0, 0.1, step=9, total=9)
    report(world, 1, 0.4)
    assert told(world) == {}


def test_one_that_is_suspended_by_hand_or_waits_without_a_report_is_not_told() -> None:
    world = grid(4)
    for trial, value in enumerate((0.1, 0.4, 0.3)):
        report(world, trial, value)
    held = world.children[world.by_trial()[0]]
    held["spec"]["suspend"] = True
    assert told(world) == {2: 2}


def test_nothing_is_told_while_the_sweep_is_suspended_or_has_no_rule_any_more() -> None:
    world = grid(2)
    report(world, 0, 0.1)
    report(world, 1, 0.4)
    assert told(world) == {0: 2}
    world.patch(suspend=True)
    assert told(world) == {}
    world.patch(suspend=False)
    del world.sweep["spec"]["earlyStopping"]
    assert told(world) == {}


def test_one_that_only_ever_reports_nan_is_the_worst() -> None:
    world = grid(4)
    for trial, value in enumerate((None, 0.4, 0.3, 0.5)):
        report(world, trial, value)
    assert told(world) == {0: 2, 2: 2}


def test_one_that_does_not_report_the_objective_is_not_compared() -> None:
    world = grid(3)
    world.children[world.by_trial()[0]]["status"] |= {"progress": {"step": 50}, "metrics": {"other": {"last": 1}}}
    report(world, 1, 0.4)
    report(world, 2, 0.5)
    assert told(world) == {1: 2}


def test_a_resumed_one_is_told_at_the_next_rung_only() -> None:
    world = grid(2)
    report(world, 0, 0.1)
    report(world, 1, 0.4, 0.5)
    world.children[world.by_trial()[0]]["spec"]["prune"] = {"step": 2, "resume": True}
    assert told(world) == {}
    report(world, 0, 0.1, 0.2)
    assert told(world) == {0: 4}


def test_repeats_are_told_by_their_mean() -> None:
    world = grid(2, repeats=2)
    for trial, value in enumerate((0.9, 0.1, 0.6, 0.6)):
        report(world, trial, value)
    assert told(world) == {0: 2, 1: 2}


def test_a_told_one_makes_room_for_the_next_at_once() -> None:
    more = SweepWorld(
        make_sweep(parameters=[{"name": "lr", "values": list(range(9))}], parallelism=2, earlyStopping=ASHA)
    )
    more.settle()
    assert len(more.children) == 4  # two of them wait
    for name in more.by_trial()[:2]:
        more.set(name, "Running")
    report(more, 0, 0.1)
    report(more, 1, 0.4)
    more.look()
    assert len(more.children) == 5


def test_a_wave_is_told_in_pieces() -> None:
    world = grid(4 * MAX_STOPS)
    for trial in range(4 * MAX_STOPS):
        report(world, trial, trial / 1000)
    first, second = world.look(), world.look()
    for plan in (first, second):
        assert sum(isinstance(action, PruneExperiment) for action in plan.actions) == MAX_STOPS
    assert first.requeue_after == 0
    assert told(world) == {}


def prune(world: SweepWorld, trial: int, value: float | None, *, hours: float = 1) -> None:
    name = world.by_trial()[trial]
    world.end(name, value, hours=hours)
    world.children[name]["status"] |= {"state": "Pruned", "reason": "EarlyStopped", "message": "rung 2: enough"}


def test_pruned_ones_have_ended_and_have_neither_failed_nor_a_rank() -> None:
    world = grid(3, failurePolicy={"maxFailedTrials": 0})
    prune(world, 0, 0.9, hours=2)
    prune(world, 1, None)
    world.settle()
    assert world.status["state"] == "Running"
    world.end(world.by_trial()[2], 0.5)
    status = world.settle()
    assert (status["state"], status["progress"]) == ("Succeeded", "3/3")
    assert (status["trials"]["pruned"], status["trials"]["failed"]) == (2, 0)
    assert status["gpuHours"] == {"succeeded": 1.0, "failed": 0.0, "pruned": 3.0, "running": 0.0, "total": 4.0}
    assert [row["value"] for row in status["leaderboard"]] == [0.5]
    assert status["failureClusters"] == []
    finished = next(c for c in status["conditions"] if c["type"] == "Finished")
    assert finished["message"] == "1 of 3 trials succeeded, 2 were stopped early"
    assert world.events == ["Started", "TrialPruned", "Succeeded"]


def test_a_sweep_in_which_nobody_succeeded_says_that_trials_were_stopped() -> None:
    world = grid(2)
    prune(world, 0, 0.9)
    world.end(world.by_trial()[1])
    status = world.settle()
    finished = next(c for c in status["conditions"] if c["type"] == "Finished")
    assert (status["state"], finished["reason"]) == ("Failed", "NoTrialSucceeded")
    assert finished["message"] == "none of 2 trials succeeded, 1 were stopped early"


def test_what_ran_out_of_patience_has_a_rank() -> None:
    world = grid(3, stopping={"algorithm": "Patience", "patience": 3})
    prune(world, 0, 0.9)
    prune(world, 1, 0.7)
    world.end(world.by_trial()[2])
    status = world.settle()
    assert [row["value"] for row in status["leaderboard"]] == [0.9, 0.7]
    assert status["state"] == "Succeeded"


def test_patience_is_judged_by_each_alone() -> None:
    world = grid(2, stopping={"algorithm": "Patience", "patience": 3})
    report(world, 0, 0.4, step=4)
    report(world, 1, 0.1, step=5)
    assert told(world) == {1: 5}
    world.patch(earlyStopping={"algorithm": "Patience", "patience": 2})
    assert told(world) == {0: 4, 1: 5}


def test_a_set_of_which_a_repeat_was_pruned_has_no_rank() -> None:
    world = grid(2, repeats=2)
    prune(world, 0, 0.9)
    for trial, value in ((1, 0.9), (2, 0.5), (3, 0.6)):
        world.end(world.by_trial()[trial], value)
    status = world.settle()
    (row,) = status["leaderboard"]
    assert (row["value"], row["n"], row["failed"]) == (pytest.approx(0.55), 2, 0)


def test_a_canary_that_was_pruned_without_a_value_holds_the_sweep() -> None:
    world = grid(4, canary=1)
    prune(world, 0, None)
    status = world.settle()
    suspended = next(c for c in status["conditions"] if c["type"] == "Suspended")
    assert suspended["reason"] == "CanaryFailed"
