"""An Experiment from its first Job to its end, whatever happens to it on the way."""

from __future__ import annotations

from dataclasses import replace

import pytest

from orkhaven.api import Reason
from orkhaven.api.experiment import ExperimentStatus
from orkhaven.core.actions import ApplyFinalRecord, CreateJob, DeleteJob, SuspendJob
from orkhaven.core.views import Why
from tests.unit.core.world import DONE, World, make_experiment, make_node, record


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

    def test_one_that_stopped_early_says_why(self) -> None:
        note = "stopped early after epoch 4: val/dice got no better than 0.8 for 2 epochs"
        world = World().run().exit(0, record(objective={"value": 0.8, "step": 2}, step=4, totalSteps=9, note=note))
        world.settle()
        assert world.status["message"] == f"val/dice 0.8 at step 2; {note}"

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

    def test_a_job_deleted_by_hand_is_made_up_for_free_and_at_once(self) -> None:
        world = World(make_experiment(retry={"limit": 0})).run()
        world.jobs.clear()
        world.pods.clear()
        world.settle()
        assert list(world.jobs) == ["x-2"]
        assert world.status["attempts"][0]["reason"] == "Drained"
        assert world.status["attempts"][0]["gpuSeconds"] == 60
        assert (world.status["retriesUsed"], world.seen[0]) == (0, "Queued")

    def test_a_cluster_that_keeps_taking_it_away_is_asked_less_and_less_often(self) -> None:
        world = World().run(1)
        delays = []
        for _ in range(6):
            world.disrupt("EvictionByEvictionAPI").exit(143, record("Interrupted"))
            plan = world.look()
            delays.append(plan.requeue_after or 0)
            world.wait(delays[-1]).settle()
            world.release().start().settle()
            world.wait(1)
        assert delays[0] == 0
        assert delays == sorted(delays)
        assert 80 <= delays[-1] <= 200
        assert world.status["retriesUsed"] == 0
        assert world.status["attemptCount"] == 7

    def test_only_the_last_ten_attempts_are_kept_and_all_are_counted(self) -> None:
        world = World().run(1)
        for _ in range(12):
            world.disrupt("EvictionByEvictionAPI").exit(143)
            world.settle()
            world.wait(900).settle()
            world.release().start().settle()
            world.wait(1)
        assert [attempt["number"] for attempt in world.status["attempts"]] == list(range(4, 14))
        assert world.status["attemptCount"] == 13
        assert world.status["gpuSeconds"] == 12

    def test_a_missing_metric_is_tried_again_once(self) -> None:
        world = World(make_experiment(retry={"limit": 5}))
        world.run().exit(0, record())
        world.settle()
        world.wait(60).settle()
        world.release().start().settle()
        world.wait(60).exit(0, record()).settle()
        assert world.seen == ("Failed", "MetricMissing")
        assert world.status["attemptCount"] == 2

    def test_the_run_hash_stays_though_the_default_image_changes(self) -> None:
        world = World().run()
        before = world.status["runHash"]
        world.defaults = replace(world.defaults, image="trainer:2")
        world.disrupt("DeletionByPodGC").exit(137).settle()
        assert world.status["runHash"] == before
        env = world.jobs["x-2"]["spec"]["template"]["spec"]["containers"][0]["env"]
        assert {"name": "ORKHAVEN_OUTPUT", "value": f"/output/{before}"} in env


class TestImages:
    def test_a_pull_that_fails_is_told_then_ends_the_attempt_and_takes_its_job_away(self) -> None:
        world = World(make_experiment(retry={"limit": 1})).run(0)
        world.waits("ImagePullBackOff", 'Back-off pulling "trainer:1"')
        plan = world.wait(100).look()
        assert world.seen == ("Starting", "PullingImage")
        assert plan.requeue_after == 200
        world.settle()
        world.wait(201)
        first = world.look()
        assert not first.actions, "the end is written before what proves it is deleted"
        assert world.status["attempts"][0]["reason"] == "ImagePull"
        second = world.look()
        assert [type(action) for action in second.actions] == [DeleteJob]
        world.pods.clear()
        world.settle()
        assert world.seen == ("Queued", "WaitingForRetry")
        assert world.status["retriesUsed"] == 1
        assert "PullingImage" in world.events

    def test_a_config_error_ends_it_at_once(self) -> None:
        world = World().run(0)
        world.waits("CreateContainerConfigError", 'secret "s" not found').settle()
        assert world.seen == ("Failed", "ConfigError")
        assert not world.jobs


