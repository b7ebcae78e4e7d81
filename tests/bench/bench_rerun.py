"""How long it takes until 500 failed trials have their new Experiments: real etcd and API server, one operator.

The sweep has ended before; a person writes one entry into spec.rerun. The bar is 30 s.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.control_plane import control_plane, ended_sweep
from tests.cluster import Cluster
from tests.integration.operator_process import OperatorProcess, until

pytestmark = pytest.mark.cluster

FAILED = 500
SECONDS = 30
NAMESPACE = "bench"
SPEC = {
    "objective": {"metric": "val/dice"},
    "search": {"order": "Sequential"},
    "parallelism": 4,
    "template": {"params": {}, "image": "trainer:1"},
}
OUT_OF_MEMORY = {"state": "Failed", "reason": "OutOfMemoryKilled"}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with control_plane("bench-rerun", NAMESPACE) as made:
        yield made


def test_five_hundred_selected_trials_are_made_within_thirty_seconds(cluster: Cluster, tmp_path: Path) -> None:
    path = ended_sweep(
        cluster, NAMESPACE, SPEC, trials=FAILED, trial={"image": "trainer:1"}, status=lambda _: OUT_OF_MEMORY
    )
    operator = OperatorProcess(cluster, tmp_path, namespaces=NAMESPACE)
    operator.start().wait_leading()

    def status() -> dict[str, Any]:
        found: dict[str, Any] = (cluster.api.get(path) or {}).get("status", {})
        return found

    try:
        until("the sweep to have ended", lambda: status().get("state") == "Failed", on_fail=operator.tail)
        entry = {
            "id": "memory",
            "select": {"reasons": ["OutOfMemoryKilled"]},
            "overrides": {"resources": {"memory": "32Gi"}},
        }
        writes, cpu, begin = operator.writes(), operator.cpu_seconds(), time.monotonic()
        cluster.api.patch(path, {"spec": {"rerun": [entry]}})
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
