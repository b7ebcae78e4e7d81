"""What an operator costs beside ten thousand ended trials and five hundred running ones: memory, restart, idle.

Real etcd, API server, controller-manager and scheduler; pods "run" on nodes that KWOK plays. One trial runs and ends;
the others are written as copies of it, field managers included, with names, parameters and hashes of their own: to run
ten thousand takes longer than all the rest (see bench_scale). ORKHAVEN_BENCH_TRIALS makes it smaller.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from orkhaven.core.identity import child_name, param_hash, run_hash
from orkhaven.core.parse import parse_sweep
from orkhaven.core.search import trial_params
from orkhaven.core.sweep.child import child_body
from tests.bench.control_plane import GROUP, control_plane
from tests.bench.scale_load import (
    AT_ONCE,
    CONNECTIONS,
    GPUS_EACH,
    NODES,
    RECORD,
    RUNS_MS,
    Body,
    client,
    sweep,
    sweeps,
)
from tests.bench.scale_report import ScaleReport, reported
from tests.cluster import Cluster
from tests.integration.operator_process import OperatorProcess, unchanged, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(3600)]

TRIALS = int(os.environ.get("ORKHAVEN_BENCH_TRIALS", "10000"))
IDLE_SECONDS = 330
"""One list of everything is due in it (setting resyncSeconds), wherever it begins."""
LONG_MS = 3_600_000
QUIET_SECONDS = 70
"""Longer than the Jobs of ended runs are kept: their removal is a write too."""
OURS = f"/{GROUP}/namespaces/ours"


@pytest.fixture
def table() -> Iterator[ScaleReport]:
    yield from reported("beside")


def test_beside_all_that_have_ended(tmp_path: Path, table: ScaleReport) -> None:
    with control_plane("bench-beside", "ours", tuned=True) as cluster:
        operator = OperatorProcess(cluster, tmp_path, namespaces="ours", ORKHAVEN_OUTPUT_CLAIM="")
        try:
            made = _one_that_ended(cluster, operator)
            asyncio.run(_copies(cluster, made))
            operator.start().wait_leading(seconds=120)
            cluster.api.patch(f"{OURS}/sweeps/all", {"spec": {"suspend": False}})
            until(
                "the sweep to have counted all",
                lambda: _counts(cluster).get("succeeded") == TRIALS,
                seconds=300,
                on_fail=operator.tail,
            )
            _measure(cluster, operator, table)
        finally:
            operator.stop()


def _counts(cluster: Cluster) -> dict[str, int]:
    counts: dict[str, int] = cluster.api.call("GET", f"{OURS}/sweeps/all").get("status", {}).get("trials", {})
    return counts


def _one_that_ended(cluster: Cluster, operator: OperatorProcess) -> Body:
    """Sweep `all` begins; it is suspended as soon as a trial has succeeded, which is returned. The operator is
    stopped."""
    cluster.add_kwok_nodes(NODES, gpus_each=GPUS_EACH, runs_ms=RUNS_MS, message=RECORD)
    operator.start().wait_leading()
    cluster.api.call("POST", f"{OURS}/sweeps", sweep("all", TRIALS, parallelism=1))
    until("a trial to succeed", lambda: _counts(cluster).get("succeeded", 0) >= 1, on_fail=operator.tail)
    cluster.api.patch(f"{OURS}/sweeps/all", {"spec": {"suspend": True}})
    until("no more writes", lambda: unchanged(operator.writes, seconds=3), seconds=120)
    operator.stop()
    every = cluster.api.call("GET", f"{OURS}/experiments")["items"]
    return next(one for one in every if one.get("status", {}).get("state") == "Succeeded")


async def _copies(cluster: Cluster, made: Body) -> None:
    """The other trials of its sweep, as ended as `made`; those that it had begun end when it goes on."""
    view = parse_sweep(cluster.api.call("GET", f"{OURS}/sweeps/all"))
    assert view.spec is not None
    source = trial_params(view.spec, view.raw_spec["template"]["params"])
    there = {one["metadata"]["name"] for one in cluster.api.call("GET", f"{OURS}/experiments")["items"]}
    room = asyncio.Semaphore(CONNECTIONS)
    owned = {
        entry["manager"]: [name.removeprefix("f:") for name in entry["fieldsV1"]["f:status"] if name != "."]
        for entry in made["metadata"]["managedFields"]
        if entry.get("subresource") == "status"
    }

    async def copy(number: int) -> None:
        params = source.params(number)
        assert params is not None
        name = child_name("all", params=params, seed=0)
        if name in there:
            return
        status = _renamed(made, name, params)
        body = child_body(view, name, {**made["spec"], "params": params}, trial=number)
        path = f"{OURS}/experiments/{name}/status"
        async with room:
            await api.call("POST", f"{OURS}/experiments", body)
            for manager, fields in owned.items():
                part = {"apiVersion": body["apiVersion"], "kind": body["kind"], "metadata": {"name": name}}
                part["status"] = {field: status[field] for field in fields if field in status}
                query = f"?fieldManager={manager}&force=true"
                await api.call("PATCH", path + query, part, content="application/apply-patch+yaml")

    async with client(cluster) as api:
        await asyncio.gather(*(copy(number) for number in range(TRIALS)))


def _renamed(made: Body, name: str, params: dict[str, Any]) -> Body:
    """Its status as another trial would have it."""
    text = json.dumps(made["status"]).replace(made["metadata"]["name"], name)
    for field, value in (
        ("paramHash", param_hash(params)),
        ("runHash", run_hash(params=params, seed=0, image="trainer:1", command=[], data=[])),
    ):
        text = text.replace(made["status"][field], value)
    status: Body = json.loads(text)
    return status


def _measure(cluster: Cluster, operator: OperatorProcess, table: ScaleReport) -> None:
    cluster.add_kwok_nodes(NODES, gpus_each=GPUS_EACH, runs_ms=LONG_MS, message=RECORD)
    asyncio.run(sweeps(cluster, "ours", [sweep("long", AT_ONCE, parallelism=AT_ONCE)], until="running", count=AT_ONCE))
    beside = f"{AT_ONCE} running beside {TRIALS:,} finished"
    # Those that have just begun are still being told of.
    until("no more writes", lambda: unchanged(operator.writes, seconds=QUIET_SECONDS), seconds=600)
    table.add(f"operator's memory, {beside}", "300 MB", _megabytes(operator))
    operator.kill()
    started = time.monotonic()
    operator.start()
    until("a decision", lambda: operator.metric("orkhaven_reconciles_total") > 0, seconds=120, on_fail=operator.tail)
    first = time.monotonic() - started
    until(
        "everything to be looked at",
        lambda: operator.metric("orkhaven_reconciles_total", kind="Experiment") >= TRIALS + AT_ONCE,
        seconds=300,
        on_fail=operator.tail,
    )
    all_seen = time.monotonic() - started
    table.add(
        "restart: first decision; all looked at",
        "15 s; zero writes",
        f"{first:.1f} s; {all_seen:.1f} s, {operator.writes():.0f} writes",
    )
    # A list follows the start of the watch: what was deleted between the first list and the watch is found by it.
    until("the lists of the start", lambda: unchanged(lambda: round(operator.cpu_seconds()), seconds=15), seconds=300)
    spent, begin = operator.cpu_seconds(), time.monotonic()
    time.sleep(IDLE_SECONDS)
    share = (operator.cpu_seconds() - spent) / (time.monotonic() - begin)
    table.add("idle, lists included", "2 % of a core", f"{100 * share:.2f} %, {_megabytes(operator)}")


def _megabytes(operator: OperatorProcess) -> str:
    return f"{operator.memory_mib() * 2**20 / 1e6:.0f} MB"
