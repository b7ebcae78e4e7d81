"""A store and a cluster of 10,000 finished runs, made in seconds: what the hub's benches ask. `python -m
tests.bench.hub_store DATABASE PORT_FILE` serves them.
"""

from __future__ import annotations

import contextlib
import gc
import math
import random
import socket
import sqlite3
import sys
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import uvicorn

from orkhaven.hub.app import create_app
from orkhaven.hub.server import GC_THRESHOLDS
from orkhaven.hub.settings import HubSettings
from orkhaven.hub.storage.store import open_store
from tests.unit.hub.fakes import FakeCluster

RUNS, METRICS, POINTS = 10_000, 20, 100
TOTAL = RUNS * METRICS * POINTS
LIVE = 8
"""Runs of the sweep that have reported nothing yet: `live-0` and so on, each with its pod's token."""
NAMESPACE, SWEEP = "radiology", "covid"
OBJECTIVE = {"metric": "val/dice", "direction": "Maximize"}
NAMES = ["val/dice", "val/loss", "train/loss", *(f"val/class-{number}" for number in range(METRICS - 3))]
MODELS = ["Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3Plus", "Segformer"]
LOSSES = ["dice", "focal", "crossentropy", "tversky"]


def run_name(number: int) -> str:
    return f"{SWEEP}-{number:05d}"


def uid(number: int) -> str:
    return f"00000000-0000-4000-8000-{number:012d}"


