"""Failed trials that are run once more: what is made, what is counted, and that no crash changes either."""

from __future__ import annotations

from typing import Any

import pytest

from orkrun.contract import LABEL_EXPERIMENT, LABEL_RERUN, LABEL_RERUN_OF
from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Crash, Simulation, all_succeed, mixed
from tests.sim.runs import folder_of
from tests.sim.test_crashes import AtWrite
from tests.sim.world import World


def ask(sim: Simulation, *entries: Body) -> None:
    """A person adds entries to spec.rerun."""

    def change(body: Body) -> None:
        body["spec"]["rerun"] = [*body["spec"].get("rerun", []), *entries]

    sim.cluster.change("Sweep", NAMESPACE, "s", change)


def memory_helps(world: World, pod: Body) -> None:
    """As `mixed`, but that 32Gi are enough."""
    limits = pod["spec"]["containers"][0].get("resources", {}).get("limits", {})
    if limits.get("memory") == "32Gi":
        all_succeed(world, pod)
    else:
        mixed(world, pod)


def reruns(sim: Simulation) -> list[Body]:
    return [e for e in sim.cluster.all("Experiment") if LABEL_RERUN in e["metadata"].get("labels", {})]


def ended(**spec: Any) -> Simulation:
    sim = Simulation()
    sim.apply_sweep(**spec)
    sim.settle(mixed)
    assert sim.sweep()["status"]["state"] == "Succeeded"
    return sim


def reason_of_end(sim: Simulation) -> str:
    (found,) = (c for c in sim.sweep()["status"]["conditions"] if c["type"] == "Finished" and c["status"] == "True")
    return str(found["reason"])


MEMORY: Body = {
    "id": "oom",
    "select": {"reasons": ["OutOfMemoryKilled"]},
    "overrides": {"resources": {"memory": "32Gi"}},
}


def test_a_rerun_opens_a_finished_sweep_and_replaces_what_failed() -> None:
    sim = ended()
    before = sim.sweep()["status"]
    ask(sim, MEMORY)
    sim.settle(memory_helps)
    status = sim.sweep()["status"]
    assert (before["trials"]["failed"], status["trials"]["failed"]) == (2, 1)
    assert (status["trials"]["succeeded"], status["trials"]["replaced"], status["trials"]["total"]) == (3, 1, 4)
    assert [c["reason"] for c in status["failureClusters"]] == ["UserException"]
    (record,) = status["reruns"]
    assert {key: record[key] for key in ("id", "selected", "created", "done", "succeeded", "failed", "waiting")} == {
        "id": "oom",
        "selected": 1,
        "created": 1,
        "done": 1,
        "succeeded": 1,
        "failed": 0,
        "waiting": "",
    }
    (made,) = reruns(sim)
    old = sim.cluster.find("Experiment", NAMESPACE, made["metadata"]["labels"][LABEL_RERUN_OF])
    assert old is not None
    assert old["status"]["state"] == "Failed"
    assert old["status"]["attempts"][-1]["reason"] == "OutOfMemoryKilled"
    assert made["spec"]["resources"]["memory"] == "32Gi"
    assert made["spec"]["params"] == old["spec"]["params"]
    assert made["spec"]["params"]["encoder"] is None
    assert status["state"] == "Succeeded"
    assert len(status["leaderboard"]) == 3
    sim.check_quiet()


@pytest.mark.parametrize("dedupe", ["Reuse", "Never"])
def test_the_same_run_goes_on_in_its_folder_whatever_folder_that_is(dedupe: str) -> None:
    sim = Simulation()
    sim.apply_sweep(dedupe=dedupe)
    folders: dict[str, str] = {}

    def watch(world: World, pod: Body) -> None:
        for job in sim.cluster.look("Job"):
            folders[job["metadata"]["labels"][LABEL_EXPERIMENT]] = folder_of(job)
        memory_helps(world, pod)

    sim.settle(watch)
    scratch = {"id": "anew", "select": {"reasons": ["UserException"]}, "fromCheckpoint": False}
    ask(sim, {**MEMORY, "id": "on"}, scratch)
    sim.settle(watch)
    made = {e["metadata"]["labels"][LABEL_RERUN]: e["metadata"] for e in reruns(sim)}
    assert folders[made["on"]["name"]] == folders[made["on"]["labels"][LABEL_RERUN_OF]]
    anew = made["anew"]["name"]
    assert folders[anew] not in {folder for name, folder in folders.items() if name != anew}
    sim.check_quiet()


