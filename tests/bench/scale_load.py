"""What the scale bench drives and meters: the CPU of each process, bare Jobs as the baseline, sweeps beside it.

The baseline creates the very Jobs that the operator would create, suspended, releases each and waits for its end: what
remains of an operator that decides nothing and keeps no record.
"""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections.abc import AsyncIterator, Iterator
from contextlib import asynccontextmanager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import aiohttp

from orkhaven.core.identity import job_name, param_hash, run_hash
from orkhaven.core.job import build_job
from orkhaven.core.parse import parse_experiment
from orkhaven.core.views import Defaults
from orkrun import contract
from tests.cluster import Cluster

Body = dict[str, Any]
NODES, GPUS_EACH = 10, 64
RUNS_MS = 10
"""As short as KWOK makes them."""
AT_ONCE = 500
RECORD = json.dumps(
    {
        "version": contract.VERSION,
        "outcome": "Succeeded",
        "step": 3,
        "totalSteps": 3,
        "objective": {"value": 0.75, "step": 2},
        "metrics": {"val/dice": {"last": 0.7, "best": 0.75, "bestStep": 2}},
    }
)
CONNECTIONS = 50


def cpu_seconds(pid: int) -> float:
    """User and system time of a process so far."""
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@dataclass
class Spent:
    """CPU seconds by process, and what was done meanwhile."""

    trials: int
    seconds: float = 0.0
    cpu: dict[str, float] = field(default_factory=dict)

    @property
    def ms_each(self) -> float:
        return 1000 * sum(self.cpu.values()) / self.trials

    @property
    def rate(self) -> float:
        return self.trials / self.seconds


@contextmanager
def metered(cluster: Cluster, trials: int, *, operator: int | None = None) -> Iterator[Spent]:
    """`operator`: its process id. The driver is not in it: both sides have one, and neither is a system."""
    pids = {name: pid for name, pid in cluster.processes().items() if pid is not None}
    if operator is not None:
        pids["operator"] = operator
    spent = Spent(trials)
    before, started = {name: cpu_seconds(pid) for name, pid in pids.items()}, time.monotonic()
    yield spent
    spent.seconds = time.monotonic() - started
    spent.cpu = {name: cpu_seconds(pid) - before[name] for name, pid in pids.items()}


class Client:
    """Many requests at once over few connections."""

    def __init__(self, session: aiohttp.ClientSession, server: str) -> None:
        self._session, self._server = session, server

    async def call(self, method: str, path: str, body: Body, *, content: str = "application/json") -> Body:
        async with self._session.request(
            method, self._server + path, data=json.dumps(body).encode(), headers={"Content-Type": content}
        ) as answer:
            text = await answer.text()
            assert answer.status < 300, f"{method} {path}: {answer.status} {text[:500]}"
            found: Body = json.loads(text)
            return found

    async def patch(self, path: str, body: Body) -> Body:
        return await self.call("PATCH", path, body, content="application/merge-patch+json")

    async def watch(self, path: str, **params: str) -> AsyncIterator[Body]:
        """Bodies as they are and as they change."""
        async for event in self.events(path, **params):
            yield event["object"]

    async def events(self, path: str, **params: str) -> AsyncIterator[Body]:
        """What is there, and what changes. The API server closes a watch that is slow to read; then it begins anew."""
        while True:
            async with self._session.get(self._server + path, params={"watch": "1", **params}) as answer:
                assert answer.status == 200, await answer.text()
                async for line in answer.content:
                    event = json.loads(line)
                    if event["type"] == "ERROR":
                        break
                    yield event


@asynccontextmanager
async def client(cluster: Cluster) -> AsyncIterator[Client]:
    """As the cluster's administrator."""
    connector = aiohttp.TCPConnector(ssl=cluster.api.context, limit=CONNECTIONS)
    timeout = aiohttp.ClientTimeout(total=None, sock_connect=60)
    async with aiohttp.ClientSession(connector=connector, timeout=timeout, read_bufsize=2**22) as session:
        yield Client(session, cluster.api.server)


def job_of(namespace: str, number: int, *, gpus: int = 1) -> Body:
    """A Job as the operator makes it, without an output volume: no volume controller is to be measured."""
    params = {"lr": number}
    experiment = parse_experiment(
        {
            "metadata": {
                "namespace": namespace, "name": f"bare-{number}", "uid": f"00000000-0000-0000-0000-{number:012d}",
                "resourceVersion": "1", "creationTimestamp": "2026-01-01T00:00:00Z",
                "labels": {contract.LABEL_SWEEP: "bare", contract.LABEL_TRIAL: str(number)},
            },
            "spec": {"params": params, "objective": {"metric": "val/dice"}, "resources": {"gpus": gpus}},
        }
    )  # fmt: skip
    assert experiment.spec is not None
    body: Body = build_job(
        experiment,
        attempt=1,
        defaults=Defaults(image="trainer:1"),
        param_hash=param_hash(params),
        run_hash=run_hash(params=params, seed=0, image="trainer:1", command=[], data=[]),
    )
    # Its owner does not exist: the garbage collector would remove it.
    body["metadata"].pop("ownerReferences", None)
    return body


