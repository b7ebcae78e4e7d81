"""What is left of runs that have ended: Jobs and pods go soon, Experiments and Sweeps when their time has passed."""

from __future__ import annotations

import pytest

from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Crash, Outcome, Simulation, mixed
from tests.sim.runs import run_by_hand, status
from tests.sim.test_crashes import AtWrite

KEPT: Outcome = lambda world, pod: None  # noqa: E731


def left(sim: Simulation) -> Body:
    return {kind: len(sim.cluster.look(kind)) for kind in ("Job", "Pod")}


def test_a_finished_sweep_holds_no_jobs_and_no_pods() -> None:
    sim = Simulation()
    sim.apply_sweep(parameters=[{"name": "lr", "values": list(range(12))}])
    sim.settle(mixed)
    assert left(sim) == {"Job": 0, "Pod": 0}
    status = sim.sweep()["status"]
    assert status["trials"]["succeeded"] + status["trials"]["failed"] == 12
    ended = [a for e in sim.cluster.look("Experiment") for a in e["status"]["attempts"]]
    assert all(attempt["reason"] and attempt["endTime"] for attempt in ended), "the record outlives its Job"
    sim.check_quiet()


@pytest.mark.parametrize(("lr", "kept"), [(1, 60), (2, 600)], ids=["succeeded", "failed"])
def test_jobs_are_kept_for_the_log_and_longer_where_a_person_may_want_to_look(lr: int, kept: int) -> None:
    sim = Simulation()
    run_by_hand(sim, "x", params={"lr": lr}, retry={"limit": 0})
    for _ in range(8):
        sim.step(mixed)
    ended = sim.clock.seconds
    assert status(sim, "x")["state"] in ("Succeeded", "Failed")
    while sim.clock.seconds < ended + kept - 20:
        sim.step(seconds=10)
    assert left(sim) == {"Job": 1, "Pod": 1}
    sim.step(seconds=20)
    sim.step(seconds=20)
    assert left(sim) == {"Job": 0, "Pod": 0}
    sim.check_quiet()


def test_jobs_that_an_operator_left_behind_are_removed_by_the_next() -> None:
    sim = Simulation()
    sim.apply_sweep()
    for _ in range(10):
        sim.step()
    assert left(sim)["Job"] > 0
    sim.clock.advance(3600)
    sim.restart()
    sim.settle()
    assert left(sim) == {"Job": 0, "Pod": 0}
    sim.check_quiet()


def test_a_job_of_the_same_name_that_is_somebody_elses_is_left_alone() -> None:
    sim = Simulation()
    run_by_hand(sim, "x")
    for _ in range(8):
        sim.step()
    job = sim.cluster.find("Job", NAMESPACE, "x-1")
    assert job is not None
    sim.cluster.remove("Job", NAMESPACE, "x-1")
    for extra in ("uid", "resourceVersion", "ownerReferences"):
        job["metadata"].pop(extra, None)
    sim.cluster.add(job)
    sim.settle()
    assert sim.cluster.find("Job", NAMESPACE, "x-1") is not None


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_while_it_is_cleaned_up_leaves_nothing_behind(moment: str) -> None:
    calm = Simulation()
    calm.apply_sweep(ttlSecondsAfterFinished=7200)
    calm.settle()
    assert calm.cluster.look("Sweep") == []
    deletes = [n for n, write in enumerate(calm.cluster.writes) if write.verb == "delete"]
    assert len(deletes) == 5
    for number in deletes:
        sim = Simulation()
        fault = AtWrite(number, Crash)
        setattr(sim.cluster, moment, fault)
        sim.apply_sweep(ttlSecondsAfterFinished=7200)
        for _ in range(3):
            try:
                sim.settle()
            except Crash:
                sim.restart()
        assert fault.happened
        for kind in ("Sweep", "Experiment", "Job", "Pod"):
            assert sim.cluster.look(kind) == [], f"{moment} write {number}"


@pytest.mark.parametrize("outcome", [mixed, KEPT], ids=["ended", "running"])
def test_a_run_of_its_own_is_deleted_when_its_time_has_passed_and_not_while_it_runs(outcome: Outcome) -> None:
    sim = Simulation()
    run_by_hand(sim, "x", ttlSecondsAfterFinished=3600)
    for _ in range(8):
        sim.step(outcome)
    sim.clock.advance(3590)
    sim.step(outcome)
    assert sim.cluster.find("Experiment", NAMESPACE, "x") is not None
    sim.clock.advance(60)
    sim.settle(outcome)
    assert (sim.cluster.find("Experiment", NAMESPACE, "x") is None) == (outcome is mixed)
    if outcome is mixed:
        assert left(sim) == {"Job": 0, "Pod": 0}


