"""Runs whose turn Kueue decides, through the whole operator, with Kueue's part played."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orkhaven.core.kueue.labels import LABEL_PRIORITY_CLASS, LABEL_QUEUE
from tests.sim.cluster import Body, drive
from tests.sim.harness import NAMESPACE, Crash, Outcome, Simulation, all_succeed
from tests.sim.kueue import PREEMPTED, KueueController
from tests.sim.runs import run_by_hand, status
from tests.sim.test_crashes import AtWrite
from tests.sim.world import World


def runs_on(world: World, pod: Body) -> None:
    """It trains and does not end."""


def with_kueue(*, quota: int = 2, installed: bool = True) -> tuple[Simulation, KueueController]:
    sim = Simulation(nodes={"node-a": 4})
    kueue = KueueController(sim.cluster, quota=quota)
    if installed:
        kueue.install()
    sim.restart()
    return sim, kueue


def rounds(sim: Simulation, kueue: KueueController, outcome: Outcome, *, count: int = 30) -> None:
    for _ in range(count):
        kueue.step()
        sim.step(outcome)


def job(sim: Simulation, name: str) -> Body:
    found = sim.cluster.find("Job", NAMESPACE, name)
    assert found is not None, sim.describe()
    return found


def edit(sim: Simulation, name: str, **spec: object) -> None:
    sim.cluster.change("Experiment", NAMESPACE, name, lambda body: body["spec"].update(spec))


def test_it_is_labelled_and_left_to_kueue() -> None:
    sim, kueue = with_kueue()
    run_by_hand(sim, queueName="small")
    for _ in range(5):
        sim.step()
    made = job(sim, "alone-1")
    assert made["metadata"]["labels"][LABEL_QUEUE] == "small"
    assert LABEL_PRIORITY_CLASS not in made["metadata"]["labels"]
    assert LABEL_QUEUE not in made["spec"]["template"]["metadata"]["labels"]
    assert made["spec"]["suspend"] is True
    assert status(sim, "alone")["message"] == "is in LocalQueue small of Kueue"
    rounds(sim, kueue, all_succeed)
    assert status(sim, "alone")["state"] == "Succeeded"
    ours = [write for write in sim.cluster.writes if write.kind == "Experiment"]
    assert len(ours) <= 6
    assert [write.verb for write in sim.cluster.writes if write.kind == "Job"].count("patch") == 0


def test_what_kueue_waits_for_is_said_in_its_own_words() -> None:
    sim, kueue = with_kueue(quota=1)
    run_by_hand(sim, "first", queueName="small")
    rounds(sim, kueue, runs_on, count=8)
    run_by_hand(sim, "second", queueName="small", seed=2)
    rounds(sim, kueue, runs_on, count=8)
    seen = status(sim, "second")
    assert (seen["state"], seen["reason"]) == ("Queued", "WaitingForKueue")
    assert seen["message"] == (
        "LocalQueue small of Kueue: WaitingForQuota: insufficient unused quota in flavor h100, 1 more needed"
    )
    rounds(sim, kueue, all_succeed)
    assert status(sim, "second")["state"] == "Succeeded"


def test_a_queue_that_is_not_there_is_waited_for_and_may_be_put_right() -> None:
    sim, kueue = with_kueue()
    run_by_hand(sim, queueName="smal")
    rounds(sim, kueue, all_succeed, count=8)
    assert status(sim, "alone")["message"] == ("LocalQueue smal of Kueue: Misconfigured: LocalQueue smal doesn't exist")
    edit(sim, "alone", queueName="small")
    rounds(sim, kueue, all_succeed)
    assert status(sim, "alone")["state"] == "Succeeded"
    assert status(sim, "alone")["attemptCount"] == 1


def test_an_eviction_is_a_preemption_that_costs_nothing() -> None:
    sim, kueue = with_kueue()
    run_by_hand(sim, queueName="small", retry={"limit": 0})
    rounds(sim, kueue, runs_on, count=8)
    assert status(sim, "alone")["state"] == "Running"
    kueue.evict("alone-1")
    rounds(sim, kueue, runs_on, count=12)
    seen = status(sim, "alone")
    first, second = seen["attempts"]
    assert (first["reason"], first["message"]) == ("Preempted", f"evicted by Kueue: Preempted: {PREEMPTED}")
    assert seen["retriesUsed"] == 0
    assert (second["number"], seen["state"]) == (2, "Running")
    rounds(sim, kueue, all_succeed)
    assert status(sim, "alone")["state"] == "Succeeded"


def test_what_ended_by_itself_while_it_was_evicted_counts_as_its_pod_says() -> None:
    sim, kueue = with_kueue()
    run_by_hand(sim, queueName="small")
    rounds(sim, kueue, runs_on, count=8)
    kueue.evict("alone-1")
    (pod,) = sim.world.pods("Running")
    sim.world.succeed(pod, value=0.7)
    rounds(sim, kueue, all_succeed)
    assert [attempt["reason"] for attempt in status(sim, "alone")["attempts"]] == ["Completed"]


def test_a_suspended_run_is_deactivated_and_goes_on_in_its_place() -> None:
    sim, kueue = with_kueue()
    run_by_hand(sim, queueName="small")
    rounds(sim, kueue, runs_on, count=8)
    edit(sim, "alone", suspend=True)
    rounds(sim, kueue, runs_on, count=8)
    assert status(sim, "alone")["state"] == "Suspended"
    assert kueue.of("alone-1")["spec"]["active"] is False
    assert job(sim, "alone-1")["spec"]["suspend"] is True
    edit(sim, "alone", suspend=False)
    rounds(sim, kueue, all_succeed)
    seen = status(sim, "alone")
    assert seen["state"] == "Succeeded"
    assert [attempt["reason"] for attempt in seen["attempts"]] == ["Completed"]
    assert [write.verb for write in sim.cluster.writes if write.kind == "Job"].count("patch") == 0


def test_what_an_admin_deactivates_stays_so_and_says_it() -> None:
    sim, kueue = with_kueue()
    run_by_hand(sim, queueName="small")
    rounds(sim, kueue, runs_on, count=8)
    kueue.deactivate("alone-1")
    rounds(sim, kueue, runs_on, count=10)
    seen = status(sim, "alone")
    assert (seen["state"], seen["reason"]) == ("Queued", "WaitingForKueue")
    assert "is deactivated (Deactivated: The workload is deactivated)" in seen["message"]
    assert seen["attemptCount"] == 1
    sim.check_quiet()


def test_without_kueue_it_waits_and_says_so_until_kueue_comes() -> None:
    sim, kueue = with_kueue(installed=False)
    run_by_hand(sim, queueName="small")
    run_by_hand(sim, "other", seed=2)
    sim.settle()
    assert status(sim, "other")["state"] == "Succeeded"
    seen = status(sim, "alone")
    assert seen["state"] == "Queued"
    assert seen["message"].startswith("Kueue is not installed in this cluster")
    sim.check_quiet()
    kueue.install("v1beta1")
    assert drive(sim.workloads.look()) is not None
    rounds(sim, kueue, all_succeed)
    assert status(sim, "alone")["state"] == "Succeeded"


def test_without_kueue_a_run_leaves_for_the_built_in_queue() -> None:
    sim, _ = with_kueue(installed=False)
    run_by_hand(sim, queueName="small")
    sim.settle()
    sim.cluster.change("Experiment", NAMESPACE, "alone", lambda body: body["spec"].pop("queueName"))
    sim.settle()
    assert status(sim, "alone")["state"] == "Succeeded"


def test_a_sweep_holds_to_its_parallelism_in_kueue_too() -> None:
    sim, kueue = with_kueue(quota=4)
    sim.apply_sweep(template={"params": {}, "resources": {"gpus": 1}, "queueName": "small"}, parallelism=2)
    most = 0
    for number in range(60):
        kueue.step()
        sim.step(all_succeed if number % 3 == 2 else runs_on)
        most = max(most, len(sim.world.pods("Running", "Pending")))
    assert most == 2
    assert sim.sweep()["status"]["state"] == "Succeeded"


def evicted_once(fault: Callable[[Simulation], None] = lambda sim: None) -> tuple[Body, int]:
    sim, kueue = with_kueue()
    run_by_hand(sim, queueName="small")
    fault(sim)
    done = 0
    for number in range(60):
        kueue.step()
        if not done and status(sim, "alone").get("state") == "Running":
            kueue.evict("alone-1")
            done = number
        try:
            sim.step(all_succeed if done and number > done + 12 else runs_on)
        except Crash:
            sim.restart()
    return sim.end_state(), len(sim.cluster.writes)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_write_changes_nothing_about_the_end(moment: str) -> None:
    want, writes = evicted_once()
    assert [reason for _, reason in want["Experiment/alone"]["attempts"]] == ["Preempted", "Completed"]
    for number in range(writes):
        fault = AtWrite(number, Crash)
        got, _ = evicted_once(lambda sim, fault=fault: setattr(sim.cluster, moment, fault))  # type: ignore[misc]
        assert fault.happened
        run, wanted = got["Experiment/alone"], want["Experiment/alone"]
        # Where Kueue has admitted it again before anybody saw that it was evicted, the attempt goes on in its Job.
        ends = [reason for _, reason in run.pop("attempts")]
        assert ends in (["Preempted", "Completed"], ["Completed"]), f"{moment} write {number}"
        assert run == {name: value for name, value in wanted.items() if name != "attempts"}, f"{moment} write {number}"
        assert got["jobs"] == [f"alone-{len(ends)}"]