def params_of(number: int) -> dict[str, Any]:
    """Eight that vary and as many that do not, as sweeps have them."""
    rng = random.Random(number // 2)
    return {
        "model": {
            "architecture": rng.choice(MODELS),
            "encoder": rng.choice(["resnet34", "mit_b0"]),
            "pretrained": True,
        },
        "optimizer": {"name": "AdamW", "lr": round(10 ** rng.uniform(-5, -2), 8), "weight_decay": 0.01},
        "loss": {"name": rng.choice(LOSSES), "gamma": round(rng.uniform(1, 5), 3)},
        "batch_size": rng.choice([4, 8, 16]),
        "augment": {"flip": rng.random() < 0.5, "rotate": rng.choice([0, 15, 30])},
        "epochs": POINTS,
        "data": {"dataset": "covid", "window": [-1000, 400], "spacing": 1.0, "folds": 5},
    }


def best_of(number: int) -> float:
    return 0.3 + 0.6 * random.Random(-number - 1).random()


def fill(database: Path, *, runs: int = RUNS) -> None:
    """Straight into the tables: over HTTP 20 million points would take minutes."""
    open_store(f"sqlite:///{database}", max_metrics_per_run=1000).close()
    connection = sqlite3.connect(database, isolation_level=None)
    connection.execute("PRAGMA synchronous = OFF")
    connection.execute("BEGIN")
    connection.executemany("INSERT INTO metric_names VALUES (?, ?)", list(enumerate(NAMES, 1)))
    shape = [1 - math.exp(-5 * step / POINTS) for step in range(1, POINTS + 1)]
    start = 1.79e9
    for number in range(runs):
        best, rng = best_of(number), random.Random(number)
        run_id, begun = number + 1, start + number * 10
        connection.execute(
            "INSERT INTO runs VALUES (?, ?, ?, ?, ?, ?, 0, ?, ?, ?, ?, 1, 1, 1, ?, ?, ?, ?, ?, 1, ?, 2, 2, NULL)",
            (
                run_id, uid(number), NAMESPACE, run_name(number), SWEEP, OBJECTIVE["metric"], begun, begun + POINTS,
                POINTS, POINTS * METRICS, begun, POINTS, POINTS, begun + POINTS, POINTS, POINTS,
            ),
        )  # fmt: skip
        connection.executemany(
            "INSERT INTO lines VALUES (?, 1, ?, ?, ?)",
            [(run_id, step, step, begun + step) for step in range(1, POINTS + 1)],
        )
        for metric in range(1, METRICS + 1):
            falls = "loss" in NAMES[metric - 1]
            noise = [rng.random() for _ in range(4)]
            values = [
                ((1 - best * part) if falls else best * part) + 0.01 * noise[step % 4]
                for step, part in enumerate(shape)
            ]
            low, high = min(values), max(values)
            connection.executemany(
                "INSERT INTO points VALUES (?, ?, ?, 1, ?, ?)",
                [(run_id, metric, step, step, value) for step, value in enumerate(values, 1)],
            )
            connection.execute(
                "INSERT INTO summaries VALUES (?, ?, ?, 1, ?, ?, ?, ?, ?, ?, ?)",
                (
                    run_id, metric, POINTS, POINTS, POINTS, values[-1],
                    low, values.index(low) + 1, high, values.index(high) + 1,
                ),
            )  # fmt: skip
    connection.execute("COMMIT")
    connection.close()


def experiments(runs: int) -> Iterator[dict[str, Any]]:
    """As the API server would list them."""
    rng = random.Random(0)
    for number in range(runs):
        failed = rng.random() < 0.06
        reason = rng.choice(["CudaOutOfMemory", "Timeout", "Diverged"]) if failed else "Completed"
        best = best_of(number)
        yield {
            "kind": "Experiment",
            "metadata": {
                "name": run_name(number),
                "namespace": NAMESPACE,
                "uid": uid(number),
                "resourceVersion": str(number + 10),
                "creationTimestamp": "2026-09-21T13:46:40Z",
                "labels": {"orkhaven.io/sweep": SWEEP, "orkhaven.io/trial": str(number)},
            },
            "spec": {"params": params_of(number), "seed": number % 2, "objective": OBJECTIVE},
            "status": {
                "state": "Failed" if failed else "Succeeded",
                "reason": reason,
                "message": f"{reason} after {POINTS} steps",
                "paramHash": f"{number // 2:064x}",
                "conditions": [{"type": "Finished", "status": "True", "reason": reason}],
                "progress": {"step": POINTS, "totalSteps": POINTS},
                "objective": {"value": best, "step": POINTS},
                "metrics": {name: {"last": best, "best": best, "bestStep": POINTS} for name in NAMES},
                "attempts": [
                    {
                        "number": 1, "job": f"{run_name(number)}-1", "node": f"node-{number % 16}",
                        "gpuModel": "NVIDIA-A100-SXM4-80GB", "exitCode": 1 if failed else 0,
                    }
                ],
                "attemptCount": 1,
                "gpuSeconds": 3600.0,
                "startTime": "2026-09-21T13:46:40Z",
                "completionTime": "2026-09-21T14:46:40Z",
            },
        }  # fmt: skip


class MadeCluster(FakeCluster):
    """Lists its objects without keeping them: their memory would be counted as the hub's."""

    def __init__(self, runs: int) -> None:
        super().__init__()
        self._runs = runs
        self.put("Sweep", SWEEP, spec={"objective": OBJECTIVE}, status={"state": "Succeeded"})
        for number in range(LIVE):
            self.add_run(f"live-{number}", sweep=SWEEP, objective=OBJECTIVE, params=params_of(number))
        self.version = 10 * RUNS

    async def pages(self, kind: str, **selection: Any) -> AsyncIterator[tuple[list[dict[str, Any]], str]]:
        if kind != "Experiment":
            async for page in super().pages(kind, **selection):
                yield page
            return
        async for page in super().pages(kind, **selection):
            yield page
        page_: list[dict[str, Any]] = []
        for body in experiments(self._runs):
            page_.append(body)
            if len(page_) == 500:
                yield page_, str(self.version)
                page_ = []
        yield page_, str(self.version)


def main() -> None:
    database, port_file = sys.argv[1:]
    gc.set_threshold(*GC_THRESHOLDS)

    @contextlib.asynccontextmanager
    async def cluster() -> AsyncIterator[FakeCluster]:
        made = MadeCluster(RUNS)
        made.add_reader("reader")
        yield made

    with socket.socket(proto=socket.IPPROTO_TCP) as listener:
        listener.bind(("127.0.0.1", 0))
        listener.listen(64)
        app = create_app(HubSettings(database_url=f"sqlite:///{database}"), cluster)
        Path(port_file).with_suffix(".new").write_text(str(listener.getsockname()[1]))
        Path(port_file).with_suffix(".new").rename(port_file)
        uvicorn.Server(uvicorn.Config(app, access_log=False, log_level="warning")).run(sockets=[listener])


if __name__ == "__main__":
    main()
