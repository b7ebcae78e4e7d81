"""Fifty pods that each print 1 MB/s into the hub: its CPU and memory, and what metrics feel of it. `make bench`, or
`pytest tests/bench/bench_logs.py -s -o python_files='bench_*.py'`; a minute for both limits.
"""

from __future__ import annotations

import contextlib
import json
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.bench.hub_served import memory, process
from tests.bench.ingest_load import Measured, Target, load

MEASURED = 5.0
"""Seconds of a measurement."""
READ_SECONDS = 60
"""For the first megabyte of the logs to arrive."""


@contextlib.contextmanager
def started(kind: str, folder: Path, *arguments: str) -> Iterator[Target]:
    port_file = folder / kind
    with process("tests.bench.log_server", kind, str(port_file), *arguments, port_file=port_file) as (port, pid):
        yield Target(port, pid)


def log_bytes(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=60) as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("orkhaven_hub_log_bytes_total"))


def measure(folder: Path, *, logs: bool, limit: float) -> Measured:
    folder.mkdir()
    settings = json.dumps({"logs": logs, "log_bytes_per_second": limit})
    with contextlib.ExitStack() as stack:
        # A node that nobody reads would only take CPU.
        node = stack.enter_context(started("node", folder))
        hub = stack.enter_context(
            started("hub", folder, f"sqlite:///{folder}/hub.db", f"http://127.0.0.1:{node.port}", settings)
        )
        deadline = time.monotonic() + READ_SECONDS
        while logs and log_bytes(hub.port) < 1e6:
            assert time.monotonic() < deadline, "no log arrives"
            time.sleep(0.05)
        before, cpu, began = log_bytes(hub.port), hub.cpu_seconds(), time.monotonic()
        time.sleep(MEASURED)
        seconds = time.monotonic() - began
        rate, used = (log_bytes(hub.port) - before) / seconds, (hub.cpu_seconds() - cpu) / seconds
        _, measured = load(hub, 1, seconds=MEASURED)
        print(
            f"\n{'metrics and logs' if logs else 'metrics alone':18} logs {rate / 1e6:5.1f} MB/s at {used * 100:4.0f} %"
            f" of a core, {memory(hub.pid):4.0f} MB; then with metrics {measured.points_per_second:9,.0f} points/s "
            f"p50 {measured.p50_ms:.1f} ms p99 {measured.p99_ms:.1f} ms"
        )
        return measured


@pytest.mark.parametrize("limit", [1e9, 10e6], ids=["no limit", "default limit"])
def test_fifty_pods_of_a_megabyte_a_second(tmp_path: Path, limit: float) -> None:
    alone = measure(tmp_path / "alone", logs=False, limit=limit)
    both = measure(tmp_path / "both", logs=True, limit=limit)
    print(f"metrics keep {both.points_per_second / alone.points_per_second:.2f} of their rate")
