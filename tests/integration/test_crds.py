"""The CRDs in a real API server: what is refused and how it is told, what may change, who owns which status field."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.cluster import Cluster
from tests.unit.api.cases import (
    ABSENT,
    API_VERSION,
    NAMES,
    RIGHT,
    WRONG_EXPERIMENTS,
    WRONG_SWEEPS,
    Right,
    Wrong,
    changed,
    experiment,
    sweep,
)

pytestmark = pytest.mark.cluster

ROOT = Path(__file__).resolve().parents[2]

Kubectl = Callable[..., str]


def _path(namespace: str, kind: str, name: str = "", rest: str = "") -> str:
    return f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/{kind.lower()}s" + (f"/{name}" if name else "") + rest


def _create(cluster: Cluster, namespace: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    path = _path(namespace, body["kind"]) + "?fieldValidation=Strict"
    status, text = cluster.api.raw("POST", path, body)
    return status, json.loads(text)


def _put(cluster: Cluster, namespace: str, body: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    path = _path(namespace, body["kind"], body["metadata"]["name"])
    status, text = cluster.api.raw("PUT", path + "?fieldValidation=Strict", body)
    return status, json.loads(text)


def _causes(answer: dict[str, Any]) -> list[tuple[str, str]]:
    """(field, message) of each cause. An unknown field is refused earlier, with its path in the message only."""
    unknown = re.findall(r'unknown field "([^"]+)"', answer["message"])
    causes = [(cause["field"], cause["message"]) for cause in answer.get("details", {}).get("causes", [])]
    return causes + [(field, f'unknown field "{field}"') for field in unknown]


def _assert_refused(status: int, answer: dict[str, Any], path: str, message: str) -> None:
    assert status in (400, 422), answer
    causes = _causes(answer)
    assert [cause for cause in causes if cause[0] == path and message in cause[1]], causes


@pytest.mark.parametrize(
    "wrong", [*WRONG_SWEEPS, *WRONG_EXPERIMENTS, *NAMES], ids=lambda wrong: f"{wrong.kind}: {wrong.id}"
)
def test_a_wrong_resource_is_refused_with_its_path_and_what_would_be_right(
    cluster: Cluster, namespace: str, wrong: Wrong
) -> None:
    _assert_refused(*_create(cluster, namespace, wrong.body()), wrong.path, wrong.message)


@pytest.mark.parametrize("right", RIGHT, ids=lambda right: f"{right.kind}: {right.id}")
def test_a_right_resource_is_taken(cluster: Cluster, namespace: str, right: Right) -> None:
    status, answer = _create(cluster, namespace, right.body())
    assert status == 201, answer


def test_defaults_are_filled_in_by_the_server_and_any_json_is_kept_as_written(cluster: Cluster, namespace: str) -> None:
    values = [None, True, 1, 2.5, "x", [1, None], {"b": None}]
    body = sweep(
        {"spec.parameters": [{"name": "a", "values": values}], "spec.template.params": {"encoder": None, "n": 1.0}}
    )
    status, stored = _create(cluster, namespace, body)
    assert status == 201, stored
    spec = stored["spec"]
    assert spec["objective"] == {"metric": "val/dice_case", "direction": "Maximize"}
    assert spec["search"] == {"algorithm": "Grid", "seed": 0, "repeats": 1}
    assert (spec["parallelism"], spec["suspend"]) == (4, False)
    assert spec["template"]["resources"] == {"gpus": 1}
    assert spec["template"]["retry"] == {"limit": 2}
    assert spec["template"]["data"] == [{"name": "ct", "claim": "ct-data", "mountPath": "/data", "readOnly": True}]
    assert spec["parameters"][0]["values"] == values
    assert spec["template"]["params"] == {"encoder": None, "n": 1.0}
    assert "status" not in stored


TWO_VOLUMES = [{"name": name, "claim": name, "mountPath": f"/{name}"} for name in ("ct", "masks")]
NEW_SWEEP, NEW_EXPERIMENT = "make a new Sweep", "make a new Experiment"
FROZEN = [
    ("Sweep", {"spec.objective.metric": "val/iou"}, "spec.objective.metric", NEW_SWEEP),
    ("Sweep", {"spec.objective.direction": "Minimize"}, "spec.objective.direction", NEW_SWEEP),
    ("Sweep", {"spec.search.seed": 3}, "spec.search.seed", NEW_SWEEP),
    ("Sweep", {"spec.search": {"algorithm": "Random", "maxTrials": 9}}, "spec.search.algorithm", NEW_SWEEP),
    ("Sweep", {"spec.search.order": "Shuffled"}, "spec.search.order", NEW_SWEEP),
    ("Sweep", {"spec.search.repeats": 2}, "spec.search.repeats", NEW_SWEEP),
    ("Sweep", {"spec.constraints": ["batch_size > 4"]}, "spec.constraints", NEW_SWEEP),
    ("Sweep", {"spec.initialPoints": [{"batch_size": 8}]}, "spec.initialPoints", NEW_SWEEP),
    ("Sweep", {"spec.parameters": [{"name": "batch_size", "values": [4, 8]}]}, "spec.parameters", NEW_SWEEP),
    ("Sweep", {"spec.parameters": list(reversed(sweep()["spec"]["parameters"]))}, "spec.parameters", NEW_SWEEP),
    ("Sweep", {"spec.template.params": {"epochs": 4}}, "spec.template", NEW_SWEEP),
    ("Sweep", {"spec.template.params": {"epochs": "3"}}, "spec.template", NEW_SWEEP),
    ("Sweep", {"spec.template.image": "other:1"}, "spec.template", NEW_SWEEP),
    ("Sweep", {"spec.dedupe": "Never"}, "spec.dedupe", NEW_SWEEP),
    ("Sweep", {"spec.earlyStopping": {"algorithm": "ASHA"}}, "spec.earlyStopping", "its rule is fixed"),
    ("Experiment", {"spec.rungs": [1]}, "spec.rungs", NEW_EXPERIMENT),
    ("Experiment", {"spec.params.epochs": 4}, "spec.params", NEW_EXPERIMENT),
    ("Experiment", {"spec.params.model": {"architecture": "Unet"}}, "spec.params", NEW_EXPERIMENT),
    ("Experiment", {"spec.params": ABSENT}, "spec.params", NEW_EXPERIMENT),
    ("Experiment", {"spec.seed": 1}, "spec.seed", NEW_EXPERIMENT),
    ("Experiment", {"spec.image": "other:1"}, "spec.image", NEW_EXPERIMENT),
    ("Experiment", {"spec.command": ["sleep", "9"]}, "spec.command", NEW_EXPERIMENT),
    ("Experiment", {"spec.data": ABSENT}, "spec.data", NEW_EXPERIMENT),
    ("Experiment", {"spec.data": list(reversed(TWO_VOLUMES))}, "spec.data", NEW_EXPERIMENT),
    ("Experiment", {"spec.data": [{"name": "ct", "claim": "other"}]}, "spec.data", NEW_EXPERIMENT),
    ("Experiment", {"spec.output.claim": "results"}, "spec.output", NEW_EXPERIMENT),
    ("Experiment", {"spec.objective": ABSENT}, "spec.objective", NEW_EXPERIMENT),
    ("Experiment", {"spec.dedupe": "Reuse"}, "spec.dedupe", NEW_EXPERIMENT),
]


@pytest.mark.parametrize(
    ("kind", "changes", "path", "message"),
    FROZEN,
    ids=[f"{kind}: {', '.join(changes)}" for kind, changes, _, _ in FROZEN],
)
def test_what_a_run_is_never_changes(
    cluster: Cluster, namespace: str, kind: str, changes: dict[str, Any], path: str, message: str
) -> None:
    body = sweep() if kind == "Sweep" else experiment({"spec.data": TWO_VOLUMES})
    status, stored = _create(cluster, namespace, body)
    assert status == 201, stored
    _assert_refused(*_put(cluster, namespace, changed(stored, changes)), path, message)


LIVE = [
    ("Sweep", {"spec.parallelism": 1}),
    ("Sweep", {"spec.objective.goal": 0.8}),
    ("Sweep", {"spec.canary": 2}),
    ("Sweep", {"spec.suspend": True}),
    ("Sweep", {"spec.failurePolicy.maxFailedTrials": 3}),
    ("Sweep", {"spec.ttlSecondsAfterFinished": 60}),
    ("Experiment", {"spec.suspend": True}),
    ("Experiment", {"spec.ttlSecondsAfterFinished": 60}),
    ("Experiment", {"spec.prune": {"step": 3, "message": "enough"}}),
    ("Experiment", {"spec.retry.limit": 5}),
    ("Experiment", {"spec.maxRunTime": "6h"}),
    ("Experiment", {"spec.resources.memory": "32Gi"}),
    ("Experiment", {"spec.env": [{"name": "A", "value": "b"}]}),
    ("Experiment", {"spec.nodeSelector": {"zone": "a"}}),
    ("Experiment", {"spec.tolerations": [{"key": "spot", "operator": "Exists"}]}),
]


@pytest.mark.parametrize(("kind", "changes"), LIVE, ids=[f"{kind}: {', '.join(changes)}" for kind, changes in LIVE])
def test_how_it_is_run_stays_live(cluster: Cluster, namespace: str, kind: str, changes: dict[str, Any]) -> None:
    _, stored = _create(cluster, namespace, sweep() if kind == "Sweep" else experiment())
    status, answer = _put(cluster, namespace, changed(stored, changes))
    assert status == 200, answer


@pytest.mark.parametrize(
    ("before", "after", "fine"),
    [(10, 20, True), (10, 10, True), (10, None, True), (10, 9, False), (None, 9, False)],
    ids=["up", "the same", "to all", "down", "down from all"],
)
def test_max_trials_only_rises(
    cluster: Cluster, namespace: str, before: int | None, after: int | None, fine: bool
) -> None:
    _, stored = _create(cluster, namespace, sweep({"spec.search.maxTrials": before or ABSENT}))
    status, answer = _put(cluster, namespace, changed(stored, {"spec.search.maxTrials": after or ABSENT}))
    if fine:
        assert status == 200, answer
    else:
        _assert_refused(status, answer, "spec.search.maxTrials", "may only rise")


ARCHITECTURES = {"name": "model.architecture", "values": ["Unet", "FPN"]}
SIZES = {"name": "batch_size", "values": [4, 8]}
FOCAL = {"name": "loss.gamma", "values": [1.0, {"a": None}], "when": {"model.architecture": ["FPN"]}}
STEPS = {"name": "lr", "range": {"min": 0, "max": 1, "step": 0.5}}
GRID = [ARCHITECTURES, SIZES, FOCAL, STEPS]


@pytest.mark.parametrize(
    ("after", "fine"),
    [
        ([ARCHITECTURES, {**SIZES, "values": [4, 8, 16, 2]}, FOCAL, STEPS], True),
        ([ARCHITECTURES, SIZES, {**FOCAL, "values": [1.0, {"a": None}, 3]}, STEPS], True),
        ([ARCHITECTURES, {**SIZES, "values": [8]}, FOCAL, STEPS], True),
        ([ARCHITECTURES, SIZES, FOCAL, {"name": "lr", "range": {"min": 0, "max": 2, "step": 0.5}}], True),
        ([ARCHITECTURES, {**SIZES, "name": "size"}, FOCAL, STEPS], False),
        ([ARCHITECTURES, SIZES, {**FOCAL, "when": {"model.architecture": ["Unet"]}}, STEPS], False),
        ([ARCHITECTURES, SIZES, {"name": "loss.gamma", "values": [1.0, {"a": None}]}, STEPS], False),
        ([ARCHITECTURES, SIZES, FOCAL], False),
        ([*GRID, {"name": "more", "values": [1]}], False),
        ([SIZES, ARCHITECTURES, FOCAL, STEPS], False),
    ],
    ids=[
        "more values", "more values of a conditional one", "fewer values", "a wider range", "another name",
        "another when", "no when", "a parameter less", "a parameter more", "another order",
    ],
)  # fmt: skip
def test_a_grid_may_get_other_values_and_nothing_else(
    cluster: Cluster, namespace: str, after: list[dict[str, Any]], fine: bool
) -> None:
    status, stored = _create(cluster, namespace, sweep({"spec.parameters": GRID}))
    assert status == 201, stored
    status, answer = _put(cluster, namespace, changed(stored, {"spec.parameters": after}))
    if fine:
        assert status == 200, answer
    else:
        _assert_refused(status, answer, "spec.parameters", "immutable but for a Grid's values")


def test_a_random_search_never_gets_other_values(cluster: Cluster, namespace: str) -> None:
    _, stored = _create(cluster, namespace, sweep({"spec.search": {"algorithm": "Random", "maxTrials": 3}}))
    more = [ARCHITECTURES, {**SIZES, "values": [4, 8, 16]}]
    _assert_refused(
        *_put(cluster, namespace, changed(stored, {"spec.parameters": more})), "spec.parameters", "immutable"
    )


MEDIAN = {"algorithm": "Median", "minSteps": 2}
HYPERBAND = {"algorithm": "Hyperband", "maxSteps": 27}


@pytest.mark.parametrize(
    ("before", "after", "fine"),
    [
        (MEDIAN, {**MEDIAN, "startupTrials": 9}, True),
        ({**MEDIAN, "startupTrials": 9}, MEDIAN, True),
        ({"algorithm": "Patience", "patience": 3}, {"algorithm": "Patience", "patience": 9}, True),
        (MEDIAN, None, True),
        (MEDIAN, {**MEDIAN, "minSteps": 3}, False),
        (MEDIAN, {**MEDIAN, "algorithm": "ASHA"}, False),
        (HYPERBAND, {**HYPERBAND, "maxSteps": 81}, False),
        (HYPERBAND, {**HYPERBAND, "reductionFactor": 3}, False),
        (HYPERBAND, {"algorithm": "ASHA"}, False),
        (None, MEDIAN, False),
    ],
    ids=[
        *("startup trials", "the usual startup trials", "patience", "taken out"),
        *("first rung", "algorithm", "length", "factor", "less", "put in"),
    ],
)
def test_of_early_stopping_what_trials_note_their_values_by_is_fixed(
    cluster: Cluster, namespace: str, before: dict[str, Any] | None, after: dict[str, Any] | None, fine: bool
) -> None:
    _, stored = _create(cluster, namespace, sweep({"spec.earlyStopping": before or ABSENT}))
    status, answer = _put(cluster, namespace, changed(stored, {"spec.earlyStopping": after or ABSENT}))
    if fine:
        assert status == 200, answer
    else:
        _assert_refused(status, answer, "spec.earlyStopping", "only startupTrials and patience may change")


def test_the_final_record_leaves_the_rungs_that_the_hub_noted(cluster: Cluster, namespace: str) -> None:
    _create(cluster, namespace, experiment())
    rungs = [{"step": 1}, {"step": 3, "value": 0.6}]
    noted = {"objective": {"value": 0.6, "step": 3, "rungs": rungs}}
    _apply_status(cluster, namespace, "orkhaven-hub", noted)
    both = _apply_status(cluster, namespace, "orkhaven-record&force=true", {"objective": {"value": 0.7, "step": 4}})
    assert both == {"objective": {"value": 0.7, "step": 4, "rungs": rungs}}


def test_a_large_sweep_is_within_the_cost_of_the_rules(cluster: Cluster, namespace: str) -> None:
    parameters = [
        {
            "name": f"p{i:02}." + "x" * 100,
            "values": list(range(500)),
            "when": {f"p{i - 1:02}." + "x" * 100: [1]} if i else {},
        }
        for i in range(64)
    ]
    point = {parameter["name"]: {"a": list(range(20))} for parameter in parameters}
    body = sweep(
        {
            "spec.parameters": parameters,
            "spec.constraints": ["p00 == 1 and " * 35 + "p00 == 1"] * 32,
            "spec.initialPoints": [point] * 50,
        }
    )
    status, stored = _create(cluster, namespace, body)
    assert status == 201, stored
    status, stored = _put(cluster, namespace, changed(stored, {"spec.parallelism": 9}))
    assert status == 200, stored


def test_a_long_list_of_trials_is_within_the_cost_of_the_rules(cluster: Cluster, namespace: str) -> None:
    trials = [{"lr": i / 1e6, "model": {"architecture": "Unet", "encoder": None}} for i in range(10_000)]
    body = sweep({"spec.search.algorithm": "List", "spec.parameters": ABSENT, "spec.trials": trials})
    status, stored = _create(cluster, namespace, body)
    assert status == 201, stored
    status, stored = _put(cluster, namespace, changed(stored, {"spec.parallelism": 9}))
    assert status == 200, stored
    trials[-1]["lr"] = 1
    _assert_refused(*_put(cluster, namespace, changed(stored, {"spec.trials": trials})), "spec.trials", NEW_SWEEP)


def test_kubectl_says_what_is_wrong_and_where(kubectl: Kubectl, namespace: str) -> None:
    said = kubectl(
        "apply",
        "-n",
        namespace,
        "-f",
        "-",
        input=yaml.safe_dump(sweep({"spec.search.algorithm": "Random"})),
        check=False,
    )
    assert "spec.search" in said
    assert "every algorithm but Grid and List needs search.maxTrials" in said


PARAMS = {"encoder": {"weights": None, "name": "resnet34"}, "norm": None}


@pytest.mark.parametrize(
    ("flags", "kept"),
    # Plain apply strips nulls out of objects (not out of lists) before it sends: no server can keep them.
    [((), {"encoder": {"name": "resnet34"}}), (("--server-side",), PARAMS)],
    ids=["by the client", "by the server"],
)
def test_applying_the_same_file_again_changes_nothing(
    cluster: Cluster, kubectl: Kubectl, namespace: str, flags: tuple[str, ...], kept: dict[str, Any]
) -> None:
    values = [None, 1.0]
    body = sweep({"spec.template.params": PARAMS, "spec.parameters": [{"name": "a", "values": values}]})
    for live in ({}, {}, {"spec.parallelism": 2}):
        kubectl("apply", *flags, "-n", namespace, "-f", "-", input=yaml.safe_dump(changed(body, live)))
    stored = cluster.api.call("GET", _path(namespace, "Sweep", "lungs"))
    assert stored["spec"]["template"]["params"] == kept
    assert stored["spec"]["parameters"][0]["values"] == values
    assert stored["metadata"]["generation"] == 2


@pytest.mark.parametrize("path", sorted((ROOT / "examples").glob("*.yaml")), ids=lambda path: path.name)
def test_an_example_is_taken_as_it_is(kubectl: Kubectl, namespace: str, path: Path) -> None:
    for body in yaml.safe_load_all(path.read_text()):
        if body["apiVersion"] == API_VERSION:
            kubectl("create", "--dry-run=server", "-n", namespace, "-f", "-", input=yaml.safe_dump(body))


def test_kubectl_explain_is_the_manual(kubectl: Kubectl) -> None:
    said = kubectl("explain", "sweep.spec", "--recursive")
    for line in (
        "objective\t<Object> -required-",
        "enum: Grid, Random, Sobol, TPE",
        "maxTrials\t<integer>",
    ):
        assert line in said, said
    said = " ".join(kubectl("explain", "sw.spec.parameters.range.scale").split())
    assert "Linear, Log (both ends above 0) or Integer (whole numbers, evenly). Default: Linear." in said
    said = " ".join(kubectl("explain", "xp.spec.resources.memory").split())
    assert "A run that takes more is killed: reason OutOfMemoryKilled." in said
    said = " ".join(kubectl("explain", "xp.metadata.labels").split())
    assert "Map of string keys and values" in said


def test_every_field_that_kubectl_explains_has_words(cluster: Cluster) -> None:
    definitions = cluster.api.call("GET", "/openapi/v3/apis/orkhaven.io/v1alpha1")["components"]["schemas"]
    for kind in ("Sweep", "Experiment"):
        for part in ("spec", "status"):
            schema = definitions[f"io.orkhaven.v1alpha1.{kind}"]["properties"][part]
            assert not list(_silent(part, schema))


def _silent(path: str, schema: dict[str, Any]) -> Any:
    if not schema.get("description"):
        yield path
    for name, field in schema.get("properties", {}).items():
        yield from _silent(f"{path}.{name}", field)
    for name, field in schema.get("items", {}).get("properties", {}).items():
        yield from _silent(f"{path}[].{name}", field)


NOW = "2026-01-01T00:00:00Z"


def _apply_status(cluster: Cluster, namespace: str, manager: str, status: dict[str, Any]) -> dict[str, Any]:
    body = {
        "apiVersion": "orkhaven.io/v1alpha1",
        "kind": "Experiment",
        "metadata": {"name": "lungs-1"},
        "status": status,
    }
    path = _path(namespace, "Experiment", "lungs-1", f"/status?fieldManager={manager}")
    return cluster.api.call("PATCH", path, body, content="application/apply-patch+yaml")["status"]


def test_operator_and_hub_leave_each_others_status_alone(cluster: Cluster, namespace: str) -> None:
    _create(cluster, namespace, experiment())
    started = {
        "state": "Running",
        "conditions": [
            {"type": kind, "status": "True", "reason": "Training", "message": "", "lastTransitionTime": NOW}
            for kind in ("Accepted", "Running")
        ],
        "attempts": [{"number": 1, "job": "lungs-1-1", "node": "n1", "gpuModel": "A100"}],
        "attemptCount": 1,
    }
    measured = {
        "progress": {"step": 5, "totalSteps": 60},
        "objective": {"value": 0.7, "step": 4},
        "metrics": {"val/dice_case": {"last": 0.69, "best": 0.7, "bestStep": 4}},
    }
    _apply_status(cluster, namespace, "orkhaven-operator", started)
    both = _apply_status(cluster, namespace, "orkhaven-hub", measured)
    assert both == started | measured

    # What its manager no longer names goes away, in lists too; the other's stays.
    ended = {
        "state": "Failed",
        "reason": "NodeLost",
        "conditions": [started["conditions"][0] | {"status": "True"}],
        "attempts": [{"number": 2, "job": "lungs-1-2"}],
        "attemptCount": 2,
    }
    both = _apply_status(cluster, namespace, "orkhaven-operator", ended)
    assert both == ended | measured
    measured["metrics"] = {"val/iou": {"last": 0.5}}
    both = _apply_status(cluster, namespace, "orkhaven-hub", measured)
    assert both == ended | measured


def test_a_status_does_not_change_the_spec_and_an_edit_does_not_change_the_status(
    cluster: Cluster, namespace: str
) -> None:
    _, stored = _create(cluster, namespace, experiment({"status": {"state": "Succeeded"}}))
    assert "status" not in stored
    _apply_status(cluster, namespace, "orkhaven-operator", {"state": "Running"})
    generation = stored["metadata"]["generation"]
    stored = cluster.api.call("GET", _path(namespace, "Experiment", "lungs-1"))
    assert (stored["status"], stored["metadata"]["generation"]) == ({"state": "Running"}, generation)
    status, stored = _put(cluster, namespace, changed(stored, {"spec.suspend": True, "status.state": "Failed"}))
    assert (status, stored["status"]["state"]) == (200, "Running")
    assert stored["metadata"]["generation"] == generation + 1


def test_columns_and_field_selectors_show_the_status(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    _create(cluster, namespace, experiment({"metadata.labels": {"orkhaven.io/sweep": "lungs"}}))
    _create(cluster, namespace, experiment({"metadata.name": "other"}))
    attempts = [{"number": n, "job": f"lungs-1-{n}", "node": f"node-{n}", "gpuModel": "A100"} for n in (1, 2)]
    _apply_status(
        cluster,
        namespace,
        "orkhaven-operator",
        {"state": "Failed", "reason": "DataError", "attempts": attempts, "attemptCount": 2},
    )
    shown = kubectl("get", "xp", "-n", namespace, "-o", "wide", "--field-selector", "status.reason=DataError")
    head, row = shown.splitlines()
    assert head.split() == (
        ["NAME", "STATE", "REASON", "OBJECTIVE", "STEP", "ATTEMPTS", "GPUS", "AGE", "SWEEP", "NODE", "GPU"]
    )
    cells = row.split()
    assert cells[:3] == ["lungs-1", "Failed", "DataError"]
    assert cells[-3:] == ["lungs", "node-2", "A100"]
    _create(cluster, namespace, sweep())
    shown = kubectl("get", "orkhaven", "-n", namespace)
    assert "experiment.orkhaven.io/other" in shown
    assert "sweep.orkhaven.io/lungs" in shown
    head = kubectl("get", "sw", "-n", namespace, "-o", "wide").splitlines()[0].split()
    columns = "NAME STATE PROGRESS RUNNING FAILED BEST GPU-H AGE PRUNED BEST-EXPERIMENT ALGORITHM"
    assert head == columns.split()
