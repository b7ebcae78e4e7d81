"""Is it worth going on: which running trials a sweep's early stopping stops, and why.

Pure, and decided anew from what all runs have reached by now: the same values give the same decisions, whatever the
order in which they came. Nothing here takes a decision back: a stopped run stays stopped by its `spec.prune`.

* Median (Golovin et al. 2017, 2.4; Optuna's MedianPruner): worse than the median at its last rung.
* ASHA (Li et al. 2020), in its stopping form: not among the best 1/eta at its last rung.
* Hyperband (Li et al. 2018): brackets of ASHA, of which each begins to stop one rung later.
* Patience: no better value for so many steps.

A run is judged at the last rung that it has passed, again whenever another run passes that one. A rung's value is the
best up to it, which is what trials are ranked by in the end; one without a finite value is worse than any other. The
repeats of one set of parameters are one: a rung's value is the mean of those that have passed it.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from orkhaven.api.experiment import Direction
from orkhaven.api.stopping import EarlyStopping, StoppingAlgorithm

GOLDEN = (math.sqrt(5) - 1) / 2


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """What is known of one trial. One that failed is not among them: it will never come to a result."""

    name: str
    trial: int
    """Number of its set of parameters: repeats share it."""
    running: bool
    """Whether it can be stopped."""
    rungs: Mapping[int, float | None]
    """Step -> best value up to it, of the rungs that it has passed; None: reported, but never a finite number."""
    step: int = 0
    """Steps done."""
    best: tuple[float, int] | None = None
    """(value, step) of the best finite value."""
    reported: bool = True
    """Whether it has reported the objective at all, be it NaN."""
    spared: int = 0
    """The step at which a person let it go on: not judged at or before it again."""


@dataclass(frozen=True, slots=True)
class Stop:
    """That a run is to be stopped."""

    name: str
    step: int
    """The rung; of Patience the run's step."""
    message: str


def decide(rule: EarlyStopping, runs: Sequence[Run], *, direction: Direction) -> list[Stop]:
    """The running ones that are to stop, by name. O(n log n)."""
    if rule.algorithm is StoppingAlgorithm.PATIENCE:
        stops = [stop for run in runs if run.running and (stop := _impatient(rule, run)) is not None]
    else:
        stops = _compare(rule, runs, direction=direction)
    return sorted(stops, key=lambda stop: stop.name)


def _impatient(rule: EarlyStopping, run: Run) -> Stop | None:
    assert rule.patience is not None
    since = max(run.best[1] if run.best else 0, run.spared)
    waited = run.step - since
    if not run.reported or run.step < rule.min_steps or waited < rule.patience:
        return None
    if run.best is None:
        return Stop(run.name, run.step, f"step {run.step}: not a finite value in {waited} steps")
    value, step = run.best
    return Stop(run.name, run.step, f"step {run.step}: no better than {value:.6g} of step {step} for {waited} steps")


# --- comparing at rungs -----------------------------------------------------------------------------------------------


@dataclass(frozen=True, slots=True)
class _Cut:
    """What goes on at a rung: costs up to `limit`."""

    limit: float
    kept: int
    of: int


