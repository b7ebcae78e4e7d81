"""Points a second into the hub, and their ratio to a bare endpoint's of the same run: 100 points a POST, 8 clients,
committed before the answer. `make bench`, or `pytest tests/bench/bench_ingest.py -s -o python_files='bench_*.py'`.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import multiprocessing
import os
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import pytest

from orkrun import contract
from tests.bench.hub_server import RUNS, run_name
from tests.unit.hub.postgres import Server, find_programs

ROOT = Path(__file__).resolve().parents[2]
LINES, METRICS = 5, 20
SECONDS = 3.0
ROUNDS = 3


@dataclass(frozen=True)
class Measured:
    points_per_second: float
    p50_ms: float
    p99_ms: float
    cpu_us: float
    """Microseconds of the server's CPU time per point: what is comparable where others use the machine too."""


@dataclass(frozen=True)
class Target:
    port: int
    pid: int

    def cpu_seconds(self) -> float:
        fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


@contextlib.contextmanager
def server(kind: str, database: str, folder: Path) -> Iterator[Target]:
    folder.mkdir(exist_ok=True)
    port_file = folder / "port"
    port_file.unlink(missing_ok=True)
    process = subprocess.Popen(
        [sys.executable, "-m", "tests.bench.hub_server", kind, database, str(port_file)], cwd=ROOT
    )
    try:
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert process.poll() is None, f"{kind} ended"
            assert time.monotonic() < deadline, f"{kind} does not start"
            time.sleep(0.05)
        yield Target(int(port_file.read_text()), process.pid)
    finally:
        process.kill()
        process.wait()


def client(port: int, number: int, first_seq: int, until: float, results: multiprocessing.SimpleQueue) -> None:  # type: ignore[type-arg]
    """Posts to a run of its own until `until` (monotonic seconds). Puts (last seq, latencies in seconds) into
    `results`.
    """
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30)
    path = contract.metrics_path("radiology", run_name(number))
    headers = {"Authorization": f"Bearer token-{run_name(number)}", "Content-Type": "application/x-ndjson"}
    metrics = {f"m{metric}": 0.123456789 * (metric + 1) for metric in range(METRICS)}
    tail = b',"metrics":' + json.dumps(metrics, separators=(",", ":")).encode() + b"}\n"
    latencies: list[float] = []
    seq = first_seq
    while time.monotonic() < until:
        body = b""
        for _ in range(LINES):
            body += b'{"attempt":1,"seq":%d,"step":%d,"time":%.3f' % (seq, seq, 1.79e9 + seq) + tail
            seq += 1
        started = time.monotonic()
        connection.request("POST", path, body=body, headers=headers)
        answer = connection.getresponse()
        text = answer.read()
        assert answer.status == 200, text
        latencies.append(time.monotonic() - started)
    results.put((seq, latencies))


def load(target: Target, first_seq: int, *, seconds: float) -> tuple[int, Measured]:
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    until = time.monotonic() + seconds
    clients = [
        context.Process(target=client, args=(target.port, number, first_seq, until, results)) for number in range(RUNS)
    ]
    for process in clients:
        process.start()
    cpu = target.cpu_seconds()
    found = [results.get() for _ in clients]
    cpu = target.cpu_seconds() - cpu
    for process in clients:
        process.join()
    latencies = sorted(latency for _, mine in found for latency in mine)
    points = len(latencies) * LINES * METRICS
    measured = Measured(
        points / seconds,
        statistics.median(latencies) * 1000,
        latencies[int(len(latencies) * 0.99)] * 1000,
        cpu / points * 1e6,
    )
    return max(seq for seq, _ in found), measured


def compare(hub_database: str, folder: Path) -> None:
    bare: list[Measured] = []
    hub: list[Measured] = []
    with server("bare", str(folder / "bare.db"), folder / "bare") as bare_target, server(
        "hub", hub_database, folder / "hub"
    ) as hub_target:  # fmt: skip
        bare_seq, _ = load(bare_target, 1, seconds=1)
        hub_seq, _ = load(hub_target, 1, seconds=1)
        for _ in range(ROUNDS):
            bare_seq, measured = load(bare_target, bare_seq, seconds=SECONDS)
            bare.append(measured)
            hub_seq, measured = load(hub_target, hub_seq, seconds=SECONDS)
            hub.append(measured)
    print()
    for name, rounds in (("bare endpoint, SQLite", bare), ("hub", hub)):
        rates = [one.points_per_second for one in rounds]
        print(
            f"{name:24} {statistics.median(rates):9,.0f} points/s ({min(rates):,.0f}-{max(rates):,.0f})  "
            f"p50 {statistics.median(one.p50_ms for one in rounds):.1f} ms  "
            f"p99 {statistics.median(one.p99_ms for one in rounds):.1f} ms  "
            f"{statistics.median(one.cpu_us for one in rounds):.1f} us CPU a point"
        )
    ratio = statistics.median(h.points_per_second / b.points_per_second for h, b in zip(hub, bare, strict=True))
    print(f"{'ratio':24} {ratio:9.2f}")
    assert ratio > 0.25


def test_ingest_into_sqlite(tmp_path: Path) -> None:
    compare(f"sqlite:///{tmp_path}/hub.db", tmp_path)
    size = (tmp_path / "hub.db").stat().st_size
    print(f"store                    {size / 1e6:9,.1f} MB")


def test_ingest_into_postgresql(tmp_path: Path) -> None:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    postgres = Server(programs)
    try:
        compare(postgres.database("bench"), tmp_path)
    finally:
        postgres.stop()
