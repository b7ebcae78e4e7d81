"""What an operator costs that has nothing to do: 1,000 finished Experiments of one sweep, real API server.

Two measurements, because the lists come only every 300 s: CPU between lists, and CPU of one list (with everything
looked at again), from a second process that lists every few seconds. Neither may write anything.
"""

from __future__ import annotations

import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from orkhaven.core.identity import child_name
from tests.cluster import Cluster, Mode
from tests.integration.operator_process import OperatorProcess, until

pytestmark = pytest.mark.cluster

FINISHED = 1_000
SECONDS = 30
LIST_EVERY = 5
NAMESPACE = "bench"
ROOT = Path(__file__).resolve().parents[2]
GROUP = f"/apis/orkhaven.io/v1alpha1/namespaces/{NAMESPACE}"


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    made = Cluster("bench-idle", mode=Mode.CONTROL_PLANE)
    try:
        made.up()
        made.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        made.kubectl("wait", "--for=condition=Established", "crd", "--all")
        made.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": NAMESPACE}})
        yield made
    finally:
        made.down()


def fill(cluster: Cluster) -> None:
    """A sweep and its trials, all of which have ended."""
    api = cluster.api
    values = list(range(FINISHED))
    sweep = api.call(
        "POST",
        f"{GROUP}/sweeps",
        {
            "apiVersion": "orkhaven.io/v1alpha1",
            "kind": "Sweep",
            "metadata": {"name": "s"},
            "spec": {
                "objective": {"metric": "val/dice"},
                "parameters": [{"name": "lr", "values": values}],
                "parallelism": 0,
                "template": {"params": {}},
            },
        },
    )
    owner = {
        "apiVersion": "orkhaven.io/v1alpha1", "kind": "Sweep", "name": "s",
        "uid": sweep["metadata"]["uid"], "controller": True,
    }  # fmt: skip
    at = "2026-01-01T00:00:00Z"

    def make(lr: int) -> None:
        name = child_name("s", params={"lr": lr}, seed=0)
        labels = {"orkhaven.io/sweep": "s", "orkhaven.io/trial": str(lr)}
        api.call(
            "POST",
            f"{GROUP}/experiments",
            {
                "apiVersion": "orkhaven.io/v1alpha1",
                "kind": "Experiment",
                "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
                "spec": {"params": {"lr": lr}, "objective": {"metric": "val/dice"}},
            },
        )
        status = {
            "state": "Succeeded", "reason": "Completed", "attemptCount": 1, "gpuSeconds": 60,
            "objective": {"value": lr / FINISHED, "step": 3},
            "attempts": [{"number": 1, "job": f"{name}-1", "startTime": at, "endTime": at, "reason": "Completed"}],
            "conditions": [
                {"type": kind, "status": "True", "reason": "Completed", "message": "", "lastTransitionTime": at}
                for kind in ("Finished", "Succeeded")
            ],
        }  # fmt: skip
        api.patch(f"{GROUP}/experiments/{name}/status", {"status": status})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, values))


def test_an_idle_operator_writes_nothing_and_takes_less_than_a_hundredth_of_a_core(
    cluster: Cluster, tmp_path: Path
) -> None:
    fill(cluster)
    operator = OperatorProcess(cluster, tmp_path, namespaces=NAMESPACE)
    started = time.monotonic()
    operator.start().wait_leading()
    until(
        "all to be looked at",
        lambda: (
            (cluster.api.get(f"{GROUP}/sweeps/s") or {}).get("status", {}).get("progress") == f"{FINISHED}/{FINISHED}"
        ),
        on_fail=operator.tail,
    )
    print(f"\n{FINISHED} finished Experiments: first status {time.monotonic() - started:.1f} s after the start")
    try:
        time.sleep(12)
        idle, writes = _measure(operator)
        print(
            f"idle: {100 * idle:.2f} % of a core, {writes:.0f} writes in {SECONDS} s, {operator.memory_mib():.0f} MiB"
        )
        assert writes == 0
    finally:
        operator.stop()
    lister = OperatorProcess(cluster, tmp_path, namespaces=NAMESPACE, ORKHAVEN_RESYNC_SECONDS=str(LIST_EVERY))
    lister.start().wait_leading()
    try:
        time.sleep(12)
        busy, writes = _measure(lister)
        assert writes == 0
    finally:
        lister.stop()
    of_list = max(0.0, busy - idle) * LIST_EVERY
    whole = idle + of_list / 300
    print(f"one list, all looked at again: {of_list:.2f} s of CPU; with one every 300 s: {100 * whole:.2f} % of a core")
    assert whole < 0.01


def _measure(operator: OperatorProcess) -> tuple[float, float]:
    """Share of a core, and writes, over `SECONDS`."""
    cpu, writes, begin = operator.cpu_seconds(), operator.writes(), time.monotonic()
    time.sleep(SECONDS)
    share = (operator.cpu_seconds() - cpu) / (time.monotonic() - begin)
    return share, operator.writes() - writes
