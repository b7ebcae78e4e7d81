"""What others answer and take in, asked as the hub is, in the same run: MLflow, Optuna Dashboard, Aim, each in an
environment of its own. `make bench-hub`, or `pytest tests/bench/bench_competitors.py -s -o python_files='bench_*.py'`.
"""

from __future__ import annotations

import contextlib
import json
import multiprocessing
import os
import signal
import socket
import statistics
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any
from urllib.parse import quote

import pytest

from tests.bench.competitors.installed import InstallError, environment
from tests.bench.hub_report import Report, What, Who, spread
from tests.bench.hub_served import Client, timed

if TYPE_CHECKING:
    from playwright.sync_api import Browser

HERE = Path(__file__).parent / "competitors"
RUNS = 10_000
CLIENTS = 8
INGEST_SECONDS = 6.0
START_SECONDS = 300
"""MLflow starts a dozen processes."""
JSON = {"Content-Type": "application/json"}
QUIET = {"MLFLOW_DISABLE_TELEMETRY": "true", "DO_NOT_TRACK": "true", "PYTHONWARNINGS": "ignore"}
"""None of them shall call home from here."""


def programs(name: str) -> Path:
    try:
        return environment(name)
    except InstallError as error:
        pytest.skip(f"{name} cannot be installed: {error}")


def call(*command: str | Path, folder: Path) -> str:
    """What it printed. Raises AssertionError with what it complained about."""
    done = subprocess.run(command, capture_output=True, text=True, cwd=folder, env={**os.environ, **QUIET})
    assert done.returncode == 0, done.stderr[-3000:]
    return done.stdout


