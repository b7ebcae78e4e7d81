"""What a run does about its twins: by table; and that of any number of them one always goes on."""

from __future__ import annotations

from datetime import timedelta
from itertools import permutations
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orkhaven.api.experiment import Dedupe, ExperimentSpec
from orkhaven.api.rerun import rerun_spec
from orkhaven.core.identity import is_moving
from orkhaven.core.parse import parse_experiment
from orkhaven.core.reuse import Twin, answer, dedupe_of, in_folder, own_folder, run_of
from orkhaven.core.views import Defaults, ExperimentView
from tests.unit.core.world import DEFAULTS, START, make_experiment, stamp

PATIENCE = DEFAULTS.twin_patience_seconds


def run(name: str, *, age: float = 0, state: str | None = None, still: float = 0, **more: Any) -> ExperimentView:
    """An Experiment made `age` seconds before START, in that state; `still`: seconds since it stopped running."""
    status, spec = more.pop("status", {}), more
    body = make_experiment(name, **spec)
    body["metadata"]["creationTimestamp"] = stamp(START - timedelta(seconds=age))
    if more.get("deleting"):
        body["spec"].pop("deleting")
        body["metadata"]["deletionTimestamp"] = stamp(START)
    if state is not None:
        running = {
            "type": "Running",
            "status": "True" if state == "Running" else "False",
            "reason": state,
            "message": "",
            "lastTransitionTime": stamp(START - timedelta(seconds=still)),
        }
        body["status"] = {"state": state, "conditions": [running], **status}
        if state == "Succeeded":
            body["status"].setdefault("objective", {"value": 0.5, "step": 1})
    return parse_experiment(body)


def begun(exp: ExperimentView) -> Twin:
    return Twin(exp=exp, begun=True)


def fresh(exp: ExperimentView) -> Twin:
    return Twin(exp=exp, begun=False)


def ask(exp: ExperimentView, *twins: Twin, defaults: Defaults = DEFAULTS) -> tuple[str, str | None, bool]:
    assert exp.spec is not None
    seen = answer(exp, exp.spec, twins=twins, defaults=defaults, now=START)
    return seen.step.value, seen.twin.meta.key.name if seen.twin else None, seen.own_folder


