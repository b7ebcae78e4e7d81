"""What attempts have spent, and on what."""

from __future__ import annotations

from typing import Any

import pytest

from orkhaven.api import ExperimentStatus, Reason
from orkhaven.api.usage import Spent, spent_on
from orkhaven.core.ledger import Ended, ended, hours_preempted, hours_saved, saved
from orkhaven.core.parse import parse_experiment
from orkhaven.core.views import ExperimentView
from tests.unit.core.world import DONE, World, make_experiment, record, stamp

FREE = {"number": 1, "job": "e-1", "endTime": "2026-01-01T00:00:00Z", "reason": "Preempted", "gpuSeconds": 7200}


def status_of(**status: Any) -> ExperimentStatus:
    return ExperimentStatus.model_validate(status)


def run(**status: Any) -> ExperimentView:
    return parse_experiment(
        {
            "metadata": {
                "namespace": "radiology",
                "name": "e",
                "uid": "u",
                "resourceVersion": "1",
                "creationTimestamp": "2026-01-01T00:00:00Z",
            },
            "spec": {},
            "status": status,
        }
    )


@pytest.mark.parametrize(
    ("reason", "suspended", "spent"),
    [
        (Reason.COMPLETED, False, Spent.USEFUL),
        (Reason.EARLY_STOPPED, False, Spent.PRUNED),
        (Reason.PREEMPTED, False, Spent.PREEMPTED),
        (Reason.DRAINED, True, Spent.PREEMPTED),
        (Reason.NODE_LOST, False, Spent.PREEMPTED),
        (Reason.CUDA_OUT_OF_MEMORY, False, Spent.FAILED),
        ("LicenseServer", False, Spent.FAILED),
        (None, False, Spent.RUNNING),
        (None, True, Spent.SUSPENDED),
    ],
)
def test_time_is_spent_on_what_the_attempt_came_to(reason: str | None, suspended: bool, spent: Spent) -> None:
    assert spent_on(reason, suspended=suspended) is spent


def test_attempts_that_this_write_is_the_first_to_call_ended_are_told() -> None:
    stored = status_of(attempts=[FREE, {"number": 2, "job": "e-2", "gpuSeconds": 5}])
    killed = {**FREE, "number": 2, "reason": "OutOfMemoryKilled", "gpuSeconds": 60}
    desired = status_of(attempts=[FREE, killed, {"number": 3, "job": "e-3"}])
    assert ended(stored, desired) == [Ended("OutOfMemoryKilled", Spent.FAILED, 60)]


def test_what_was_saved_is_told_once() -> None:
    assert saved(status_of(), status_of(savedGpuSeconds=9)) == 9
    assert saved(status_of(savedGpuSeconds=9), status_of(savedGpuSeconds=9)) == 0


def test_a_sweep_adds_up_what_was_preempted_and_saved() -> None:
    lost = {**FREE, "number": 2, "reason": "NodeLost", "gpuSeconds": 1800}
    died = {**FREE, "number": 3, "reason": "UserException"}
    children = [run(attempts=[FREE, lost, died], gpuSeconds=16200), run(savedGpuSeconds=3600), run()]
    assert (hours_preempted(children), hours_saved(children)) == (2.5, 1.0)


def test_an_attempt_is_booked_with_the_gpus_of_its_job_though_the_spec_was_edited_meanwhile() -> None:
    world = World(make_experiment(resources={"gpus": 1})).run(60)
    world.experiment["spec"]["resources"] = {"gpus": 4}
    world.exit(0, DONE).settle()
    assert world.status["gpuSeconds"] == 60


def test_a_pod_that_was_told_to_stop_while_nobody_looked_is_not_booked_until_somebody_did() -> None:
    world = World().run(60)
    world.suspend().settle()
    told = {"type": "Suspended", "status": "True", "lastTransitionTime": stamp(world.now)}
    world.jobs["x-1"].setdefault("status", {})["conditions"] = [told]
    world.pods.clear()
    world.wait(3600).settle()
    grace = world.defaults.termination_grace_seconds
    assert (world.seen[0], world.status["gpuSeconds"]) == ("Suspended", 60 + grace)


def test_a_pod_that_saves_after_the_verdict_is_booked_until_it_has_stopped() -> None:
    world = World(make_experiment(retry={"limit": 0})).run(0)
    world.waits("CreateContainerConfigError", 'secret "s" not found')
    world.wait(10).look()
    assert world.status["attempts"][0]["reason"] == "ConfigError"
    booked = world.status["gpuSeconds"]
    world.wait(25).exit(143, record("Interrupted"), job=False).look()
    assert world.status["gpuSeconds"] == booked + 25
    world.settle()
    assert (world.seen[0], world.status["gpuSeconds"]) == ("Failed", booked + 25)
