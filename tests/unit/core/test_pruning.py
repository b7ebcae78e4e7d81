"""What becomes of an Experiment whose spec says that it is to end early, and of one that a person lets go on."""

from __future__ import annotations

from typing import Any

import pytest

from orkhaven.core.actions import DeleteJob, SuspendJob
from orkhaven.core.parse import parse_job
from orkhaven.core.queue import wants_release
from tests.unit.core.world import DONE, World, make_experiment, record

WHY = "rung 5: 0.61 is below the median 0.7 of 12 trials"


def prune(world: World, **fields: Any) -> World:
    world.experiment["spec"]["prune"] = {"step": 5, "message": WHY, "resume": False, **fields}
    world.experiment["metadata"]["generation"] += 1
    return world


def pruned() -> World:
    """One that ran for 60 s, was told, saved its checkpoint and is Pruned."""
    world = prune(World().run(60))
    world.settle()
    world.delete_pod().wait(10)
    checkpoint = {"step": 7, "path": "/output/r/last.pt"}
    world.exit(143, record("Interrupted", checkpoint=checkpoint), job=False).settle()
    world.pods.clear()
    world.settle()
    return world


def test_a_running_one_saves_gives_its_gpu_back_and_is_pruned() -> None:
    world = prune(World().run(60))
    plan = world.look()
    assert [type(action) for action in plan.actions] == [SuspendJob]
    assert world.seen == ("Running", "Suspending")
    assert world.status["message"] == f"saves a checkpoint and ends; {WHY}"
    world.settle()
    world.delete_pod().wait(10)
    checkpoint = {"step": 7, "path": "/output/r/last.pt"}
    world.exit(143, record("Interrupted", checkpoint=checkpoint), job=False)
    first = world.look()
    assert not first.actions, "the end is written before what proves it is deleted"
    (attempt,) = world.status["attempts"]
    assert (attempt["reason"], attempt["exitCode"], attempt["message"]) == ("EarlyStopped", 143, WHY)
    second = world.look()
    assert [type(action) for action in second.actions] == [DeleteJob]
    world.pods.clear()
    world.settle()
    assert world.seen == ("Pruned", "EarlyStopped")
    assert world.status["message"] == WHY
    assert (world.condition("Finished")["status"], world.condition("Succeeded")["status"]) == ("True", "False")
    assert (world.status["gpuSeconds"], world.status["retriesUsed"]) == (70, 0)
    assert world.status["checkpoint"] == checkpoint
    assert "failure" not in world.status
    assert world.events == ["Started", "Pruned"]
    assert not world.jobs


def test_what_it_said_last_is_kept_where_the_hub_does_not_have_it() -> None:
    world = prune(World().run(60))
    world.settle()
    said = record("Interrupted", objective={"value": 0.61, "step": 4}, step=5, metrics={"val/dice": {"best": 0.61}})
    world.exit(143, said, job=False).settle()
    assert world.status["objective"] == {"value": 0.61, "step": 4}
    assert world.seen == ("Pruned", "EarlyStopped")


@pytest.mark.parametrize("when", ["before it is looked at", "while its Job is suspended", "before its pod is seen"])
def test_one_that_ends_well_by_itself_has_succeeded(when: str) -> None:
    world = World().run(60)
    if when == "before it is looked at":
        prune(world.exit(0, DONE))
    elif when == "while its Job is suspended":
        prune(world).look()
        world.exit(0, DONE, job=False)
    else:
        prune(world).settle()
        world.exit(0, DONE, job=False).end_job("Complete")
    world.settle()
    assert world.seen == ("Succeeded", "Completed")
    assert world.condition("Succeeded")["status"] == "True"


def test_one_that_breaks_while_it_is_being_stopped_is_pruned() -> None:
    world = prune(World().run(60))
    world.settle()
    world.exit(1, record("Failed", failure={"type": "OSError", "message": "no"}), job=False).settle()
    assert world.seen == ("Pruned", "EarlyStopped")
    assert world.status["retriesUsed"] == 0


def test_one_that_failed_before_it_was_told_stays_failed() -> None:
    world = World(make_experiment(retry={"limit": 0})).run(60)
    prune(world.exit(1)).settle()
    assert world.seen == ("Failed", "UserException")