class TestSuspend:
    def test_before_it_starts_nothing_is_made(self) -> None:
        world = World(make_experiment(suspend=True))
        world.settle()
        assert (world.jobs, world.seen) == ({}, ("Suspended", "Suspended"))
        world.suspend(False).settle()
        assert list(world.jobs) == ["x-1"]

    def test_a_running_one_saves_stops_and_goes_on_with_the_same_job(self) -> None:
        world = World().run(60)
        world.suspend()
        plan = world.look()
        assert plan.actions == (SuspendJob(plan.actions[0].key, "uid-x-1", suspend=True),)  # type: ignore[union-attr]
        assert world.seen == ("Running", "Suspending")
        world.settle()
        world.delete_pod().wait(10)
        checkpoint = {"step": 7, "path": "/output/r/last.pt"}
        world.exit(143, record("Interrupted", checkpoint=checkpoint), job=False).settle()
        assert world.seen == ("Suspended", "Suspended")
        assert world.condition("Suspended")["status"] == "True"
        assert world.status["checkpoint"] == checkpoint
        assert world.status["gpuSeconds"] == 70
        world.pods.clear()
        world.wait(1000).settle()
        assert world.status["gpuSeconds"] == 70
        world.suspend(False).settle()
        assert world.seen == ("Queued", "WaitingForGpus")
        world.release().start(suffix="b").settle()
        assert world.seen == ("Running", "Training")
        world.wait(30).exit(0, DONE).settle()
        assert world.seen == ("Succeeded", "Completed")
        (attempt,) = world.status["attempts"]
        assert (attempt["pod"], attempt["gpuSeconds"], world.status["gpuSeconds"]) == ("x-1-b", 100, 100)
        assert world.events == ["Started", "Suspended", "Started", "Succeeded"]

    def test_a_pod_that_vanishes_while_it_stops_is_accounted_up_to_then(self) -> None:
        world = World().run(60)
        world.suspend().settle()
        world.wait(5)
        world.pods.clear()
        world.settle()
        assert (world.seen[0], world.status["gpuSeconds"]) == ("Suspended", 65)

    def test_one_that_ends_well_just_then_has_succeeded(self) -> None:
        world = World().run(60)
        world.suspend().settle()
        world.exit(0, DONE, job=False).settle()
        assert world.seen == ("Succeeded", "Completed")
        assert not world.jobs, "its suspended Job could be released again"

    def test_a_retry_waits_while_it_is_suspended(self) -> None:
        world = World().run()
        world.exit(1, "ValueError").settle()
        world.suspend().wait(60).settle()
        assert world.seen == ("Suspended", "Suspended")
        assert list(world.jobs) == ["x-1"]
        world.suspend(False).settle()
        assert list(world.jobs) == ["x-1", "x-2"]


class TestUnknown:
    def test_a_failed_job_whose_pod_still_seems_to_run_is_no_failure_at_once(self) -> None:
        world = World().run()
        plan = world.end_job("Failed", "BackoffLimitExceeded").look()
        assert world.seen == ("Running", "StatusUnknown")
        assert plan.requeue_after == 15
        world.exit(
            64, record("Failed", failure={"type": "orkrun.InvalidParams", "message": "lr: no"}), job=False
        ).settle()
        assert world.seen == ("Failed", "InvalidParams")

    def test_but_it_comes_to_an_end(self) -> None:
        world = World().run()
        world.end_job("Failed", "BackoffLimitExceeded").wait(16)
        world.pods.clear()
        world.settle()
        assert world.status["attempts"][0]["reason"] == "NodeLost"
        assert list(world.jobs) == ["x-1", "x-2"]

    @pytest.mark.parametrize("known", [True, False], ids=["the hub has the objective", "nobody has it"])
    def test_a_complete_job_without_its_pod_succeeded_if_the_objective_is_known(self, known: bool) -> None:
        world = World(make_experiment(retry={"limit": 0})).run()
        world.end_job("Complete").wait(20)
        world.pods.clear()
        if known:
            world.hub(objective={"value": 0.5, "step": 1})
        world.settle()
        assert world.seen == (("Succeeded", "Completed") if known else ("Failed", "MetricMissing"))

    def test_the_hub_has_time_to_say_the_objective_of_a_program_without_a_record(self) -> None:
        world = World().run()
        plan = world.exit(0).look()
        assert world.seen == ("Running", "StatusUnknown")
        assert plan.requeue_after == 30
        world.hub(objective={"value": 0.5, "step": 1}).settle()
        assert world.seen == ("Succeeded", "Completed")

    def test_a_node_that_does_not_answer_is_given_up_once_its_pod_is_taken_away(self) -> None:
        world = World().run()
        world.nodes["n1"] = make_node(ready=False)
        world.settle()
        assert world.seen == ("Running", "Training"), "it may come back"
        world.delete_pod().settle()
        assert world.status["attempts"][0]["reason"] == "NodeLost"
        assert list(world.jobs) == ["x-2"], "the stuck pod is not waited for"
        assert world.status["retriesUsed"] == 0

    def test_a_job_without_its_status_write_is_taken_over(self) -> None:
        world = World()
        plan = world.plan()
        for action in plan.actions:
            world.carry_out(action)
        world.settle()
        assert list(world.jobs) == ["x-1"]
        assert world.status["attemptCount"] == 1


