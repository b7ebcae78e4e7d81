"""spec.resumeFrom: a run that goes on in the folder of another, never beside it."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Simulation, all_succeed
from tests.sim.runs import check_folders, folder_of, run_by_hand, status
from tests.sim.world import World


def always_breaks(world: World, pod: Body) -> None:
    world.out_of_memory(pod)


def folders(sim: Simulation) -> dict[str, str]:
    """By Experiment."""
    return {job["metadata"]["labels"]["orkhaven.io/experiment"]: folder_of(job) for job in sim.cluster.look("Job")}


def broken(**spec: Any) -> Simulation:
    sim = Simulation()
    run_by_hand(sim, "old", **spec)
    sim.settle(always_breaks)
    assert status(sim, "old")["state"] == "Failed"
    return sim


def steps(sim: Simulation, count: int = 40) -> dict[str, str]:
    seen: dict[str, str] = {}
    for _ in range(count):
        sim.step(all_succeed)
        check_folders(sim)
        seen |= folders(sim)
    return seen


def own(sim: Simulation, name: str = "old") -> str:
    return f"results:/output/{status(sim, name).get('outputFolder') or status(sim, name)['runHash']}"


@pytest.mark.parametrize("dedupe", ["Reuse", "Skip", "Never"])
@pytest.mark.parametrize("mine", ["Reuse", "Skip", "Never"])
def test_it_goes_on_in_the_folder_that_the_other_had(dedupe: str, mine: str) -> None:
    sim = broken(dedupe=dedupe)
    run_by_hand(sim, "new", dedupe=mine, resumeFrom="old")
    seen = steps(sim)
    assert seen["new"] == own(sim)
    assert status(sim, "new")["state"] == "Succeeded"
    sim.check_quiet()


def test_it_waits_for_the_end_of_the_other() -> None:
    sim = Simulation(nodes={"a": 4})
    run_by_hand(sim, "old", dedupe="Never")
    run_by_hand(sim, "new", dedupe="Never", resumeFrom="old")
    for _ in range(3):
        sim.step(lambda world, pod: None)
    said = status(sim, "new")
    assert (said["reason"], said["message"]) == (
        "WaitingForTwin",
        "waits for the end of old, from which it goes on (Running)",
    )
    assert steps(sim)["new"] == own(sim)
    sim.check_quiet()


def test_of_two_that_go_on_from_one_only_one_is_at_work() -> None:
    sim = broken(dedupe="Never")
    sim.world.add_node("more", gpus=4)
    for name in ("one", "two"):
        run_by_hand(sim, name, resumeFrom="old")
    seen = steps(sim, 80)
    assert seen["one"] == seen["two"] == own(sim)
    assert {status(sim, name)["state"] for name in ("one", "two")} == {"Succeeded"}
    sim.check_quiet()


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"resumeFrom": "nobody"}, "no such run"),
        ({"resumeFrom": "old", "params": {"lr": 2}}, "another run"),
        ({"resumeFrom": "old", "output": {"claim": "elsewhere"}}, "on another volume"),
        ({"resumeFrom": "new"}, "itself"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_where_there_is_nothing_to_go_on_from_it_begins_as_any_other(spec: Body, why: str) -> None:
    sim = broken(dedupe="Never")
    run_by_hand(sim, "new", dedupe="Never", **spec)
    assert steps(sim)["new"] != own(sim)
    assert status(sim, "new")["state"] == "Succeeded"
    sim.check_quiet()


def test_it_goes_on_also_where_the_other_is_deleted_in_between() -> None:
    sim = broken(dedupe="Never")
    folder = own(sim)
    run_by_hand(sim, "new", dedupe="Never", resumeFrom="old")
    sim.deliver()
    sim.work()  # the folder is written down
    sim.cluster.remove("Experiment", NAMESPACE, "old")
    assert steps(sim)["new"] == folder
    sim.check_quiet()
