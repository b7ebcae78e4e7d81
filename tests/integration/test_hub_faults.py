"""Faults that are made, not played: a disk that is full, a PostgreSQL that is away while a trainer reports."""

from __future__ import annotations

import asyncio
import os
import random
import subprocess
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import httpx
import pytest

from orkhaven.hub.storage.store import open_store
from orkrun import contract
from orkrun.reporter import Reporter, Target
from orkrun.spool import Spool
from tests.unit.hub.conftest import line, running_hub
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.postgres import Server, find_programs
from tests.unit.hub.test_crash import hub_process

SMALL_DISK = 2 * 1024 * 1024


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of its own of SMALL_DISK bytes."""
    if os.getuid() != 0:
        pytest.skip("only root may mount a file system")
    folder = tmp_path / "disk"
    folder.mkdir()
    made = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", f"size={SMALL_DISK}", "tmpfs", str(folder)], capture_output=True, text=True
    )
    if made.returncode != 0:
        pytest.skip(f"no file system can be mounted here: {made.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", str(folder)], check=True)


async def test_a_full_disk_is_said_and_what_was_there_stays_and_room_is_used_again(small_disk: Path) -> None:
    cluster = FakeCluster()
    cluster.add_reader("reader")
    cluster.add_run("trial")
    url = f"sqlite:///{small_disk}/hub.db"
    accepted: list[int] = []
    async with running_hub(cluster, url) as hub:
        assert (await hub.post("trial", [line(1, loss=1)])).status_code == 200
        accepted.append(1)
        filler = small_disk / "filler"
        filler.write_bytes(b"x" * 600_000)
        for first in range(2, 100_000, 200):
            seqs = range(first, first + 200)
            answer = await hub.post("trial", [line(seq, loss=seq, dice=-seq) for seq in seqs])
            if answer.status_code != 200:
                break
            accepted += seqs
        assert answer.status_code == 503, answer.text
        assert answer.headers["Retry-After"]
        assert "full" in answer.json()["error"]["message"]
        # Whoever looks sees what was kept, while nothing more can be.
        metric = (await hub.get("experiments/trial/metrics/loss", max_points=100_000)).json()
        assert metric["value"] == accepted
        assert (await hub.client.get("/healthz")).status_code == 200
        filler.unlink()
        deadline = time.monotonic() + 20
        while (answer := await hub.post("trial", [line(seq, loss=seq, dice=-seq) for seq in seqs])).status_code != 200:
            assert time.monotonic() < deadline, answer.text
            await asyncio.sleep(0.05)
        accepted += seqs
    store = open_store(url, max_metrics_per_run=100)
    run = store.reader.snapshot_by_name(NAMESPACE, "trial")
    assert run is not None
    points = store.reader.series(run.id, "loss")
    assert points is not None
    assert [point.step for point in points] == accepted
    (summary,) = [metric for metric in run.metrics if metric.name == "loss"]
    assert summary.count == len(accepted)
    store.close()


@pytest.fixture
def postgres() -> Iterator[Server]:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    server = Server(programs, durable=True)
    yield server
    server.stop()


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = 60) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def test_while_postgresql_is_away_a_trainer_keeps_its_lines_and_all_arrive_once(
    postgres: Server, tmp_path: Path
) -> None:
    """The trainer's own reporter against a hub in a process of its own."""
    url, token = postgres.database("away"), tmp_path / "token"
    token.write_text("token-trial")
    folder = tmp_path / "output"
    folder.mkdir()
    spool = Spool(folder, 1)

    def report(count: int) -> None:
        for _ in range(count):
            seq = spool.seq + 1
            spool.append({"attempt": 1, "seq": seq, "step": seq, "time": 1.0 * seq, "metrics": {"loss": 1.0 * seq}})
            spool.seq = seq
        reporter.notify()

    with hub_process(url, tmp_path) as hub:
        reporter = Reporter(
            folder, Target(hub.url + contract.metrics_path(NAMESPACE, "trial"), token), rng=random.Random(0)
        )
        report(50)
        wait_for(lambda: not reporter.left(), "the first lines")
        postgres.halt()
        wait_for(
            lambda: httpx.get(f"{hub.url}/readyz", timeout=60).status_code == 503, "the hub to say it is not ready"
        )
        assert httpx.get(f"{hub.url}/healthz", timeout=60).status_code == 200
        report(50)
        answer = httpx.post(
            hub.url + contract.metrics_path(NAMESPACE, "trial"),
            content=b'{"attempt":9,"seq":1,"step":1,"time":1,"metrics":{}}',
            headers={"Authorization": "Bearer token-trial", "Content-Type": "application/x-ndjson"},
            timeout=60,
        )
        assert (answer.status_code, answer.json()["error"]["code"]) == (503, "Unavailable")
        assert answer.headers["Retry-After"]
        assert reporter.left()
        postgres.start()
        wait_for(lambda: httpx.get(f"{hub.url}/readyz", timeout=60).status_code == 200, "the hub to be ready again")
        wait_for(lambda: not reporter.left(), "the lines from meanwhile")
        assert reporter.close(10)
    store = open_store(url, max_metrics_per_run=100)
    run = store.reader.snapshot_by_name(NAMESPACE, "trial")
    assert run is not None
    points = store.reader.series(run.id, "loss")
    assert points is not None
    assert [point.step for point in points] == list(range(1, 101))
    assert run.metrics[0].count == 100
    store.close()
