"""Are the GPUs busy? Ten thousand Jobs of twenty namespaces wait for 500 GPUs of real Nodes, beside bare Jobs.

Real etcd, API server, controller-manager and scheduler and the operator as a process; pods "run" on nodes that KWOK
plays. The baseline are the same Jobs without an operator, none suspended: kube-scheduler alone says who goes next. Both
are measured from when as many GPUs have been given as there are until fewer are waited for than are free.

ORKHAVEN_BENCH_TRIALS, ORKHAVEN_BENCH_RUN_SECONDS and ORKHAVEN_BENCH_GPUS make it smaller. The control plane starts some
nine trials a second on two cores: with shorter runs than the default that would be measured.
"""

from __future__ import annotations

import asyncio
import os
import random
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import NamedTuple

import pytest

from orkhaven.core.queue.shares import ANNOTATION_WEIGHT
from tests.bench.control_plane import GROUP, control_plane
from tests.bench.gpus_held import LONG_GAP, Figures, Held
from tests.bench.scale_load import CONNECTIONS, RECORD, Body, Client, Spent, client, job_of, metered, sweep
from tests.bench.scale_report import ScaleReport, reported
from tests.cluster import Cluster
from tests.integration.operator_process import OperatorProcess, until

pytestmark = [pytest.mark.cluster, pytest.mark.timeout(4 * 3600)]

