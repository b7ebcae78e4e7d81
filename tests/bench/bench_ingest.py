"""Points a second into the hub, and their ratio to a bare endpoint's of the same run: 100 points a POST, 8 clients,
committed before the answer. `make bench`, or `pytest tests/bench/bench_ingest.py -s -o python_files='bench_*.py'`.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import random
import socket
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


def template(number: int) -> bytes:
    """A POST of a run with `%d` for its lines' seq, step and time. Values are of full length, as a training's are."""
    rng = random.Random(number)
    metrics = {f"m{metric}": rng.random() for metric in range(METRICS)}
    tail = b',"metrics":' + json.dumps(metrics, separators=(",", ":")).encode() + b"}\n"
    body = b'{"attempt":1,"seq":%10d,"step":%10d,"time":%10d.125' + tail
    size = len((body % (1, 1, 1)) * LINES)
    head = (
        f"POST {contract.metrics_path('radiology', run_name(number))} HTTP/1.1\r\nHost: hub\r\n"
        f"Authorization: Bearer token-{run_name(number)}\r\nContent-Type: application/x-ndjson\r\n"
        f"Content-Length: {size}\r\n\r\n"
    )
    return head.encode() + body * LINES


def client(port: int, number: int, first_seq: int, until: float, results: multiprocessing.SimpleQueue) -> None:  # type: ignore[type-arg]
    """Posts to a run of its own until `until` (monotonic seconds). Puts (last seq, latencies in seconds) into
    `results`. On a bare socket: what a client's own HTTP library costs would be taken from the server's CPUs.
    """
    form = template(number)
    latencies: list[float] = []
    seq = first_seq
    with socket.create_connection(("127.0.0.1", port), timeout=30) as connection:
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        while time.monotonic() < until:
            steps = range(seq, seq + LINES)
            request = form % tuple(one for step in steps for one in (step, step, 1_790_000_000 + step))
            seq += LINES
            started = time.monotonic()
            connection.sendall(request)
            answer = b""
            while b"}" not in answer:  # one object without another in it
                received = connection.recv(4096)
                assert received, answer
                answer += received
            latencies.append(time.monotonic() - started)
            assert answer.startswith(b"HTTP/1.1 200 "), answer
            assert b'"accepted":%d' % LINES in answer, answer
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
