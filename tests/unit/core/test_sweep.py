"""A Sweep: lazy expansion, what its children add up to, and when it is over."""

from __future__ import annotations

import json
import time
from datetime import timedelta
from typing import Any

from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.core.actions import CreateExperiment, Plan
from orkhaven.core.parse import parse_experiment
from orkhaven.core.search import trial_params
from orkhaven.core.sweep import plan_sweep
from orkrun.contract import ANNOTATION_CREATED_BY as CREATED_BY
from tests.unit.core.world import SweepWorld, make_experiment, make_sweep


def grid(count: int, **spec: object) -> SweepWorld:
    search = {"algorithm": "Grid", "order": "Sequential"}
    whole = {"search": search, **spec}
    return SweepWorld(make_sweep(parameters=[{"name": "lr", "values": list(range(count))}], **whole))


class TestExpansion:
    def test_as_many_as_may_run_and_a_few_that_wait(self) -> None:
        world = grid(48, parallelism=3)
        world.settle()
        assert len(world.children) == 3 + world.defaults.lookahead
        assert world.status["trials"]["total"] == 48
        assert world.status["progress"] == "0/48"
        assert world.status["state"] == "Running"
        assert world.events == ["Started"]

    def test_trials_have_the_name_of_whoever_made_their_sweep(self) -> None:
        world = grid(3)
        world.sweep["metadata"]["annotations"] = {CREATED_BY: "ada", "note": "the sweep's own"}
        world.look()
        assert world.children
        assert all(child["metadata"]["annotations"] == {CREATED_BY: "ada"} for child in world.children.values())

    def test_an_ended_one_makes_room_for_the_next(self) -> None:
        world = grid(48, parallelism=3)
        world.settle()
        world.end(world.by_trial()[0], 0.5)
        world.settle()
        assert len(world.children) == 6
        assert world.status["progress"] == "1/48"
        assert world.status["best"]["value"] == 0.5
        assert world.status["best"]["params"] == {"lr": 0}
        assert world.status["gpuHours"] == {
            "succeeded": 1.0,
            "failed": 0.0,
            "pruned": 0.0,
            "running": 0.0,
            "total": 1.0,
        }

    def test_a_child_deleted_by_hand_is_made_again_under_its_name(self) -> None:
        world = grid(4, parallelism=4)
        world.settle()
        names = world.by_trial()
        del world.children[names[2]]
        world.settle()
        assert world.by_trial() == names

    def test_all_ended_and_one_succeeded_is_success(self) -> None:
        world = grid(3, parallelism=3)
        world.settle()
        for name, value in zip(world.by_trial(), (0.5, None, 0.7), strict=True):
            world.end(name, value)
        world.settle()
        assert world.status["state"] == "Succeeded"
        assert [row["value"] for row in world.status["leaderboard"]] == [0.7, 0.5]
        (cluster,) = world.status["failureClusters"]
        assert (cluster["reason"], cluster["count"]) == ("UserException", 1)
        assert world.plan().status is None

    def test_none_succeeded_is_failure(self) -> None:
        world = grid(2)
        world.settle()
        for name in world.by_trial():
            world.end(name)
        world.settle()
        assert world.status["state"] == "Failed"
        assert condition(world, "Succeeded") == ("False", "AllTrialsFailed")

    def test_a_large_sweep_is_made_in_portions(self) -> None:
        world = grid(400, parallelism=300)
        first = world.look()
        assert (len(first.actions), first.requeue_after) == (50, 1.0)
        world.settle()
        assert len(world.children) == 302

    def test_the_child_is_the_template_with_its_own_parameters(self) -> None:
        template = {
            "params": {"model": {"encoder": None}, "lr": 9},
            "image": "i",
            "seed": 3,
            "resources": {"gpus": 2},
            "env": [{"name": "A", "value": "1"}],
        }
        world = SweepWorld(make_sweep(parameters=[{"name": "lr", "values": [1, 2]}], template=template))
        world.settle()
        child = world.children[world.by_trial()[1]]
        assert child["spec"] == {
            **template,
            "params": {"model": {"encoder": None}, "lr": 2},
            "objective": {"metric": "val/dice", "direction": "Maximize"},
        }
        assert parse_experiment(child).spec is not None
        labels = child["metadata"]["labels"]
        assert (labels["orkhaven.io/sweep"], labels["orkhaven.io/trial"]) == ("s", "1")
        (owner,) = child["metadata"]["ownerReferences"]
        assert (owner["kind"], owner["uid"]) == ("Sweep", "uid-s")
        assert (owner["controller"], owner["blockOwnerDeletion"]) == (True, False)

    def test_parallelism_lowered_drains_and_finished_ones_stay(self) -> None:
        world = grid(20, parallelism=8)
        world.settle()
        for name in world.by_trial()[:4]:
            world.end(name, 0.5)
        world.patch(parallelism=1)
        before = list(world.children)
        world.settle()
        assert list(world.children) == before
        for name in world.by_trial()[4:9]:
            world.end(name, 0.5)
        world.settle()
        assert len(world.children) == len(before) + 2

    def test_parallelism_zero_makes_nothing(self) -> None:
        world = grid(4, parallelism=0)
        world.settle()
        assert world.children == {}
        assert world.status["state"] == "Pending"

    def test_more_trials_may_be_asked_for(self) -> None:
        world = grid(10, parallelism=10, search={"algorithm": "Grid", "maxTrials": 2})
        world.settle()
        assert len(world.children) == 2
        world.end(world.by_trial()[0], 0.5)
        world.patch(search={"algorithm": "Grid", "maxTrials": 5})
        world.settle()
        assert world.status["progress"] == "1/5"
        assert len(world.children) == 5

    def test_children_of_a_deleted_namesake_are_none_of_its_own(self) -> None:
        world = grid(2)
        world.settle()
        for child in world.children.values():
            child["metadata"]["ownerReferences"][0]["uid"] = "another"
        world.sweep.pop("status")
        world.look()
        assert world.status["trials"]["created"] == 0


