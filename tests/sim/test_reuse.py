"""Identical runs in one namespace: paid for once, never two in one folder, whatever goes in between."""

from __future__ import annotations

from typing import Any

import pytest

from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Outcome, Simulation, all_succeed, mixed
from tests.sim.runs import check_folders, folder_of, run_by_hand, status
from tests.sim.world import World

KEPT: Outcome = lambda world, pod: None  # noqa: E731
"""Nobody ends."""


def two_sweeps(sim: Simulation, first: str | None = None, second: str | None = None, **spec: Any) -> None:
    sim.apply_sweep("one", **_dedupe(first), **spec)
    sim.apply_sweep("two", **_dedupe(second), **spec)


def _dedupe(how: str | None) -> Body:
    return {"dedupe": how} if how else {}


def children(sim: Simulation, sweep: str) -> list[Body]:
    return [e for e in sim.cluster.all("Experiment") if e["metadata"]["name"].startswith(f"{sweep}-")]


def trials(sim: Simulation, sweep: str) -> Body:
    return {key: count for key, count in sim.sweep(sweep)["status"]["trials"].items() if count}


def jobs_made(sim: Simulation) -> int:
    return sum(write.verb == "create" and write.kind == "Job" and write.changed for write in sim.cluster.writes)


# --- Reuse ------------------------------------------------------------------------------------------------------------


def test_a_sweep_that_was_run_before_costs_nothing() -> None:
    sim = Simulation()
    sim.apply_sweep("one")
    sim.settle()
    made = jobs_made(sim)
    sim.apply_sweep("two")
    sim.settle()
    assert jobs_made(sim) == made == 4
    assert trials(sim, "two") == {"total": 4, "created": 4, "succeeded": 4, "reused": 4}
    assert sim.sweep("two")["status"]["gpuHours"]["total"] == 0
    one, two = sim.sweep("one")["status"], sim.sweep("two")["status"]
    assert [row["value"] for row in two["leaderboard"]] == [row["value"] for row in one["leaderboard"]]
    by_hash = {e["status"]["runHash"]: e for e in children(sim, "one")}
    for copy in children(sim, "two"):
        source = by_hash[copy["status"]["runHash"]]
        assert copy["status"]["reusedFrom"] == source["metadata"]["name"]
        for field in ("objective", "metrics", "progress"):
            assert copy["status"][field] == source["status"][field]
        assert (copy["status"]["state"], copy["status"]["reason"]) == ("Succeeded", "Reused")
    assert [note.reason for kind, key, note in sim.events.said if key.name.startswith("two-")] == ["Reused"] * 4
    sim.check_quiet()


def test_what_was_taken_over_stands_when_its_source_is_deleted() -> None:
    sim = Simulation()
    sim.apply_sweep("one")
    sim.settle()
    sim.apply_sweep("two")
    sim.settle()
    before = children(sim, "two")
    sim.cluster.remove("Sweep", NAMESPACE, "one")
    sim.settle()
    sim.restart()
    sim.settle()
    assert children(sim, "one") == []
    assert children(sim, "two") == before
    sim.apply_sweep("three")
    sim.settle()
    assert {e["status"]["reusedFrom"] for e in children(sim, "three")} == {e["status"]["reusedFrom"] for e in before}
    sim.check_quiet()


@pytest.mark.parametrize("outcome", [all_succeed, mixed])
def test_two_identical_sweeps_side_by_side_share_the_work(outcome: Outcome) -> None:
    sim = Simulation(nodes={"a": 4})
    two_sweeps(sim)
    for _ in range(60):
        sim.step(outcome)
        check_folders(sim)
    sim.settle(outcome)
    first, second = trials(sim, "one"), trials(sim, "two")
    assert first.get("succeeded") == second.get("succeeded")
    assert first.get("failed") == second.get("failed")
    well = first["succeeded"]
    assert first.get("reused", 0) + second.get("reused", 0) == well
    sim.check_quiet()


def test_a_later_run_waits_for_a_running_one_and_says_so() -> None:
    sim = Simulation(nodes={"a": 4})
    run_by_hand(sim, "first")
    for _ in range(3):
        sim.step(KEPT)
    run_by_hand(sim, "second")
    sim.settle(KEPT)
    assert status(sim, "second")["reason"] == "WaitingForTwin"
    assert status(sim, "second")["message"] == "waits for the result of first (Running), the same run"
    assert [job["metadata"]["name"] for job in sim.cluster.look("Job")] == ["first-1"]
    sim.clock.advance(100_000)
    sim.settle(KEPT)
    assert status(sim, "second")["reason"] == "WaitingForTwin"
    sim.settle()
    assert status(sim, "second")["reusedFrom"] == "first"
    assert jobs_made(sim) == 1
    sim.check_quiet()


