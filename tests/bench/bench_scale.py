"""A sweep of ten thousand trials beside the same bare Jobs: rate, CPU, writes, lag.

ORKHAVEN_BENCH_TRIALS makes it smaller. The baseline is measured in the same run, before and after, on the same control
plane; the ratios count, not the times.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest

from orkrun import contract
from tests.bench.control_plane import control_plane
from tests.bench.scale_load import (
    AT_ONCE,
    GPUS_EACH,
    NODES,
    RECORD,
    RUNS_MS,
    Spent,
    bare_jobs,
    metered,
    remove_jobs,
    sweep,
    sweeps,
)
from tests.bench.scale_report import ScaleReport, reported
from tests.cluster import Cluster
from tests.integration.operator_process import OperatorProcess, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(4 * 3600)]

TRIALS = int(os.environ.get("ORKHAVEN_BENCH_TRIALS", "10000"))
BARE = max(100, TRIALS // 5)
"""Jobs of each of the two measurements of the baseline."""
FEW = 300
"""Trials under the control plane's own limits, which let three Jobs through each second."""
MANY = 100
"""Sweeps at once."""
MANY_TRIALS = int(os.environ.get("ORKHAVEN_BENCH_MANY_TRIALS", str(TRIALS)))
"""Of all of these together."""
STEADY_MS = (120_000, 480_000)
"""Least and most of a run in the steady state, where five hundred of them end one or two a second: all are made at
once, and would end at once."""
STEADY_ENDS = 300


@contextmanager
def with_nodes(name: str, *, tuned: bool) -> Iterator[Cluster]:
    with control_plane(name, "bare", "ours", tuned=tuned) as cluster:
        cluster.add_kwok_nodes(NODES, gpus_each=GPUS_EACH, runs_ms=RUNS_MS, message=RECORD)
        yield cluster


def bare(cluster: Cluster, count: int, *, first: int) -> Spent:
    with metered(cluster, count) as spent:
        asyncio.run(bare_jobs(cluster, "bare", count, first=first))
    return spent


def removed(cluster: Cluster, count: int, *, first: int) -> Spent:
    with metered(cluster, count) as spent:
        asyncio.run(remove_jobs(cluster, "bare", count, first=first))
        left = "/api/v1/namespaces/bare/pods?limit=1"
        until("the pods to go", lambda: not cluster.api.call("GET", left)["items"], seconds=600)
    return spent


def told(spent: Spent) -> str:
    parts = ", ".join(
        f"{name} {1000 * seconds / spent.trials:.1f}"
        for name, seconds in sorted(spent.cpu.items(), key=lambda one: -one[1])
        if seconds > 0.001 * spent.trials * 0.1
    )
    return f"{spent.rate:.1f} Jobs/s, {spent.ms_each:.1f} ms of CPU each ({parts})"


def api_writes(operator: OperatorProcess) -> float:
    """Writes to our own API group so far."""
    return sum(
        operator.metric("orkhaven_api_calls_total", verb=verb, resource=resource)
        for verb in ("create", "patch", "apply", "delete", "update")
        for resource in ("experiments", "sweeps")
    )


@pytest.fixture(scope="module")
def table() -> Iterator[ScaleReport]:
    yield from reported("scale")


def test_a_sweep_beside_bare_jobs(tmp_path: Path, table: ScaleReport) -> None:
    with with_nodes("bench-scale", tuned=True) as cluster:
        before = bare(cluster, BARE, first=0)
        gone = removed(cluster, BARE, first=0)
        operator = (
            OperatorProcess(cluster, tmp_path, namespaces="ours", ORKHAVEN_OUTPUT_CLAIM="").start().wait_leading()
        )
        try:
            _sweep_of_many(cluster, operator, table, before, gone)
            after = bare(cluster, BARE, first=BARE)
            print(f"\nbare Jobs after it: {told(after)}", flush=True)
            _many_sweeps(cluster, operator, table, before)
            _steady(cluster, operator, table)
        finally:
            operator.stop()