class TestSuspend:
    def test_it_is_passed_on_and_taken_back(self) -> None:
        world = grid(6, parallelism=2)
        world.settle()
        running = world.by_trial()[0]
        world.set(running, "Running")
        world.patch(suspend=True)
        assert not world.look().actions, "it is remembered before it is passed on"
        world.settle()
        assert all(child["spec"]["suspend"] for child in world.children.values())
        assert world.status["state"] == "Running"
        assert condition(world, "Suspended") == ("True", "SpecSuspend")
        for name in world.children:
            world.set(name, "Suspended")
        world.settle()
        assert world.status["state"] == "Suspended"
        assert world.status["trials"]["suspended"] == 4
        assert world.events == ["Started", "Suspended"]
        world.patch(suspend=False)
        world.settle()
        assert not any(child["spec"]["suspend"] for child in world.children.values())
        assert len(world.children) == 4
        assert condition(world, "Suspended") == ("False", "NotSuspended")

    def test_a_child_suspended_by_hand_stays_so_and_others_take_its_place(self) -> None:
        world = grid(6, parallelism=1)
        world.settle()
        held = world.by_trial()[0]
        world.children[held]["spec"]["suspend"] = True
        world.set(held, "Suspended")
        world.settle()
        assert world.children[held]["spec"]["suspend"] is True
        assert len(world.children) == 4

    def test_a_suspended_sweep_makes_nothing(self) -> None:
        world = grid(4, suspend=True)
        world.settle()
        assert (world.children, world.status["state"]) == ({}, "Suspended")


