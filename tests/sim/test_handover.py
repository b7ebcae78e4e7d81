"""A GPU goes from one run to the next: the real engine decides before the Job controller has looked.

The Job controller gathers ended pods for a second, and says that a Job is over only after it has taken its finalizer
off the pod. The scheduler gives the GPUs away as soon as the pod has ended.
"""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Simulation
from tests.sim.runs import run_by_hand, status
from tests.sim.world import World, finished


def go_on(world: World, pod: Body) -> None:
    """Nobody ends by itself."""


def job(sim: Simulation, name: str) -> Body:
    found = sim.cluster.find("Job", NAMESPACE, name)
    assert found is not None, sim.describe()
    return found


def one_of_two(*, gpus: int = 1) -> Simulation:
    """`first` runs on the one node, `second` waits for it."""
    sim = Simulation(nodes={"a": gpus})
    for name in ("first", "second"):
        run_by_hand(sim, name, params={"of": name}, resources={"gpus": gpus})
        for _ in range(6):
            sim.step(go_on)
    assert [status(sim, name)["state"] for name in ("first", "second")] == ["Running", "Queued"]
    return sim


def look(sim: Simulation) -> None:
    """The operator alone."""
    sim.deliver()
    sim.clock.advance(1)
    sim.work()
    sim.check()


def succeeds(world: World, pod: Body) -> None:
    world.succeed(pod, 0.5)


ENDS: dict[str, Callable[[World, Body], None]] = {
    "succeeds": succeeds, "fails": World.fail, "runs out of memory": World.out_of_memory, "is evicted": World.evict,
}  # fmt: skip


@pytest.mark.parametrize("end", ENDS)
def test_the_next_run_is_released_when_the_pod_has_ended(end: str) -> None:
    sim = one_of_two()
    (pod,) = sim.world.pods("Running")
    ENDS[end](sim.world, pod)
    look(sim)
    assert not finished(job(sim, "first-1"))
    assert job(sim, "second-1")["spec"]["suspend"] is False
    sim.settle()
    assert status(sim, "second")["state"] == "Succeeded"
    sim.check_quiet()


def test_a_pod_that_was_told_to_stop_holds_its_gpus_for_the_next_one_of_its_job() -> None:
    """Deleted by hand, it has ended, and its Job does not say yet whether it makes another."""
    sim = one_of_two()
    (pod,) = sim.world.pods("Running")
    name = pod["metadata"]["name"]
    sim.cluster.change("Pod", NAMESPACE, name, lambda p: p["metadata"].update(deletionTimestamp="2026-01-01T00:01:00Z"))
    (pod,) = sim.world.pods("Running")
    sim.world.end(pod, exit_code=143)
    look(sim)
    assert not finished(job(sim, "first-1"))
    assert job(sim, "second-1")["spec"]["suspend"] is True


def test_a_job_with_an_ended_pod_and_a_live_one_holds_its_gpus() -> None:
    sim = one_of_two()
    (pod,) = sim.world.pods("Running")
    meta = {**pod["metadata"], "name": "another"}
    for key in ("uid", "resourceVersion"):
        meta.pop(key)
    sim.cluster.add({**pod, "metadata": meta})
    sim.world.end(pod, exit_code=1)
    look(sim)
    assert job(sim, "second-1")["spec"]["suspend"] is True


def test_what_ended_under_an_earlier_job_of_that_name_says_nothing() -> None:
    sim = one_of_two()
    (pod,) = sim.world.pods("Running")
    meta = {**pod["metadata"], "name": "earlier"}
    for key in ("uid", "resourceVersion"):
        meta.pop(key)
    meta["ownerReferences"] = [{**meta["ownerReferences"][0], "uid": "another"}]
    made = sim.cluster.add({**pod, "metadata": meta})
    sim.world.end(made, exit_code=1)
    # Its own is not there yet.
    sim.cluster.remove("Pod", NAMESPACE, pod["metadata"]["name"])
    look(sim)
    assert job(sim, "second-1")["spec"]["suspend"] is True
