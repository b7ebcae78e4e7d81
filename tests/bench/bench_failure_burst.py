"""A thousand trials of one sweep that fail within ten seconds: how soon its status says so, in how many Events.

Real etcd, API server, controller-manager and scheduler; pods "run" on nodes that KWOK plays, until this bench writes
into their statuses how they ended, a hundred a second, as a kubelet would. ORKHAVEN_BENCH_FAILURES makes it smaller.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orkhaven.api.failures import LABEL_CLUSTER
from orkrun import contract
from tests.bench.control_plane import control_plane
from tests.bench.scale_load import Client, client, metered, sweep
from tests.cluster import Cluster
from tests.integration.operator_process import OperatorProcess, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(1800)]

Body = dict[str, Any]
FAILURES = int(os.environ.get("ORKHAVEN_BENCH_FAILURES", "1000"))
A_SECOND = 100
BAR = 5.0
"""Seconds from the last failure."""
HOUR_MS = 3_600_000
NAMESPACE = "ours"
OURS = f"/apis/orkhaven.io/v1alpha1/namespaces/{NAMESPACE}"
PODS = f"/api/v1/namespaces/{NAMESPACE}/pods"


def _record(code: int, kind: str, message: str) -> tuple[int, str]:
    failure = {
        "type": kind,
        "message": message,
        "location": "/app/train.py:12 in step",
        "excerpt": f"{kind}: {message}",
    }
    body = {"version": contract.VERSION, "outcome": "Failed", "step": 1, "totalSteps": 9, "failure": failure}
    return code, json.dumps(body)


def ended(number: int) -> tuple[int, str]:
    """(exit code, termination message) of a trial: four bugs, each with words that differ from trial to trial."""
    return (
        _record(70, "builtins.KeyError", "'encoder'"),
        _record(70, "builtins.RuntimeError", f"The size of tensor a ({number}) must match the size of tensor b (7)"),
        _record(65, "orkrun.DataError", f"/data/case-{number}.nii.gz: truncated after {number} bytes"),
        _record(70, "torch.OutOfMemoryError", f"CUDA out of memory. Tried to allocate {number}.00 MiB"),
    )[number % 4]


def silent(number: int) -> tuple[int, str]:
    """The same without a word: the log of each is asked for, and no kubelet answers here."""
    return (1, 139, 134, 2)[number % 4], ""


@dataclass
class Seen:
    """How a sweep's status told of it, as a client saw it."""

    running: asyncio.Event = field(default_factory=asyncio.Event)
    told: asyncio.Event = field(default_factory=asyncio.Event)
    counts: list[tuple[float, int]] = field(default_factory=list)
    """(when, how many failed trials its clusters have)."""
    clusters: list[Body] = field(default_factory=list)


async def watch(api: Client, name: str, seen: Seen) -> None:
    async for body in api.watch(f"{OURS}/sweeps"):
        if body["metadata"]["name"] != name:
            continue
        status = body.get("status", {})
        seen.clusters = status.get("failureClusters", [])
        count = sum(cluster["count"] for cluster in seen.clusters)
        seen.counts.append((time.monotonic(), count))
        if status.get("trials", {}).get("running", 0) == FAILURES:
            seen.running.set()
        if count == FAILURES == status["trials"]["failed"]:
            seen.told.set()


async def fail(api: Client, pod: str, code: int, message: str) -> None:
    """As the kubelet says it."""
    at = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    ended = {"exitCode": code, "reason": "Error", "message": message, "startedAt": at, "finishedAt": at}
    container = {
        "name": "trainer", "image": "trainer:1", "imageID": "", "ready": False, "restartCount": 0,
        "state": {"terminated": ended},
    }  # fmt: skip
    await api.patch(f"{PODS}/{pod}/status", {"status": {"phase": "Failed", "containerStatuses": [container]}})