class TestFailures:
    def test_too_many_end_it_once_the_running_ones_are_done(self) -> None:
        world = grid(20, parallelism=4, failurePolicy={"maxFailedTrials": 1})
        world.settle()
        names = world.by_trial()
        world.end(names[0])
        world.end(names[1])
        world.set(names[2], "Running")
        world.settle()
        assert len(world.children) == 6, "no more are made"
        assert [world.children[name]["spec"].get("suspend", False) for name in names[2:]] == [False, True, True, True]
        assert world.status["state"] == "Running"
        for name in names[3:]:
            world.set(name, "Suspended")
        world.end(names[2], 0.9)
        world.settle()
        assert world.status["state"] == "Failed"
        assert condition(world, "Finished") == ("True", "MaxFailedTrials")
        assert world.status["best"]["value"] == 0.9
        assert world.status["progress"] == "3/20"

    def test_a_raised_limit_goes_on(self) -> None:
        world = grid(20, parallelism=4, failurePolicy={"maxFailedTrials": 0})
        world.settle()
        names = world.by_trial()
        world.set(names[1], "Running")
        world.end(names[0])
        world.settle()
        assert world.children[names[2]]["spec"]["suspend"] is True
        world.patch(failurePolicy={"maxFailedTrials": 5})
        world.settle()
        assert not any(child["spec"].get("suspend") for child in world.children.values())
        assert len(world.children) == 7

    def test_one_cluster_per_cause_largest_first_with_samples_and_advice(self) -> None:
        world = grid(7, parallelism=7)
        world.settle()
        names = world.by_trial()
        for name, reason in zip(names, ["DataError"] * 2 + ["UserException"] * 5, strict=True):
            world.end(name, reason=reason)
        world.settle()
        first, second = world.status["failureClusters"]
        assert (first["reason"], first["count"], len(first["samples"])) == ("UserException", 5, 3)
        assert (second["reason"], second["count"]) == ("DataError", 2)
        assert first["message"].endswith("says UserException")
        assert first["suggestion"]
        assert world.events == ["Started", "TrialFailed", "TrialFailed", "Failed"]

    def test_the_first_of_a_cause_is_told_once(self) -> None:
        world = grid(7, parallelism=7)
        world.settle()
        for name in world.by_trial()[:3]:
            world.end(name, reason="DataError")
            world.settle()
        assert world.events == ["Started", "TrialFailed"]


class TestLeaderboard:
    def test_ties_go_to_the_earlier_step_then_to_the_name(self) -> None:
        world = grid(4, parallelism=4)
        world.settle()
        names = sorted(world.children)
        for name, step in zip(names, (5, 3, 3, 4), strict=True):
            world.end(name, 0.5, step=step)
        world.settle()
        board = [row["experiment"] for row in world.status["leaderboard"]]
        assert board == [names[1], names[2], names[3], names[0]]
        assert world.status["best"] == world.status["leaderboard"][0]

    def test_smaller_is_better_where_the_sweep_says_so(self) -> None:
        world = grid(12, parallelism=12, objective={"metric": "loss", "direction": "Minimize"})
        world.settle()
        for index, name in enumerate(world.by_trial()):
            world.end(name, float(index))
        world.settle()
        assert [row["value"] for row in world.status["leaderboard"]] == [float(index) for index in range(10)]

    def test_only_what_varies_is_shown_nulls_too(self) -> None:
        parameters = [{"name": "m.encoder", "values": [None, "resnet"]}, {"name": "fixed", "values": [1]}]
        world = SweepWorld(make_sweep(parameters=parameters))
        world.settle()
        world.end(world.by_trial()[0], 0.5)
        world.settle()
        assert world.status["best"]["params"] == {"m.encoder": None}


class TestEnd:
    def finished(self, **spec: object) -> SweepWorld:
        world = grid(1, **spec)
        world.settle()
        world.end(world.by_trial()[0], 0.5)
        world.look()
        return world

    def test_what_is_over_never_changes(self) -> None:
        world = self.finished()
        world.children.clear()
        world.patch(search={"algorithm": "Grid", "maxTrials": 1}, suspend=True)
        assert world.plan() == Plan()

    def test_it_is_deleted_when_its_time_has_come(self) -> None:
        world = self.finished(ttlSecondsAfterFinished=60)
        assert world.plan().requeue_after == 60
        world.now += timedelta(seconds=59)
        assert world.plan().actions == ()
        world.now += timedelta(seconds=1)
        world.look()
        assert world.deleted

    def test_without_a_time_to_live_it_stays(self) -> None:
        world = self.finished()
        world.now += timedelta(days=900)
        assert world.plan() == Plan()

    def test_one_that_is_being_deleted_is_left_alone(self) -> None:
        world = grid(2)
        world.sweep["metadata"]["deletionTimestamp"] = "2026-03-01T12:00:00Z"
        assert world.plan() == Plan()


class TestInvalid:
    def test_a_spec_that_cannot_be_expanded_ends_it_with_the_path(self) -> None:
        parameters = [{"name": "model.encoder", "values": [1]}]
        world = SweepWorld(make_sweep(parameters=parameters, template={"params": {"model": "Unet"}}))
        world.settle()
        assert world.status["state"] == "Failed"
        assert condition(world, "Accepted") == ("False", "InvalidSpec")
        assert condition(world, "Finished")[0] == "True"
        assert "spec.template.params.model" in message(world, "Accepted")

    def test_one_whose_trials_run_already_is_not_ended_by_it(self) -> None:
        world = grid(4)
        world.settle()
        world.sweep["spec"]["nonsense"] = 1
        world.settle()
        assert condition(world, "Accepted") == ("False", "InvalidSpec")
        assert world.status["state"] == "Running"
        assert condition(world, "Finished")[0] == "False"
        del world.sweep["spec"]["nonsense"]
        world.settle()
        assert condition(world, "Accepted") == ("True", "Accepted")


