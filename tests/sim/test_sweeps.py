"""Whole sweeps on the cluster in memory: what a user sees at the end."""

from __future__ import annotations

from collections import Counter

import pytest

from tests.sim.cluster import drive
from tests.sim.harness import NAMESPACE, Outcome, Simulation, all_succeed, mixed
from tests.sim.world import experiment_of


def test_a_grid_runs_to_its_end_and_names_a_leader() -> None:
    sim = Simulation()
    sim.apply_sweep()
    sim.settle()
    status = sim.sweep()["status"]
    assert status["state"] == "Succeeded"
    assert status["trials"]["succeeded"] == 4
    assert status["progress"] == "4/4"
    assert status["best"] == status["leaderboard"][0]
    assert len(status["leaderboard"]) == 4
    sim.check_quiet()


def test_failures_are_retried_as_their_causes_say_and_named_in_the_sweep() -> None:
    sim = Simulation()
    sim.apply_sweep()
    sim.settle(mixed)
    attempts = {
        experiment["spec"]["params"]["lr"]: [a["reason"] for a in experiment["status"]["attempts"]]
        for experiment in sim.cluster.all("Experiment")
    }
    assert attempts == {
        1: ["Completed"],
        2: ["UserException"] * 3,
        3: ["OutOfMemoryKilled"],
        4: ["Drained", "Completed"],
    }
    status = sim.sweep()["status"]
    assert Counter({c["reason"]: c["count"] for c in status["failureClusters"]}) == {
        "UserException": 1,
        "OutOfMemoryKilled": 1,
    }
    assert (status["trials"]["succeeded"], status["trials"]["failed"]) == (2, 2)
    sim.check_quiet()


def test_a_run_costs_few_writes() -> None:
    sim = Simulation()
    sim.apply_sweep(parameters=[{"name": "lr", "values": list(range(20))}])
    sim.settle()
    of_runs = [w for w in sim.cluster.writes if w.kind != "Sweep"]
    assert len(of_runs) / 20 <= 9.5
    assert len([w for w in of_runs if w.kind == "Job"]) / 20 == 3, "made, released, removed"
    assert [w for w in sim.cluster.writes if not w.changed] == []


def test_parallelism_is_kept_while_more_gpus_are_free() -> None:
    sim = Simulation(nodes={"big": 8})
    sim.apply_sweep(parallelism=3, parameters=[{"name": "lr", "values": list(range(12))}])
    most = 0
    for _ in range(60):
        sim.step()
        most = max(most, len(sim.world.pods("Running")))
    assert most == 3
    sim.settle()


def test_a_suspended_sweep_gives_its_gpus_back_and_goes_on_later() -> None:
    sim = Simulation()
    sim.apply_sweep()
    for _ in range(2):
        sim.step(lambda world, pod: None)
    assert sim.world.pods("Running", "Pending")
    sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"].update(suspend=True))
    sim.settle(lambda world, pod: None)
    assert sim.world.pods("Running", "Pending") == []
    assert sim.sweep()["status"]["state"] == "Suspended"
    sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"].update(suspend=False))
    sim.settle()
    assert sim.sweep()["status"]["trials"]["succeeded"] == 4
    sim.check_quiet()


def test_a_sweep_deleted_while_it_runs_leaves_nothing() -> None:
    sim = Simulation()
    sim.apply_sweep()
    for _ in range(2):
        sim.step(lambda world, pod: None)
    sim.cluster.remove("Sweep", NAMESPACE, "s")
    sim.settle(lambda world, pod: None)
    for kind in ("Sweep", "Experiment", "Job", "Pod"):
        assert sim.cluster.all(kind) == []
    assert list(sim.engine.store.experiments()) == []


def test_a_sweep_that_was_deleted_and_made_anew_starts_from_nothing() -> None:
    sim = Simulation()
    sim.apply_sweep()
    sim.settle()
    sim.cluster.remove("Sweep", NAMESPACE, "s")
    sim.apply_sweep()
    sim.settle()
    assert sim.sweep()["status"]["trials"]["succeeded"] == 4
    sim.check_quiet()


