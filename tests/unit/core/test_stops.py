"""That the queue and the sweep itself say the same of whether more trials are started."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.core.parse import parse_experiment
from orkhaven.core.search import trial_params
from orkhaven.core.sweep.observed import Observed
from orkhaven.core.sweep.stops import starts_no_more
from orkrun import contract
from tests.unit.core.world import DEFAULTS, START, SweepWorld, make_sweep

TRIALS = 12
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
    if failed and draw(st.booleans()):
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
