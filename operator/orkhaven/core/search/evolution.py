"""CMAES: the covariance matrix adaptation evolution strategy, by the library that is behind Optuna's sampler of that
name.

Not by that sampler itself: it keeps its state between trials and can only go on from there, and of trials that run
side by side it leaves out those that end after their generation. Here the state is made from the results alone, in the
order of the trials' numbers: a generation is the next so many results, whichever distribution they were drawn from. A
strategy that has converged starts over somewhere else, with twice the population.
"""

from __future__ import annotations

import copy
from bisect import bisect_left, insort
from dataclasses import dataclass

import numpy as np
from cmaes import CMA

from orkhaven.api.experiment import Direction
from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search.history import Outcome, Result
from orkhaven.core.search.points import Point, Points
from orkhaven.core.search.random import hashed

SIGMA = 1 / 6
"""Of the first distribution, in widths of the ranges; as in Optuna."""
CHECKPOINTS = 16
"""Generations whose state is kept: a trial that ends late changes the ones after it, and those alone."""
_EDGE = 1e-9


@dataclass(slots=True)
class _State:
    """After so many results."""

    used: int
    optimizer: CMA
    restarts: int = 0


class Evolution:
    """A `Proposer`. It needs no results to begin: its first distribution is around the middle of the space."""

    def __init__(self, points: Points, spec: SweepSpec) -> None:
        self._points, self._seed = points, spec.search.seed
        self._sign = 1.0 if spec.objective.direction is Direction.MINIMIZE else -1.0
        self._free = [p for p, values in enumerate(points.choices) if values is None or len(values) > 1]
        self._results: dict[int, Result] = {}
        self._numbers: list[int] = []
        """Of those that came to their end, ascending."""
        self._states: list[_State] = []
        """The last ones, oldest first."""

    def add(self, result: Result) -> None:
        before = self._results.get(result.number)
        if before is not None and before.outcome is Outcome.COMPLETE:
            self.remove(result.number)
        if result.outcome is Outcome.COMPLETE and result.value is not None:
            insort(self._numbers, result.number)
            self._results[result.number] = result
            self._changed(result.number)

    def remove(self, number: int) -> None:
        if self._results.pop(number, None) is not None:
            self._changed(number)
            del self._numbers[bisect_left(self._numbers, number)]

    def propose(self, number: int, redraw: int) -> Point | None:
        # A copy: what is drawn from it changes its own cache of the covariance's roots, and its generator.
        optimizer = copy.deepcopy(self._state().optimizer)
        optimizer.reseed_rng(int(hashed(self._seed, number, redraw, "cmaes") * 2**32))
        drawn = optimizer.ask()
        units = dict(zip(self._free, drawn.tolist(), strict=True))
        return self._points.at(lambda position: min(max(units.get(position, 0.0), 0.0), 1.0))

    def _state(self) -> _State:
        if not self._states:
            self._states.append(_State(0, self._started(restarts=0)))
        while True:
            last = self._states[-1]
            size = last.optimizer.population_size
            if last.used + size > len(self._numbers):
                return last
            optimizer = copy.deepcopy(last.optimizer)
            optimizer.tell([self._solution(number) for number in self._numbers[last.used : last.used + size]])
            restarts = last.restarts
            if optimizer.should_stop():
                restarts += 1
                optimizer = self._started(restarts=restarts)
            self._states.append(_State(last.used + size, optimizer, restarts))
            if len(self._states) > CHECKPOINTS:
                del self._states[0]

    def _changed(self, number: int) -> None:
        """What was made with results from this number on has to be made again."""
        place = bisect_left(self._numbers, number)
        while self._states and self._states[-1].used > place:
            self._states.pop()

    def _solution(self, number: int) -> tuple[np.ndarray, float]:
        result = self._results[number]
        assert result.value is not None
        units = [
            self._points.to_unit(position, element)
            for position in self._free
            if (element := result.point[position]) is not None
        ]
        return np.array(units), self._sign * result.value

    def _started(self, *, restarts: int) -> CMA:
        count = len(self._free)
        mean = [0.5 if restarts == 0 else hashed(self._seed, f"restart {restarts}", 0, str(p)) for p in self._free]
        size = 4 + int(3 * np.log(count))
        return CMA(
            mean=np.clip(np.array(mean), _EDGE, 1 - _EDGE),
            sigma=SIGMA,
            bounds=np.array([[0.0, 1.0]] * count),
            n_max_resampling=10 * count,
            seed=0,
            population_size=size * 2 ** min(restarts, 4),
        )
