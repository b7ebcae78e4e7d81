"""How much of an objective's differences each parameter makes: a program for `importance`, which reads the question on
standard input and writes the shares. Imports nothing of the hub: it starts for every question anew.
"""

from __future__ import annotations

import json
import sys
import warnings
from typing import Any

import optuna


def shares_of(params: dict[str, list[Any]], objective: list[float], *, minimize: bool) -> tuple[tuple[str, float], ...]:
    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {}
    for name, values in params.items():
        if all(isinstance(value, int | float) and not isinstance(value, bool) for value in values):
            low, high = float(min(values)), float(max(values))
            log = low > 0 and high / low >= 100
            distributions[name] = optuna.distributions.FloatDistribution(low, high, log=log)
            columns[name] = [float(value) for value in values]
        else:
            texts = [value if isinstance(value, str) else repr(value) for value in values]
            distributions[name] = optuna.distributions.CategoricalDistribution(sorted(set(texts)))
            columns[name] = texts
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its evaluator is marked as experimental
        study = optuna.create_study(direction="minimize" if minimize else "maximize")
        study.add_trials(
            optuna.trial.create_trial(
                params={name: values[row] for name, values in columns.items()},
                distributions=distributions,
                value=value,
            )
            for row, value in enumerate(objective)
        )
        evaluator = optuna.importance.PedAnovaImportanceEvaluator()
        found = optuna.importance.get_param_importances(study, evaluator=evaluator)
    return tuple(sorted(found.items(), key=lambda pair: -pair[1]))


def main() -> None:
    """Question on standard input, shares on standard output."""
    question = json.load(sys.stdin)
    json.dump(shares_of(question["params"], question["objective"], minimize=question["minimize"]), sys.stdout)


if __name__ == "__main__":
    main()