@contextlib.contextmanager
def serving(*command: str | Path, folder: Path, health: str) -> Iterator[tuple[int, int]]:
    """Port and process (of a group of its own) of the server, `PORT` in its command replaced, once it answers."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    words = [str(word).replace("PORT", str(port)) for word in command]
    with open(folder / "server.log", "wb") as log:
        process = subprocess.Popen(
            words, cwd=folder, stdout=log, stderr=log, env={**os.environ, **QUIET}, start_new_session=True
        )
        try:
            deadline = time.monotonic() + START_SECONDS
            while True:
                assert process.poll() is None, (folder / "server.log").read_text()[-3000:]
                assert time.monotonic() < deadline, "it does not start"
                with contextlib.suppress(OSError):
                    if Client(port, {}).send("GET", health)[0] == 200:
                        break
                time.sleep(0.2)
            yield port, process.pid
        finally:
            os.killpg(process.pid, signal.SIGKILL)
            process.wait()


def memory_of_group(leader: int) -> float:
    """MB of all processes of the group, pages that they share counted once."""
    total = 0
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            if os.getpgid(int(folder.name)) == leader:
                lines = (folder / "smaps_rollup").read_text().splitlines()
                total += sum(int(line.split()[1]) for line in lines if line.startswith("Pss:"))
    return total / 1024


def test_mlflow(tmp_path: Path, report: Report) -> None:
    bin_ = programs("mlflow")
    database = tmp_path / "mlflow.db"
    experiment = call(bin_ / "python", HERE / "fill_mlflow.py", database, str(RUNS), folder=tmp_path).split()[-1]
    size = database.stat().st_size / (RUNS * 100)
    store = f"sqlite:///{database}"
    command = (bin_ / "mlflow", "server", "--backend-store-uri", store, "--host", "127.0.0.1", "--port", "PORT")
    with serving(*command, folder=tmp_path, health="/health") as (port, pid):
        client = Client(port, {})

        def search(filter_: str) -> tuple[int, bytes]:
            body = {"experiment_ids": [experiment], "max_results": 50, "order_by": ["metrics.`val/dice` DESC"]}
            text = json.dumps({**body, "filter": filter_}).encode()
            return client.send("POST", "/api/2.0/mlflow/runs/search", text, **JSON)

        filtered = timed(lambda _: search("params.architecture = 'Unet'"), count=10)
        whole = timed(lambda _: search(""), count=3)
        report.add(What.BOARD, f"{spread(filtered)} with one filter; {spread(whole)} without", who=Who.MLFLOW)
        found = json.loads(search("params.architecture = 'Unet'")[1])["runs"][:10]
        history = f"/api/2.0/mlflow/metrics/get-history?metric_key={quote('val/dice', safe='')}&run_id="
        paths = [history + run["info"]["run_id"] for run in found]

        def curves(_number: int) -> tuple[int, bytes]:
            for path in paths:
                status, answer = client.send("GET", path)
                assert status == 200, answer
            return status, answer

        report.add(What.CURVES, f"{spread(timed(curves, count=5))}, 20 points each", who=Who.MLFLOW)
        rate, latencies = mlflow_ingest(port, client, experiment)
        report.add(What.SQLITE, f"{rate:,.0f} points/s, {spread(latencies)}", who=Who.MLFLOW)
        report.add(What.MEMORY, f"{memory_of_group(pid):,.0f} MB (PSS of all its processes)", who=Who.MLFLOW)
    report.add(What.SQLITE_SIZE, f"{size:.0f} B/point", who=Who.MLFLOW)
    report.note(
        f"MLflow: its server with SQLite and no other setting, {RUNS:,} runs x 5 metrics x 20 points (1/20 of ours), "
        "filled straight into its tables. Its curves are ten calls, as its client makes them."
    )


def mlflow_ingest(port: int, client: Client, experiment: str) -> tuple[float, list[float]]:
    """Points a second by log-batch over HTTP, 8 clients, 100 points a call; milliseconds of each call."""
    context = multiprocessing.get_context("fork")
    results: Any = context.SimpleQueue()
    runs = []
    for _ in range(CLIENTS):
        body = json.dumps({"experiment_id": experiment, "start_time": 1}).encode()
        status, answer = client.send("POST", "/api/2.0/mlflow/runs/create", body, **JSON)
        assert status == 200, answer
        runs.append(json.loads(answer)["run"]["info"]["run_id"])
    until = time.monotonic() + INGEST_SECONDS
    clients = [context.Process(target=mlflow_client, args=(port, run, until, results)) for run in runs]
    for process in clients:
        process.start()
    found = [results.get() for _ in clients]
    for process in clients:
        process.join()
    latencies = [one * 1000 for mine in found for one in mine]
    return len(latencies) * 100 / INGEST_SECONDS, latencies


def mlflow_client(port: int, run: str, until: float, results: Any) -> None:
    client, step, latencies = Client(port, {}), 0, []
    while time.monotonic() < until:
        time_ms = 1_790_000_000_000 + step
        metrics = [
            {"key": f"m{number % 20}", "value": number / 7, "timestamp": time_ms, "step": step + number // 20}
            for number in range(100)
        ]
        step += 5
        body = json.dumps({"run_id": run, "metrics": metrics}).encode()
        started = time.monotonic()
        status, answer = client.send("POST", "/api/2.0/mlflow/runs/log-batch", body, **JSON)
        latencies.append(time.monotonic() - started)
        assert status == 200, answer
    results.put(latencies)


def test_optuna_dashboard(tmp_path: Path, chromium: Browser, report: Report) -> None:
    bin_ = programs("optuna-dashboard")
    database = tmp_path / "optuna.db"
    call(bin_ / "python", HERE / "fill_optuna.py", database, str(RUNS), folder=tmp_path)
    command = (bin_ / "optuna-dashboard", f"sqlite:///{database}", "--server", "wsgiref", "--port", "PORT")
    with serving(*command, folder=tmp_path, health="/api/meta") as (port, pid):
        client = Client(port, {})
        answers = timed(lambda _: client.send("GET", "/api/studies/1?after=0"), count=4)
        board = f"{spread(answers[1:])} ({client.size / 1e6:.0f} MB, all trials; the first {answers[0] / 1000:.1f} s)"
        report.add(What.BOARD, board, who=Who.OPTUNA)
        context = chromium.new_context(viewport={"width": 1600, "height": 900})
        page = context.new_page()
        session = context.new_cdp_session(page)
        session.send("Network.enable")
        sizes: list[float] = []
        session.on("Network.loadingFinished", lambda event: sizes.append(event["encodedDataLength"]))
        started = time.perf_counter()
        page.goto(f"http://127.0.0.1:{port}/dashboard/studies/1", wait_until="commit")
        page.wait_for_selector(".js-plotly-plot .scatterlayer .trace .points path", state="attached", timeout=180_000)
        report.add(What.PLOT, f"{time.perf_counter() - started:.1f} s (once)", who=Who.OPTUNA)
        report.add(What.BYTES, f"{sum(sizes) / 1e6:.0f} MB", who=Who.OPTUNA)
        report.add(What.MEMORY, f"{memory_of_group(pid):,.0f} MB", who=Who.OPTUNA)
        context.close()
    report.note(
        f"Optuna Dashboard: SQLite, {RUNS:,} trials with 6 parameters and one value, no intermediate values, filled "
        "straight into its tables. It has no table on the server: the browser gets all trials."
    )


def test_aim(tmp_path: Path, report: Report) -> None:
    bin_ = programs("aim")
    runs, points = 2, 100
    call(bin_ / "aim", "init", "--repo", str(tmp_path), "-s", folder=tmp_path)
    text = call(
        bin_ / "python", HERE / "side_aim.py", "log", tmp_path, str(CLIENTS), str(runs), str(points), folder=tmp_path
    )
    logged = json.loads(text.splitlines()[-1])
    call(bin_ / "aim", "storage", "--repo", str(tmp_path), "reindex", "-y", folder=tmp_path)
    asked = json.loads(
        call(bin_ / "python", HERE / "side_aim.py", "ask", tmp_path, "10", folder=tmp_path).splitlines()[-1]
    )
    report.add(What.SQLITE, f"{logged['points_per_second']:,.0f} points/s (its own store)", who=Who.AIM)
    report.add(What.SQLITE_SIZE, f"{logged['bytes_a_point']:.0f} B/point (its own store)", who=Who.AIM)
    board = statistics.median(asked["board"]) * 1000
    report.add(What.BOARD, f"median {board:.0f} ms, {CLIENTS * runs} runs", who=Who.AIM)
    report.add(What.CURVES, f"{spread([one * 1000 for one in asked['curves']])}, {points} points each", who=Who.AIM)
    report.note(
        f"Aim: its client on a local repository, no server; {CLIENTS * runs} runs x 20 metrics x {points} points, "
        "logged by its client: 10,000 runs would take hours. Its leaderboard is its own filter and a sort in Python."
    )
