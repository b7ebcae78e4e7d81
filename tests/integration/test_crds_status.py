"""Who owns which field of a status, in a real API server, and where a status is shown."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from tests.cluster import Cluster
from tests.integration.resources import apply_status, create, path_of, put
from tests.unit.api.cases import changed, experiment, sweep

pytestmark = pytest.mark.cluster

Kubectl = Callable[..., str]

NOW = "2026-01-01T00:00:00Z"


def test_the_final_record_leaves_the_rungs_that_the_hub_noted(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, experiment())
    rungs = [{"step": 1}, {"step": 3, "value": 0.6}]
    noted = {"objective": {"value": 0.6, "step": 3, "rungs": rungs}}
    apply_status(cluster, namespace, "orkhaven-hub", noted)
    both = apply_status(cluster, namespace, "orkhaven-record&force=true", {"objective": {"value": 0.7, "step": 4}})
    assert both == {"objective": {"value": 0.7, "step": 4, "rungs": rungs}}


def test_operator_and_hub_leave_each_others_status_alone(cluster: Cluster, namespace: str) -> None:
    create(cluster, namespace, experiment())
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
    apply_status(cluster, namespace, "orkhaven-operator", started)
    both = apply_status(cluster, namespace, "orkhaven-hub", measured)
    assert both == started | measured

    # What its manager no longer names goes away, in lists too; the other's stays.
    ended = {
        "state": "Failed",
        "reason": "NodeLost",
        "conditions": [started["conditions"][0] | {"status": "True"}],
        "attempts": [{"number": 2, "job": "lungs-1-2"}],
        "attemptCount": 2,
    }
    both = apply_status(cluster, namespace, "orkhaven-operator", ended)
    assert both == ended | measured
    measured["metrics"] = {"val/iou": {"last": 0.5}}
    both = apply_status(cluster, namespace, "orkhaven-hub", measured)
    assert both == ended | measured


def test_a_status_does_not_change_the_spec_and_an_edit_does_not_change_the_status(
    cluster: Cluster, namespace: str
) -> None:
    _, stored = create(cluster, namespace, experiment({"status": {"state": "Succeeded"}}))
    assert "status" not in stored
    apply_status(cluster, namespace, "orkhaven-operator", {"state": "Running"})
    generation = stored["metadata"]["generation"]
    stored = cluster.api.call("GET", path_of(namespace, "Experiment", "lungs-1"))
    assert (stored["status"], stored["metadata"]["generation"]) == ({"state": "Running"}, generation)
    status, stored = put(cluster, namespace, changed(stored, {"spec.suspend": True, "status.state": "Failed"}))
    assert (status, stored["status"]["state"]) == (200, "Running")
    assert stored["metadata"]["generation"] == generation + 1


def test_columns_and_field_selectors_show_the_status(cluster: Cluster, kubectl: Kubectl, namespace: str) -> None:
    create(cluster, namespace, experiment({"metadata.labels": {"orkhaven.io/sweep": "lungs"}}))
    create(cluster, namespace, experiment({"metadata.name": "other"}))
    attempts = [{"number": n, "job": f"lungs-1-{n}", "node": f"node-{n}", "gpuModel": "A100"} for n in (1, 2)]
    apply_status(
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
    create(cluster, namespace, sweep())
    shown = kubectl("get", "orkhaven", "-n", namespace)
    assert "experiment.orkhaven.io/other" in shown
    assert "sweep.orkhaven.io/lungs" in shown
    head = kubectl("get", "sw", "-n", namespace, "-o", "wide").splitlines()[0].split()
    columns = "NAME STATE PROGRESS RUNNING FAILED BEST GPU-H AGE PRUNED BEST-EXPERIMENT ALGORITHM"
    assert head == columns.split()