async def bare_jobs(cluster: Cluster, namespace: str, count: int, *, first: int = 0) -> None:
    """Creates `count` suspended Jobs, releases each, at most AT_ONCE at a time, and waits until all have succeeded."""
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    room = asyncio.Semaphore(AT_ONCE)
    done: dict[str, asyncio.Event] = {}

    async def one(api: Client, number: int) -> None:
        body = job_of(namespace, number)
        name = body["metadata"]["name"]
        done[name] = asyncio.Event()
        async with room:
            await api.call("POST", jobs, body)
            await api.patch(f"{jobs}/{name}", {"spec": {"suspend": False}})
            await done[name].wait()

    async def listen(api: Client) -> None:
        async for body in api.watch(jobs):
            conditions = body.get("status", {}).get("conditions", [])
            event = done.get(body["metadata"]["name"])
            if event is not None and any(c["type"] == "Complete" and c["status"] == "True" for c in conditions):
                event.set()

    async with client(cluster) as api, asyncio.TaskGroup() as group:
        listener = group.create_task(listen(api))
        await asyncio.gather(*(one(api, number) for number in range(first, first + count)))
        listener.cancel()


async def remove_jobs(cluster: Cluster, namespace: str, count: int, *, first: int = 0) -> None:
    """Deletes them as the operator deletes its own. Their pods go later."""
    jobs = f"/apis/batch/v1/namespaces/{namespace}/jobs"
    room = asyncio.Semaphore(CONNECTIONS)

    async def one(api: Client, number: int) -> None:
        async with room:
            await api.call("DELETE", f"{jobs}/{job_name(f'bare-{number}', 1)}", {"propagationPolicy": "Background"})

    async with client(cluster) as api:
        await asyncio.gather(*(one(api, number) for number in range(first, first + count)))


@dataclass
class Watched:
    """How sweeps went, as a client saw it."""

    ended: list[float] = field(default_factory=list)
    """When the nth Job was seen to be Complete, by the monotonic clock."""
    told: list[tuple[float, int]] = field(default_factory=list)
    """(when, how many trials the Sweeps' statuses said had succeeded)."""
    largest: int = 0
    """Bytes of the largest Sweep."""

    def lags(self) -> list[float]:
        """Seconds from the end of the nth Job to a status that has counted n."""
        found, at = [], 0
        for number, when in enumerate(self.ended, start=1):
            while at < len(self.told) and self.told[at][1] < number:
                at += 1
            if at < len(self.told):
                found.append(max(0.0, self.told[at][0] - when))
        return found


def sweep(name: str, trials: int, *, parallelism: int, gpus: int = 1) -> Body:
    return {
        "apiVersion": "orkhaven.io/v1alpha1",
        "kind": "Sweep",
        "metadata": {"name": name},
        "spec": {
            "objective": {"metric": "val/dice"},
            "search": {"algorithm": "Grid", "maxTrials": trials},
            "parameters": [
                {"name": "lr", "values": list(range(1000))},
                {"name": "batch_size", "values": list(range(1, 11))},
            ],
            "parallelism": parallelism,
            # Of its own, or the trials of a later sweep would be those of an earlier one, and be reused.
            "template": {"params": {"sweep": name}, "image": "trainer:1", "resources": {"gpus": gpus}},
        },
    }


async def sweeps(
    cluster: Cluster, namespace: str, bodies: list[Body], *, until: str = "succeeded", count: int | None = None
) -> Watched:
    """Applies them and returns once their statuses count so many trials (all of them by default) under `until`."""
    seen = Watched()
    path = f"/apis/orkhaven.io/v1alpha1/namespaces/{namespace}/sweeps"
    wanted = count if count is not None else sum(body["spec"]["search"]["maxTrials"] for body in bodies)
    counts: dict[str, dict[str, int]] = {}
    enough = asyncio.Event()
    names = {body["metadata"]["name"] for body in bodies}

    async def statuses(api: Client) -> None:
        async for body in api.watch(path):
            if body["metadata"]["name"] not in names:
                continue
            seen.largest = max(seen.largest, len(json.dumps(body)))
            counts[body["metadata"]["name"]] = body.get("status", {}).get("trials", {})
            seen.told.append((time.monotonic(), sum(one.get("succeeded", 0) for one in counts.values())))
            if sum(one.get(until, 0) for one in counts.values()) >= wanted:
                enough.set()

    async def ends(api: Client) -> None:
        over: set[str] = set()
        async for body in api.watch(f"/apis/batch/v1/namespaces/{namespace}/jobs"):
            conditions = body.get("status", {}).get("conditions", [])
            uid = body["metadata"]["uid"]
            if body["metadata"].get("labels", {}).get(contract.LABEL_SWEEP) not in names:
                continue
            if uid not in over and any(c["type"] == "Complete" and c["status"] == "True" for c in conditions):
                over.add(uid)
                seen.ended.append(time.monotonic())

    # A listener that breaks ends the group, and is told.
    async with client(cluster) as api, asyncio.TaskGroup() as group:
        listeners = [group.create_task(statuses(api)), group.create_task(ends(api))]
        for body in bodies:
            await api.call("POST", path, body)
        await enough.wait()
        for listener in listeners:
            listener.cancel()
    return seen