OTHER = {"objective": {"metric": "val/iou"}}
CASES: dict[str, tuple[dict[str, Any], list[Twin], tuple[str, str | None, bool]]] = {
    "nobody else": ({}, [], ("begin", None, False)),
    "one that succeeded": ({}, [begun(run("a", state="Succeeded"))], ("reuse", "a", False)),
    "one that failed: its folder": ({}, [begun(run("a", state="Failed"))], ("begin", None, False)),
    "one that runs": ({}, [begun(run("a", state="Running"))], ("wait", "a", False)),
    "one that succeeded before one that runs": (
        {},
        [begun(run("a", state="Running")), begun(run("b", state="Succeeded"))],
        ("reuse", "b", False),
    ),
    "an older one that waits for a GPU": ({}, [fresh(run("a", age=9, state="Queued"))], ("wait", "a", False)),
    "an older one, not looked at yet": ({}, [fresh(run("a", age=9))], ("wait", "a", False)),
    "a younger one": ({}, [fresh(run("a", age=-9))], ("begin", None, False)),
    "one of the same second, an earlier name": ({}, [fresh(run("a"))], ("wait", "a", False)),
    "one of the same second, a later name": ({}, [fresh(run("z"))], ("begin", None, False)),
    "a younger one that has begun": ({}, [begun(run("z", age=-9, state="Queued"))], ("wait", "z", False)),
    "one that stands still for long": (
        {"age": PATIENCE + 9},
        [fresh(run("a", age=PATIENCE + 9, state="Suspended", still=PATIENCE + 9))],
        ("begin", None, False),
    ),
    "one that stands still and has begun": (
        {"age": PATIENCE + 9},
        [begun(run("a", age=PATIENCE + 9, state="Suspended", still=PATIENCE))],
        ("begin", None, True),
    ),
    "one that stopped a moment ago": (
        {"age": PATIENCE + 9},
        [begun(run("a", age=PATIENCE + 9, state="Suspended", still=5))],
        ("wait", "a", False),
    ),
    "one that stood still before this one was made": (
        {"age": 5},
        [fresh(run("a", age=9 * PATIENCE, state="Suspended", still=9 * PATIENCE))],
        ("wait", "a", False),
    ),
    "a running one, however long": (
        {"age": 99 * PATIENCE},
        [begun(run("a", age=99 * PATIENCE, state="Running", still=99 * PATIENCE))],
        ("wait", "a", False),
    ),
    "one that is being deleted": ({}, [begun(run("a", state="Succeeded", deleting=True))], ("begin", None, False)),
    "one that is being deleted while it runs": (
        {},
        [begun(run("a", state="Running", deleting=True))],
        ("begin", None, True),
    ),
    "another objective, in the folder": ({}, [begun(run("a", state="Succeeded", **OTHER))], ("begin", None, True)),
    "another objective, in a folder of its own": (
        {},
        [begun(run("a", state="Running", status={"outputFolder": "f"}, **OTHER))],
        ("begin", None, False),
    ),
    "no objective: any will do": (
        {"objective": None},
        [begun(run("a", state="Succeeded", **OTHER))],
        ("reuse", "a", False),
    ),
    "another volume": (
        {},
        [begun(run("a", state="Succeeded", output={"claim": "elsewhere"}))],
        ("begin", None, False),
    ),
    "the default volume by its name": (
        {"output": {"claim": "results"}},
        [begun(run("a", state="Succeeded"))],
        ("reuse", "a", False),
    ),
    "a success without the value": (
        {},
        [begun(run("a", state="Succeeded", status={"objective": None}))],
        ("begin", None, False),
    ),
    "the one that did the work before a copy": (
        {},
        [
            fresh(run("a", age=99, state="Succeeded", status={"reusedFrom": "b", "reason": "Reused"})),
            begun(run("b", state="Succeeded")),
        ],
        ("reuse", "b", False),
    ),
    "Never": ({"dedupe": "Never"}, [begun(run("a", state="Succeeded"))], ("begin", None, True)),
    "Never, alone": ({"dedupe": "Never"}, [], ("begin", None, True)),
    "the tag latest": ({"image": "t:latest"}, [begun(run("a", state="Succeeded", image="t:latest"))],
                       ("begin", None, True)),
    "the tag latest, by will": (
        {"image": "t:latest", "dedupe": "Reuse"},
        [begun(run("a", state="Succeeded", image="t:latest"))],
        ("reuse", "a", False),
    ),
    "Skip, alone": ({"dedupe": "Skip"}, [], ("begin", None, False)),
    "Skip beside a success": ({"dedupe": "Skip"}, [begun(run("a", state="Succeeded"))], ("skip", "a", False)),
    "Skip beside a failure": ({"dedupe": "Skip"}, [begun(run("a", state="Failed"))], ("skip", "a", False)),
    "Skip beside an older one that waits": ({"dedupe": "Skip"}, [fresh(run("a", age=9))], ("skip", "a", False)),
    "Skip beside a younger one that waits": ({"dedupe": "Skip"}, [fresh(run("a", age=-9))], ("begin", None, False)),
    "Skip beside a skipped one": ({"dedupe": "Skip"}, [fresh(run("a", state="Skipped"))], ("begin", None, False)),
}  # fmt: skip


@pytest.mark.parametrize(("spec", "twins", "want"), CASES.values(), ids=CASES.keys())
def test_what_a_run_does_about_its_twins(
    spec: dict[str, Any], twins: list[Twin], want: tuple[str, str | None, bool]
) -> None:
    exp = run("m", **spec)
    for order in permutations(twins):
        assert ask(exp, *order) == want


@given(
    st.lists(
        st.tuples(st.integers(0, 3), st.booleans(), st.sampled_from([None, "Queued", "Suspended"])),
        min_size=1,
        max_size=6,
    )
)
def test_of_any_number_one_always_goes_on(made: list[tuple[int, bool, str | None]]) -> None:
    """And no two wait for each other: followed from any of them, the waiting ends."""
    everyone = [
        Twin(exp=run(f"r{number}", age=age, state=state), begun=has_begun)
        for number, (age, has_begun, state) in enumerate(made)
    ]
    waits: dict[str, str | None] = {}
    for twin in everyone:
        name = twin.exp.meta.key.name
        step, other, _ = (
            ask(twin.exp, *(t for t in everyone if t is not twin)) if not twin.begun else ("begin", None, False)
        )
        waits[name] = other if step == "wait" else None
    for name in waits:
        seen = {name}
        while (name_of_next := waits[name]) is not None:
            assert name_of_next not in seen, waits
            seen.add(name_of_next)
            name = name_of_next


