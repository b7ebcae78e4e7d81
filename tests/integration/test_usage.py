"""What deleted runs have used outlives the operator: the real process and its ConfigMap, on a real API server."""

from __future__ import annotations

import json
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.cluster import Cluster
from tests.integration.operator_process import OperatorProcess, until

pytestmark = pytest.mark.cluster

Body = dict[str, Any]
NAME = "orkhaven-usage"


@pytest.fixture
def operator(cluster: Cluster, namespace: str, tmp_path: Path) -> Iterator[OperatorProcess]:
    path = f"/api/v1/namespaces/{namespace}/configmaps"
    cluster.api.call("POST", path, {"metadata": {"name": NAME}})
    made = OperatorProcess(cluster, tmp_path, namespaces=namespace)
    yield made
    made.stop()


def ended_run(cluster: Cluster, namespace: str, name: str, *, gpu_seconds: int) -> str:
    """The path of an Experiment that has ended just now."""
    path = f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/experiments"
    spec = {"params": {"lr": len(name)}, "resources": {"gpus": 1}}
    cluster.api.call(
        "POST",
        path,
        {"apiVersion": "orkhaven.io/v1alpha1", "kind": "Experiment", "metadata": {"name": name}, "spec": spec},
    )
    end = time.time()
    start, now = (time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(at)) for at in (end - gpu_seconds, end))
    attempt = {
        "number": 1, "job": f"{name}-1", "startTime": start, "endTime": now, "reason": "Completed",
        "gpuSeconds": gpu_seconds,
    }  # fmt: skip
    status = {
        "state": "Succeeded", "reason": "Completed", "attemptCount": 1, "gpuSeconds": gpu_seconds,
        "attempts": [attempt], "completionTime": now,
        "conditions": [
            {"type": kind, "status": "True", "reason": "Completed", "message": "", "lastTransitionTime": now}
            for kind in ("Finished", "Succeeded")
        ],
    }  # fmt: skip
    cluster.api.patch(f"{path}/{name}/status", {"status": status})
    return f"{path}/{name}"


def kept(cluster: Cluster, namespace: str) -> dict[str, int]:
    found = cluster.api.get(f"/api/v1/namespaces/{namespace}/configmaps/{NAME}")
    assert found is not None
    text = (found.get("data") or {}).get("usage.json")
    return dict(json.loads(text)["gpuSeconds"]) if text else {}


def test_what_deleted_runs_have_used_is_known_after_a_restart(
    cluster: Cluster, namespace: str, operator: OperatorProcess
) -> None:
    runs = {name: ended_run(cluster, namespace, name, gpu_seconds=1000) for name in ("one", "three")}
    for number, run in enumerate(runs.values(), 1):
        operator.start().wait_leading()
        until("it to see the run", lambda: operator.metric("orkhaven_experiments", state="Succeeded") > 0, seconds=30)
        left = len(runs) - number
        cluster.api.call("DELETE", run)
        until(
            "it to see that the run is gone",
            lambda left=left: operator.metric("orkhaven_experiments", state="Succeeded") == left,
            seconds=30,
            on_fail=operator.tail,
        )
        assert operator.stop() == 0
        # The second process has seen one of them deleted.
        assert list(kept(cluster, namespace).values()) == [pytest.approx(1000 * number, rel=0.02)]
    assert not [line for line in operator.lines() if line["level"] in ("WARNING", "ERROR")]