def test_other_parameters_are_a_trial_like_any_other_under_the_number_of_the_old_one() -> None:
    sim = ended()
    ask(sim, {"id": "params", "select": {"params": {"lr": [2]}}, "overrides": {"params": {"lr": 6, "model": "fpn"}}})
    sim.settle(mixed)
    (made,) = reruns(sim)
    old = sim.cluster.find("Experiment", NAMESPACE, made["metadata"]["labels"][LABEL_RERUN_OF])
    assert old is not None
    assert made["spec"]["params"] == {"model": "fpn", "encoder": None, "lr": 6}
    assert "resumeFrom" not in made["spec"]
    assert made["metadata"]["labels"]["orkhaven.io/trial"] == old["metadata"]["labels"]["orkhaven.io/trial"]
    assert made["metadata"]["labels"]["orkhaven.io/param-hash"] != old["metadata"]["labels"]["orkhaven.io/param-hash"]
    status = sim.sweep()["status"]
    assert status["trials"]["total"] == 4, "the grid's own combination is not made again"
    assert 6 in [row["params"]["lr"] for row in status["leaderboard"]]
    sim.check_quiet()


def test_another_image_starts_anew() -> None:
    sim = ended()
    ask(sim, {"id": "fix", "overrides": {"image": "trainer:2", "env": [{"name": "A", "value": "1"}]}})
    sim.settle(all_succeed)
    assert {e["spec"]["image"] for e in reruns(sim)} == {"trainer:2"}
    assert all(e["spec"]["env"] == [{"name": "A", "value": "1"}] for e in reruns(sim))
    assert sim.sweep()["status"]["trials"]["succeeded"] == 4
    assert sim.sweep()["status"]["failureClusters"] == []
    sim.check_quiet()


def test_what_fails_later_of_the_same_cause_is_not_drawn_in() -> None:
    sim = Simulation(nodes={"a": 1})
    sim.apply_sweep(parallelism=1, parameters=[{"name": "lr", "values": [3, 8, 13, 18]}])
    while not sim.sweep().get("status", {}).get("trials", {}).get("failed"):
        sim.step(mixed)
    ask(sim, {"id": "first", "select": {"reasons": ["OutOfMemoryKilled"]}})
    sim.settle(mixed)
    status = sim.sweep()["status"]
    assert [(r["selected"], r["created"], r["failed"]) for r in status["reruns"]] == [(1, 1, 1)]
    assert len(reruns(sim)) == 1
    assert status["trials"]["failed"] == 4
    sim.check_quiet()


def test_an_entry_taken_out_undoes_nothing_and_its_id_selects_nothing_again() -> None:
    sim = ended()
    ask(sim, MEMORY)
    sim.settle(mixed)
    sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"].pop("rerun"))
    sim.settle(memory_helps)
    assert sim.sweep()["status"]["reruns"][0]["failed"] == 1
    ask(sim, MEMORY)
    sim.settle(memory_helps)
    assert len(reruns(sim)) == 1
    assert len(sim.sweep()["status"]["reruns"]) == 1
    sim.check_quiet()


