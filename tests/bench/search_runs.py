"""Public test functions as sweeps, and two searches of each under the same simulated cluster: ours, and Optuna called
directly by its own interface with its defaults.

Both keep `PARALLEL` trials running; a trial takes from one to three units of time, the same for a trial's number in
both. So each question comes while others run, as in a sweep.
"""

from __future__ import annotations

import heapq
import itertools
import json
import math
import warnings
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import optuna

from orkhaven.api.search import Algorithm
from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search import Asked, trial_params
from orkhaven.core.search.history import Outcome, Result
from orkhaven.core.search.random import hashed
from orkhaven.core.search.suggest import Suggester

PARALLEL = 4
TRAININGS = Path(__file__).parents[1] / "recorded" / "trainings.json"
Overlay = Mapping[str, Any]


@dataclass(frozen=True)
class Problem:
    """To be minimized; the best value is 0."""

    name: str
    parameters: Sequence[dict[str, Any]]
    value: Callable[[Overlay], float]
    suggest: Callable[[optuna.Trial], dict[str, Any]]
    trials: int


def _ranges(count: int, low: float, high: float) -> list[dict[str, Any]]:
    return [{"name": f"x{i}", "range": {"min": low, "max": high}} for i in range(count)]


def _floats(count: int, low: float, high: float) -> Callable[[optuna.Trial], dict[str, Any]]:
    return lambda trial: {f"x{i}": trial.suggest_float(f"x{i}", low, high) for i in range(count)}


def _branin(o: Overlay) -> float:
    x, y = o["x0"] * 15 - 5, o["x1"] * 15
    inner = y - 5.1 / (4 * math.pi**2) * x**2 + 5 / math.pi * x - 6
    return float(inner**2 + 10 * (1 - 1 / (8 * math.pi)) * math.cos(x) + 10 - 0.397887)


_A = ((10, 3, 17, 3.5, 1.7, 8), (0.05, 10, 17, 0.1, 8, 14), (3, 3.5, 1.7, 10, 17, 8), (17, 8, 0.05, 10, 0.1, 14))
_P = (
    (0.1312, 0.1696, 0.5569, 0.0124, 0.8283, 0.5886),
    (0.2329, 0.4135, 0.8307, 0.3736, 0.1004, 0.9991),
    (0.2348, 0.1451, 0.3522, 0.2883, 0.3047, 0.6650),
    (0.4047, 0.8828, 0.8732, 0.5743, 0.1091, 0.0381),
)


def _hartmann(o: Overlay) -> float:
    total = 0.0
    for weight, row, place in zip((1.0, 1.2, 3.0, 3.2), _A, _P, strict=True):
        total += weight * math.exp(
            -sum(a * (o[f"x{i}"] - p) ** 2 for i, (a, p) in enumerate(zip(row, place, strict=True)))
        )
    return 3.32237 - total


def _rastrigin(o: Overlay) -> float:
    # Its minimum is off the middle, where an evolution strategy begins.
    shifted = [o[f"x{i}"] - (1.3 - 0.7 * i) for i in range(4)]
    return float(sum(x * x - 10 * math.cos(2 * math.pi * x) + 10 for x in shifted))


MIXED = [
    {"name": "lr", "range": {"min": 1e-5, "max": 1e-1, "scale": "Log"}},
    {"name": "batch", "range": {"min": 2, "max": 32, "scale": "Integer"}},
    {"name": "model", "values": ["Unet", "FPN", "MAnet", "Linknet"]},
    {"name": "loss", "values": ["dice", "focal", "ce"]},
    {"name": "gamma", "range": {"min": 0.5, "max": 5}, "when": {"loss": ["focal"]}},
    {"name": "smooth", "range": {"min": 0, "max": 1, "step": 0.1}, "when": {"loss": ["dice", "ce"]}},
]


def _mixed(o: Overlay) -> float:
    """As a training is: a ridge of learning rate and batch size, models that differ, a loss with its own parameter."""
    ridge = math.log10(o["lr"]) + 3 - math.log2(o["batch"] / 8) / 2
    model = {"Unet": 0.3, "FPN": 0.5, "MAnet": 0.0, "Linknet": 0.8}[o["model"]]
    if o["loss"] == "focal":
        loss = (o["gamma"] - 2.2) ** 2 / 4
    else:
        loss = {"dice": 0.25, "ce": 0.6}[o["loss"]] + (o["smooth"] - 0.3) ** 2
    return float(ridge**2 + (math.log2(o["batch"]) - 4) ** 2 / 8 + model + loss)