def test_one_that_waits_for_its_retry_is_pruned_instead() -> None:
    world = World(make_experiment(retry={"limit": 2})).run(60)
    world.exit(1).settle()
    assert world.seen == ("Queued", "WaitingForRetry")
    prune(world).settle()
    assert world.seen == ("Pruned", "EarlyStopped")
    assert "failure" not in world.status
    assert "retryAt" not in world.status
    assert len(world.jobs) == 1


def test_one_that_waits_for_gpus_is_not_released_and_is_pruned() -> None:
    world = World()
    world.settle()
    assert wants_release(world.view(), parse_job(world.job))
    prune(world)
    assert not wants_release(world.view(), parse_job(world.job))
    world.settle()
    assert world.seen == ("Pruned", "EarlyStopped")
    assert not world.jobs


def test_one_that_was_never_begun_makes_no_job() -> None:
    world = prune(World())
    world.settle()
    assert (world.seen, world.jobs) == (("Pruned", "EarlyStopped"), {})


def test_a_job_that_still_counts_a_pod_is_waited_for() -> None:
    world = prune(World().run(60))
    world.look()
    world.pods.clear()  # its watch is behind
    world.job["status"]["active"] = 1
    world.settle()
    assert world.seen == ("Running", "Suspending")
    world.job["status"]["active"] = 0
    world.settle()
    assert world.seen == ("Pruned", "EarlyStopped")


def test_a_pruned_one_stays_so_whatever_is_seen_of_it() -> None:
    world = pruned()
    for change in (
        lambda: world.experiment["spec"].pop("prune"),
        lambda: world.suspend(),
        lambda: world.suspend(False),
    ):
        change()
        before = dict(world.status)
        assert world.look().actions == ()
        assert world.status == before | {"observedGeneration": world.experiment["metadata"]["generation"]}


def test_a_person_lets_it_go_on_from_its_checkpoint() -> None:
    world = pruned()
    prune(world, resume=True).settle()
    assert world.seen == ("Queued", "WaitingForGpus")
    assert list(world.jobs) == ["x-2"]
    assert world.condition("Finished")["status"] == "False"
    assert "completionTime" not in world.status
    assert world.status["checkpoint"]["step"] == 7
    world.release().start().settle()
    world.wait(30).exit(0, DONE).settle()
    assert world.seen == ("Succeeded", "Completed")
    assert [attempt["reason"] for attempt in world.status["attempts"]] == ["EarlyStopped", "Completed"]
    assert (world.status["retriesUsed"], world.status["gpuSeconds"]) == (0, 100)


def test_a_status_write_that_is_lost_after_the_next_job_was_made_makes_no_second_one() -> None:
    world = pruned()
    plan = prune(world, resume=True).plan()
    for action in plan.actions:
        world.carry_out(action)
    assert world.seen == ("Pruned", "EarlyStopped")
    assert not wants_release(world.view(), parse_job(world.job)), "nothing runs while it says that it has ended"
    world.settle()
    assert world.seen == ("Queued", "WaitingForGpus")
    assert "completionTime" not in world.status
    assert list(world.jobs) == ["x-2"]


def test_a_resumed_one_can_be_pruned_again() -> None:
    world = pruned()
    prune(world, resume=True).settle()
    world.release().start().settle()
    prune(world, step=15).settle()
    world.pods.clear()
    world.settle()
    assert world.seen == ("Pruned", "EarlyStopped")
    assert [attempt["reason"] for attempt in world.status["attempts"]] == ["EarlyStopped", "EarlyStopped"]


def test_one_that_is_let_go_on_before_it_was_stopped_runs_on() -> None:
    world = prune(World().run(60))
    plan = world.plan()  # decided, not carried out
    assert [type(action) for action in plan.actions] == [SuspendJob]
    prune(world, resume=True).settle()
    assert world.seen == ("Running", "Training")


def test_one_that_is_suspended_and_pruned_ends() -> None:
    world = World().run(60).suspend()
    world.settle()
    world.pods.clear()
    world.settle()
    assert world.seen == ("Suspended", "Suspended")
    prune(world).settle()
    assert world.seen == ("Pruned", "EarlyStopped")