def test_a_run_whose_twin_fails_is_run_in_the_same_folder() -> None:
    sim = Simulation(nodes={"a": 4})
    run_by_hand(sim, "first", retry={"limit": 0})
    run_by_hand(sim, "second")
    failing = [True]

    def once(world: World, pod: Body) -> None:
        if failing.pop() if failing else False:
            world.fail(pod)
        else:
            all_succeed(world, pod)

    folders = set()
    for _ in range(12):
        sim.step(once)
        folders |= {folder_of(job) for job in sim.cluster.look("Job")}
        check_folders(sim)
    sim.settle()
    assert status(sim, "first")["state"] == "Failed"
    assert status(sim, "second")["state"] == "Succeeded"
    assert "reusedFrom" not in status(sim, "second")
    assert len(folders) == 1, "it goes on from the checkpoint of the one that failed"
    sim.check_quiet()


def test_a_run_whose_twin_is_deleted_goes_its_own_way() -> None:
    sim = Simulation(nodes={"a": 4})
    run_by_hand(sim, "first")
    run_by_hand(sim, "second")
    for _ in range(3):
        sim.step(KEPT)
    sim.cluster.remove("Experiment", NAMESPACE, "first")
    sim.settle()
    assert status(sim, "second")["state"] == "Succeeded"
    assert "reusedFrom" not in status(sim, "second")
    sim.check_quiet()


def test_a_run_whose_twin_is_deleted_waits_until_its_pod_has_left_the_folder() -> None:
    sim = Simulation(nodes={"a": 4})
    run_by_hand(sim, "first")
    run_by_hand(sim, "second")
    for _ in range(3):
        sim.step(KEPT)
    sim.cluster.remove("Experiment", NAMESPACE, "first")
    for _ in range(3):  # its pod saves a checkpoint, for as long as its grace period is
        sim.deliver()
        sim.work()
        sim.clock.advance(15)
    assert status(sim, "second")["reason"] == "WaitingForTwin"
    assert "the pod of a deleted run" in status(sim, "second")["message"]
    assert [job["metadata"]["name"] for job in sim.cluster.look("Job")] == ["first-1"]
    sim.settle()
    assert status(sim, "second")["state"] == "Succeeded"
    sim.check_quiet()


def test_a_twin_that_is_suspended_is_waited_for_only_so_long_and_its_folder_left_alone() -> None:
    sim = Simulation(nodes={"a": 4})
    run_by_hand(sim, "first")
    for _ in range(3):
        sim.step(KEPT)
    sim.cluster.change("Experiment", NAMESPACE, "first", lambda body: body["spec"].update(suspend=True))
    for _ in range(5):
        sim.step(KEPT)
    began = sim.clock.seconds
    run_by_hand(sim, "second")
    sim.settle()
    assert sim.clock.seconds - began >= sim.defaults.twin_patience_seconds
    assert status(sim, "second")["state"] == "Succeeded"
    assert status(sim, "second")["outputFolder"] != status(sim, "second")["runHash"]
    sim.cluster.change("Experiment", NAMESPACE, "first", lambda body: body["spec"].update(suspend=False))
    sim.settle()
    assert status(sim, "first")["state"] == "Succeeded"
    assert "reusedFrom" not in status(sim, "first"), "it had begun"
    sim.check_quiet()


def test_a_twin_that_fits_no_node_does_not_hold_up_one_that_does() -> None:
    sim = Simulation(nodes={"a": 2})
    began = sim.clock.now()
    run_by_hand(sim, "first", resources={"gpus": 8})
    run_by_hand(sim, "second", resources={"gpus": 9})
    run_by_hand(sim, "third")
    for _ in range(10):
        sim.step()
    assert status(sim, "first")["reason"] == status(sim, "second")["reason"] == "NoFittingNode"
    assert status(sim, "third")["state"] == "Succeeded"
    assert (sim.clock.now() - began).total_seconds() < sim.defaults.twin_patience_seconds
    sim.settle()
    sim.check_quiet()


def test_two_made_in_the_same_second_never_wait_for_each_other() -> None:
    sim = Simulation(nodes={"a": 8})
    for name in ("b", "a", "c"):
        run_by_hand(sim, name)
    for _ in range(10):
        sim.step()
        check_folders(sim)
    sim.settle()
    assert [status(sim, name).get("reusedFrom") for name in "abc"] == [None, "a", "a"]
    assert jobs_made(sim) == 1
    sim.check_quiet()


