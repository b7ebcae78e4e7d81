"""What integration tests share: one control plane for the whole run with the CRDs in it, a fresh namespace per test.

The cluster is made for this run and removed at its end. ORKHAVEN_TEST_CLUSTER=name uses the cluster of that name
instead and leaves it up, which saves its start while one test is being worked on.
"""

from __future__ import annotations

import os
import secrets
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster, Mode
from tests.cluster.say import wait_for

ROOT = Path(__file__).resolve().parents[2]


@pytest.fixture(scope="session")
def cluster() -> Iterator[Cluster]:
    """etcd, kube-apiserver, controller-manager and scheduler: nothing runs in a container here. The CRDs are there."""
    kept = os.environ.get("ORKHAVEN_TEST_CLUSTER")
    made = Cluster(kept or f"it-{os.getpid()}", mode=None if kept else Mode.CONTROL_PLANE)
    try:
        made.up()
        made.kubectl("apply", "--server-side", "--force-conflicts", "-f", str(ROOT / "crds"))
        made.kubectl("wait", "--for=condition=Established", "crd", "-l", "app.kubernetes.io/part-of=orkhaven")
        # What kubectl explains is published a moment after a CRD is established.
        wait_for("both kinds to be explained", lambda: _explained(made), seconds=60)
        yield made
    finally:
        if not kept:
            made.down()


def _explained(cluster: Cluster) -> bool:
    status, text = cluster.api.raw("GET", "/openapi/v3/apis/orkhaven.io/v1alpha1")
    return status == 200 and all(f"/{plural}/{{name}}/status" in text for plural in ("sweeps", "experiments"))


@pytest.fixture
def kubectl(cluster: Cluster) -> Callable[..., str]:
    """`Cluster.kubectl`: runs kubectl as administrator and returns what it prints."""
    return cluster.kubectl


@pytest.fixture
def namespace(cluster: Cluster) -> Iterator[str]:
    """Name of a namespace of this test's own, ready for pods, deleted afterwards."""
    name = f"t-{secrets.token_hex(4)}"
    cluster.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": name}})
    # Made by the controller-manager some time later; until then no pod is admitted.
    account = f"/api/v1/namespaces/{name}/serviceaccounts/default"
    wait_for(f"the service account of {name}", lambda: cluster.api.get(account) is not None, seconds=60, every=0.02)
    yield name
    cluster.api.call("DELETE", f"/api/v1/namespaces/{name}")
