"""Fifty pods that each print 1 MB/s into the hub: its CPU and memory, and what metrics feel of it. `make bench`, or
`pytest tests/bench/bench_logs.py -s -o python_files='bench_*.py'`.
"""

from __future__ import annotations

import contextlib
import json
import os
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.bench.bench_ingest import ROOT, Target, load

MEASURED = 6.0
"""Seconds of a measurement."""


@contextlib.contextmanager
def started(port_file: Path, *arguments: str) -> Iterator[Target]:
    command = [sys.executable, "-m", "tests.bench.log_server", arguments[0], str(port_file), *arguments[1:]]
    process = subprocess.Popen(command, cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert process.poll() is None, f"{arguments[0]} ended"
            assert time.monotonic() < deadline, f"{arguments[0]} does not start"
            time.sleep(0.05)
        yield Target(int(port_file.read_text()), process.pid)
    finally:
        process.kill()
        process.wait()


def resident_mb(pid: int) -> float:
    pages = int(Path(f"/proc/{pid}/statm").read_text().split()[1])
    return pages * os.sysconf("SC_PAGE_SIZE") / 1e6


def log_bytes(port: int) -> float:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics") as answer:
        lines = answer.read().decode().splitlines()
    return next(float(line.split()[1]) for line in lines if line.startswith("orkhaven_hub_log_bytes_total"))


@pytest.mark.parametrize("limit", [1e9, 10e6], ids=["no limit", "default limit"])
def test_fifty_pods_of_a_megabyte_a_second(tmp_path: Path, limit: float) -> None:
    found: dict[str, Any] = {}
    for name, logs in (("metrics alone", False), ("metrics and logs", True)):
        settings = json.dumps({"logs": logs, "log_bytes_per_second": limit})
        folder = tmp_path / name.replace(" ", "-")
        folder.mkdir()
        with started(folder / "node", "node") as node, started(
            folder / "hub", "hub", f"sqlite:///{folder}/hub.db", f"http://127.0.0.1:{node.port}", settings
        ) as hub:  # fmt: skip
            while logs and log_bytes(hub.port) < 1e6:
                time.sleep(0.05)
            before, cpu, began = log_bytes(hub.port), hub.cpu_seconds(), time.monotonic()
            time.sleep(MEASURED)
            seconds = time.monotonic() - began
            rate = (log_bytes(hub.port) - before) / seconds
            used = (hub.cpu_seconds() - cpu) / seconds
            _, measured = load(hub, 1, seconds=MEASURED)
            found[name] = measured
            print(
                f"\n{name:18} logs {rate / 1e6:5.1f} MB/s at {used * 100:4.0f} % of a core, "
                f"{resident_mb(hub.pid):4.0f} MB resident; then with metrics "
                f"{measured.points_per_second:9,.0f} points/s p50 {measured.p50_ms:.1f} ms p99 {measured.p99_ms:.1f} ms"
            )
    ratio = found["metrics and logs"].points_per_second / found["metrics alone"].points_per_second
    print(f"metrics keep {ratio:.2f} of their rate")