class _Rung:
    """All that passed one rung of one bracket. A cost is a value with the sign of a loss: the smaller, the better."""

    def __init__(self) -> None:
        self._costs: dict[int, list[float]] = {}
        """By set of parameters."""

    def add(self, trial: int, cost: float) -> None:
        self._costs.setdefault(trial, []).append(cost)

    def cost(self, trial: int) -> tuple[float, int]:
        """(mean, repeats that it is of)"""
        costs = self._costs[trial]
        return _mean(costs), len(costs)

    def cut(self, rule: EarlyStopping) -> _Cut | None:
        """None: too few have come this far."""
        costs = sorted(_mean(costs) for costs in self._costs.values())
        count = len(costs)
        if rule.algorithm is StoppingAlgorithm.MEDIAN:
            if count < rule.startup:
                return None
            low, high = costs[(count - 1) // 2], costs[count // 2]
            # Half each: the sum of two large ones would be infinite.
            return _Cut(low if low == high else low / 2 + high / 2, count, count)
        kept = count // rule.eta
        return _Cut(costs[kept - 1], kept, count) if kept else None


def _compare(rule: EarlyStopping, runs: Sequence[Run], *, direction: Direction) -> list[Stop]:
    ladder = rule.ladder()
    weights = bracket_weights(rule) if rule.algorithm is StoppingAlgorithm.HYPERBAND else [1]
    sign = -1.0 if direction is Direction.MAXIMIZE else 1.0
    judged: list[tuple[Run, int, int]] = []
    for run in runs:
        if run.running:
            bracket = bracket_of(weights, run.trial)
            last = max((step for step in ladder[bracket:] if step in run.rungs), default=0)
            if last > run.spared:
                judged.append((run, bracket, last))
    # Of the thousands that have ended only the rungs matter at which somebody stands.
    passed = {(bracket, step): _Rung() for _, bracket, step in judged}
    needed = {step for _, step in passed}
    for run in runs:
        for step in needed & run.rungs.keys():
            rung = passed.get((bracket_of(weights, run.trial), step))
            if rung is not None:
                value = run.rungs[step]
                cost = math.inf if value is None or not math.isfinite(value) else sign * value
                rung.add(run.trial, cost)
    cuts: dict[tuple[int, int], _Cut | None] = {}
    stops = []
    for run, bracket, step in judged:
        at = (bracket, step)
        if at not in cuts:
            cuts[at] = passed[at].cut(rule)
        cut = cuts[at]
        cost, repeats = passed[at].cost(run.trial)
        if cut is not None and cost > cut.limit:
            why = _words(rule, cut, sign=sign, cost=cost, repeats=repeats)
            where = f"rung {step}, bracket {bracket}" if len(weights) > 1 else f"rung {step}"
            stops.append(Stop(run.name, step, f"{where}: {why}"))
    return stops


def _words(rule: EarlyStopping, cut: _Cut, *, sign: float, cost: float, repeats: int) -> str:
    value = "no finite value, which" if math.isinf(cost) else f"{sign * cost:.6g}"
    if repeats > 1 and not math.isinf(cost):
        value += f", the mean of {repeats} repeats,"
    limit = f"{sign * cut.limit + 0.0:.6g}"
    if rule.algorithm is StoppingAlgorithm.MEDIAN:
        side = "worse than" if math.isinf(cost) else "below" if sign < 0 else "above"
        return f"{value} is {side} the median {limit} of {cut.of} trials"
    best = "the best" if cut.kept == 1 else f"among the best {cut.kept}"
    return f"{value} is not {best} of {cut.of} trials ({limit} or better goes on)"


def _mean(costs: Iterable[float]) -> float:
    """Of finite numbers and +inf; the same in any order, and never an overflow."""
    costs = list(costs)
    if len(costs) == 1:
        return costs[0]
    if math.inf in costs:
        return math.inf
    return math.fsum(cost / len(costs) for cost in costs)


# --- Hyperband's brackets ---------------------------------------------------------------------------------------------


def bracket_weights(rule: EarlyStopping) -> list[int]:
    """How many trials each bracket gets in proportion: so that all cost about the same (Li et al. 2018, algorithm 1).
    Bracket 0 begins to stop at the first rung."""
    assert rule.max_steps is not None
    brackets = 1
    while rule.min_steps * rule.eta**brackets <= rule.max_steps:
        brackets += 1
    brackets = min(brackets, len(rule.ladder()) + 1)
    return [-(-brackets * rule.eta**halvings // (halvings + 1)) for halvings in range(brackets - 1, -1, -1)]


def bracket_of(weights: Sequence[int], trial: int) -> int:
    """The bracket of a trial, by its number alone. Multiples of the golden ratio fill the brackets evenly: after any
    number of trials each has close to its share, and no period of the search's order can fall in with them."""
    at = trial * GOLDEN % 1.0 * sum(weights)
    for bracket, weight in enumerate(weights):
        at -= weight
        if at < 0:
            return bracket
    return len(weights) - 1
