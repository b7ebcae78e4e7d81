"""Identical runs where a write fails, an answer is lost or a source goes: the same end, nothing paid twice."""

from __future__ import annotations

import json
from collections import Counter

import pytest

from orkhaven.errors import Conflict, Unavailable
from orkrun.contract import ANNOTATION_CONFIG
from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Crash, Simulation
from tests.sim.runs import check_folders, run_by_hand, status
from tests.sim.test_crashes import AtWrite
from tests.sim.world import World


def _shared(sim: Simulation) -> None:
    sim.apply_sweep("one", parameters=[{"name": "lr", "values": [1, 2]}])
    sim.apply_sweep("two", parameters=[{"name": "lr", "values": [1, 2]}])
    sim.apply_sweep("three", parameters=[{"name": "lr", "values": [1]}], dedupe="Skip")
    sim.apply_sweep("four", parameters=[{"name": "lr", "values": [1]}], dedupe="Never")


def _end(sim: Simulation) -> Body:
    """Who did the work may differ, what came out may not."""
    return {
        e["spec"]["params"]["lr"]: e["status"]["objective"]["value"]
        for e in sim.cluster.look("Experiment")
        if e["status"]["state"] == "Succeeded" and e["status"].get("reusedFrom") is None
    }


def _by_run(world: World, pod: Body) -> None:
    config = json.loads(pod["metadata"]["annotations"][ANNOTATION_CONFIG])
    world.succeed(pod, value=float(config["params"]["lr"]))


def _paid_twice(sim: Simulation) -> list[str]:
    """Run hashes that were trained more than once, by runs that had no wish to."""
    trained = Counter(
        e["status"]["runHash"]
        for e in sim.cluster.look("Experiment")
        if e["status"].get("attemptCount") and e["spec"].get("dedupe") != "Never"
    )
    return [run for run, count in trained.items() if count > 1]


@pytest.mark.parametrize("moment", ["before", "after"])
@pytest.mark.parametrize(
    "error",
    [Crash(), Unavailable("away"), Conflict("somebody was faster", status=409)],
    ids=["crash", "unavailable", "conflict"],
)
def test_a_fault_at_any_write_changes_nothing_about_the_end(moment: str, error: BaseException) -> None:
    if moment == "after" and isinstance(error, Conflict):
        pytest.skip("a conflict writes nothing")
    calm = Simulation(nodes={"a": 4})
    _shared(calm)
    calm.settle(_by_run)
    writes = len(calm.cluster.writes)
    assert writes > 25
    for number in range(writes):
        sim = Simulation(nodes={"a": 4})
        fault = AtWrite(number, lambda: error)
        setattr(sim.cluster, moment, fault)
        _shared(sim)
        for _ in range(3):
            try:
                for _ in range(12):
                    sim.step(_by_run)
                    check_folders(sim)
                sim.settle(_by_run)
                break
            except Crash:
                sim.restart()
        assert fault.happened
        assert _end(sim) == _end(calm) == {1: 1.0, 2: 2.0}, f"{moment} write {number}"
        assert _paid_twice(sim) == [], f"{moment} write {number}"
        states = {e["status"]["state"] for e in sim.cluster.look("Experiment")}
        assert states <= {"Succeeded", "Skipped"}, f"{moment} write {number}"
        sim.check_quiet()


def test_a_first_job_whose_answer_was_lost_keeps_its_folder_from_a_twin_that_would_be_ahead() -> None:
    sim = Simulation(nodes={"a": 4})
    lost = [True]

    def lose(verb: str, kind: str, key: tuple[str, str]) -> None:
        if kind == "Job" and lost.pop() if lost else False:
            raise Unavailable("the answer was lost")

    sim.cluster.after = lose
    run_by_hand(sim, "z")
    sim.deliver()
    sim.work()
    assert [job["metadata"]["name"] for job in sim.cluster.look("Job")] == ["z-1"]
    run_by_hand(sim, "a")  # of the same second, and before it by name
    sim.fetch()
    sim.pending = [event for event in sim.pending if event.kind == "Experiment"]
    sim.deliver()
    sim.work()
    assert status(sim, "a")["reason"] == "WaitingForTwin"
    assert [job["metadata"]["name"] for job in sim.cluster.look("Job")] == ["z-1"]
    sim.settle()
    assert status(sim, "a")["reusedFrom"] == "z"
    sim.check_quiet()


@pytest.mark.parametrize("number", range(6))
def test_a_source_deleted_while_it_is_taken_over(number: int) -> None:
    """Between any two writes: either all of it was taken over, or the run is made by itself."""
    sim = Simulation()
    run_by_hand(sim, "first")
    sim.settle()
    seen = [0]

    def vanish(verb: str, kind: str, key: tuple[str, str]) -> None:
        if key[1] == "second":
            if seen[0] == number:
                sim.cluster.remove("Experiment", NAMESPACE, "first")
            seen[0] += 1

    sim.cluster.after = vanish
    run_by_hand(sim, "second")
    for _ in range(3):
        sim.step()
        sim.restart()
    sim.settle()
    end = status(sim, "second")
    assert end["state"] == "Succeeded"
    assert end["objective"]["value"] > 0
    assert ("reusedFrom" in end) == (end.get("attemptCount", 0) == 0)
    sim.check_quiet()
