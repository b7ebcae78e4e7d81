"""What an operator costs that has nothing to do: 1,000 finished Experiments of one sweep, real API server.

Two measurements, because the lists come only every 300 s: CPU between lists, and CPU of one list (with everything
looked at again), from a second process that lists every few seconds. Neither may write anything.
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

FINISHED = 1_000
SECONDS = 30
LIST_EVERY = 5
NAMESPACE = "bench"
SPEC = {"objective": {"metric": "val/dice"}, "parallelism": 0, "template": {"params": {}}}


@pytest.fixture
def cluster() -> Iterator[Cluster]:
    with control_plane("bench-idle", NAMESPACE) as made:
        yield made


def succeeded(number: int) -> dict[str, Any]:
    return {"state": "Succeeded", "reason": "Completed", "objective": {"value": number / FINISHED, "step": 3}}


def test_an_idle_operator_writes_nothing_and_takes_less_than_a_hundredth_of_a_core(
    cluster: Cluster, tmp_path: Path
) -> None:
    path = ended_sweep(cluster, NAMESPACE, SPEC, trials=FINISHED, trial={}, status=succeeded)
    operator = OperatorProcess(cluster, tmp_path, namespaces=NAMESPACE)
    started = time.monotonic()
    operator.start().wait_leading()
    until(
        "all to be looked at",
        lambda: (cluster.api.get(path) or {}).get("status", {}).get("progress") == f"{FINISHED}/{FINISHED}",
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
