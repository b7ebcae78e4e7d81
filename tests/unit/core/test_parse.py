"""Views of raw API objects: whatever is stored, nothing is raised."""

from __future__ import annotations

from collections.abc import Callable
from datetime import UTC, datetime
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.core.devices import WHOLE
from orkhaven.core.parse import parse_experiment, parse_job, parse_node, parse_pod, parse_sweep
from orkhaven.core.queue.needs import memory_on, model_on
from orkhaven.core.views import ExperimentView, SweepView
from orkrun.contract import ANNOTATION_CREATED_BY as CREATED_BY
from tests.unit.core.world import Body, World, make_experiment, make_node, make_sweep

JUNK = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats() | st.text(max_size=3),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=3), inner, max_size=3),
    max_leaves=6,
)


def a_pod() -> dict[str, Any]:
    return World().run().disrupt("X").exit(1, "x").pod


PARSERS = {
    "sweep": (parse_sweep, lambda: make_sweep(parameters=[{"name": "a", "values": [1]}])),
    "experiment": (parse_experiment, make_experiment),
    "job": (parse_job, lambda: World().run().exit(1).job),
    "pod": (parse_pod, a_pod),
    "node": (parse_node, make_node),
}


def paths(value: Any, prefix: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [prefix, *[path for key, item in inner for path in paths(item, (*prefix, key))]]


@pytest.mark.parametrize("kind", PARSERS)
def test_nothing_at_all_is_a_view_too(kind: str) -> None:
    assert PARSERS[kind][0]({}).meta.key == ("", "")


@pytest.mark.parametrize("kind", PARSERS)
@given(data=st.data())
@settings(max_examples=60)
def test_an_odd_value_anywhere_is_no_error(kind: str, data: st.DataObject) -> None:
    parse, make = PARSERS[kind]
    body = make()
    path = data.draw(st.sampled_from([path for path in paths(body) if path]))
    place: Any = body
    for key in path[:-1]:
        place = place[key]
    place[path[-1]] = data.draw(JUNK)
    parse(body)


def test_a_spec_that_cannot_be_read_says_where_and_why() -> None:
    view = parse_experiment(make_experiment(resources={"gpus": -1}, nonsense=1))
    assert view.spec is None
    assert view.invalid is not None
    assert "spec.resources.gpus: " in view.invalid
    assert "spec.nonsense: " in view.invalid
    assert parse_sweep({"metadata": {"name": "s"}}).invalid == "spec: is missing"


def test_a_status_of_a_newer_version_is_read_as_far_as_it_can_be() -> None:
    body = make_experiment() | {"status": {"state": "Dreaming", "attemptCount": 2, "new": 1}}
    status = parse_experiment(body).status
    assert (status.state, status.attempt_count) == (None, 2)


def test_nulls_among_the_parameters_stay() -> None:
    view = parse_experiment(make_experiment(params={"encoder": None}))
    assert view.spec is not None
    assert view.spec.params == {"encoder": None}


@pytest.mark.parametrize("parse", [parse_sweep, parse_experiment])
@pytest.mark.parametrize(
    ("annotations", "creator"),
    [({CREATED_BY: " ada "}, "ada"), ({CREATED_BY: 7}, ""), ({}, ""), (None, "")],
    ids=["a name", "no text", "none", "no annotations"],
)
def test_who_made_it(
    parse: Callable[[Body], SweepView | ExperimentView], annotations: Body | None, creator: str
) -> None:
    assert parse({"metadata": {"annotations": annotations}, "spec": {}}).created_by == creator


def test_deletion_is_asked_for_before_its_grace_period() -> None:
    body = World().run().delete_pod(grace=60).pod
    assert parse_pod(body).deletion_requested == datetime(2026, 3, 1, 12, 1, tzinfo=UTC)


def test_a_failure_target_announces_but_does_not_end_a_job() -> None:
    world = World().run()
    world.end_job("FailureTarget", "DeadlineExceeded")
    view = parse_job(world.job)
    assert (view.failed_reason, view.finished) == ("DeadlineExceeded", None)
    world.end_job("Failed", "DeadlineExceeded")
    assert parse_job(world.job).finished == world.now


def test_a_node_and_its_gpus() -> None:
    body = make_node(gpus=8, labels={"zone": "a"})
    body["spec"] = {
        "unschedulable": True,
        "taints": [{"key": "k", "effect": "NoSchedule"}, {"key": "p", "effect": "PreferNoSchedule"}],
    }
    view = parse_node(body)
    assert (view.gpus, model_on(view, WHOLE), memory_on(view, WHOLE), view.ready, view.schedulable) == (
        8,
        "A100",
        40960,
        True,
        False,
    )
    assert view.taints == (("k", "", "NoSchedule"),)
    assert view.meta.labels["zone"] == "a"
