"""An Experiment from its first Job to its end, whatever happens to it on the way."""

from __future__ import annotations

from orkhaven.api import Reason
from orkhaven.core.actions import ApplyFinalRecord
from orkhaven.core.views import Why
from tests.unit.core.world import DONE, World, make_experiment, record


class TestTheGoodWay:
    def test_its_job_is_created_suspended_and_it_says_what_it_waits_for(self) -> None:
        world = World(waiting=Why(Reason.WAITING_FOR_GPUS, "waits for 1 GPU: 0 of 4 free"))
        world.settle()
        assert list(world.jobs) == ["x-1"]
        assert world.job["spec"]["suspend"] is True
        assert world.seen == ("Queued", "WaitingForGpus")
        assert world.status["message"] == "waits for 1 GPU: 0 of 4 free"
        assert world.status["attempts"] == [{"number": 1, "job": "x-1"}]

    def test_it_starts_runs_and_succeeds(self) -> None:
        world = World()
        world.settle()
        world.release().settle()
        assert world.seen == ("Starting", "WaitingForPod")
        world.start().waits("ContainerCreating").settle()
        assert world.seen == ("Starting", "ContainerCreating")
        world.start().settle()
        assert world.seen == ("Running", "Training")
        assert world.condition("Running")["status"] == "True"
        world.wait(90).exit(0, DONE).settle()
        assert world.seen == ("Succeeded", "Completed")
        assert world.status["objective"] == {"value": 0.8, "step": 3}
        assert world.status["progress"] == {"step": 4, "totalSteps": 4}
        assert world.status["metrics"] == {"val/dice": {"last": 0.7, "best": 0.8, "bestStep": 3}}
        (attempt,) = world.status["attempts"]
        assert attempt == {
            "number": 1,
            "job": "x-1",
            "pod": "x-1-a",
            "node": "n1",
            "gpuModel": "A100",
            "startTime": "2026-03-01T12:00:00Z",
            "endTime": "2026-03-01T12:01:30Z",
            "exitCode": 0,
            "reason": "Completed",
            "gpuSeconds": 90.0,
        }
        assert world.status["gpuSeconds"] == 90
        assert world.status["completionTime"] == "2026-03-01T12:01:30Z"
        assert {kind: world.condition(kind)["status"] for kind in ("Accepted", "Running", "Finished", "Succeeded")} == {
            "Accepted": "True",
            "Running": "False",
            "Finished": "True",
            "Succeeded": "True",
        }
        assert world.events == ["Started", "Succeeded"]

    def test_what_is_over_never_changes(self) -> None:
        world = World().run().exit(0, DONE)
        world.settle()
        world.jobs.clear()
        world.pods.clear()
        world.experiment["spec"]["suspend"] = True
        plan = world.wait(9999).plan()
        assert (plan.actions, plan.status, plan.notes, plan.requeue_after) == ((), None, (), None)

    def test_the_same_state_gives_the_same_status_and_no_write(self) -> None:
        world = World().run()
        world.settle()
        writes = world.writes
        world.wait(30).settle()
        assert world.writes == writes

    def test_what_the_hub_wrote_already_is_not_written_again(self) -> None:
        world = World().run()
        world.hub(
            objective={"value": 0.8, "step": 3},
            progress={"step": 4, "totalSteps": 4, "eta": "2026-03-01T12:00:00Z"},
            metrics={"val/dice": {"last": 0.7, "best": 0.8, "bestStep": 3}, "train/loss": {"last": 0.1}},
        )
        plan = world.exit(0, DONE).look()
        assert not [action for action in plan.actions if isinstance(action, ApplyFinalRecord)]
        assert world.seen == ("Succeeded", "Completed")

    def test_a_pod_is_enough_the_job_may_be_late(self) -> None:
        world = World().run().exit(0, DONE, job=False)
        world.settle()
        assert world.seen == ("Succeeded", "Completed")


class TestRetries:
    def test_an_exception_is_tried_again_with_back_off_up_to_the_limit(self) -> None:
        world = World(make_experiment(retry={"limit": 1})).run()
        plan = world.exit(1, "ValueError: no").look()
        assert world.seen == ("Queued", "WaitingForRetry")
        assert plan.requeue_after is not None
        assert 10 <= plan.requeue_after <= 12
        assert world.status["retriesUsed"] == 1
        world.settle()
        assert list(world.jobs) == ["x-1"], "not before it is due"
        world.wait(13).settle()
        assert list(world.jobs) == ["x-1", "x-2"]
        assert world.seen[0] == "Queued"
        assert "failure" not in world.status
        world.release().start().settle()
        world.wait(5).exit(1, "ValueError: no").settle()
        assert world.seen == ("Failed", "UserException")
        assert (world.status["attemptCount"], world.status["retriesUsed"]) == (2, 1)
        assert world.status["failure"]["message"] == "ValueError: no (exit code 1)"
        assert world.status["failure"]["excerpt"] == "ValueError: no"
        assert world.status["failure"]["suggestion"]
        assert world.condition("Succeeded")["status"] == "False"
        assert world.events == ["Started", "AttemptFailed", "Started", "Failed"]

    def test_no_second_attempt_while_the_first_pod_still_ends(self) -> None:
        world = World().run()
        del world.jobs["x-1"]  # by hand; its pod gets SIGTERM a moment later
        world.settle()
        assert list(world.jobs) == []
        world.delete_pod().settle()
        assert list(world.jobs) == []
        world.wait(5).exit(143, record("Interrupted"), job=False).settle()
        assert list(world.jobs) == ["x-2"]
        assert world.status["attempts"][0]["reason"] == "Drained"
        assert world.status["retriesUsed"] == 0
