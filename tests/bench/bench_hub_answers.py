"""Answers of the hub over a store of 10,000 runs x 20 metrics x 100 points: leaderboard, curves, memory, size. `make
bench`, or `pytest tests/bench/bench_hub.py -s -o python_files='bench_*.py'`. A store once made is used again where
ORKHAVEN_BENCH_STORE names its file.
"""

from __future__ import annotations

import contextlib
import http.client
import os
import random
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from urllib.parse import urlencode

from tests.bench import hub_store
from tests.bench.hub_store import METRICS, NAMESPACE, POINTS, RUNS, SWEEP

ROOT = Path(__file__).resolve().parents[2]
HEADERS = {"Authorization": "Bearer reader"}
REQUESTS = 300

FILTERS = [
    "",
    'state == "Failed"',
    'state == "Succeeded" and params.batch_size >= 8',
    'metrics["val/dice"].best > 0.7 and params.model.architecture in ("Unet", "FPN")',
    'reason in ("CudaOutOfMemory", "Timeout") or not metrics["val/loss"].last < 0.5',
    'name ~ "covid-*7" and params.optimizer.lr < 0.001',
]
SORTS = [
    "",
    "objective",
    "-params.optimizer.lr",
    "params.model.architecture,-objective",
    '-metrics["val/class-3"].max',
    'metrics["train/loss"].best,name',
    "state,reason,-seconds",
]


@contextlib.contextmanager
def served(database: Path, folder: Path) -> Iterator[tuple[int, int]]:
    """Port and process of a hub over the store."""
    port_file = folder / "port"
    process = subprocess.Popen([sys.executable, "-m", "tests.bench.hub_store", str(database), str(port_file)], cwd=ROOT)
    try:
        deadline = time.monotonic() + 60
        while not port_file.exists():
            assert process.poll() is None, "the hub ended"
            assert time.monotonic() < deadline, "the hub does not start"
            time.sleep(0.02)
        yield int(port_file.read_text()), process.pid
    finally:
        process.kill()
        process.wait()


class Client:
    def __init__(self, port: int) -> None:
        self._connection = http.client.HTTPConnection("127.0.0.1", port, timeout=60)
        self.size = 0

    def get(self, path: str, **params: object) -> tuple[int, bytes]:
        query = urlencode({key: value for key, value in params.items() if value != ""}, doseq=True)
        self._connection.request(
            "GET", f"/api/v1/namespaces/{NAMESPACE}/sweeps/{SWEEP}/{path}?{query}", headers=HEADERS
        )
        answer = self._connection.getresponse()
        body = answer.read()
        self.size = len(body)
        return answer.status, body

    def timed(self, ask: Callable[[int], tuple[int, bytes]], *, count: int = REQUESTS) -> list[float]:
        """Milliseconds of each, sorted."""
        found: list[float] = []
        for number in range(count):
            started = time.perf_counter()
            status, body = ask(number)
            found.append((time.perf_counter() - started) * 1000)
            assert status == 200, body
        return sorted(found)


def memory(pid: int, field: str = "VmRSS") -> float:
    """MB."""
    for line in Path(f"/proc/{pid}/status").read_text().splitlines():
        if line.startswith(f"{field}:"):
            return int(line.split()[1]) / 1024
    raise AssertionError(f"no {field}")


def test_ten_thousand_runs(tmp_path: Path) -> None:
    database = Path(os.environ.get("ORKHAVEN_BENCH_STORE") or tmp_path / "hub.db")
    if not database.exists():
        started = time.perf_counter()
        hub_store.fill(database)
        print(f"\nmade {RUNS * METRICS * POINTS:,} points in {time.perf_counter() - started:.0f} s")
    size = database.stat().st_size / (RUNS * METRICS * POINTS)
    rows: list[tuple[str, str, str]] = []
    with served(database, tmp_path) as (port, pid):
        client = Client(port)
        started = time.perf_counter()
        while client.get("leaderboard")[0] == 503:
            time.sleep(0.02)
        first = (time.perf_counter() - started) * 1000
        rows.append(("from the start to the first leaderboard", f"{first:,.0f} ms", ""))
        rng = random.Random(0)

        def add(name: str, times: list[float], bar: str) -> None:
            p50, p95 = times[len(times) // 2], times[int(len(times) * 0.95)]
            rows.append((f"{name} ({client.size / 1000:.0f} kB)", f"p50 {p50:.1f} ms, p95 {p95:.1f} ms", bar))

        def any_page(_number: int) -> tuple[int, bytes]:
            return client.get("leaderboard", filter=rng.choice(FILTERS), sort=rng.choice(SORTS))

        add("leaderboard, top 50, any sort, any filter", client.timed(any_page), "p95 25 ms")

        def new_page(number: int) -> tuple[int, bytes]:
            filter_ = f'metrics["val/dice"].best > {rng.random():.6f} and params.optimizer.lr > {number * 1e-6:.6f}'
            return client.get("leaderboard", filter=filter_, sort=rng.choice(SORTS), columns="default,metrics")

        add("leaderboard, a new filter each, all 180 numbers of metrics", client.timed(new_page), "p95 25 ms")

        def ten_curves(_number: int) -> tuple[int, bytes]:
            names = [hub_store.run_name(number) for number in rng.sample(range(RUNS), 10)]
            return client.get("curves", metric=rng.choice(hub_store.NAMES), experiment=names)

        add("10 curves of any runs", client.timed(ten_curves), "p95 15 ms")
        add("10 curves of the best", client.timed(lambda _: client.get("curves", metric="val/dice")), "p95 15 ms")
        add(
            "10 curves over time",
            client.timed(lambda _: client.get("curves", metric="val/loss", x="time")),
            "",
        )
        add(
            "mean with band of 500 runs by model",
            client.timed(lambda _: client.get("bands", metric="val/dice", group="params.model.architecture"), count=10),
            "",
        )
        add("all runs as CSV", client.timed(lambda _: client.get("leaderboard", format="csv"), count=5), "")
        rows.append(("memory of the hub", f"{memory(pid):.0f} MB, at most {memory(pid, 'VmHWM'):.0f} MB", "200 MB"))
    rows.append(("store", f"{size:.1f} bytes a point", "45"))
    print(f"\n{RUNS:,} runs x {METRICS} metrics x {POINTS} points, SQLite, {os.cpu_count()} CPUs\n")
    print("| what | measured | bar |\n|---|---|---|")
    for row in rows:
        print(f"| {' | '.join(row)} |")