def test_a_rerun_that_fails_can_be_run_again_and_keeps_what_was_changed_before() -> None:
    sim = ended()
    ask(
        sim,
        {"id": "one", "select": {"params": {"lr": [3]}}, "overrides": {"resources": {"memory": "20Gi", "cpu": "2"}}},
    )
    sim.settle(memory_helps)
    ask(sim, {**MEMORY, "id": "two"})
    sim.settle(memory_helps)
    status = sim.sweep()["status"]
    first, second = sorted(reruns(sim), key=lambda e: e["metadata"]["labels"][LABEL_RERUN])
    assert second["metadata"]["labels"][LABEL_RERUN_OF] == first["metadata"]["name"]
    assert (second["spec"]["resources"]["memory"], second["spec"]["resources"]["cpu"]) == ("32Gi", "2")
    assert (status["trials"]["replaced"], status["trials"]["succeeded"]) == (2, 3)
    assert [(r["id"], r["succeeded"], r["failed"]) for r in status["reruns"]] == [("one", 0, 1), ("two", 1, 0)]
    sim.check_quiet()


def test_what_cannot_be_run_so_is_said_and_nothing_is_made() -> None:
    sim = ended()
    ask(
        sim,
        {"id": "shm", "overrides": {"resources": {"memory": "1Gi", "sharedMemory": "2Gi"}}},
        {"id": "below", "overrides": {"params": {"lr.inner": 1}}},
        {"id": "none", "select": {"reasons": ["DiskFull"], "names": ["s-306ecc1d2f", "nobody"]}},
    )
    sim.settle(mixed)
    status = sim.sweep()["status"]
    said = {record["id"]: record["message"] for record in status["reruns"]}
    assert "spec.resources.sharedMemory: sharedMemory counts towards memory" in said["shm"]
    assert "(and 1 more)" in said["shm"]
    assert "spec.params.lr: is " in said["below"]
    assert "nobody is none of its trials" in said["none"]
    assert "no trial has failed with DiskFull" in said["none"]
    assert reruns(sim) == []
    assert status["state"] == "Succeeded"
    assert [note.type for _, _, note in sim.events.said if note.reason == "Rerun"] == ["Warning"] * 3
    sim.check_quiet()


def test_a_goal_that_is_reached_does_not_hold_back_what_is_run_again() -> None:
    sim = Simulation()
    sim.apply_sweep(
        objective={"metric": "val/dice", "goal": 0.1},
        search={"order": "Sequential"},
        parameters=[{"name": "lr", "values": [3, 8, 1, 6]}],
    )
    sim.settle(mixed)
    before = sim.sweep()["status"]["trials"]
    assert before["failed"]
    ask(sim, MEMORY)
    sim.settle(memory_helps)
    after = sim.sweep()["status"]["trials"]
    assert after["failed"] == 0
    assert after["created"] == before["created"]
    sim.check_quiet()


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_goal_that_is_reached_holds_back_what_was_never_run_and_no_rerun(gpus: int) -> None:
    sim = Simulation(nodes={"a": gpus})
    sim.apply_sweep(
        objective={"metric": "val/dice", "goal": 0.1},
        parallelism=gpus,
        search={"order": "Sequential"},
        parameters=[{"name": "lr", "values": [3, 8, 1, 6, 11, 16]}],
    )
    sim.settle(mixed)
    before = sim.sweep()["status"]
    assert reason_of_end(sim) == "GoalReached"
    failed = before["trials"]["failed"]
    assert failed
    held = {e["metadata"]["name"] for e in sim.cluster.all("Experiment") if e["spec"].get("suspend")}
    ask(sim, MEMORY)
    sim.settle(memory_helps)
    after = sim.sweep()["status"]
    assert reason_of_end(sim) == "GoalReached"
    assert (after["trials"]["failed"], after["trials"]["replaced"]) == (0, failed)
    assert after["trials"]["succeeded"] == before["trials"]["succeeded"] + failed
    assert after["trials"]["created"] == before["trials"]["created"]
    assert {e["metadata"]["name"] for e in sim.cluster.all("Experiment") if e["spec"].get("suspend")} == held
    sim.check_quiet()


