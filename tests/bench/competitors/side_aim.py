"""Inside Aim's own environment. `python side_aim.py log REPOSITORY CLIENTS RUNS POINTS` logs with CLIENTS processes,
RUNS runs each, METRICS metrics x POINTS points a run; `... ask REPOSITORY COUNT` asks COUNT times. Both print JSON.
"""

from __future__ import annotations

import json
import multiprocessing
import random
import sys
import time
from multiprocessing.synchronize import Barrier
from pathlib import Path

from aim import Repo, Run
from aim.storage.context import Context

METRICS = [f"m{number}" for number in range(20)]
MODELS = ["Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3Plus", "Segformer"]


def log(repository: str, number: int, runs: int, points: int, begin: Barrier) -> None:
    rng = random.Random(number)
    begin.wait()
    for _ in range(runs):
        run = Run(repo=repository, system_tracking_interval=None, log_system_params=False, capture_terminal_logs=False)
        run["hparams"] = {"architecture": rng.choice(MODELS), "lr": rng.random(), "batch_size": rng.choice([4, 8])}
        for step in range(points):
            for metric in METRICS:
                run.track(rng.random(), name=metric, step=step)
        run.close()


def main() -> None:
    what, repository, *numbers = sys.argv[1:]
    if what == "log":
        clients, runs, points = map(int, numbers)
        # Not forked: its threads and locks would not come along.
        context = multiprocessing.get_context("spawn")
        begin = context.Barrier(clients + 1)
        processes = [context.Process(target=log, args=(repository, n, runs, points, begin)) for n in range(clients)]
        for process in processes:
            process.start()
        begin.wait()
        started = time.monotonic()
        for process in processes:
            process.join()
        seconds = time.monotonic() - started
        assert all(process.exitcode == 0 for process in processes)
        total = clients * runs * points * len(METRICS)
        size = sum(file.stat().st_size for file in Path(repository).rglob("*") if file.is_file())
        print(json.dumps({"points_per_second": total / seconds, "bytes_a_point": size / total}))
        return
    repo = Repo(repository)
    times: dict[str, list[float]] = {"board": [], "curves": []}
    for _ in range(int(numbers[0])):
        started = time.monotonic()
        found = [
            (one.run.get_metric("m0", context=Context({})) or None, one.run.hash)
            for one in repo.query_runs("run.hparams.batch_size == 4").iter_runs()
        ]
        ranked = sorted(((metric.values.last()[1] if metric else 0.0, name) for metric, name in found), reverse=True)[
            :50
        ]
        times["board"].append(time.monotonic() - started)
        assert ranked
        started = time.monotonic()
        names = [name for _, name in ranked[:10]]
        curves = repo.query_metrics(f'metric.name == "m0" and run.hash in {names!r}').iter()
        assert sum(len(curve.values.values_list()) for curve in curves)
        times["curves"].append(time.monotonic() - started)
    print(json.dumps(times))


if __name__ == "__main__":
    main()
