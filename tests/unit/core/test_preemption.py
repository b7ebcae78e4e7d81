"""A run whose GPUs the queue has taken back: what is booked of its attempt, and how it goes on."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orkhaven.core.parse import parse_experiment, parse_job
from orkhaven.core.queue import wants_release
from tests.unit.core.world import DEFAULTS, DONE, World, make_experiment, make_node, record, stamp

FOR = "gives 1 GPU to ns/urgent (Interactive)"
CHECKPOINT = {"step": 7, "path": "/output/r/last.pt"}
INTERRUPTED = record("Interrupted", checkpoint=CHECKPOINT, step=7, totalSteps=60)
BROKE = record("Failed", failure={"type": "builtins.ValueError", "message": "no"})


def told(seconds: float = 60, **spec: Any) -> World:
    """Has run for a while, and is told to stop."""
    world = World(make_experiment(**spec)).run(seconds)
    world.preempt()
    return world


def stopped(world: World | None = None) -> World:
    """And has stopped, as it should."""
    world = world or told()
    world.settle()
    world.delete_pod().wait(10).exit(143, INTERRUPTED, job=False).settle()
    return world


def test_while_it_stops_it_runs_and_says_for_whom() -> None:
    world = told()
    assert world.settle()["state"] == "Running"
    assert world.seen == ("Running", "Preempted")
    assert world.status["message"] == f"saves a checkpoint and stops: {FOR}"
    assert list(world.jobs) == ["x-1"]


def test_then_its_attempt_is_over_and_costs_nothing_and_the_next_one_waits() -> None:
    world = stopped(told(retry={"limit": 0}))
    first, second = world.status["attempts"]
    assert (first["reason"], first["message"], first["exitCode"]) == ("Preempted", FOR, 143)
    assert (first["gpuSeconds"], world.status["gpuSeconds"]) == (70, 70)
    assert (first["endTime"], second.get("startTime")) == ("2026-03-01T12:01:10Z", None)
    assert world.status["checkpoint"] == CHECKPOINT
    assert world.status["retriesUsed"] == 0
    assert "failure" not in world.status
    assert "avoid" not in world.status
    assert world.seen == ("Queued", "WaitingForGpus")
    assert list(world.jobs) == ["x-2"]
    assert world.job["spec"]["suspend"] is True
    assert world.events == ["Started", "Preempted"]


def test_it_goes_on_and_ends_with_all_its_seconds() -> None:
    world = stopped()
    world.pods.clear()
    world.wait(500).release().start().settle()
    assert world.seen == ("Running", "Training")
    world.wait(30).exit(0, DONE).settle()
    assert world.seen == ("Succeeded", "Completed")
    assert world.status["gpuSeconds"] == 100
    assert world.events == ["Started", "Preempted", "Started", "Succeeded"]


def test_between_its_end_and_the_next_job_it_says_why_it_waits() -> None:
    world = told()
    world.settle()
    world.delete_pod().wait(10).exit(143, INTERRUPTED, job=False).look()
    assert world.seen == ("Queued", "Preempted")
    assert world.status["message"] == FOR
    assert list(world.jobs) == ["x-1"], "its end is written before the Job is removed"


def by_itself(code: int, message: str, *, reason: str | None = None) -> Callable[[World], object]:
    """It ends, and only then its pod is deleted."""
    return lambda world: world.exit(code, message, reason=reason, job=False).wait(5).delete_pod(grace=0)


def when_told(code: int, message: str = "", *, reason: str | None = None) -> Callable[[World], object]:
    return lambda world: world.delete_pod().wait(20).exit(code, message, reason=reason, job=False)


ENDS: dict[str, tuple[Callable[[World], object], str, int | None]] = {
    "saved a checkpoint": (when_told(143, INTERRUPTED), "Preempted", 143),
    "saved a checkpoint just before": (by_itself(143, INTERRUPTED), "Preempted", 143),
    "did not listen, and was killed": (when_told(137), "Preempted", 137),
    "was killed at its memory limit while it stopped": (when_told(137, reason="OOMKilled"), "Preempted", 137),
    "knows nothing of signals": (when_told(1), "Preempted", 1),
    "its pod is gone, and nothing was seen": (lambda world: world.pods.clear(), "Preempted", None),
    "failed before": (by_itself(70, BROKE), "UserException", 70),
    "failed while it stopped": (when_told(70, BROKE), "UserException", 70),
    "was out of memory before": (by_itself(137, "", reason="OOMKilled"), "OutOfMemoryKilled", 137),
    "had run too long": (
        lambda world: (world.end_job("Failed", "DeadlineExceeded"), when_told(143, INTERRUPTED)(world)),
        "Timeout",
        143,
    ),
    "was drained meanwhile": (
        lambda world: world.disrupt("EvictionByEvictionAPI").delete_pod().wait(5).exit(143, INTERRUPTED, job=False),
        "Drained",
        143,
    ),
    "went with its node": (
        lambda world: (world.delete_pod(), world.nodes.update(n1=make_node(ready=False))),
        "NodeLost",
        None,
    ),
    "its Job was deleted": (lambda world: (world.jobs.clear(), world.pods.clear()), "Drained", None),
}


@pytest.mark.parametrize(("happens", "reason", "code"), ENDS.values(), ids=ENDS)
def test_how_it_ends_is_what_is_booked(happens: Callable[[World], object], reason: str, code: int | None) -> None:
    world = told(resources={"gpus": 1, "memory": "2Gi"}, retry={"limit": 1})
    world.settle()
    happens(world)
    world.settle()
    ended = world.status["attempts"][0]
    assert (ended["reason"], ended.get("exitCode")) == (reason, code), ended
    assert world.status["retriesUsed"] == (reason == "UserException")


def test_one_that_ends_well_just_then_has_succeeded() -> None:
    world = told()
    world.settle()
    world.delete_pod().wait(2).exit(0, DONE, job=False).settle()
    assert world.seen == ("Succeeded", "Completed")
    assert not world.jobs, "its suspended Job could be released again"


def test_143_without_being_asked_is_no_preemption() -> None:
    world = World(make_experiment(retry={"limit": 0})).run(60)
    world.exit(143, record("Interrupted")).settle()
    assert world.status["attempts"][0]["reason"] != "Preempted"


def test_one_that_had_no_pod_yet_held_nothing() -> None:
    world = World()
    world.settle()
    world.release().preempt().settle()
    assert world.status["attempts"][0]["reason"] == "Preempted"
    assert world.status["gpuSeconds"] == 0
    assert list(world.jobs) == ["x-2"]


def test_a_pod_that_its_job_still_counts_is_waited_for() -> None:
    world = told()
    world.pods.clear()
    world.job["status"]["active"] = 1
    world.settle()
    assert world.seen == ("Running", "Preempted")


def test_however_often_it_comes_back_at_once_and_its_node_is_not_avoided() -> None:
    world = World()
    for round_ in range(1, 5):
        world.settle()
        world.release().start(suffix=f"r{round_}").settle()
        world.wait(400).preempt().settle()
        world.delete_pod().exit(143, INTERRUPTED, job=False).settle()
        assert world.seen == ("Queued", "WaitingForGpus")
        assert len(world.status["attempts"]) == round_ + 1
    assert world.status["gpuSeconds"] == 1600
    assert "avoid" not in world.status
    # What the cluster does to it then is the first of its kind.
    world.release().start(suffix="last").settle()
    world.wait(60).disrupt("EvictionByEvictionAPI").exit(143, INTERRUPTED).settle()
    assert world.seen == ("Queued", "WaitingForGpus")


def test_its_job_never_comes_on_again() -> None:
    world = told()
    exp = parse_experiment(world.experiment)
    assert not wants_release(exp, parse_job(world.job))
    stopped(world)
    assert wants_release(parse_experiment(world.experiment), parse_job(world.job))


class TestSuspendedByHandMeanwhile:
    def test_it_is_booked_and_waits_for_the_person(self) -> None:
        world = told()
        world.suspend()
        stopped(world)
        assert [attempt["reason"] for attempt in world.status["attempts"]] == ["Preempted"]
        assert world.seen == ("Suspended", "Suspended")
        assert not world.jobs
        world.suspend(False).settle()
        assert list(world.jobs) == ["x-2"]
        assert world.seen == ("Queued", "WaitingForGpus")


class TestPrunedMeanwhile:
    def test_it_ends_and_goes_on_where_a_person_says_so(self) -> None:
        world = told()
        world.experiment["spec"]["prune"] = {"step": 5, "message": "others did better", "resume": False}
        stopped(world)
        assert world.seen == ("Pruned", "EarlyStopped")
        world.experiment["spec"]["prune"]["resume"] = True
        world.pods.clear()
        world.settle()
        assert world.seen == ("Queued", "WaitingForGpus")
        assert list(world.jobs) == ["x-2"]


@pytest.mark.parametrize(
    ("since", "seconds"),
    [(10, 70), (None, 600), (-100, 600)],
    ids=["the grace period after it was told", "not known", "told before it began"],
)
def test_nobody_saw_its_end_and_it_is_accounted_to_when_it_had_to_be_gone(since: int | None, seconds: int) -> None:
    """The operator was away for a while."""
    world = World(defaults=replace(DEFAULTS, termination_grace_seconds=60)).run(0)
    began = world.now
    world.preempt().wait(600)
    if since is not None:
        at = stamp(began + timedelta(seconds=since))
        world.job["status"]["conditions"] = [{"type": "Suspended", "status": "True", "lastTransitionTime": at}]
    world.pods.clear()
    world.settle()
    assert world.status["attempts"][0]["reason"] == "Preempted"
    assert world.status["gpuSeconds"] == seconds
