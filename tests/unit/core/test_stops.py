"""Whether more trials are started: the queue knows before the sweep is looked at, and both say the same."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.core.parse import parse_experiment
from orkhaven.core.search import trial_params
from orkhaven.core.sweep.observed import Observed
from orkhaven.core.sweep.stops import starts_no_more
from orkrun import contract
from tests.unit.core.world import DEFAULTS, START, SweepWorld, make_sweep

TRIALS = 12


def grid(count: int, **spec: object) -> SweepWorld:
    return SweepWorld(make_sweep(parameters=[{"name": "lr", "values": list(range(count))}], **spec))


def known(world: SweepWorld) -> bool:
    """Whether the queue starts no more of it."""
    return starts_no_more(world.view(), [parse_experiment(body) for body in world.children.values()]) is not None


@pytest.mark.parametrize(
    ("spec", "value", "decided"),
    [
        ({}, 0.9, False),
        ({"objective": {"metric": "dice", "goal": 0.8}}, 0.8, True),
        ({"objective": {"metric": "dice", "goal": 0.8}}, 0.79, False),
        ({"objective": {"metric": "dice", "goal": 0.8, "direction": "Minimize"}}, 0.7, True),
        ({"objective": {"metric": "dice", "goal": 0.8}}, None, False),
        ({"failurePolicy": {"maxFailedTrials": 0}}, None, True),
        ({"failurePolicy": {"maxFailedTrials": 1}}, None, False),
        ({"failurePolicy": {"maxFailedTrials": 0}}, 0.5, False),
    ],
    ids=["neither", "reached", "below", "below is better", "failed", "too many", "not too many", "none failed"],
)
def test_the_queue_knows_before_the_sweep_is_looked_at(
    spec: dict[str, Any], value: float | None, decided: bool
) -> None:
    world = grid(5, parallelism=1, **spec)
    world.settle()
    assert not known(world)
    world.end(world.by_trial()[0], value)
    assert known(world) is decided
    world.settle()
    assert known(world) is decided


def test_once_the_sweep_is_over_a_person_may_let_one_go_on_that_was_held_back() -> None:
    world = grid(5, parallelism=1, objective={"metric": "dice", "goal": 0.8})
    world.settle()
    first, *waiting = world.by_trial()
    world.end(first, 0.9)
    world.settle()
    for name in waiting:
        world.set(name, "Suspended")
    world.settle()
    assert world.status["state"] == "Succeeded"
    assert not known(world)


ENDS = ("", "good", "poor", "OutOfMemoryKilled", "DataError", "NodeLost")
"""What becomes of an Experiment: still there, a value that reaches the goal or one that does not, a failure."""


def end(world: SweepWorld, name: str, how: str) -> None:
    if how in ("good", "poor"):
        world.end(name, 0.9 if how == "good" else 0.1)
    elif how:
        world.end(name, reason=how)


@st.composite
def sweeps(draw: st.DrawFn) -> SweepWorld:
    policy: dict[str, Any] = {}
    if draw(st.booleans()):
        policy["maxFailedTrials"] = draw(st.integers(0, 3))
    if draw(st.booleans()):
        policy["stopOnCluster"] = {"minFailures": draw(st.integers(2, 4)), "share": draw(st.sampled_from([0.2, 0.5]))}
    goal = {"goal": 0.5} if draw(st.booleans()) else {}
    world = SweepWorld(
        make_sweep(
            objective={"metric": "dice", **goal},
            parameters=[{"name": "lr", "values": list(range(TRIALS))}],
            parallelism=TRIALS,
            failurePolicy=policy,
        )
    )
    world.settle()
    failed = []
    for name in world.by_trial():
        how = draw(st.sampled_from(ENDS))
        world.now += timedelta(seconds=draw(st.integers(0, 90)))
        end(world, name, how)
        if how not in ("", "good", "poor"):
            failed.append(name)
    if draw(st.booleans()):
        world.look()
    again = draw(st.booleans())
    if failed and again:
        # Two looks: one selects, one makes what was selected, as far as it comes.
        names = draw(st.sets(st.sampled_from(failed), min_size=1))
        world.patch(rerun=[{"id": "again", "select": {"names": sorted(names)}}])
        for _ in range(draw(st.integers(1, 2))):
            world.look()
        for name in list(world.children):
            if contract.LABEL_RERUN in world.children[name]["metadata"]["labels"]:
                world.now += timedelta(seconds=30)
                end(world, name, draw(st.sampled_from(ENDS)))
    return world


@given(world=sweeps())
@settings(max_examples=300, deadline=None)
def test_both_give_the_same_answer_from_the_same_children(world: SweepWorld) -> None:
    view = world.view()
    children = [parse_experiment(body) for body in world.children.values()]
    assert view.spec is not None
    source = trial_params(view.spec, {}, made={}, tries=1000)
    seen = Observed(view, view.spec, source, children, defaults=DEFAULTS, now=START)
    finished = any(one.type == "Finished" and one.status == "True" for one in view.status.conditions)
    assert starts_no_more(view, children) == (None if finished else seen.stop or seen.tripped)