def test_a_trial_is_not_deleted_by_itself_and_so_not_made_again_for_ever() -> None:
    sim = Simulation()
    sim.apply_sweep()
    sim.settle()
    for trial in sim.cluster.all("Experiment"):
        name = trial["metadata"]["name"]
        sim.cluster.change("Experiment", NAMESPACE, name, lambda body: body["spec"].update(ttlSecondsAfterFinished=1))
    sim.clock.advance(3600)
    sim.settle()
    assert len(sim.cluster.look("Experiment")) == 4
    sim.check_quiet()


# --- by hand ----------------------------------------------------------------------------------------------------------


def test_a_trial_deleted_by_hand_while_its_sweep_runs_is_made_again_under_its_name() -> None:
    sim = Simulation()
    sim.apply_sweep(parallelism=1)
    for _ in range(6):
        sim.step()
    names = {e["metadata"]["name"] for e in sim.cluster.look("Experiment")}
    gone = next(e for e in sim.cluster.look("Experiment") if e["status"]["state"] == "Succeeded")
    sim.cluster.remove("Experiment", NAMESPACE, gone["metadata"]["name"])
    sim.forget_trial(gone)
    sim.settle()
    again = sim.cluster.find("Experiment", NAMESPACE, gone["metadata"]["name"])
    assert again is not None
    assert again["metadata"]["uid"] != gone["metadata"]["uid"]
    assert names <= {e["metadata"]["name"] for e in sim.cluster.look("Experiment")}
    assert sim.sweep()["status"]["trials"]["succeeded"] == 4
    sim.check_quiet()


def test_a_trial_deleted_by_hand_after_its_sweep_has_ended_stays_away() -> None:
    sim = Simulation()
    sim.apply_sweep()
    sim.settle()
    before = sim.sweep()["status"]
    sim.cluster.remove("Experiment", NAMESPACE, sim.cluster.look("Experiment")[0]["metadata"]["name"])
    sim.settle()
    assert len(sim.cluster.look("Experiment")) == 3
    assert sim.sweep()["status"] == before


@pytest.mark.parametrize(
    "edit",
    [
        {"attempts": [], "attemptCount": 0},
        {"state": "Queued", "conditions": []},
        {"runHash": "f" * 64},
        {"reusedFrom": "nobody"},
        {"outputFolder": "elsewhere"},
        {"state": "nonsense", "attempts": "nonsense"},
    ],
    ids=lambda edit: "+".join(edit),
)
def test_a_status_edited_by_hand_while_it_runs_is_put_right_and_starts_nothing_twice(edit: Body) -> None:
    sim = Simulation()
    run_by_hand(sim, "x")
    for _ in range(4):
        sim.step(KEPT)
    sim.cluster.change("Experiment", NAMESPACE, "x", lambda body: body["status"].update(edit))
    for _ in range(4):
        sim.step(KEPT)
    assert len(sim.cluster.look("Job")) == 1
    sim.settle()
    end = status(sim, "x")
    assert (end["state"], end["reason"], end["attemptCount"]) == ("Succeeded", "Completed", 1)
    sim.check_quiet()


@pytest.mark.parametrize("state", ["Succeeded", "Failed", "Skipped"])
def test_an_end_written_by_hand_is_believed_and_its_jobs_go(state: str) -> None:
    """Who may write a status could as well delete the run; nothing of it is left running."""
    sim = Simulation()
    run_by_hand(sim, "x")
    for _ in range(4):
        sim.step(KEPT)
    assert left(sim) == {"Job": 1, "Pod": 1}
    sim.cluster.change("Experiment", NAMESPACE, "x", lambda body: body["status"].update(state=state))
    sim.settle(KEPT)
    assert left(sim) == {"Job": 0, "Pod": 0}
    sim.check_quiet()


def test_two_sweeps_whose_children_would_have_one_name_say_so_and_touch_nothing() -> None:
    sim = Simulation()
    sim.apply_sweep("s")
    sim.settle()
    taken = sim.cluster.look("Experiment")[0]
    sim.cluster.remove("Sweep", NAMESPACE, "s")
    while sim.cluster.collect():
        pass
    squatter = {**taken, "metadata": {"namespace": NAMESPACE, "name": taken["metadata"]["name"]}}
    sim.cluster.add(squatter)
    sim.apply_sweep("s", dedupe="Never")
    for _ in range(20):
        sim.step()
    assert ("Sweep", "NameTaken") in {(kind, note.reason) for kind, _, note in sim.events.said}
    sim.cluster.remove("Experiment", NAMESPACE, taken["metadata"]["name"])
    sim.settle()
    assert sim.sweep()["status"]["trials"]["succeeded"] == 4
    sim.check_quiet()
