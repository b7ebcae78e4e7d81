"""Which parameters matter: Optuna's PED-ANOVA over a sweep's completed trials, in a thread, remembered for a while.

Only where it means something: enough trials, more than one parameter that differs, values that differ.
"""

from __future__ import annotations

import asyncio
import random
import warnings
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from orkhaven.hub.context import hub_of
from orkhaven.hub.pages.context import pages_of
from orkhaven.hub.pages.data import asked
from orkhaven.hub.pages.views.plots import is_numeric
from orkhaven.hub.query.fields import field, param

MIN_TRIALS = 20
"""Fewer, and the order of the parameters is an accident."""
MAX_TRIALS = 2_000
"""More are drawn from evenly: the shares do not change, only the seconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    shares: tuple[tuple[str, float], ...]
    """Largest first; they add up to 1."""
    trials: int
    """That it was computed from."""
    completed: int
    left_out: tuple[str, ...]
    """Parameters that not every trial has."""
    why_none: str = ""


async def importance_of(request: Request, namespace: str, name: str) -> Importance:
    """Raises HttpError."""
    hub, pages = hub_of(request), pages_of(request)
    with asked():
        sweep = hub.queries.sweep(namespace, name)
        schema = await hub.queries.schema(namespace, name)
        refs = [*(param(one) for one in schema.varying), field("objective"), field("state")]
        _, values = await hub.queries.values(namespace, name, refs)
    *found, objective, states = values
    rows = [
        row
        for row, (value, state) in enumerate(zip(objective, states, strict=True))
        if state == "Succeeded" and isinstance(value, int | float) and value - value == 0
    ]
    chosen = {one: [column[row] for row in rows] for one, column in zip(schema.varying, found, strict=True)}
    goal = [float(objective[row]) for row in rows]
    # Grows with each trial that completes: a new number of them is a new question.
    key = (sweep.uid, len(rows))

    async def compute() -> Importance:
        return await asyncio.to_thread(evaluate, chosen, goal, minimize=sweep.objective.minimize)

    return await pages.importances.get(key, compute)


def evaluate(params: dict[str, list[Any]], objective: Sequence[float], *, minimize: bool) -> Importance:
    """Seconds of work for thousands of trials. The same trials give the same answer."""
    completed = len(objective)

    def none(why: str) -> Importance:
        return Importance(shares=(), trials=0, completed=completed, left_out=(), why_none=why)

    if completed < MIN_TRIALS:
        return none(
            f"{completed} completed trial{'s' if completed != 1 else ''}; from {MIN_TRIALS} on it says something."
        )
    whole = {name: values for name, values in params.items() if None not in values}
    left_out = tuple(sorted(params.keys() - whole.keys()))
    differing = {name: values for name, values in whole.items() if len({repr(value) for value in values}) > 1}
    if len(differing) < 2:
        return none("It takes two parameters that differ and that every completed trial has.")
    if len(set(objective)) < 2:
        return none("All completed trials reached the same value.")
    rows = list(range(completed))
    if completed > MAX_TRIALS:
        rows = sorted(random.Random(0).sample(rows, MAX_TRIALS))
    shares = _shares(
        {name: [values[row] for row in rows] for name, values in differing.items()},
        [objective[row] for row in rows],
        minimize=minimize,
    )
    return Importance(shares=shares, trials=len(rows), completed=completed, left_out=left_out)


def _shares(params: dict[str, list[Any]], objective: list[float], *, minimize: bool) -> tuple[tuple[str, float], ...]:
    # Half a second to import, and most hubs never draw this panel.
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    distributions: dict[str, Any] = {}
    columns: dict[str, list[Any]] = {}
    for name, values in params.items():
        if is_numeric(values):
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
