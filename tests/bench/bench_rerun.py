"""How long it takes until 500 failed trials have their new Experiments: real etcd and API server, one operator.

The sweep has ended before; a person writes one entry into spec.rerun. The bar is 30 s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest

from orkhaven.core.identity import child_name
from tests.cluster import Cluster, Mode
from tests.integration.operator_process import OperatorProcess, until

pytestmark = pytest.mark.cluster

FAILED = 500
SECONDS = 30
NAMESPACE = "bench"
ROOT = Path(__file__).resolve().parents[2]
GROUP = f"/apis/orkhaven.io/v1alpha1/namespaces/{NAMESPACE}"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster("bench-rerun", mode=Mode.CONTROL_PLANE)
    try:
        made.up()
        made.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        made.kubectl("wait", "--for=condition=Established", "crd", "--all")
        made.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        yield made
    finally:
        made.down()


def fill(cluster: Cluster) -> None:
    """A sweep whose trials have all failed."""
    api = cluster.api
    values = list(range(FAILED))
    spec = {
        "objective": {"metric": "val/dice"},
        "search": {"order": "Sequential"},
        "parameters": [{"name": "lr", "values": values}],
        "parallelism": 4,
        "template": {"params": {}, "image": "trainer:1"},
    }
    body = {"apiVersion": "orkhaven.io/v1alpha1", "kind": "Sweep", "metadata": {"name": "s"}, "spec": spec}
    sweep = api.call("POST", f"{GROUP}/sweeps", body)
    owner = {
        "apiVersion": "orkhaven.io/v1alpha1", "kind": "Sweep", "name": "s",
        "uid": sweep["metadata"]["uid"], "controller": True,
    }  # fmt: skip
    at = "2026-01-01T00:00:00Z"

    def make(lr: int) -> None:
        name = child_name("s", params={"lr": lr}, seed=0)
        labels = {"orkhaven.io/sweep": "s", "orkhaven.io/trial": str(lr)}
        made: dict[str, Any] = {
            "apiVersion": "orkhaven.io/v1alpha1",
            "kind": "Experiment",
            "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
            "spec": {"params": {"lr": lr}, "image": "trainer:1", "objective": {"metric": "val/dice"}},
        }
        api.call("POST", f"{GROUP}/experiments", made)
        status = {
            "state": "Failed", "reason": "OutOfMemoryKilled", "attemptCount": 1, "gpuSeconds": 60,
            "completionTime": at,
            "attempts": [
                {"number": 1, "job": f"{name}-1", "startTime": at, "endTime": at, "reason": "OutOfMemoryKilled"}
            ],
            "conditions": [
                {"type": kind, "status": "True" if kind == "Finished" else "False", "reason": "OutOfMemoryKilled",
                 "message": "", "lastTransitionTime": at}
                for kind in ("Finished", "Succeeded")
            ],
        }  # fmt: skip
        api.patch(f"{GROUP}/experiments/{name}/status", {"status": status})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, values))


def test_five_hundred_selected_trials_are_made_within_thirty_seconds(cluster: Cluster, tmp_path: Path) -> None:
    fill(cluster)
    operator = OperatorProcess(cluster, tmp_path, namespaces=NAMESPACE)
    operator.start().wait_leading()

    def status() -> dict[str, Any]:
        found: dict[str, Any] = (cluster.api.get(f"{GROUP}/sweeps/s") or {}).get("status", {})
        return found

    try:
        until("the sweep to have ended", lambda: status().get("state") == "Failed", on_fail=operator.tail)
        entry = {
            "id": "memory",
            "select": {"reasons": ["OutOfMemoryKilled"]},
            "overrides": {"resources": {"memory": "32Gi"}},
        }
        writes, cpu, begin = operator.writes(), operator.cpu_seconds(), time.monotonic()
        cluster.api.patch(f"{GROUP}/sweeps/s", {"spec": {"rerun": [entry]}})
        until(
            "all to be made",
            lambda: [record["created"] for record in status().get("reruns", ())] == [FAILED],
            seconds=3 * SECONDS,
            on_fail=operator.tail,
        )
        took = time.monotonic() - begin
        print(
            f"\n{FAILED} trials selected: all Experiments made after {took:.1f} s, "
            f"{operator.cpu_seconds() - cpu:.1f} s of the operator's CPU, {operator.writes() - writes:.0f} writes"
        )
        assert took < SECONDS
    finally:
        operator.stop()