@pytest.mark.parametrize("nodes", [{"a": 2}, {"a": 1, "b": 1}, {"a": 8}], ids=str)
@pytest.mark.parametrize("outcome", [all_succeed, mixed])
def test_the_same_sweep_makes_the_same_trials_on_any_cluster(nodes: dict[str, int], outcome: Outcome) -> None:
    sim = Simulation(nodes=nodes)
    sim.apply_sweep()
    sim.settle(outcome)
    names = sorted(e["metadata"]["name"] for e in sim.cluster.all("Experiment"))
    assert names == ["s-306ecc1d2f", "s-47b0247d73", "s-75bcdf58ef", "s-bf1b5a0622"]
    sim.check_quiet()


def test_a_lost_node_costs_no_retry() -> None:
    sim = Simulation(nodes={"a": 1, "b": 1})
    sim.apply_sweep(parallelism=2)
    for _ in range(2):
        sim.step(lambda world, pod: None)
    assert len(sim.world.pods("Running")) == 2
    sim.node_faults = True
    sim.world.lose_node("a")
    sim.settle()
    sim.world.return_node("a")
    sim.settle()
    status = sim.sweep()["status"]
    assert status["trials"]["succeeded"] == 4
    lost = [a for e in sim.cluster.all("Experiment") for a in e["status"]["attempts"] if a["reason"] == "NodeLost"]
    assert len(lost) == 1
    assert all(e["status"]["retriesUsed"] == 0 for e in sim.cluster.all("Experiment"))
    sim.check_quiet()


@pytest.mark.parametrize("what", ["Job", "Pod"])
def test_what_is_deleted_by_hand_is_made_again(what: str) -> None:
    sim = Simulation()
    sim.apply_sweep()
    for _ in range(3):
        sim.step(lambda world, pod: None)
    (first, *_) = sim.world.pods("Running")
    name = experiment_of(first)
    if what == "Pod":
        sim.world.delete_pod(first)
    else:
        sim.world.delete_job(next(j for j in sim.cluster.all("Job") if experiment_of(j) == name))
    sim.settle()
    assert sim.sweep()["status"]["trials"]["succeeded"] == 4
    sim.check_quiet()


def test_what_waits_says_for_what() -> None:
    sim = Simulation(nodes={"a": 1})
    sim.apply_sweep(template={"params": {}, "resources": {"gpus": 2}})
    sim.settle()
    messages = {e["status"]["reason"]: e["status"]["message"] for e in sim.cluster.all("Experiment")}
    assert messages == {"NoFittingNode": "no node has 2 GPUs on one node: the largest node has 1"}
    sim.check_quiet()


def test_a_name_that_is_taken_is_said_and_nothing_of_the_other_is_touched() -> None:
    sim = Simulation()
    other = sim.cluster.add(
        {
            "apiVersion": "batch/v1",
            "kind": "Job",
            "metadata": {"namespace": NAMESPACE, "name": "s-306ecc1d2f-1"},
            "spec": {"suspend": True, "template": {"spec": {}}},
        }
    )
    sim.apply_sweep()
    for _ in range(30):
        sim.step()
    assert sim.cluster.find("Job", NAMESPACE, "s-306ecc1d2f-1") == other
    said = {note.reason for _, key, note in sim.events.said if key.name == "s-306ecc1d2f"}
    assert "NameTaken" in said
    sim.cluster.remove("Job", NAMESPACE, "s-306ecc1d2f-1")
    sim.settle()
    assert sim.sweep()["status"]["trials"]["succeeded"] == 4


def test_looking_again_at_everything_in_the_middle_changes_nothing() -> None:
    sim = Simulation()
    sim.apply_sweep()
    for _ in range(12):
        sim.step(mixed)
        sim.deliver()
        sim.work()
        writes = len(sim.cluster.writes)
        drive(sim.resync.run_once())
        sim.work()
        assert sim.cluster.writes[writes:] == []
