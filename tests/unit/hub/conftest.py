"""The hub over a fake cluster and a real database: each test that asks for `database_url` runs on SQLite and
PostgreSQL.
"""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import time
from collections.abc import AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any

import httpx
import pytest
from fastapi import FastAPI

from orkhaven.hub.app import create_app
from orkhaven.hub.query import Queries
from orkhaven.hub.settings import HubSettings
from orkhaven.hub.storage.store import Store, open_store
from orkrun import contract
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.postgres import Server, find_programs

_databases = itertools.count(1)


@pytest.fixture(scope="session")
def postgres() -> Iterator[Server]:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    server = Server(programs)
    yield server
    server.stop()


@pytest.fixture(params=["sqlite", "postgresql"])
def database_url(request: pytest.FixtureRequest, tmp_path: Path) -> str:
    if request.param == "sqlite":
        return f"sqlite:///{tmp_path}/hub.db"
    server: Server = request.getfixturevalue("postgres")
    return server.database(f"t{next(_databases)}")


@pytest.fixture
def sqlite_url(tmp_path: Path) -> str:
    return f"sqlite:///{tmp_path}/hub.db"


@pytest.fixture
def store(database_url: str) -> Iterator[Store]:
    opened = open_store(database_url, max_metrics_per_run=100)
    yield opened
    opened.close()


class RunningHub:
    """A hub in this process, with the clients that tests need."""

    def __init__(self, app: FastAPI, cluster: FakeCluster, client: httpx.AsyncClient) -> None:
        self.app = app
        self.cluster = cluster
        self.client = client

    async def post(
        self,
        experiment: str,
        lines: list[Any] | bytes,
        *,
        token: str | None = None,
        namespace: str = NAMESPACE,
        content_type: str = "application/x-ndjson",
    ) -> httpx.Response:
        """Posts lines with the pod's own token."""
        body = lines if isinstance(lines, bytes) else b"".join(json.dumps(line).encode() + b"\n" for line in lines)
        return await self.client.post(
            contract.metrics_path(namespace, experiment),
            content=body,
            headers={
                "Authorization": f"Bearer {token if token is not None else f'token-{experiment}'}",
                "Content-Type": content_type,
            },
        )

    @property
    def queries(self) -> Queries:
        queries = self.app.state.hub.queries
        assert isinstance(queries, Queries)
        return queries

    async def settled(self) -> None:
        """Waits until the hub has seen what is in the cluster."""
        catalogue = self.queries.catalogue

        def seen() -> bool:
            wanted = {
                (kind, namespace, name): body["metadata"]["resourceVersion"]
                for (kind, namespace, name), body in self.cluster.objects.items()
                if kind in ("Sweep", "Experiment")
            }
            namespaces = {namespace for _, namespace, _ in self.cluster.objects} | {NAMESPACE}
            known = {("Sweep", one, row.name): row.version for one in namespaces for row in catalogue.sweeps(one)} | {
                ("Experiment", one, row.name): row.version
                for one in namespaces
                for row in catalogue.experiments(one).values()
            }
            return catalogue.synced and wanted == known

        await self.until(seen)

    async def get(self, path: str, *, token: str | None = "reader", **params: Any) -> httpx.Response:
        """Reads below the namespace as `reader`, once the hub knows what the cluster has."""
        if not self.cluster.away:
            await self.settled()
        headers = {"Authorization": f"Bearer {token}"} if token else {}
        return await self.client.get(f"/api/v1/namespaces/{NAMESPACE}/{path}", params=params, headers=headers)

    async def until(self, condition: Callable[[], bool], *, seconds: float = 30) -> None:
        """Waits until it holds. Raises AssertionError after the deadline."""
        await until(condition, seconds=seconds)


async def until(condition: Callable[[], bool], *, seconds: float = 30) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not become true in time"
        await asyncio.sleep(0.005)


@contextlib.asynccontextmanager
async def running_hub(cluster: FakeCluster, database_url: str, **settings: Any) -> AsyncIterator[RunningHub]:
    """Started and, at the end, shut down as uvicorn would."""

    @contextlib.asynccontextmanager
    async def gateway() -> AsyncIterator[FakeCluster]:
        yield cluster

    app = create_app(HubSettings(database_url=database_url, **{"flush_seconds": 0.05, **settings}), gateway)
    async with (
        app.router.lifespan_context(app),
        httpx.AsyncClient(transport=httpx.ASGITransport(app), base_url="http://hub") as client,
    ):
        yield RunningHub(app, cluster, client)


@pytest.fixture
def fake_cluster() -> FakeCluster:
    cluster = FakeCluster()
    cluster.add_reader("reader")
    return cluster


@pytest.fixture
async def hub(fake_cluster: FakeCluster, database_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(fake_cluster, database_url) as running:
        yield running


def line(seq: int, /, *, attempt: int = 1, step: int | None = None, total: int | None = None, **metrics: Any) -> Any:
    """A metric line; double underscores in names become slashes."""
    made: dict[str, Any] = {
        "attempt": attempt,
        "seq": seq,
        "step": seq if step is None else step,
        "time": 1_790_000_000.5 + seq,
        "metrics": {name.replace("__", "/"): value for name, value in metrics.items()},
    }
    return made if total is None else {**made, "totalSteps": total}
