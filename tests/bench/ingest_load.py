"""Eight clients that post metric lines, 100 points a POST, and what a server took of them."""

from __future__ import annotations

import json
import multiprocessing
import os
import random
import socket
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, TypeAlias

from orkrun import contract

if TYPE_CHECKING:
    Results: TypeAlias = multiprocessing.SimpleQueue[tuple[int, list[float]]]

LINES, METRICS = 5, 20
RUNS = tuple(f"run-{number}" for number in range(8))


@dataclass(frozen=True)
class Measured:
    points: int
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


def template(run: str) -> bytes:
    """A POST of a run with `%d` for its lines' seq, step and time. Values are of full length, as a training's are."""
    rng = random.Random(run)
    metrics = {f"m{metric}": rng.random() for metric in range(METRICS)}
    tail = b',"metrics":' + json.dumps(metrics, separators=(",", ":")).encode() + b"}\n"
    body = b'{"attempt":1,"seq":%10d,"step":%10d,"time":%10d.125' + tail
    size = len((body % (1, 1, 1)) * LINES)
    head = (
        f"POST {contract.metrics_path('radiology', run)} HTTP/1.1\r\nHost: hub\r\n"
        f"Authorization: Bearer token-{run}\r\nContent-Type: application/x-ndjson\r\n"
        f"Content-Length: {size}\r\n\r\n"
    )
    return head.encode() + body * LINES


def client(port: int, run: str, first_seq: int, pace: float, until: float, results: Results) -> None:
    """Posts to the run until `until` (monotonic seconds), one after another and at most one per `pace` seconds. Puts
    (next seq, latencies in seconds) into `results`. On a bare socket: what a client's own HTTP library costs would be
    taken from the server's CPUs.
    """
    form = template(run)
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
            if pace:
                time.sleep(max(0.0, started + pace - time.monotonic()))
    results.put((seq, latencies))


def load(
    target: Target, first_seq: int, *, seconds: float, runs: Sequence[str] = RUNS, pace: float = 0.0
) -> tuple[int, Measured]:
    """One client per run. Returns the next free seq and what was measured."""
    context = multiprocessing.get_context("fork")
    results = context.SimpleQueue()
    until = time.monotonic() + seconds
    clients = [context.Process(target=client, args=(target.port, run, first_seq, pace, until, results)) for run in runs]
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
        points,
        points / seconds,
        statistics.median(latencies) * 1000,
        latencies[int(len(latencies) * 0.99)] * 1000,
        cpu / points * 1e6,
    )
    return max(seq for seq, _ in found), measured