class TestWords:
    def test_transition_times_change_with_the_status_only(self) -> None:
        world = World().run()
        first = world.condition("Running")["lastTransitionTime"]
        accepted = world.condition("Accepted")["lastTransitionTime"]
        world.exit(1, "x").settle()
        assert world.condition("Running")["lastTransitionTime"] > first
        assert world.condition("Accepted")["lastTransitionTime"] == accepted

    def test_the_queues_reason_is_shown(self) -> None:
        world = World(waiting=Why(Reason.NO_FITTING_NODE, "no node has 64 GPUs"))
        world.settle()
        assert world.seen == ("Queued", "NoFittingNode")
        assert "NoFittingNode" in world.events

    def test_an_unschedulable_pod_says_what_the_scheduler_says(self) -> None:
        world = World().run(0)
        world.pod["spec"].pop("nodeName")
        message = "0/1 nodes are available: insufficient cpu"
        world.pod["status"] = {
            "phase": "Pending",
            "conditions": [{"type": "PodScheduled", "status": "False", "reason": "Unschedulable", "message": message}],
        }
        world.settle()
        assert (world.seen, world.status["message"]) == (("Queued", "Unschedulable"), message)

    def test_a_spec_that_cannot_be_read_ends_it_with_the_path(self) -> None:
        world = World(make_experiment(resources={"gpus": -1}))
        world.settle()
        assert world.seen == ("Failed", "InvalidSpec")
        assert "spec.resources.gpus" in world.status["message"]
        assert world.condition("Accepted")["status"] == "False"
        assert world.condition("Finished")["status"] == "True"

    def test_the_namesakes_job_is_not_taken_for_ones_own(self) -> None:
        world = World().run()
        world.experiment = make_experiment()
        world.experiment["metadata"]["uid"] = "another"
        assert [type(action) for action in world.plan().actions] == []
        world.jobs.clear()
        world.pods.clear()
        assert [type(action) for action in world.plan().actions] == [CreateJob]

    def test_long_words_are_cut_to_what_the_schema_takes(self) -> None:
        world = World(make_experiment(retry={"limit": 0})).run()
        world.exit(
            70,
            record(
                "Failed", failure={"type": "E", "message": "m" * 3000, "location": "l" * 900, "excerpt": "e" * 9000}
            ),
        )
        world.settle()
        ExperimentStatus.model_validate(world.status)
        assert world.status["failure"]["message"].endswith("…")


class TestAChangeAfterTheEnd:
    @pytest.mark.parametrize("code", [0, 1], ids=["succeeded", "failed"])
    def test_it_is_told_that_it_was_seen_and_nothing_else_changes(self, code: int) -> None:
        world = World(experiment=make_experiment(retry={"limit": 0}))
        world.run().exit(code, DONE if code == 0 else "ValueError: no").settle()
        ended = dict(world.status)
        assert ended["observedGeneration"] == 1
        world.experiment["metadata"]["generation"] += 1
        world.experiment["spec"]["ttlSecondsAfterFinished"] = 86400
        assert world.settle() == ended | {"observedGeneration": 2}

    def test_it_costs_one_write(self) -> None:
        world = World()
        world.run().exit(0, DONE).settle()
        world.experiment["metadata"]["generation"] += 1
        before = world.writes
        world.settle()
        world.settle()
        assert world.writes == before + 1

    def test_one_from_before_there_was_an_observed_generation_is_left_alone(self) -> None:
        world = World()
        world.run().exit(0, DONE).settle()
        del world.status["observedGeneration"]
        assert world.plan().status is None
