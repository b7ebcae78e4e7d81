"""A pod to look around in, beside a run: it is made once, counts for nothing, and goes."""

from __future__ import annotations

from datetime import timedelta

import pytest

from orkrun.contract import LABEL_DEBUG
from tests.sim.cluster import START, Body, stamp
from tests.sim.harness import NAMESPACE, Crash, Simulation, all_succeed, mixed
from tests.sim.runs import run_by_hand, status
from tests.sim.test_crashes import AtWrite
from tests.sim.world import World


def wish(sim: Simulation, name: str = "alone", *, minutes: float | None = 60, gpus: bool = False) -> None:
    """A person asks for it, or (None) takes the wish back."""
    until = stamp(START + timedelta(seconds=sim.clock.seconds + 60 * (minutes or 0)))
    debug = None if minutes is None else {"until": until, "gpus": gpus}
    sim.cluster.change("Experiment", NAMESPACE, name, lambda body: body["spec"].update(debug=debug))


def debug_jobs(sim: Simulation) -> list[Body]:
    return [job for job in sim.cluster.all("Job") if LABEL_DEBUG in job["metadata"]["labels"]]


def rounds(sim: Simulation, count: int = 6) -> None:
    for _ in range(count):
        sim.step(mixed)


def failed_run() -> Simulation:
    sim = Simulation()
    run_by_hand(sim, params={"lr": 3})
    sim.settle(mixed)
    assert status(sim, "alone")["state"] == "Failed"
    return sim


def test_it_is_made_where_a_run_has_failed_and_changes_nothing_about_that() -> None:
    sim = failed_run()
    # The wish is a change of the spec, and seen.
    before = {**status(sim, "alone"), "observedGeneration": 2}
    wish(sim)
    rounds(sim)
    (job,) = debug_jobs(sim)
    (pod,) = sim.world.pods("Running")
    assert pod["metadata"]["labels"][LABEL_DEBUG] == "alone"
    assert job["metadata"]["name"] == "alone-debug"
    assert status(sim, "alone") == before
    sim.settle(mixed)
    assert debug_jobs(sim) == []
    assert sim.world.pods("Running", "Pending") == []
    assert status(sim, "alone") == before
    assert sim.clock.seconds >= 3600
    sim.check_quiet()


def test_a_wish_taken_back_ends_it_and_another_wish_makes_another() -> None:
    sim = failed_run()
    wish(sim)
    rounds(sim)
    first = debug_jobs(sim)[0]["metadata"]["uid"]
    wish(sim, minutes=60, gpus=True)
    rounds(sim)
    (second,) = debug_jobs(sim)
    assert second["metadata"]["uid"] != first
    wish(sim, minutes=None)
    rounds(sim)
    assert debug_jobs(sim) == []
    sim.check_quiet()


def test_a_run_goes_on_beside_it() -> None:
    sim = Simulation(nodes={"a": 1})
    sim.apply_sweep(parallelism=1, parameters=[{"name": "lr", "values": [1, 6]}])
    sim.step(all_succeed)
    for experiment in sim.cluster.all("Experiment"):
        wish(sim, experiment["metadata"]["name"])
    sim.settle(all_succeed)
    assert sim.sweep()["status"]["trials"]["succeeded"] == 2
    assert all(e["status"]["attemptCount"] == 1 for e in sim.cluster.all("Experiment"))
    sim.check_quiet()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_write_makes_no_second_one_and_leaves_none(moment: str) -> None:
    number = 0
    while True:
        sim = failed_run()
        fault = AtWrite(number, Crash)
        setattr(sim.cluster, moment, fault)
        wish(sim)
        pods: set[str] = set()

        def look(world: World, pod: Body) -> None:
            raise AssertionError(f"{pod['metadata']['name']} is no attempt")

        for _ in range(4):
            try:
                sim.step(look)
            except Crash:
                sim.restart()
            pods |= {pod["metadata"]["uid"] for pod in sim.world.pods("Running", "Pending")}
        assert len(pods) == 1
        sim.settle_over_crashes(look)
        assert debug_jobs(sim) == []
        sim.check_quiet()
        if not fault.happened:
            break
        number += 1
    assert number >= 2


def test_one_that_is_refused_keeps_nothing_from_the_run() -> None:
    sim = Simulation()
    run_by_hand(sim)
    sim.cluster.add(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"namespace": NAMESPACE, "name": "alone-debug", "labels": {}},
            "spec": {"suspend": True, "template": {"spec": {}}},
        }
    )
    sim.step()
    wish(sim)
    for _ in range(30):
        sim.step()
    assert status(sim, "alone")["state"] == "Succeeded"
    assert any(note.reason == "NameTaken" for _, _, note in sim.events.said)