@pytest.mark.parametrize(
    ("image", "moving"),
    [
        ("trainer", True),
        ("trainer:latest", True),
        ("registry.example:5000/team/trainer", True),
        ("registry.example:5000/team/trainer:latest", True),
        ("registry.example:5000/team/trainer:1.2", False),
        ("trainer:latest-cuda", False),
        ("trainer@sha256:" + "a" * 64, False),
        ("trainer:latest@sha256:" + "a" * 64, False),
    ],
)
def test_which_images_may_be_others_tomorrow(image: str, moving: bool) -> None:
    assert is_moving(image) is moving
    spec = ExperimentSpec.model_validate({"image": image})
    assert dedupe_of(spec, DEFAULTS) is (Dedupe.NEVER if moving else Dedupe.REUSE)


def test_the_operators_default_image_decides_where_none_is_named() -> None:
    spec = ExperimentSpec.model_validate({})
    assert dedupe_of(spec, Defaults(image="t:latest")) is Dedupe.NEVER
    assert dedupe_of(spec, Defaults(image="t:1")) is Dedupe.REUSE


def test_a_folder_of_its_own_is_beside_that_of_the_hash_and_nobody_elses() -> None:
    run_hash = "a" * 64
    one, other = own_folder(run_hash, "uid-1"), own_folder(run_hash, "uid-2")
    assert one != other
    assert one == own_folder(run_hash, "uid-1")
    assert len(one) == 64
    assert one.startswith("a" * 55 + "-")


def test_a_run_is_known_before_its_status_says_which() -> None:
    one, same, other = run("a", params={"lr": 1}), run("b", params={"lr": 1.0}), run("c", params={"lr": "1"})
    assert run_of(one, DEFAULTS) == run_of(same, DEFAULTS) != run_of(other, DEFAULTS)
    assert run_of(run("d", state="Queued", status={"runHash": "f" * 64}), DEFAULTS) == "f" * 64


@pytest.mark.parametrize(
    ("state", "change", "want"),
    [
        ("Failed", {}, "Reuse"),
        ("Succeeded", {}, "Never"),
        ("Skipped", {}, "Never"),
        (None, {}, "Reuse"),
        ("Failed", {"seed": 0}, "Reuse"),
        ("Failed", {"seed": 1}, "Never"),
        ("Failed", {"params": {"lr": 2}}, "Never"),
        ("Failed", {"resources": {"gpus": 2}}, "Reuse"),
    ],
)
def test_a_run_made_again_on_purpose_goes_on_or_starts_anew_but_is_never_answered(
    state: str | None, change: dict[str, Any], want: str
) -> None:
    spec = {"params": {"lr": 1}, "suspend": True, "dedupe": "Skip", "resumeFrom": "older"}
    old = {"metadata": {"name": "old"}, "spec": spec, "status": {"state": state}}
    made = rerun_spec(old, {**spec, **change})
    assert made["dedupe"] == want
    assert made.get("resumeFrom") == ("old" if want == "Reuse" else None)
    assert "suspend" not in made
    anew = rerun_spec(old, {**spec, **change}, from_scratch=True)
    assert (anew["dedupe"], "resumeFrom" in anew) == ("Never", False)


OPEN = {"attempts": [{"number": 1, "job": "j"}], "attemptCount": 1}
CLOSED = {"attempts": [{"number": 1, "job": "j", "reason": "Drained"}], "attemptCount": 1}


@pytest.mark.parametrize(
    ("twins", "want"),
    [
        ([], None),
        ([begun(run("a", state="Running", status=OPEN))], "a"),
        ([begun(run("a", state="Queued", status=OPEN))], "a"),
        ([begun(run("a", state="Queued", status=CLOSED))], None),
        ([begun(run("a", state="Failed", status=OPEN))], None),
        ([fresh(run("a", state="Queued"))], None),
        ([begun(run("a"))], "a"),
        ([begun(run("a", state="Running", status={**OPEN, "outputFolder": "own"}))], None),
        ([begun(run("a", state="Running", status=OPEN, output={"claim": "elsewhere"}))], None),
        ([begun(run("m", state="Running", status=OPEN))], None),
    ],
    ids=[
        "nobody", "one at work", "one about to", "one between two attempts", "one that ended", "one not begun",
        "one whose first Job is being made", "in its own folder", "on another volume", "the run itself",
    ],
)  # fmt: skip
def test_who_is_at_work_in_the_folder_where_a_run_would_go_on(twins: list[Twin], want: str | None) -> None:
    exp = run("m", state="Queued", status=CLOSED)
    assert exp.spec is not None
    assert in_folder(exp, exp.spec, twins=twins, defaults=DEFAULTS) == want
