"""Inside Optuna Dashboard's own environment: a study of TRIALS finished trials, straight into its tables as hub_store
does for the hub. One trial is made by Optuna itself; the others are its rows again, with other values. `python
fill_optuna.py DATABASE TRIALS`.
"""

from __future__ import annotations

import random
import sqlite3
import sys

import optuna
from optuna.distributions import CategoricalDistribution, FloatDistribution

MODELS = ["Unet", "UnetPlusPlus", "MAnet", "Linknet", "FPN", "PSPNet", "DeepLabV3Plus", "Segformer"]
SPACE = {
    "architecture": CategoricalDistribution(MODELS),
    "lr": FloatDistribution(1e-5, 1e-2, log=True),
    "batch_size": CategoricalDistribution([4, 8, 16]),
    "loss": CategoricalDistribution(["dice", "focal", "crossentropy", "tversky"]),
    "gamma": FloatDistribution(1, 5),
    "seed": CategoricalDistribution([0, 1]),
}


def main() -> None:
    database, trials = sys.argv[1], int(sys.argv[2])
    study = optuna.create_study(storage=f"sqlite:///{database}", study_name="covid", direction="maximize")
    params = {"architecture": "Unet", "lr": 1e-3, "batch_size": 4, "loss": "dice", "gamma": 2.0, "seed": 0}
    study.add_trial(optuna.trial.create_trial(params=params, distributions=SPACE, value=0.5))

    connection = sqlite3.connect(database)
    connection.execute("PRAGMA synchronous = OFF")
    rng = random.Random(0)
    (trial_id,) = connection.execute("SELECT max(trial_id) FROM trials").fetchone()
    with connection:
        for table in ("trials", "trial_params", "trial_values"):
            cursor = connection.execute(f"SELECT * FROM {table} WHERE trial_id = ?", (trial_id,))
            columns = [column[0] for column in cursor.description]
            originals = [dict(zip(columns, row, strict=True)) for row in cursor.fetchall()]
            own_key = {"trial_params": "param_id", "trial_values": "trial_value_id"}.get(table)
            made = []
            for number in range(1, trials):
                for original in originals:
                    values = {**original, "trial_id": trial_id + number}
                    if own_key is not None:
                        values[own_key] = None  # numbered by SQLite
                    if table == "trials":
                        values["number"] = number
                    elif table == "trial_values":
                        values["value"] = rng.random()
                    else:
                        distribution = SPACE[values["param_name"]]
                        if isinstance(distribution, CategoricalDistribution):
                            values["param_value"] = float(rng.randrange(len(distribution.choices)))
                        else:
                            values["param_value"] = rng.uniform(distribution.low, distribution.high)
                    made.append(tuple(values.values()))
            marks = ", ".join("?" * len(columns))
            connection.executemany(f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks})", made)
    connection.close()


if __name__ == "__main__":
    main()
