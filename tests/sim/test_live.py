"""Sweeps that change, or are held, while they run, under an operator that dies before and after every write."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest

from orkrun.contract import ANNOTATION_CONFIG
from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Outcome, Simulation, all_succeed
from tests.sim.test_crashes import AtWrite, Crash
from tests.sim.world import World


def by_lr(world: World, pod: Body) -> None:
    """Each run reaches a tenth of its learning rate."""
    params = json.loads(pod["metadata"]["annotations"][ANNOTATION_CONFIG])["params"]
    world.succeed(pod, value=params["lr"] / 10)


def edited(sim: Simulation) -> None:
    sim.apply_sweep(search={"algorithm": "Grid", "repeats": 2}, parameters=[{"name": "lr", "values": [1, 2, 3]}])
    for _ in range(2):
        sim.step(lambda world, pod: None)
    more = [{"name": "lr", "values": [1, 2, 3, 4, 5]}]
    sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"].update(parameters=more))


def aimed(sim: Simulation) -> None:
    search = {"algorithm": "Grid", "order": "Sequential"}
    objective = {"metric": "val/dice", "goal": 0.3}
    parameters = [{"name": "lr", "values": list(range(1, 9))}]
    sim.apply_sweep(search=search, parameters=parameters, objective=objective, parallelism=2)


STORIES: dict[str, Callable[[Simulation], None]] = {"more values": edited, "a goal": aimed}


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_the_end_is_the_same_whenever_the_operator_dies(story: str, moment: str) -> None:
    def told(fault: AtWrite | None) -> Simulation:
        sim = Simulation()
        if fault is not None:
            setattr(sim.cluster, moment, fault)
        try:
            STORIES[story](sim)
        except Crash:
            sim.restart()
            if story == "more values" and len(sim.sweep()["spec"]["parameters"][0]["values"]) == 3:
                more = [{"name": "lr", "values": [1, 2, 3, 4, 5]}]
                sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"].update(parameters=more))
        sim.settle_over_crashes(by_lr)
        return sim

    undisturbed = told(None)
    want = names(undisturbed)
    for number in range(0, len(undisturbed.cluster.writes), 2 if moment == "before" else 3):
        fault = AtWrite(number, Crash)
        sim = told(fault)
        assert sim.sweep()["status"]["state"] == "Succeeded"
        if story == "more values":
            assert names(sim) == want, f"{moment} write {number}"
            assert len(want) == 10
        sim.check_quiet()


def names(sim: Simulation) -> set[str]:
    return {experiment["metadata"]["name"] for experiment in sim.cluster.all("Experiment")}


def test_a_goal_ends_the_sweep_and_leaves_the_rest_unmade() -> None:
    sim = Simulation()
    aimed(sim)
    sim.settle(by_lr)
    status = sim.sweep()["status"]
    assert status["state"] == "Succeeded"
    assert status["best"]["value"] >= 0.3
    assert status["trials"]["created"] < 8
    assert status["trials"]["running"] == status["trials"]["queued"] == 0
    assert sim.world.pods("Running", "Pending") == []
    sim.check_quiet()


def bad_data(world: World, pod: Body) -> None:
    world.fail(pod, 65)


STOPPERS: dict[str, tuple[Body, Outcome, int]] = {
    "the goal is reached": ({"objective": {"metric": "val/dice", "goal": 0.1}}, by_lr, 1),
    "too many have failed": ({"failurePolicy": {"maxFailedTrials": 0}}, bad_data, 1),
    "one cause is behind most": ({"failurePolicy": {"stopOnCluster": {"minFailures": 2}}}, bad_data, 2),
}


@pytest.mark.parametrize(("spec", "outcome", "run"), STOPPERS.values(), ids=STOPPERS)
def test_a_gpu_that_is_free_by_the_last_trial_is_not_given_to_the_next(spec: Body, outcome: Outcome, run: int) -> None:
    """The queue decides five times a second, a sweep once: until it has held the others back they must not start."""
    sim = Simulation(nodes={"a": 1})
    parameters = [{"name": "lr", "values": [1, 2, 3, 4]}]
    sim.apply_sweep(search={"algorithm": "Grid", "order": "Sequential"}, parameters=parameters, parallelism=1, **spec)
    for _ in range(40):
        # One event at a time: a pod's end is told before its Job's, as of the real controller.
        sim.surround(outcome)
        while sim.deliver(1):
            sim.work()
        sim.work()
        sim.clock.advance(0.1)
    sim.settle(outcome)
    started = [experiment["status"].get("startTime") is not None for experiment in sim.cluster.all("Experiment")]
    assert started.count(True) == run
    assert len(started) > run
    sim.check_quiet()


def test_a_broken_canary_costs_one_run_and_a_mended_one_lets_the_rest_go() -> None:
    broken = True

    def outcome(world: World, pod: Body) -> None:
        if broken:
            world.fail(pod, exit_code=65)
        else:
            all_succeed(world, pod)

    sim = Simulation()
    sim.apply_sweep(canary=1, parallelism=4)
    sim.settle(outcome)
    (canary,) = sim.cluster.all("Experiment")
    status: dict[str, Any] = sim.sweep()["status"]
    assert status["state"] == "Suspended"
    held = next(c for c in status["conditions"] if c["type"] == "Suspended")
    assert held["reason"] == "CanaryFailed"
    assert canary["metadata"]["name"] in held["message"]
    sim.check_quiet()
    sim.restart()
    sim.settle(outcome)
    sim.check_quiet()
    assert len(sim.cluster.all("Experiment")) == 1

    broken = False
    sim.delete_trial(canary["metadata"]["name"])
    sim.settle(outcome)
    assert sim.sweep()["status"]["progress"] == "4/4"
    assert sim.sweep()["status"]["state"] == "Succeeded"
    sim.check_quiet()
