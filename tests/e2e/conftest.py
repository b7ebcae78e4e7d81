"""The product as a user meets it: one cluster with a real node, the real images, the chart installed by helm.

Every test has a namespace of its own with a results volume; nothing is shared but the installation, and a clinic that
those who use it only read. So several processes of pytest-xdist may run on one cluster; a test that takes away what
others need (`alone`) waits for them.
"""

from __future__ import annotations

import fcntl
import os
import uuid
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import IO

import pytest

from tests.cluster import Cluster
from tests.e2e.clinic import Clinic, opened
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


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Those that run alone come last: before, they would make the others wait for each other."""
    items.sort(key=lambda item: item.get_closest_marker("alone") is not None)


@pytest.fixture(scope="session")
def deployment(locks: Path) -> Iterator[Deployment]:
    """The installation; the first process makes it, the last one removes it."""
    cluster = Cluster("orkhaven-e2e", gpus=4)
    with open(locks / "in-use", "w") as in_use:
        fcntl.flock(in_use, fcntl.LOCK_SH)
        try:
            with _locked(locks / "install", fcntl.LOCK_EX):
                if not (locks / "begun").exists() and not os.environ.get("ORKHAVEN_KEEP"):
                    # One that an interrupted run left has that run's sweeps in it, and they go on.
                    cluster.down()
                (locks / "begun").touch()
                cluster.up()
                if not cluster.has_node:
                    pytest.skip(
                        f"no node that runs containers here (cluster mode {cluster.mode}): needs root or Docker"
                    )
                deployment = Deployment(cluster=cluster, values=FAST)
                deployment.images()
                deployment.install()
            yield deployment
        finally:
            if _is_last(in_use) and not os.environ.get("ORKHAVEN_KEEP"):
                cluster.down()


@pytest.fixture(scope="session")
def locks(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """A folder that all processes of this test run share."""
    base = tmp_path_factory.getbasetemp()
    return base if worker_id == "master" else base.parent


def _is_last(in_use: IO[str]) -> bool:
    try:
        fcntl.flock(in_use, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


@contextmanager
def _locked(path: Path, how: int) -> Iterator[None]:
    with open(path, "w") as file:
        fcntl.flock(file, how)
        yield


@pytest.fixture(autouse=True)
def _room(locks: Path, request: pytest.FixtureRequest) -> Iterator[None]:
    """Tests run side by side, those marked `alone` do not."""
    how = fcntl.LOCK_EX if request.node.get_closest_marker("alone") else fcntl.LOCK_SH
    with _locked(locks / "room", how):
        yield


@pytest.fixture
def clinic(deployment: Deployment, locks: Path, _room: None) -> Clinic:
    """A sweep that has ended, and people with and without rights: one for all tests of all processes, which leave it as
    it is. Made anew where the hub that kept its curves and logs is gone.
    """
    with _locked(locks / "clinic.lock", fcntl.LOCK_EX):
        return opened(deployment, locks / "clinic")


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