@pytest.mark.parametrize(
    ("spec", "why"),
    [
        ({"seed": 1}, "another seed is another run"),
        ({"objective": {"metric": "val/iou"}}, "what it was judged by is not known of the other"),
        ({"objective": {"metric": "val/dice", "direction": "Minimize"}}, "its best is another"),
        ({"output": {"claim": "elsewhere"}}, "its checkpoints would not be there"),
        ({"image": "trainer:2"}, "another program"),
        ({"image": "trainer:latest"}, "perhaps another program"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
def test_what_is_not_the_same_is_run(spec: Body, why: str) -> None:
    sim = Simulation(nodes={"a": 4})
    run_by_hand(sim, "first", **({"image": "trainer:latest"} if spec.get("image") == "trainer:latest" else {}))
    run_by_hand(sim, "second", **spec)
    for _ in range(10):
        sim.step()
        check_folders(sim)
    sim.settle()
    assert jobs_made(sim) == 2, why
    assert "reusedFrom" not in status(sim, "second")


def test_a_second_sweep_makes_few_of_its_trials_while_they_wait_for_those_of_the_first() -> None:
    sim = Simulation(nodes={"a": 2})
    two_sweeps(sim, parameters=[{"name": "lr", "values": list(range(40))}], parallelism=2)
    for _ in range(10):
        sim.step(KEPT)
    assert len(children(sim, "one")) + len(children(sim, "two")) <= 2 * 2 * (2 + sim.defaults.lookahead)
    sim.settle()
    assert trials(sim, "one")["succeeded"] == trials(sim, "two")["succeeded"] == 40
    assert jobs_made(sim) == 40
    sim.check_quiet()


# --- Skip, Never ------------------------------------------------------------------------------------------------------


def test_skip_runs_nothing_that_is_there_and_says_why() -> None:
    sim = Simulation()
    sim.apply_sweep("one", parameters=[{"name": "lr", "values": [1, 2]}])
    sim.settle(mixed)
    sim.apply_sweep("two", dedupe="Skip", parameters=[{"name": "lr", "values": [1, 2, 4]}])
    sim.settle(mixed)
    assert trials(sim, "two") == {"total": 3, "created": 3, "succeeded": 1, "skipped": 2}
    said = {
        e["spec"]["params"]["lr"]: (e["status"]["state"], e["status"]["reason"], e["status"]["message"])
        for e in children(sim, "two")
    }
    names = {e["spec"]["params"]["lr"]: e["metadata"]["name"] for e in children(sim, "one")}
    assert said[1] == ("Skipped", "Duplicate", f"the same run as {names[1]} (Succeeded)")
    assert said[2] == ("Skipped", "Duplicate", f"the same run as {names[2]} (Failed)")
    assert said[4][0] == "Succeeded"
    (row,) = sim.sweep("two")["status"]["leaderboard"]
    assert row["params"] == {"lr": 4}
    assert sim.sweep("two")["status"]["state"] == "Succeeded"
    sim.check_quiet()


def test_a_sweep_whose_trials_are_all_skipped_has_not_failed() -> None:
    sim = Simulation()
    sim.apply_sweep("one")
    sim.step(KEPT)
    sim.apply_sweep("two", dedupe="Skip", parallelism=4)
    sim.settle()
    assert sim.sweep("one")["status"]["trials"]["succeeded"] == 4
    two = sim.sweep("two")["status"]
    assert two["state"] == "Succeeded"
    assert two["trials"]["skipped"] + two["trials"]["succeeded"] + two["trials"].get("failed", 0) == 4
    sim.check_quiet()


def test_never_runs_again_in_a_folder_of_its_own() -> None:
    sim = Simulation(nodes={"a": 8})
    two_sweeps(sim, "Never", "Never", parallelism=4)
    folders = set()
    for _ in range(10):
        sim.step()
        check_folders(sim)
        folders |= {folder_of(job) for job in sim.cluster.look("Job")}
    sim.settle()
    assert jobs_made(sim) == len(folders) == 8
    assert trials(sim, "two") == {"total": 4, "created": 4, "succeeded": 4}
    for experiment in sim.cluster.look("Experiment"):
        assert f"results:/output/{experiment['status']['outputFolder']}" in folders
    sim.check_quiet()


def test_a_retry_goes_on_in_the_folder_of_the_first_attempt() -> None:
    sim = Simulation()
    run_by_hand(sim, "first", dedupe="Never", params={"lr": 4})
    folders = []
    for _ in range(30):
        sim.step(mixed)
        folders += [folder_of(job) for job in sim.cluster.look("Job")]
    sim.settle(mixed)
    assert status(sim, "first")["attemptCount"] == 2
    assert len(set(folders)) == 1


# --- List -------------------------------------------------------------------------------------------------------------


def test_trials_that_stand_twice_in_a_list_are_named_and_run_once() -> None:
    sim = Simulation()
    sim.apply_sweep(
        search={"algorithm": "List"},
        parameters=[],
        trials=[{"lr": 1}, {"lr": 2}, {"lr": 1.0}, {"model": "unet", "lr": 1}],
    )
    sim.settle()
    assert trials(sim, "s") == {"total": 2, "created": 2, "succeeded": 2}
    (accepted,) = [c for c in sim.sweep()["status"]["conditions"] if c["type"] == "Accepted"]
    assert accepted["message"] == (
        "spec.trials: trials[0] and trials[2], trials[0] and trials[3] are the same: each is run once"
    )
    assert [note.reason for kind, _, note in sim.events.said if kind == "Sweep"].count("DuplicateTrials") == 1
    sim.check_quiet()
