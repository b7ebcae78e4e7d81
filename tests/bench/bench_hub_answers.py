"""Answers of the hub over a store of 10,000 runs x 20 metrics x 100 points: leaderboard, page, curves, memory, size.
`make bench-hub`, or `pytest tests/bench/bench_hub_answers.py -s -o python_files='bench_*.py'`.
"""

from __future__ import annotations

import random
from collections.abc import Callable
from pathlib import Path

from tests.bench import hub_store
from tests.bench.hub_report import Report, What, spread
from tests.bench.hub_served import API, PAGE, Client, memory, served, timed
from tests.bench.ingest_load import Target

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


def test_ten_thousand_runs(ten_thousand_runs: Path, tmp_path: Path, report: Report) -> None:
    size = ten_thousand_runs.stat().st_size / hub_store.TOTAL
    rng = random.Random(0)
    with served(ten_thousand_runs, tmp_path) as hub:
        client = Client(hub.port)
        target = Target(hub.port, hub.pid)

        def measured(ask: Callable[[int], tuple[int, bytes]], *, count: int) -> str:
            cpu = target.cpu_seconds()
            times = spread(timed(ask, count=count))
            cpu = (target.cpu_seconds() - cpu) / count * 1000
            return f"{times} ({client.size / 1000:.0f} kB, {cpu:.1f} ms of CPU)"

        report.add(What.START, f"{hub.first_ms / 1000:.1f} s")

        def any_board(_number: int) -> tuple[int, bytes]:
            return client.get(f"{API}/leaderboard", filter=rng.choice(FILTERS), sort=rng.choice(SORTS))

        report.add(What.BOARD, measured(any_board, count=REQUESTS))

        def new_board(number: int) -> tuple[int, bytes]:
            filter_ = f'metrics["val/dice"].best > {rng.random():.6f} and params.optimizer.lr > {number * 1e-6:.6f}'
            return client.get(f"{API}/leaderboard", filter=filter_, sort=rng.choice(SORTS), columns="default,metrics")

        report.add(What.BOARD_NEW, measured(new_board, count=REQUESTS // 2))

        def any_page(_number: int) -> tuple[int, bytes]:
            return client.get(PAGE, filter=rng.choice(FILTERS), sort=rng.choice(SORTS))

        report.add(What.PAGE, measured(any_page, count=REQUESTS // 2))

        def ten_curves(_number: int) -> tuple[int, bytes]:
            names = [hub_store.run_name(number) for number in rng.sample(range(hub_store.RUNS), 10)]
            return client.get(f"{API}/curves", metric=rng.choice(hub_store.NAMES), experiment=names)

        report.add(What.CURVES, measured(ten_curves, count=REQUESTS))
        best = measured(lambda _: client.get(f"{API}/curves", metric="val/dice"), count=REQUESTS // 3)
        by_time = measured(lambda _: client.get(f"{API}/curves", metric="val/loss", x="time"), count=REQUESTS // 3)
        bands = measured(
            lambda _: client.get(f"{API}/bands", metric="val/dice", group="params.model.architecture"), count=5
        )
        csv = measured(lambda _: client.get(f"{API}/leaderboard", format="csv"), count=5)
        parallel = measured(lambda _: client.get(f"{PAGE}/parallel"), count=5)
        report.note(
            f"Beside the table: 10 curves of the best {best}, over time {by_time}; mean with band of 500 runs by model "
            f"{bands}; all runs as CSV {csv}; what parallel coordinates are drawn of {parallel}."
        )
        report.add(What.MEMORY, f"{memory(hub.pid):.0f} MB, at most {memory(hub.pid, 'VmHWM'):.0f} MB")
    report.add(What.SQLITE_SIZE, f"{size:.1f} B/point")
    report.note(
        f"Orkhaven's store: {hub_store.RUNS:,} runs x {hub_store.METRICS} metrics x {hub_store.POINTS} points in "
        "SQLite, filled straight into the tables; the cluster's objects are made up, and listed as by the API server."
    )