async def burst(cluster: Cluster, name: str, how: Any) -> tuple[float, Seen]:
    """(seconds from the last failure until the status has them all, what was seen)."""
    seen = Seen()
    async with client(cluster) as api, asyncio.TaskGroup() as group:
        watching = group.create_task(watch(api, name, seen))
        body = sweep(name, FAILURES, parallelism=FAILURES)
        body["spec"]["template"]["retry"] = {"limit": 0}
        await api.call("POST", f"{OURS}/sweeps", body)
        async with asyncio.timeout(600):
            await seen.running.wait()
        selector = f"{contract.LABEL_SWEEP}={name}"
        pods = cluster.api.get(f"{PODS}?labelSelector={selector}")["items"]  # type: ignore[index]
        assert len(pods) == FAILURES
        begin = time.monotonic()
        async with asyncio.TaskGroup() as failing:
            for number, pod in enumerate(pods):
                await asyncio.sleep(max(0.0, begin + number / A_SECOND - time.monotonic()))
                failing.create_task(fail(api, pod["metadata"]["name"], *how(number)))
        last = time.monotonic()
        print(f"\n{FAILURES} failures in {last - begin:.1f} s", flush=True)
        async with asyncio.timeout(300):
            await seen.told.wait()
        watching.cancel()
    return seen.counts[-1][0] - last, seen


@pytest.mark.parametrize("how", [ended, silent], ids=["records", "not a word"])
def test_a_thousand_failures_are_told_at_once_and_once_each(how: Any, tmp_path: Path) -> None:
    with control_plane("bench-failures", NAMESPACE, tuned=True) as cluster:
        cluster.add_kwok_nodes(10, gpus_each=-(-FAILURES // 10), runs_ms=HOUR_MS)
        operator = OperatorProcess(cluster, tmp_path, namespaces=NAMESPACE, ORKHAVEN_OUTPUT_CLAIM="")
        operator.start().wait_leading()
        try:
            with metered(cluster, FAILURES, operator=operator.pid) as spent:
                took, seen = asyncio.run(burst(cluster, "s", how))
            cpu = ", ".join(f"{name} {seconds:.1f}" for name, seconds in spent.cpu.items() if seconds > 0.5)
            print(
                f"status right {took:.2f} s after the last failure; CPU seconds from the beginning: {cpu}", flush=True
            )
            labelled = _labelled(cluster, operator)
            warnings = _warnings(cluster)
            print(f"all labelled {labelled:.1f} s later; warnings: {dict(warnings)}", flush=True)
            assert len(seen.clusters) == 4 if how is ended else len(seen.clusters) <= 4
            told = warnings.pop(("Sweep", "TrialFailed"))
            assert told == len(seen.clusters)
            assert {kind for kind, _ in warnings} <= {"Sweep"}, "none for a failure"
            assert took < BAR + (operator_reads() if how is silent else 0.0)
        finally:
            operator.stop()


def operator_reads() -> float:
    """How long an end may wait for its log."""
    from orkhaven.config import OperatorSettings

    return float(OperatorSettings().read_seconds)


def _labelled(cluster: Cluster, operator: OperatorProcess) -> float:
    begin = time.monotonic()

    def count() -> bool:
        found = cluster.api.get(f"{OURS}/experiments?labelSelector={LABEL_CLUSTER}") or {}
        return len(found["items"]) == FAILURES

    until("all to have their label", count, seconds=120, on_fail=operator.tail)
    return time.monotonic() - begin


def _warnings(cluster: Cluster) -> Counter[tuple[str, str]]:
    """Of Sweeps and Experiments, by (kind, reason)."""
    items = (cluster.api.get(f"/api/v1/namespaces/{NAMESPACE}/events?limit=20000") or {})["items"]
    return Counter(
        (event["involvedObject"]["kind"], event["reason"])
        for event in items
        if event["type"] == "Warning" and event["involvedObject"]["kind"] in ("Sweep", "Experiment")
    )