class TestFaults:
    @given(data=st.data())
    @settings(max_examples=30, deadline=None)
    def test_the_same_trials_each_once_whatever_happens(self, data: st.DataObject) -> None:
        """Crashes after any creation, children deleted by hand, parallelism changed, looks at any time."""
        world = grid(12, parallelism=data.draw(st.integers(1, 5)))
        every = {child["metadata"]["name"] for child in bodies(grid(12, parallelism=12))}
        for _ in range(60):
            match data.draw(st.sampled_from(["look", "die", "end", "delete", "parallelism", "suspend"])):
                case "look":
                    world.look()
                case "die":
                    done = data.draw(st.integers(0, 3))
                    for action in world.plan().actions[:done]:
                        world.carry_out(action)
                case "end" if world.children:
                    world.end(data.draw(st.sampled_from(sorted(world.children))), 0.5)
                case "delete" if world.children and world.status.get("state") not in ("Succeeded", "Failed"):
                    del world.children[data.draw(st.sampled_from(sorted(world.children)))]
                case "parallelism":
                    world.patch(parallelism=data.draw(st.integers(0, 6)))
                case "suspend":
                    world.patch(suspend=data.draw(st.booleans()))
            assert set(world.children) <= every
        world.patch(suspend=False, parallelism=3)
        for _ in range(20):
            world.settle()
            going_on = [child for child in world.children.values() if "state" not in child.get("status", {})]
            assert not any(child["spec"].get("suspend") for child in going_on)
            for name in list(world.children):
                if world.children[name].get("status", {}).get("state") is None:
                    world.end(name, 0.5)
        assert over(world)
        assert world.status["progress"] == "12/12"
        assert world.plan() == Plan()


def test_ten_thousand_trials_take_little_space_and_time_in_proportion() -> None:
    parameters = [{"name": "a.lr", "values": list(range(1000))}, {"name": "b", "values": list(range(10))}]
    world = SweepWorld(make_sweep(parameters=parameters, parallelism=16))
    spec = world.view().spec
    assert spec is not None
    source = trial_params(spec, {})
    children = []
    for index in range(10_000):
        body = make_experiment(f"s-{index}", labels={"orkhaven.io/trial": str(index)}, params=source.params(index))
        body["metadata"]["ownerReferences"] = [{"controller": True, "uid": "uid-s"}]
        body["status"] = {"state": "Succeeded", "gpuSeconds": 1, "objective": {"value": index % 97, "step": 1}}
        if index % 3 == 0:
            body["status"] = {"state": "Failed", "reason": f"Cause{index % 40}", "message": "ä" * 1024}
        children.append(parse_experiment(body))
    view = world.view()

    def spent(count: int) -> float:
        """CPU seconds of this thread: what else the machine does is not in them."""
        times = []
        for _ in range(5):
            before = time.thread_time()
            plan_sweep(view, children=children[:count], defaults=world.defaults, now=world.now)
            times.append(time.thread_time() - before)
        return min(times)

    assert spent(10_000) < 40 * spent(1000)  # 10 times as many: 10; quadratic would be 100
    plan = plan_sweep(view, children=children, defaults=world.defaults, now=world.now)
    assert plan.status is not None
    assert plan.status["progress"] == "10000/10000"
    assert len(plan.status["failureClusters"]) == 32
    assert len(json.dumps(plan.status, ensure_ascii=False).encode()) < 100 * 1024


def condition(world: SweepWorld, kind: str) -> tuple[str, str]:
    return next((c["status"], c["reason"]) for c in world.status["conditions"] if c["type"] == kind)


def message(world: SweepWorld, kind: str) -> str:
    return next(str(c["message"]) for c in world.status["conditions"] if c["type"] == kind)


def over(world: SweepWorld) -> bool:
    return world.status.get("state") in ("Succeeded", "Failed")


def bodies(world: SweepWorld) -> list[dict[str, Any]]:
    return [action.body for action in world.plan().actions if isinstance(action, CreateExperiment)]