def _suggest_mixed(trial: optuna.Trial) -> dict[str, Any]:
    o: dict[str, Any] = {
        "lr": trial.suggest_float("lr", 1e-5, 1e-1, log=True),
        "batch": trial.suggest_int("batch", 2, 32),
        "model": trial.suggest_categorical("model", ["Unet", "FPN", "MAnet", "Linknet"]),
        "loss": trial.suggest_categorical("loss", ["dice", "focal", "ce"]),
    }
    if o["loss"] == "focal":
        o["gamma"] = trial.suggest_float("gamma", 0.5, 5)
    else:
        o["smooth"] = trial.suggest_float("smooth", 0, 1, step=0.1)
    return o


def recorded() -> Problem:
    """Real trainings by `ctseg`, looked up: every combination of a small grid was trained once. The best value is the
    table's."""
    table = json.loads(TRAININGS.read_text(encoding="utf-8"))
    grid: dict[str, list[Any]] = table["grid"]
    values = {tuple(one["params"][name] for name in grid): max(one["values"]) for one in table["trainings"]}
    assert set(values) == set(itertools.product(*grid.values()))
    best = max(values.values())
    return Problem(
        f"{len(values)} recorded trainings, {len(grid)}",
        [{"name": name, "values": list(choices)} for name, choices in grid.items()],
        lambda o: best - values[tuple(o[name] for name in grid)],
        lambda trial: {name: trial.suggest_categorical(name, choices) for name, choices in grid.items()},
        30,
    )


BRANIN = Problem("Branin, 2", _ranges(2, 0, 1), _branin, _floats(2, 0, 1), 60)
HARTMANN = Problem("Hartmann, 6", _ranges(6, 0, 1), _hartmann, _floats(6, 0, 1), 100)
RASTRIGIN = Problem("Rastrigin, 4", _ranges(4, -5.12, 5.12), _rastrigin, _floats(4, -5.12, 5.12), 150)
TRAINING = Problem("mixed with conditions, 6", MIXED, _mixed, _suggest_mixed, 100)
RECORDED = recorded()


def spec_of(parameters: Sequence[dict[str, Any]], algorithm: Algorithm, *, trials: int, seed: int) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "objective": {"metric": "loss", "direction": "Minimize"},
            "search": {"algorithm": algorithm.value, "maxTrials": trials, "seed": seed},
            "parameters": list(parameters),
        }
    )


def ours(problem: Problem, algorithm: Algorithm, *, trials: int, seed: int) -> float:
    """The best value that a sweep finds."""
    spec = spec_of(problem.parameters, algorithm, trials=trials, seed=seed)
    source, suggester = trial_params(spec, {}), Suggester(spec)
    assert isinstance(source, Asked)
    points = source.points

    def start(number: int) -> float:
        if source.is_known(number):
            point = points.of(source.params(number))
            assert point is not None
        else:
            point = suggester.ask([number]).points[number]
        suggester.tell([Result(number, point, Outcome.RUNNING)])
        running[number] = point
        return problem.value(points.overlay(point))

    def end(number: int, value: float) -> None:
        suggester.tell([Result(number, running.pop(number), Outcome.COMPLETE, value)])

    running: dict[int, Any] = {}
    return _simulated(start, end, trials=trials, seed=seed)


def optunas(problem: Problem, algorithm: Algorithm, *, trials: int, seed: int) -> float:
    """The best value that Optuna finds by itself."""
    study = optuna.create_study(direction="minimize", sampler=_sampler(algorithm, seed))
    running: dict[int, optuna.Trial] = {}

    def start(number: int) -> float:
        running[number] = study.ask()
        return problem.value(problem.suggest(running[number]))

    def end(number: int, value: float) -> None:
        study.tell(running.pop(number), value)

    return _simulated(start, end, trials=trials, seed=seed)


def _sampler(algorithm: Algorithm, seed: int) -> optuna.samplers.BaseSampler:
    optuna.logging.set_verbosity(optuna.logging.ERROR)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        match algorithm:
            case Algorithm.CMAES:
                return optuna.samplers.CmaEsSampler(seed=seed)
            case Algorithm.GP:
                return optuna.samplers.GPSampler(seed=seed)
            case _:
                return optuna.samplers.TPESampler(seed=seed)


def _simulated(start: Callable[[int], float], end: Callable[[int, float], None], *, trials: int, seed: int) -> float:
    busy: list[tuple[float, int, float]] = []
    now, best = 0.0, math.inf
    for number in range(trials):
        if len(busy) == PARALLEL:
            now, ended, value = heapq.heappop(busy)
            end(ended, value)
        value = start(number)
        best = min(best, value)
        heapq.heappush(busy, (now + 1 + 2 * hashed(seed, number, 0, "duration"), number, value))
    return best