@pytest.mark.parametrize("gpus", [1, 2])
def test_a_sweep_given_up_goes_on_once_its_failures_are_mended(gpus: int) -> None:
    sim = Simulation(nodes={"a": gpus})
    sim.apply_sweep(
        failurePolicy={"maxFailedTrials": 1},
        parallelism=gpus,
        search={"order": "Sequential"},
        # The second failure gives it up, before anything else is started.
        parameters=[{"name": "lr", "values": [3, 8, 1, 6, 11, 16, 21]}],
    )
    sim.settle(mixed)
    assert sim.sweep()["status"]["state"] == "Failed"
    ask(sim, MEMORY)
    sim.settle(memory_helps)
    status = sim.sweep()["status"]
    assert status["state"] == "Succeeded"
    assert status["trials"]["succeeded"] == 7
    sim.check_quiet()


def test_a_suspended_sweep_fixes_the_selection_and_makes_it_later() -> None:
    sim = ended(parameters=[{"name": "lr", "values": [1, 3]}])
    sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"].update(suspend=True))
    ask(sim, MEMORY)
    sim.settle(memory_helps)
    status = sim.sweep()["status"]
    assert (status["state"], status["reruns"][0]["selected"], status["reruns"][0]["created"]) == ("Suspended", 1, 0)
    assert status["reruns"][0]["waiting"] != ""
    sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"].update(suspend=False))
    sim.settle(memory_helps)
    assert sim.sweep()["status"]["trials"]["succeeded"] == 2
    sim.check_quiet()


def test_never_more_than_parallelism_run_however_many_are_run_again() -> None:
    sim = Simulation(nodes={"big": 64})
    sim.apply_sweep(parallelism=10, parameters=[{"name": "lr", "values": [5 * n + 3 for n in range(60)]}])
    sim.settle(mixed)
    assert sim.sweep()["status"]["trials"]["failed"] == 60
    writes = len(sim.cluster.writes)
    ask(sim, MEMORY)
    most = 0
    for _ in range(5):
        sim.step(lambda world, pod: None)
        most = max(most, len(sim.world.pods("Running", "Pending")))
    assert (len(reruns(sim)), most) == (60, 10)
    made = [write for write in sim.cluster.writes[writes:] if write.verb == "create" and write.kind == "Experiment"]
    assert len(made) == 60
    sim.settle(memory_helps, rounds=2000)
    assert sim.sweep()["status"]["trials"]["succeeded"] == 60
    sim.check_quiet()


ENTRIES: tuple[Body, ...] = (
    MEMORY,
    {"id": "fix", "select": {"reasons": ["UserException"]}, "overrides": {"params": {"lr": 11}}},
)


def whole(sim: Simulation) -> Body:
    """The end state with the records and the links."""
    links = {e["metadata"]["name"]: e["metadata"]["labels"][LABEL_RERUN_OF] for e in reruns(sim)}
    records = [{key: value for key, value in r.items() if key != "time"} for r in sim.sweep()["status"]["reruns"]]
    return {**sim.end_state(), "links": links, "reruns": records}


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_write_of_a_rerun_changes_nothing_about_the_end(moment: str) -> None:
    sim = ended()
    first = len(sim.cluster.writes)
    ask(sim, *ENTRIES)
    sim.settle(memory_helps)
    want, writes = whole(sim), len(sim.cluster.writes) - first
    assert writes > 12
    assert len(reruns(sim)) == 2
    for number in range(writes):
        sim = ended()
        fault = AtWrite(number, Crash)
        setattr(sim.cluster, moment, fault)
        ask(sim, *ENTRIES)
        sim.settle_over_crashes(memory_helps)
        assert fault.happened
        assert whole(sim) == want, f"{moment} write {number}"
        sim.check_quiet()


def test_deleting_what_was_run_again_brings_the_old_failure_back() -> None:
    sim = ended()
    ask(sim, MEMORY)
    sim.settle(memory_helps)
    (made,) = reruns(sim)
    sim.delete_trial(made["metadata"]["name"])
    ask(sim, {**MEMORY, "id": "once-more"})
    sim.settle(memory_helps)
    status = sim.sweep()["status"]
    assert [record["selected"] for record in status["reruns"]] == [1, 1]
    assert status["trials"]["succeeded"] == 3
    sim.check_quiet()
