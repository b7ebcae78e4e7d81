"""The recorded trainings that tests and benches of early stopping and of searches look values up in: `make record`.

Every combination of a small grid is trained once, for real, by `ctseg train` in a process of its own, on the phantom in
memory with partly wrong training masks. Three quarters of an hour on two cores; it goes on where it was stopped.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from tools.trainings import ROOT, Job, run_and_tell

TABLE = ROOT / "tests" / "recorded" / "trainings.json"
METRIC = "val/dice"
EPOCHS = 27
"""Three times three times three: the rungs of halving by three end with the training."""
GRID: Mapping[str, list[Any]] = {
    "lr": [0.0001, 0.0003, 0.001, 0.003, 0.01, 0.03],
    "loss": ["dice", "dice_ce", "focal"],
    "batch_size": [4, 8, 16],
    "architecture": ["Unet", "Linknet"],
}


def params_of(point: Mapping[str, Any]) -> dict[str, Any]:
    """What `ctseg` is given for a point of the grid."""
    return {
        "model": {"architecture": point["architecture"], "encoder": "tu-test_resnet"},
        "loss": {"name": point["loss"]},
        "optimizer": {"lr": point["lr"]},
        "batch_size": point["batch_size"],
        "data": {"image_size": 64, "phantom": {"patients": 10, "slices": 6, "size": 64, "noise": 0.2}},
        "epochs": EPOCHS,
        "threads": 1,
        "device": "cpu",
        "checkpoint": {"every_epochs": EPOCHS},
    }


def points() -> Iterator[dict[str, Any]]:
    for values in itertools.product(*GRID.values()):
        yield dict(zip(GRID, values, strict=True))


def main(argv: list[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="record", description=__doc__)
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "record", help="runs and results")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args(argv)
    grid = list(points())
    jobs = [Job(" ".join(f"{name}={value}" for name, value in point.items()), params_of(point), 0) for point in grid]
    found = run_and_tell(jobs, folder=arguments.folder, processes=arguments.processes, metric=METRIC)
    lines = [
        json.dumps({"params": point, "values": [round(epoch[METRIC], 3) for epoch in trained.epochs]})
        for point, trained in zip(grid, found, strict=True)
    ]
    head = {
        "what": f"{len(grid)} trainings of {EPOCHS} epochs by ctseg on its phantom, every combination of the grid once;"
        " tools/record.py made them",
        "metric": METRIC,
        "direction": "Maximize",
        "grid": GRID,
    }
    TABLE.parent.mkdir(parents=True, exist_ok=True)
    body = ",\n".join(f"  {line}" for line in lines)
    TABLE.write_text(f'{json.dumps(head, indent=1)[:-2]},\n "trainings": [\n{body}\n ]\n}}\n', encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main())