TRIALS = int(os.environ.get("ORKHAVEN_BENCH_TRIALS", "10000"))
RUN_SECONDS = float(os.environ.get("ORKHAVEN_BENCH_RUN_SECONDS", "110"))
"""On average; half to one and a half of it, so that those that began together do not end together."""
GPUS = int(os.environ.get("ORKHAVEN_BENCH_GPUS", "500"))
BARE = max(TRIALS // 5, 2 * GPUS)
GPUS_OF_A_NODE = 4
JOBS, PODS = "/apis/batch/v1/jobs", "/api/v1/pods"
JOB_NAME = "batch.kubernetes.io/job-name"


class Team(NamedTuple):
    """A namespace, and what its sweep is like."""

    namespace: str
    weight: int
    gpus: int
    """Of each trial."""


TEAMS = [Team(f"team-{n:02}", 1 + n % 2, {16: 2, 17: 2, 18: 4, 19: 4}.get(n, 1)) for n in range(20)]
ALONE = {team.namespace: f"bare-{team.namespace}" for team in TEAMS}
"""Where the bare Jobs of each are."""


def trials_of(total: int) -> dict[Team, int]:
    """By weight, and less where each asks for more: all are through at about the same time."""
    whole = sum(team.weight / team.gpus for team in TEAMS)
    return {team: max(1, round(total * team.weight / team.gpus / whole)) for team in TEAMS}


@pytest.fixture
def table() -> Iterator[ScaleReport]:
    yield from reported("queue")


def test_the_gpus_are_busy(tmp_path: Path, table: ScaleReport) -> None:
    namespaces = [team.namespace for team in TEAMS]
    with control_plane("bench-queue", *namespaces, *ALONE.values(), tuned=True) as cluster:
        least, most = int(500 * RUN_SECONDS), int(1500 * RUN_SECONDS)
        cluster.add_kwok_nodes(
            GPUS // GPUS_OF_A_NODE, gpus_each=GPUS_OF_A_NODE, runs_ms=least, at_most_ms=most, message=RECORD
        )
        for team in TEAMS:
            body = {"metadata": {"annotations": {ANNOTATION_WEIGHT: str(team.weight)}}}
            cluster.api.patch(f"/api/v1/namespaces/{team.namespace}", body)
        bare, _ = asyncio.run(_bare(cluster))
        _removed(cluster)
        operator = OperatorProcess(cluster, tmp_path, namespaces=",".join(namespaces), ORKHAVEN_OUTPUT_CLAIM="")
        try:
            operator.start().wait_leading()
            ours, spent = asyncio.run(_sweeps(cluster, operator))
            _told(table, ours, bare, spent, operator)
        finally:
            operator.stop()


async def _sweeps(cluster: Cluster, operator: OperatorProcess) -> tuple[Figures, Spent]:
    trials = trials_of(TRIALS)
    wanted = {team.namespace: count * team.gpus for team, count in trials.items()}
    with metered(cluster, TRIALS, operator=operator.pid) as spent:
        async with client(cluster) as api, _watched(api, wanted) as (held, over):
            for team, count in trials.items():
                # Its parallelism holds nobody back: the queue alone does.
                body = sweep("all", count, parallelism=count, gpus=team.gpus)
                await api.call("POST", f"/{GROUP}/namespaces/{team.namespace}/sweeps", body)
            await over.wait()
    print(f"\nours, busy every 30 s: {held.profile()}", flush=True)
    return held.figures({team.namespace: team.weight for team in TEAMS}), spent


async def _bare(cluster: Cluster) -> tuple[Figures, Spent]:
    trials = trials_of(BARE)
    wanted = {ALONE[team.namespace]: count * team.gpus for team, count in trials.items()}
    jobs = [(team, number) for team, count in trials.items() for number in range(count)]
    # Else one namespace's pods would all be before the next one's: the scheduler knows no turns.
    random.Random(0).shuffle(jobs)
    room = asyncio.Semaphore(CONNECTIONS)

    async def make(api: Client, team: Team, number: int) -> None:
        namespace = ALONE[team.namespace]
        body = job_of(namespace, number, gpus=team.gpus)
        body["spec"]["suspend"] = False
        async with room:
            await api.call("POST", f"/apis/batch/v1/namespaces/{namespace}/jobs", body)

    with metered(cluster, BARE) as spent:
        async with client(cluster) as api, _watched(api, wanted) as (held, over):
            await asyncio.gather(*(make(api, team, number) for team, number in jobs))
            await over.wait()
    print(f"\nbare, busy every 30 s: {held.profile()}", flush=True)
    return held.figures({}), spent


def _removed(cluster: Cluster) -> None:
    for namespace in ALONE.values():
        path = f"/apis/batch/v1/namespaces/{namespace}/jobs"
        cluster.api.call("DELETE", path, {"propagationPolicy": "Background"})
    until("the pods to go", lambda: not cluster.api.call("GET", f"{PODS}?limit=1")["items"], seconds=600)


@asynccontextmanager
async def _watched(api: Client, wanted: dict[str, int]) -> AsyncIterator[tuple[Held, asyncio.Event]]:
    """Who holds GPUs while this is open; the event: fewer are waited for than are free."""
    held, over = Held(GPUS, GPUS_OF_A_NODE, wanted, time.monotonic), asyncio.Event()

    def ours(body: Body) -> bool:
        return body["metadata"]["namespace"] in wanted

    async def pods() -> None:
        async for event in api.events(PODS, labelSelector=JOB_NAME):
            if ours(event["object"]):
                held.see_pod(event["type"], event["object"])
            if held.over_at is not None:
                over.set()

    async def jobs() -> None:
        async for body in api.watch(JOBS):
            if ours(body):
                held.see_job(body)

    async def say() -> None:
        while True:
            await asyncio.sleep(30)
            load = " ".join(f"{one:.1f}" for one in os.getloadavg())
            print(f"\n{held.held} of {GPUS} GPUs held, {held.waiting} waited for, load {load}", flush=True)

    # A listener that breaks ends the group, and is told.
    async with asyncio.TaskGroup() as group:
        listeners = [group.create_task(one()) for one in (pods, jobs, say)]
        yield held, over
        for listener in listeners:
            listener.cancel()


def _told(table: ScaleReport, ours: Figures, bare: Figures, spent: Spent, operator: OperatorProcess) -> None:
    decisions = operator.metric("orkhaven_reconcile_duration_seconds_count", kind="Queue")
    deciding = operator.metric("orkhaven_reconcile_duration_seconds_sum", kind="Queue")
    late = operator.metric("orkhaven_queue_latency_seconds_sum", kind="Queue")
    cores = ", ".join(
        f"{name} {used / spent.seconds:.2f}"
        for name, used in sorted(spent.cpu.items(), key=lambda one: -one[1])
        if used > 0.01 * spent.seconds
    )
    table.add(
        f"{TRIALS:,} Jobs of {len(TEAMS)} namespaces, {GPUS} GPUs: busy",
        "0.97",
        f"{ours.busy:.3f} ({ours.seconds:.0f} s, {ours.started:,} runs of {ours.runs_for:.0f} s begun in it)",
    )
    table.add(
        "the same, as long as all namespaces had runs waiting",
        "none",
        f"{ours.fair_busy:.3f} ({ours.fair_seconds:.0f} s)",
    )
    table.add(
        f"{BARE:,} of the same Jobs without an operator: busy",
        "none",
        f"{bare.busy:.3f} ({bare.seconds:.0f} s, {bare.started:,} runs of {bare.runs_for:.0f} s begun in it)",
    )
    table.add("of that, ours", "1.0", f"{ours.busy / bare.busy:.3f}")
    fairness = "none" if ours.fairness is None else f"{ours.fairness:.4f}"
    by_gpus = ", ".join(f"{gpus}: {_share(ours, gpus)}" for gpus in sorted({team.gpus for team in TEAMS}))
    table.add(
        "GPUs held by weight, as long as all namespaces had runs waiting: Jain's index; of what is due to each, by the "
        "GPUs of its runs",
        "0.95",
        f"{fairness}; {by_gpus}",
    )
    table.add(
        "idle GPUs: on average, at most; longest time with more than 3 %", "none", f"{_idle(ours)}; bare {_idle(bare)}"
    )
    table.add("a run's end until the next one is on that GPU", "none", f"{_gap(ours)}; bare {_gap(bare)}")
    table.add(
        "of it, medians: from a Job's release to its pod, from there to its node",
        "none",
        f"{ours.to_pod:.2f}, {ours.to_node:.2f} s",
    )
    table.add(
        "runs that went to a node with more GPUs free than another that would have done",
        "none",
        f"{100 * ours.loose:.0f} %; bare {100 * bare.loose:.0f} %",
    )
    table.add(
        "the operator's decisions",
        "none",
        f"{decisions:.0f}, {1000 * deciding / decisions:.0f} ms each with their writes, begun "
        f"{1000 * late / decisions:.0f} ms late",
    )
    _, five, fifteen = os.getloadavg()
    table.add("cores used; load of the machine in the last 5 and 15 min", "none", f"{cores}; {five:.1f}, {fifteen:.1f}")


def _share(found: Figures, gpus: int) -> str:
    shares = [found.shares[team.namespace] for team in TEAMS if team.gpus == gpus]
    return f"{min(shares):.2f} to {max(shares):.2f}"


def _idle(found: Figures) -> str:
    return f"{found.idle:.1f}, {found.most_idle}, {found.longest_idle:.1f} s"


def _gap(found: Figures) -> str:
    share = f"{100 * found.long_gaps:.0f} % in those of more than {LONG_GAP:.0f} s"
    return f"{found.gap:.2f} s (p50 {found.gap_median:.2f}, {share})"
