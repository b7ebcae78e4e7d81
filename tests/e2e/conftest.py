"""The product as a user meets it: one cluster with a real node, the real images, the chart installed by helm.

Every test has a namespace of its own with a results volume; nothing is shared but the installation.
"""

from __future__ import annotations

import os
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cluster import Cluster
from tests.e2e.user import User
from tools.deploy import Deployment

CT_DATA = Path(os.environ.get("ORKHAVEN_CT_DATA", Path(__file__).resolve().parents[3] / "shared" / "ct-data"))

FAST = {
    "operator": {
        "settings": {
            # A killed leader is followed after the lease, so a test of ten kills would wait for it ten times.
            "leaseDurationSeconds": 4,
            "leaseRenewSeconds": 3,
            "leaseRetrySeconds": 1,
            "imagePullTimeoutSeconds": 15,
            "retryBaseSeconds": 1,
        }
    },
    "hub": {"settings": {"flushSeconds": 2}},
}


@pytest.fixture(scope="session")
def deployment(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Deployment]:
    cluster = Cluster("orkhaven-e2e", gpus=4)
    cluster.up()
    try:
        if not cluster.has_node:
            pytest.skip(
                f"no node that runs containers here (cluster mode {cluster.mode}): needs root or a Docker engine"
            )
        deployment = Deployment(cluster=cluster, values=FAST)
        deployment.images()
        deployment.install()
        yield deployment
    finally:
        if not os.environ.get("ORKHAVEN_KEEP"):
            cluster.down()


@pytest.fixture
def results(deployment: Deployment, request: pytest.FixtureRequest) -> Path:
    """The folder behind the results claim, on this machine."""
    return deployment.cluster.shared / "results" / request.node.name


@pytest.fixture
def data() -> Path | None:
    """The folder behind the data claim; a test module that needs one overrides this."""
    return None


@pytest.fixture
def user(deployment: Deployment, results: Path, data: Path | None) -> Iterator[User]:
    """A fresh namespace and what a user does in it."""
    name = f"e2e-{uuid.uuid4().hex[:8]}"
    deployment.namespace(name, data=data, results=results)
    yield User(deployment=deployment, namespace=name)
    deployment.cluster.kubectl("delete", "namespace", name, "--wait=false")
