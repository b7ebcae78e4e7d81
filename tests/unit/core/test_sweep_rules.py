"""Repeats, a goal, a canary and a grid whose values are edited while it runs."""

from __future__ import annotations

import statistics
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.core.sweep import forget
from tests.unit.core.world import SweepWorld, make_sweep


def grid(count: int, **spec: object) -> SweepWorld:
    whole = {"search": {"algorithm": "Grid", "order": "Sequential"}, **spec}
    return SweepWorld(make_sweep(parameters=[{"name": "lr", "values": list(range(count))}], **whole))


def repeated(count: int, repeats: int, **spec: object) -> SweepWorld:
    return grid(count, search={"algorithm": "Grid", "order": "Sequential", "repeats": repeats}, **spec)


def condition(world: SweepWorld, kind: str) -> dict[str, Any]:
    return next(c for c in world.status["conditions"] if c["type"] == kind)


class TestRepeats:
    def test_each_combination_is_tried_under_so_many_seeds(self) -> None:
        world = repeated(2, 3, parallelism=9, template={"seed": 5, "params": {"epochs": 2}})
        world.settle()
        specs = [world.children[name]["spec"] for name in world.by_trial()]
        assert [(spec["params"], spec.get("seed")) for spec in specs] == [
            ({"epochs": 2, "lr": lr}, seed) for lr in (0, 1) for seed in (5, 6, 7)
        ]
        assert world.status["trials"]["total"] == 6
        assert len({spec["seed"] for spec in specs}) == 3

    def test_the_first_repeat_is_the_run_that_it_would_be_without(self) -> None:
        alone, several = grid(3, parallelism=9), repeated(3, 2, parallelism=9)
        alone.settle()
        several.settle()
        assert several.by_trial()[::2] == alone.by_trial()

    def test_the_last_seed_is_followed_by_the_first(self) -> None:
        world = repeated(1, 3, template={"seed": 2**31 - 2})
        world.settle()
        assert [world.children[name]["spec"]["seed"] for name in world.by_trial()] == [2**31 - 2, 2**31 - 1, 0]

    def test_a_combination_is_ranked_by_its_mean_once_all_repeats_have_ended(self) -> None:
        world = repeated(2, 3, parallelism=9)
        world.settle()
        names = world.by_trial()
        for name, value in zip(names, (0.5, 0.7, 0.6, 0.9, 0.2), strict=False):
            world.end(name, value, step=round(value * 10))
        world.settle()
        (row,) = world.status["leaderboard"]
        assert (row["experiment"], row["step"], row["n"], row["failed"]) == (names[1], 7, 3, 0)
        assert row["value"] == pytest.approx(0.6)
        assert row["std"] == pytest.approx(statistics.stdev((0.5, 0.7, 0.6)))
        world.end(names[5], 0.1)
        world.settle()
        assert [row["params"] for row in world.status["leaderboard"]] == [{"lr": 0}, {"lr": 1}]
        assert world.status["best"] == world.status["leaderboard"][0]

    def test_one_whose_repeats_failed_in_part_says_so(self) -> None:
        world = repeated(3, 3, parallelism=9, objective={"metric": "loss", "direction": "Minimize"})
        world.settle()
        for name, value in zip(world.by_trial(), (3.0, None, 1.0, 4.0, None, None, None, None, None), strict=True):
            world.end(name, value)
        world.settle()
        rows = [(row["value"], row.get("std"), row["n"], row["failed"]) for row in world.status["leaderboard"]]
        assert rows == [(2.0, pytest.approx(2**0.5), 2, 1), (4.0, None, 1, 2)]
        assert world.status["state"] == "Succeeded"

    @given(st.permutations(range(6)), st.integers(1, 3))
    @settings(max_examples=30)
    def test_the_order_of_ends_is_of_no_account(self, order: list[int], repeats: int) -> None:
        world = repeated(6 // repeats, repeats, parallelism=9)
        world.settle()
        names = world.by_trial()
        for number in order:
            world.end(names[number], (number * 7 % 5) / 10)
            world.settle()
        values = [(number * 7 % 5) / 10 for number in range(6)]
        means = sorted((statistics.fmean(values[at : at + repeats]) for at in range(0, 6, repeats)), reverse=True)
        assert [row["value"] for row in world.status["leaderboard"]] == pytest.approx(means)


class TestGoal:
    def test_once_it_is_reached_no_more_are_started_and_the_sweep_succeeds(self) -> None:
        world = grid(20, parallelism=2, objective={"metric": "dice", "goal": 0.8})
        world.settle()
        assert condition(world, "GoalReached")["status"] == "False"
        first, second, *waiting = world.by_trial()
        world.set(second, "Running")
        world.end(first, 0.8)
        world.settle()
        assert condition(world, "GoalReached")["status"] == "True"
        assert world.status["state"] == "Running"
        assert len(world.children) == 4
        assert all(world.children[name]["spec"]["suspend"] for name in waiting)
        assert "suspend" not in world.children[second]["spec"]
        for name in waiting:
            world.set(name, "Suspended")
        world.end(second, 0.9)
        world.settle()
        assert (world.status["state"], condition(world, "Finished")["reason"]) == ("Succeeded", "GoalReached")
        assert condition(world, "Succeeded")["message"].startswith(f"dice 0.9 of {second} reaches objective.goal 0.8")
        assert world.events.count("GoalReached") == 1

    @pytest.mark.parametrize(("direction", "value"), [("Maximize", 0.79), ("Minimize", 0.81)])
    def test_a_value_on_the_wrong_side_reaches_nothing(self, direction: str, value: float) -> None:
        world = grid(5, objective={"metric": "dice", "direction": direction, "goal": 0.8}, parallelism=1)
        world.settle()
        world.end(world.by_trial()[0], value)
        world.settle()
        assert condition(world, "GoalReached")["status"] == "False"
        assert len(world.children) == 4

    def test_a_higher_goal_lets_it_go_on(self) -> None:
        world = grid(20, parallelism=1, objective={"metric": "dice", "goal": 0.8})
        world.settle()
        first, second, third = world.by_trial()
        world.set(second, "Running")
        world.end(first, 0.8)
        world.settle()
        assert world.children[third]["spec"]["suspend"]
        world.patch(objective={"metric": "dice", "goal": 0.95})
        world.settle()
        assert condition(world, "GoalReached")["status"] == "False"
        assert not world.children[third]["spec"]["suspend"]
        world.end(second, 0.9)
        world.settle()
        assert world.status["state"] == "Running"
        assert len(world.children) == 5

    def test_with_repeats_it_is_the_mean_that_has_to_reach_it(self) -> None:
        world = repeated(5, 2, parallelism=2, objective={"metric": "dice", "goal": 0.8})
        world.settle()
        first, second, *_ = world.by_trial()
        world.end(first, 0.95)
        world.settle()
        assert condition(world, "GoalReached")["status"] == "False"
        world.end(second, 0.75)
        world.settle()
        assert "the mean of 2 repeats" in condition(world, "GoalReached")["message"]

    def test_it_is_not_part_of_what_a_trial_is(self) -> None:
        plain, aimed = grid(2), grid(2, objective={"metric": "val/dice", "goal": 0.8})
        plain.settle()
        aimed.settle()
        assert [c["spec"] for c in aimed.children.values()] == [c["spec"] for c in plain.children.values()]


class TestCanary:
    def test_the_rest_waits_until_it_has_reported(self) -> None:
        world = grid(20, parallelism=4, canary=1)
        world.settle()
        (first,) = world.by_trial()
        assert "0 of 1 canary trials have reported val/dice" in condition(world, "Running")["message"]
        world.set(first, "Running")
        world.settle()
        assert len(world.children) == 1
        world.children[first]["status"]["objective"] = {"value": 0.1, "step": 1}
        world.settle()
        assert len(world.children) == 6
        assert condition(world, "Running").get("message", "") == ""

    def test_one_that_fails_suspends_the_sweep_with_the_cause(self) -> None:
        world = grid(20, parallelism=4, canary=2)
        world.settle()
        first, second = world.by_trial()
        world.end(first, reason="DataError")
        world.set(second, "Running")
        world.settle()
        assert world.status["state"] == "Running"
        said = condition(world, "Suspended")
        assert (said["status"], said["reason"]) == ("True", "CanaryFailed")
        assert f"canary trial {first} failed" in said["message"]
        assert "DataError" in said["message"]
        world.end(second, 0.5)
        world.settle()
        assert world.status["state"] == "Suspended"
        assert len(world.children) == 2
        assert world.events.count("CanaryFailed") == 1
        assert world.plan().actions == ()

    def test_it_goes_on_once_the_failed_one_is_deleted_and_does_better(self) -> None:
        world = grid(20, parallelism=4, canary=1)
        world.settle()
        (first,) = world.by_trial()
        world.end(first)
        world.settle()
        assert world.status["state"] == "Suspended"
        del world.children[first]
        world.settle()
        assert world.by_trial() == [first]
        assert condition(world, "Suspended")["status"] == "False"
        world.end(first, 0.5)
        world.settle()
        assert len(world.children) == 7

    def test_it_goes_on_without_one(self) -> None:
        world = grid(20, parallelism=4, canary=1)
        world.settle()
        world.end(world.by_trial()[0])
        world.settle()
        world.patch(canary=0)
        world.settle()
        assert world.status["state"] == "Running"
        assert len(world.children) == 7

    def test_one_that_reported_and_then_failed_has_reported(self) -> None:
        world = grid(20, parallelism=4, canary=1)
        world.settle()
        (first,) = world.by_trial()
        world.end(first)
        world.children[first]["status"]["objective"] = {"value": 0.5, "step": 3}
        world.settle()
        assert len(world.children) == 7

    def test_more_canaries_than_trials_are_all_of_them(self) -> None:
        world = grid(2, parallelism=4, canary=50)
        world.settle()
        for name in world.by_trial():
            world.end(name, 0.5)
        world.settle()
        assert world.status["state"] == "Succeeded"

    def test_a_child_that_a_person_suspended_stays_so_when_the_canary_is_let_go(self) -> None:
        world = grid(20, parallelism=4, canary=2)
        world.settle()
        first, second = world.by_trial()
        world.children[second]["spec"]["suspend"] = True
        world.set(second, "Suspended")
        world.end(first)
        world.settle()
        assert world.status["state"] == "Suspended"
        world.patch(canary=0)
        world.settle()
        assert world.children[second]["spec"]["suspend"]


VALUES = st.lists(st.sampled_from([1, 2, 3, "1", None, 0.5]), min_size=1, max_size=4, unique_by=repr)


class TestEditedGrid:
    def test_more_values_become_more_trials_and_the_old_ones_stay(self) -> None:
        world = grid(4, parallelism=9)
        world.settle()
        before = world.by_trial()
        world.end(before[0], 0.5)
        world.patch(parameters=[{"name": "lr", "values": [*range(4), 10, 11]}])
        world.settle()
        assert world.by_trial()[:4] == before
        assert [world.children[name]["spec"]["params"]["lr"] for name in world.by_trial()] == [0, 1, 2, 3, 10, 11]
        assert world.status["trials"]["total"] == 6
        assert world.status["best"]["experiment"] == before[0]

    def test_a_value_that_went_is_not_tried_any_more(self) -> None:
        world = grid(6, parallelism=1)
        world.settle()
        assert len(world.children) == 3
        world.patch(parameters=[{"name": "lr", "values": [1, 5]}])
        world.settle()
        assert world.status["trials"]["total"] == 4  # 0, 1 and 2 are there
        for name in world.by_trial():
            world.end(name, 0.5)
        world.settle()
        assert sorted(c["spec"]["params"]["lr"] for c in world.children.values()) == [0, 1, 2, 5]
        world.end(world.by_trial()[3], 0.6)
        world.settle()
        assert (world.status["state"], world.status["progress"]) == ("Succeeded", "4/4")

    @pytest.mark.parametrize("order", ["Shuffled", "Sequential", None])
    @given(
        before=st.lists(VALUES, min_size=2, max_size=3),
        after=st.lists(VALUES, min_size=3, max_size=3),
        made=st.integers(1, 12),
        limit=st.none() | st.integers(1, 30),
        lost=st.integers(0, 11),
        repeats=st.integers(1, 2),
    )
    @settings(max_examples=25, deadline=None)
    def test_all_of_the_new_grid_is_tried_once_whatever_was_there(
        self,
        order: str | None,
        before: list[list[Any]],
        after: list[list[Any]],
        made: int,
        limit: int | None,
        lost: int,
        repeats: int,
    ) -> None:
        names = ["a", "b.c", "d"][: len(before)]
        search: dict[str, Any] = {"algorithm": "Grid", "repeats": repeats, **({"order": order} if order else {})}
        when = {"b.c": {"when": {"a": [1, "1"]}}}

        def parameters(values: list[list[Any]]) -> list[dict[str, Any]]:
            return [
                {"name": name, "values": own, **when.get(name, {})} for name, own in zip(names, values, strict=False)
            ]

        template = {"params": {"b": {"c": 7}}}
        world = SweepWorld(
            make_sweep(parameters=parameters(before), search=search, parallelism=made, template=template)
        )
        forget()  # another example had a sweep of this uid
        world.settle()
        old = dict(world.children)
        if limit is not None:
            search = {**search, "maxTrials": limit}
        forget()
        world.patch(parameters=parameters(after), search=search)
        for _ in range(400):
            # Each look in a process of its own.
            forget()
            world.look()
            for name in [name for name, child in world.children.items() if not child.get("status")]:
                world.end(name, 0.5)
            if world.status["state"] == "Succeeded":
                break
        assert world.status["state"] == "Succeeded"
        assert all(world.children[name]["spec"] == child["spec"] for name, child in old.items())
        texts = [(repr(c["spec"]["params"]), c["spec"].get("seed", 0)) for c in world.children.values()]
        assert len(set(texts)) == len(texts)
        numbers = [int(c["metadata"]["labels"]["orkhaven.io/trial"]) for c in world.children.values()]
        assert sorted(numbers) == list(range(len(numbers)))
        fresh = SweepWorld(
            make_sweep("f", parameters=parameters(after), search=search, parallelism=99, template=template)
        )
        fresh.settle()
        wanted = {repr(c["spec"]["params"]) for c in fresh.children.values()}
        if limit is None:
            assert wanted <= {text for text, _ in texts}
            assert {text for text, _ in texts} == wanted | {repr(c["spec"]["params"]) for c in old.values()}
        # One that is lost is made again, as it was, unless its values went.
        gone = sorted(world.children)[lost % len(world.children)]
        spec = world.children.pop(gone)["spec"]
        world.sweep["status"]["conditions"] = []
        forget()
        world.look()
        again = world.children.get(gone, {}).get("spec", {}).get("params")
        assert again == (spec["params"] if limit is None and repr(spec["params"]) in wanted else again)

    def test_a_large_grid_is_edited_without_being_written_down(self) -> None:
        axes = [{"name": f"p{number}", "values": list(range(100))} for number in range(6)]
        world = SweepWorld(make_sweep(parameters=axes, search={"algorithm": "Grid", "maxTrials": 9}, parallelism=2))
        world.settle()
        before = set(world.children)
        world.patch(parameters=[{**axis, "values": list(range(101))} for axis in axes])
        for _ in range(30):
            world.settle()
            for name in [name for name, child in world.children.items() if not child.get("status")]:
                world.end(name, 0.5)
        assert before <= set(world.children)
        assert (world.status["state"], len(world.children)) == ("Succeeded", 9)
