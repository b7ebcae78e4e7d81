"""kill -9 of a real hub process in the middle of ingest, and a database that goes away: what was answered is there."""

from __future__ import annotations

import asyncio
import contextlib
import json
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import httpx

from orkhaven.hub.storage.store import open_store
from orkrun import contract
from tests.unit.hub.conftest import RunningHub, line, running_hub
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.postgres import Server

ROOT = Path(__file__).resolve().parents[3]
CLIENTS = 4
KILLS = 2


class Process:
    """`tests.unit.hub.process`, ready to answer."""

    def __init__(self, database_url: str, folder: Path) -> None:
        port_file = folder / "port"
        port_file.unlink(missing_ok=True)
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.unit.hub.process", database_url, str(port_file)], cwd=ROOT
        )
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert self._process.poll() is None, "the hub ended"
            assert time.monotonic() < deadline, "the hub does not start"
            time.sleep(0.02)
        self.url = f"http://127.0.0.1:{port_file.read_text()}"
        while True:  # connections wait in the listener's backlog until the hub has started
            with contextlib.suppress(httpx.TransportError):
                httpx.get(f"{self.url}/healthz", timeout=60).raise_for_status()
                return
            assert self._process.poll() is None, "the hub ended"

    def kill(self) -> None:
        """SIGKILL; once more does no harm."""
        self._process.kill()
        self._process.wait()


@contextlib.contextmanager
def hub_process(database_url: str, folder: Path) -> Iterator[Process]:
    process = Process(database_url, folder)
    try:
        yield process
    finally:
        process.kill()


async def report(url: str, client: int, first: int, acknowledged: list[int]) -> None:
    """Posts lines one after another until the hub is gone; each client has its own range of seq."""
    async with httpx.AsyncClient(base_url=url) as http:
        for number in range(first, 10**6):
            seq = number * CLIENTS + client + 1
            body = json.dumps(line(seq, loss=seq, dice=-seq)).encode()
            try:
                answer = await http.post(
                    contract.metrics_path(NAMESPACE, "trial"),
                    content=body,
                    headers={"Authorization": "Bearer token-trial", "Content-Type": "application/x-ndjson"},
                )
            except httpx.TransportError:
                return
            assert answer.status_code == 200, answer.text
            acknowledged.append(seq)


async def test_a_killed_hub_has_everything_that_it_answered(database_url: str, tmp_path: Path) -> None:
    acknowledged: list[int] = []
    for _ in range(KILLS):
        before = len(acknowledged)
        with hub_process(database_url, tmp_path) as process:
            tasks = [
                asyncio.create_task(report(process.url, client, before + 1, acknowledged)) for client in range(CLIENTS)
            ]
            deadline = time.monotonic() + 30
            while len(acknowledged) < before + 40:
                assert time.monotonic() < deadline, "the hub answers too slowly"
                await asyncio.sleep(0.002)
            process.kill()
            await asyncio.gather(*tasks)
    store = open_store(database_url, max_metrics_per_run=100)
    run = store.reader.snapshot_by_name(NAMESPACE, "trial")
    assert run is not None
    for metric, sign in (("loss", 1), ("dice", -1)):
        points = store.reader.series(run.id, metric)
        assert points is not None
        stored = {point.step for point in points}
        assert set(acknowledged) <= stored
        # At most the one request that each client had under way at each kill is stored without an answer.
        assert len(stored) <= len(acknowledged) + CLIENTS * KILLS
        assert all(point.value == sign * point.step for point in points)
        (summary,) = [one for one in run.metrics if one.name == metric]
        assert summary.count == len(points)
    store.close()


async def test_a_database_that_goes_away_and_comes_back_costs_only_time(
    fake_cluster: FakeCluster, postgres: Server
) -> None:
    fake_cluster.add_run("trial")
    async with running_hub(fake_cluster, postgres.database("away")) as hub:
        assert (await hub.post("trial", [line(1, loss=1)])).status_code == 200
        postgres.halt()
        try:
            answer = await hub.post("trial", [line(2, loss=2)])
            assert (answer.status_code, answer.json()["error"]["code"]) == (503, "Unavailable")
            assert (await hub.client.get("/readyz")).status_code == 503
            assert (await hub.client.get("/healthz")).status_code == 200
        finally:
            postgres.start()
        await _accepted(hub, [line(2, loss=2)])
        assert (await hub.get("experiments/trial/metrics/loss")).json()["value"] == [1, 2]


async def _accepted(hub: RunningHub, lines: list[object]) -> None:
    """As the reporter does: again until it is taken."""
    deadline = time.monotonic() + 20
    while (answer := await hub.post("trial", lines)).status_code != 200:
        assert answer.status_code == 503
        assert time.monotonic() < deadline
        await asyncio.sleep(0.05)


async def test_a_full_disk_is_said_and_what_was_there_stays(fake_cluster: FakeCluster, sqlite_url: str) -> None:
    fake_cluster.add_run("trial")
    async with running_hub(fake_cluster, sqlite_url, flush_seconds=600) as hub:
        assert (await hub.post("trial", [line(1, loss=1)])).status_code == 200
        await hub.until(lambda: hub.app.state.hub.flusher.waiting == 0)
        engine = hub.app.state.hub.store.engines.writer
        with engine.connect() as connection:
            pages = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            limit = connection.exec_driver_sql(f"PRAGMA max_page_count = {pages}").scalar_one()
        assert limit == pages
        answer = await hub.post("trial", [line(seq, loss=seq) for seq in range(2, 2000)])
        assert answer.status_code == 503
        assert "full" in answer.json()["error"]["message"]
        with engine.connect() as connection:
            connection.exec_driver_sql(f"PRAGMA max_page_count = {10**6}")
        await _accepted(hub, [line(2, loss=2)])
        assert (await hub.get("experiments/trial/metrics/loss")).json()["value"] == [1, 2]
