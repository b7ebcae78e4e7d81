"""spec.rerun: what is selected, what it becomes, how it is remembered; and spec.resumeFrom."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orkhaven.api.rerun import MAX_RERUNS, Rerun, rerun_id
from orkhaven.core.parse import parse_experiment
from orkhaven.core.sweep.lineage import lineage
from orkhaven.core.sweep.plan import forget
from orkhaven.core.sweep.rerun import numbers_of, ranges, rerun_name, respec
from orkrun.contract import LABEL_RERUN, LABEL_RERUN_OF, LABEL_TRIAL
from tests.unit.core.world import START, Body, SweepWorld, make_experiment, make_sweep


def failed(count: int, **spec: Any) -> SweepWorld:
    """A sweep of so many trials that all have failed: the even ones by memory, the odd ones by themselves."""
    forget()
    whole: Body = {"search": {"order": "Sequential"}, "parallelism": count, **spec}
    world = SweepWorld(make_sweep(parameters=[{"name": "lr", "values": list(range(count))}], **whole))
    world.settle()
    for number, name in enumerate(world.by_trial()):
        world.end(name, reason="UserException" if number % 2 else "OutOfMemoryKilled")
    world.settle()
    return world


def made(world: SweepWorld) -> list[Body]:
    return [child for child in world.children.values() if LABEL_RERUN in child["metadata"]["labels"]]


def trials(bodies: list[Body]) -> list[int]:
    return sorted(int(body["metadata"]["labels"][LABEL_TRIAL]) for body in bodies)


@pytest.mark.parametrize(
    ("select", "want"),
    [
        ({}, [0, 1, 2, 3, 4, 5]),
        ({"reasons": ["OutOfMemoryKilled"]}, [0, 2, 4]),
        ({"reasons": ["OutOfMemoryKilled", "UserException"]}, [0, 1, 2, 3, 4, 5]),
        ({"params": {"lr": [1, 2.0, "3", True]}}, [1, 2]),
        ({"params": {"lr": [1, 2]}, "reasons": ["UserException"]}, [1]),
        ({"params": {"lr.deeper": [1]}}, []),
        ({"params": {"other": [None]}}, []),
        ({"clusters": ["nobody's"]}, []),
    ],
    ids=["all", "a reason", "two reasons", "values", "both", "below a value", "another parameter", "a cluster"],
)
def test_who_is_selected(select: Body, want: list[int]) -> None:
    world = failed(6)
    world.patch(rerun=[{"id": "a", "select": select}])
    world.settle()
    assert trials(made(world)) == want
    assert world.status["reruns"][0]["selected"] == len(want)


def test_a_cluster_is_selected_by_the_id_that_the_status_shows() -> None:
    world = failed(4)
    (one,) = [c for c in world.status["failureClusters"] if c["reason"] == "UserException"]
    world.patch(rerun=[{"id": "a", "select": {"clusters": [one["id"]]}}])
    world.settle()
    assert trials(made(world)) == [1, 3]


def test_what_is_selected_is_written_down_before_anything_is_made() -> None:
    world = failed(4)
    world.patch(rerun=[{"id": "a"}])
    first = world.look()
    assert first.actions == ()
    assert first.requeue_after == 0.0
    assert world.status["reruns"][0] | {"time": ""} == {
        "id": "a", "time": "", "selected": 4, "created": 0, "done": 0, "succeeded": 0, "failed": 0, "message": "",
        "waiting": "0-3",
    }  # fmt: skip
    assert world.status["state"] == "Running"
    assert len(world.look().actions) == 4
    assert world.status["reruns"][0]["waiting"] == ""
    assert world.events.count("Rerun") == 1


def test_five_hundred_are_made_in_one_look_after_the_one_that_writes_them_down() -> None:
    world = failed(500)
    world.patch(rerun=[{"id": "a", "overrides": {"resources": {"memory": "32Gi"}}}])
    seconds, looks = 0.0, 0
    while len(made(world)) < 500:
        plan = world.look()
        looks += 1
        seconds += plan.requeue_after or 0.0
    assert (looks, seconds) == (2, 0.0)
    assert world.status["reruns"][0]["created"] == 500
    assert world.status["trials"]["replaced"] == 0, "as the last look before has seen it"


def test_a_lost_status_is_answered_by_what_was_made() -> None:
    world = failed(4)
    world.patch(rerun=[{"id": "a", "select": {"reasons": ["UserException"]}}])
    world.settle()
    world.status["reruns"].clear()
    world.settle()
    assert len(made(world)) == 2
    assert [(r["selected"], r["created"]) for r in world.status["reruns"]] == [(2, 2)]


def test_the_last_records_are_kept_and_those_of_the_spec_first() -> None:
    world = failed(2)
    for number in range(MAX_RERUNS + 3):
        world.patch(
            rerun=[
                {"id": "kept", "select": {"reasons": ["None"]}},
                {"id": f"r{number}", "select": {"reasons": ["None"]}},
            ]
        )
        world.settle()
    ids = [record["id"] for record in world.status["reruns"]]
    assert len(ids) == MAX_RERUNS
    assert ids[0] == "kept"
    assert ids[-1] == f"r{MAX_RERUNS + 2}"
    assert "r0" not in ids


def test_an_entry_taken_out_too_early_makes_no_more() -> None:
    world = failed(510)
    world.patch(rerun=[{"id": "a"}])
    world.look()
    world.look()
    assert len(made(world)) == 500
    world.patch(rerun=[])
    world.settle()
    assert len(made(world)) == 500
    assert world.status["reruns"][0]["message"] == "taken out of spec.rerun before 10 of 510 were made"


def test_a_trial_deleted_before_its_turn_is_left_out() -> None:
    world = failed(3)
    world.patch(rerun=[{"id": "a"}])
    world.look()
    del world.children[world.by_trial()[1]]
    world.settle()
    assert trials(made(world)) == [0, 2]
    assert world.status["reruns"][0]["message"] == "1 were deleted before they could be run again"


def test_repeats_that_are_no_repeats_any_more_have_no_row() -> None:
    forget()
    search = {"order": "Sequential", "repeats": 2}
    world = SweepWorld(make_sweep(parameters=[{"name": "lr", "values": [1]}], search=search))
    world.settle()
    one, other = world.by_trial()
    world.end(one, 0.8)
    world.end(other)
    world.settle()
    world.patch(rerun=[{"id": "a", "overrides": {"params": {"lr": 2}}}])
    world.settle()
    (again,) = made(world)
    world.end(again["metadata"]["name"], 0.9)
    world.settle()
    assert world.status["leaderboard"] == []
    assert world.status["trials"]["succeeded"] == 2


# --- what is made -----------------------------------------------------------------------------------------------------

OLD: Body = {
    "params": {"a": {"b": 1, "n": None}, "lr": 0.1},
    "resources": {"gpus": 2, "memory": "16Gi", "sharedMemory": "4Gi"},
    "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "2"}],
    "dedupe": "Skip",
    "suspend": True,
    "prune": {"step": 3, "message": "x", "resume": True},
    "rungs": [1, 3],
}


@pytest.mark.parametrize(
    ("entry", "want"),
    [
        ({}, {"resumeFrom": "old", "dedupe": "Skip"}),
        ({"fromCheckpoint": False}, {"resumeFrom": None, "dedupe": "Never"}),
        (
            {"overrides": {"resources": {"memory": "32Gi", "gpus": 0}}},
            {"resources": {"gpus": 0, "gpuModels": [], "memory": "32Gi", "sharedMemory": "4Gi"}, "resumeFrom": "old"},
        ),
        (
            {"overrides": {"params": {"a.b": 2, "new.c": [1]}}},
            {
                "params": {"a": {"b": 2, "n": None}, "lr": 0.1, "new": {"c": [1]}},
                "resumeFrom": None,
                "dedupe": "Skip",
            },
        ),
        ({"overrides": {"image": "t:2"}}, {"image": "t:2", "resumeFrom": None, "dedupe": "Skip"}),
        (
            {"overrides": {"env": [{"name": "B", "value": "3"}, {"name": "C", "value": ""}]}},
            {
                "env": [{"name": "A", "value": "1"}, {"name": "B", "value": "3"}, {"name": "C", "value": ""}],
                "resumeFrom": "old",
            },
        ),
    ],
    ids=["nothing", "from the start", "resources", "parameters", "image", "environment"],
)
def test_the_new_spec_is_the_old_one_with_what_is_changed(entry: Body, want: Body) -> None:
    spec = respec(parse_experiment(make_experiment("old", **OLD)), Rerun.model_validate({"id": "a", **entry}))
    assert {key: spec.get(key) for key in want} == want
    assert spec["rungs"] == [1, 3]
    assert not {"suspend", "prune", "debug"} & spec.keys()
    if "params" not in want:
        assert spec["params"] == OLD["params"], "with their nulls"


def test_a_name_is_the_same_whoever_computes_it() -> None:
    assert rerun_name("s", rerun="a", old="s-1") == rerun_name("s", rerun="a", old="s-1")
    names = {rerun_name("s" * 46, rerun=one, old=old) for one in ("a", "b") for old in ("s-1", "s-2")}
    assert len(names) == 4
    assert all(len(name) == 57 for name in names)


# --- which stands for its trial ---------------------------------------------------------------------------------------


def child(name: str, *, trial: int = 0, of: str = "", second: int = 0) -> Any:
    labels = {LABEL_TRIAL: str(trial), **({LABEL_RERUN: "r", LABEL_RERUN_OF: of} if of else {})}
    body = make_experiment(name, labels=labels)
    body["metadata"]["creationTimestamp"] = (START + timedelta(seconds=second)).strftime("%Y-%m-%dT%H:%M:%SZ")
    return parse_experiment(body)


@pytest.mark.parametrize(
    ("children", "current", "first"),
    [
        ([child("a"), child("b", trial=1)], ["a", "b"], ["a", "b"]),
        ([child("a"), child("z", of="a", second=1), child("b", trial=1)], ["b", "z"], ["a", "b"]),
        ([child("a"), child("z", of="a"), child("c", of="z")], ["c"], ["a"]),
        ([child("a"), child("c", of="gone", second=9)], ["c"], ["a"]),
        ([child("z", of="gone")], ["z"], ["z"]),
    ],
    ids=["none was", "one was", "twice within a second", "the one between was deleted", "the first was deleted"],
)
def test_of_each_trial_the_last_one_counts(children: list[Any], current: list[str], first: list[str]) -> None:
    for order in (children, children[::-1]):
        found = lineage(order)
        assert sorted(one.meta.key.name for one in found.current) == current
        assert sorted(one.meta.key.name for one in found.first) == first
        assert len(found.current) + len(found.replaced) == len(children)


@given(st.sets(st.integers(0, 300)))
def test_numbers_survive_being_written(numbers: set[int]) -> None:
    text = ranges(sorted(numbers))
    assert list(numbers_of(text)) == sorted(numbers)


@pytest.mark.parametrize(("text", "want"), [("", []), ("x", []), ("3,x-4,7-8", [3, 7, 8]), ("9-3", [])])
def test_numbers_that_somebody_has_edited_are_read_as_far_as_they_are_some(text: str, want: list[int]) -> None:
    assert list(numbers_of(text)) == want
    assert sum(1 for _ in zip(numbers_of("0-99999999999999"), range(5), strict=False)) == 5


@pytest.mark.parametrize(
    ("entry", "want"),
    [
        ({"select": {"clusters": ["c3f2a1"]}}, "c3f2a1-2026-03-01-"),
        ({"select": {"reasons": ["CudaOutOfMemory"]}}, "cuda-out-of-memory-2026-03-01-"),
        ({"select": {"names": ["x"]}}, "names-2026-03-01-"),
        ({"select": {"params": {"a": [1]}}}, "params-2026-03-01-"),
        ({}, "all-2026-03-01-"),
    ],
)
def test_an_id_says_the_cause_and_the_day(entry: Body, want: str) -> None:
    made_id = rerun_id(entry, START.date())
    assert made_id.startswith(want)
    assert made_id == rerun_id(json.loads(json.dumps(entry)), START.date())
    assert made_id != rerun_id({**entry, "fromCheckpoint": False}, START.date())
    Rerun.model_validate({"id": made_id, **entry})