def _sweep_of_many(cluster: Cluster, operator: OperatorProcess, table: ScaleReport, base: Spent, gone: Spent) -> None:
    pid, wrote = operator.pid, api_writes(operator)
    with metered(cluster, TRIALS, operator=pid) as spent:
        watched = asyncio.run(sweeps(cluster, "ours", [sweep("all", TRIALS, parallelism=AT_ONCE)]))
    print(f"\nbare: {told(base)}\nours: {told(spent)}", flush=True)
    control_plane_cpu = sum(seconds for name, seconds in spent.cpu.items() if name != "operator")
    table.add(
        f"{TRIALS:,} trials against bare Jobs, tuned control plane: rate",
        "0.65",
        f"{spent.rate / base.rate:.2f} ({spent.rate:.1f} of {base.rate:.1f} a second)",
    )
    table.add(
        "CPU of everything per trial, against per bare Job",
        "1.5",
        f"{spent.ms_each / base.ms_each:.2f} ({spent.ms_each:.1f} and {base.ms_each:.1f} ms)",
    )
    table.add(
        "the same, where the bare Jobs are removed in the end as ours are",
        "none",
        f"{spent.ms_each / (base.ms_each + gone.ms_each):.2f} (their removal: {gone.ms_each:.1f} ms)",
    )
    table.add("operator's CPU against the control plane's", "0.3", f"{spent.cpu['operator'] / control_plane_cpu:.2f}")
    table.add("writes to our API group per trial", "6", f"{(api_writes(operator) - wrote) / TRIALS:.2f}")
    table.add(
        "trial finished until the Sweep's status counts it, at the machine's limit", "none", percentiles(watched.lags())
    )
    table.add("size of the Sweep object", "100 KiB", f"{watched.largest / 1024:.1f} KiB")


def percentiles(seconds: list[float]) -> str:
    ordered = sorted(seconds)
    return f"p50 {ordered[len(ordered) // 2]:.2f} s, p95 {ordered[int(len(ordered) * 0.95)]:.2f} s"


def _steady(cluster: Cluster, operator: OperatorProcess, table: ScaleReport) -> None:
    """Five hundred run; of these and those that take their places so many end that the percentiles mean something."""
    least, most = STEADY_MS
    cluster.add_kwok_nodes(NODES, gpus_each=GPUS_EACH, runs_ms=least, at_most_ms=most, message=RECORD)
    body = sweep("steady", 2 * AT_ONCE, parallelism=AT_ONCE)
    watched = asyncio.run(sweeps(cluster, "ours", [body], count=STEADY_ENDS))
    table.add(
        f"trial finished until the Sweep's status counts it, {AT_ONCE} running",
        "p95 2 s",
        percentiles(watched.lags()),
    )
    ours = "/apis/orkhaven.io/v1alpha1/namespaces/ours"
    cluster.api.call("DELETE", f"{ours}/sweeps/steady", {"propagationPolicy": "Background"})
    left = f"{ours}/experiments?limit=1&labelSelector={contract.LABEL_SWEEP}%3Dsteady"
    until("its trials to go", lambda: not cluster.api.call("GET", left)["items"], seconds=600, on_fail=operator.tail)


def _many_sweeps(cluster: Cluster, operator: OperatorProcess, table: ScaleReport, base: Spent) -> None:
    each = max(1, MANY_TRIALS // MANY)
    bodies = [sweep(f"many-{number}", each, parallelism=max(1, AT_ONCE // MANY)) for number in range(MANY)]
    with metered(cluster, each * MANY, operator=operator.pid) as spent:
        asyncio.run(sweeps(cluster, "ours", bodies))
    print(f"\n{MANY} sweeps: {told(spent)}", flush=True)
    table.add(
        f"{MANY} sweeps of {each:,} trials: rate against bare Jobs, CPU per trial against per bare Job",
        "as one sweep, ± 20 %",
        f"{spent.rate / base.rate:.2f}, {spent.ms_each / base.ms_each:.2f}",
    )


def test_a_sweep_beside_bare_jobs_under_the_control_planes_own_limits(tmp_path: Path, table: ScaleReport) -> None:
    count = min(FEW, TRIALS)
    with with_nodes("bench-scale-default", tuned=False) as cluster:
        base = bare(cluster, count, first=0)
        operator = (
            OperatorProcess(cluster, tmp_path, namespaces="ours", ORKHAVEN_OUTPUT_CLAIM="").start().wait_leading()
        )
        try:
            with metered(cluster, count, operator=operator.pid) as spent:
                asyncio.run(sweeps(cluster, "ours", [sweep("all", count, parallelism=AT_ONCE)]))
        finally:
            operator.stop()
        table.add(
            f"{count} trials against bare Jobs, control plane as it comes: rate",
            "0.95",
            f"{spent.rate / base.rate:.2f} ({spent.rate:.2f} of {base.rate:.2f} a second)",
        )
