"""Failed trials that are run once more in a sweep that has stopped itself, since one cause was behind most of them."""

from __future__ import annotations

import pytest

from orkhaven.api.policy import resumed
from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Crash, Simulation, mixed
from tests.sim.test_crashes import AtWrite
from tests.sim.test_rerun import MEMORY, ask, memory_helps, reruns


def stopped() -> Simulation:
    """The first three are out of memory. The rest would end well, and at most one of it is started before that is
    seen."""
    sim = Simulation(nodes={"a": 1})
    sim.apply_sweep(
        failurePolicy={"stopOnCluster": {"minFailures": 3}},
        parallelism=1,
        search={"order": "Sequential"},
        parameters=[{"name": "lr", "values": [3, 8, 13, 1, 6, 11, 16]}],
    )
    sim.settle(mixed)
    return sim


def resume(sim: Simulation) -> None:
    """As `kubectl ork resume` does."""
    sim.clock.advance(60)
    patch = resumed(sim.sweep()["status"], now=sim.clock.now())

    def change(body: Body) -> None:
        policy = body["spec"]["failurePolicy"]["stopOnCluster"]
        body["spec"]["suspend"] = patch["suspend"]
        policy.update(patch["failurePolicy"]["stopOnCluster"])

    sim.cluster.change("Sweep", NAMESPACE, "s", change)


def counts(sim: Simulation) -> tuple[int, int, int]:
    trials = sim.sweep()["status"]["trials"]
    return trials["succeeded"], trials["failed"], trials["replaced"]


def test_they_wait_with_the_rest_until_it_is_resumed_and_their_failures_stop_nothing_more() -> None:
    sim = stopped()
    succeeded, *others = counts(sim)
    assert (sim.sweep()["status"]["state"], others) == ("Suspended", [3, 0])
    assert succeeded <= 1
    ask(sim, MEMORY)
    sim.settle(memory_helps)
    assert (sim.sweep()["status"]["state"], counts(sim)) == ("Suspended", (succeeded, 0, 3))
    assert len(reruns(sim)) == 3
    assert not sim.world.pods("Running", "Pending")
    assert [one["status"].get("startTime") for one in reruns(sim)] == [None] * 3
    sim.check_quiet()
    resume(sim)
    sim.settle(memory_helps)
    assert (sim.sweep()["status"]["state"], counts(sim)) == ("Succeeded", (7, 0, 3))
    sim.check_quiet()


def test_a_rerun_that_dies_of_the_same_stops_it_again() -> None:
    sim = stopped()
    ask(sim, {"id": "as-it-was"})
    sim.settle(mixed)
    resume(sim)
    sim.settle(mixed)
    assert sim.sweep()["status"]["state"] == "Suspended"
    assert counts(sim)[1:] == (3, 3)
    sim.check_quiet()


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_write_changes_nothing_about_the_end(moment: str) -> None:
    def story(sim: Simulation) -> Body:
        ask(sim, MEMORY)
        sim.settle_over_crashes(memory_helps)
        resume(sim)
        sim.settle_over_crashes(memory_helps)
        sim.check_quiet()
        return sim.end_state()

    sim = stopped()
    first = len(sim.cluster.writes)
    want, writes = story(sim), len(sim.cluster.writes) - first
    assert writes > 20
    for number in range(writes):
        sim = stopped()
        fault = AtWrite(number, Crash)
        setattr(sim.cluster, moment, fault)
        assert story(sim) == want, f"{moment} write {number}"
        assert fault.happened
