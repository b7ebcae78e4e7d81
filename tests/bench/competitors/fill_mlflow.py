"""Inside MLflow's own environment: a store of RUNS runs x METRICS metrics x POINTS points, straight into its tables as
hub_store does for the hub. One run is logged by MLflow's own client; the others are its rows again, with other values.
`python fill_mlflow.py DATABASE RUNS`.
"""

from __future__ import annotations

import random
import sqlite3
import sys
import uuid

from mlflow.entities import Metric, Param
from mlflow.tracking import MlflowClient

METRICS = ["val/dice", "val/loss", "train/loss", "val/class-0", "val/class-1"]
POINTS = 20
MODELS = ["Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3Plus", "Segformer"]


def main() -> None:
    database, runs = sys.argv[1], int(sys.argv[2])
    client = MlflowClient(f"sqlite:///{database}")
    experiment = client.create_experiment("covid")
    first = client.create_run(experiment, run_name="covid-00000").info.run_id
    points = [Metric(name, step / POINTS, 1_790_000_000_000 + step, step) for name in METRICS for step in range(POINTS)]
    names = ("architecture", "lr", "batch_size", "loss", "gamma", "seed")
    client.log_batch(first, metrics=points, params=[Param(name, "0") for name in names])
    client.set_terminated(first)

    connection = sqlite3.connect(database)
    connection.execute("PRAGMA synchronous = OFF")

    def rows(table: str) -> tuple[list[str], list[tuple[object, ...]]]:
        cursor = connection.execute(f"SELECT * FROM {table} WHERE run_uuid = ?", (first,))
        return [column[0] for column in cursor.description], cursor.fetchall()

    originals = {table: rows(table) for table in ("runs", "params", "tags", "metrics", "latest_metrics")}
    rng = random.Random(0)
    made: dict[str, list[tuple[object, ...]]] = {table: [] for table in originals}
    for number in range(1, runs):
        uid, best = uuid.UUID(int=rng.getrandbits(128)).hex, rng.random()
        params = {
            "architecture": rng.choice(MODELS),
            "lr": str(10 ** rng.uniform(-5, -2)),
            "batch_size": str(rng.choice([4, 8])),
            "loss": rng.choice(["dice", "focal"]),
            "gamma": str(rng.uniform(1, 5)),
            "seed": str(number % 2),
        }
        for table, (columns, found) in originals.items():
            for row in found:
                values = dict(zip(columns, row, strict=True))
                values["run_uuid"] = uid
                if table == "runs":
                    values["name"] = f"covid-{number:05d}"
                elif table == "params":
                    values["value"] = params[str(values["key"])]
                elif table in ("metrics", "latest_metrics"):
                    values["value"] = best * float(values["value"])
                made[table].append(tuple(values.values()))
    with connection:
        for table, found in made.items():
            columns = originals[table][0]
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", found)
    connection.close()
    print(experiment)


if __name__ == "__main__":
    main()
