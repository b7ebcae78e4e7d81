"""Which combination a trial gets, where that depends on the results of others: proposals of an algorithm, of which only
what is new and keeps the constraints becomes a trial.

Runs where the algorithms are: in the process of `engine.ask_worker`. The answer for a number is a function of (spec,
number, results of the others): nothing depends on what was asked before, so that a new process answers the same.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Sequence
from typing import Protocol

from orkhaven.api.search import Algorithm
from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search.constraints import constraints
from orkhaven.core.search.history import Answer, Outcome, Result
from orkhaven.core.search.points import Point, Points
from orkhaven.core.search.random import MAX_TRIES, counted, hashed

PROPOSALS = 8
"""Of the algorithm, until one is new and keeps the constraints; after that it is drawn at random. Each costs as much as
the first."""


class Proposer(Protocol):
    """An algorithm, as `tpe`, `evolution` and `gp` have them. It may remember what only saves time."""

    def add(self, result: Result) -> None:
        """A trial is as this says now."""

    def remove(self, number: int) -> None:
        """A trial is not there any more."""

    def propose(self, number: int, redraw: int) -> Point | None:
        """A point for the trial; another one for another `redraw`. None: too little is known, draw one."""


class Unavailable(Exception):
    """What this process lacks for an algorithm, in a sentence."""


def proposer(spec: SweepSpec, points: Points) -> Proposer:
    """The algorithm of a spec. Imports what it needs: a second and 100 MB for the first. Raises Unavailable."""
    try:
        match spec.search.algorithm:
            case Algorithm.TPE:
                from orkhaven.core.search.tpe import Tpe

                return Tpe(points, spec)
            case Algorithm.CMAES:
                from orkhaven.core.search.evolution import Evolution

                return Evolution(points, spec)
            case Algorithm.GP:
                from orkhaven.core.search.gp import Gp

                return Gp(points, spec)
            case other:
                raise ValueError(f"{other} is no search with a history")
    except ImportError as error:
        raise Unavailable(
            f"search.algorithm {spec.search.algorithm.value} needs the Python package {error.name or error}, which the "
            "operator's image does not have"
        ) from error


class Suggester:
    """Of one sweep."""

    def __init__(self, spec: SweepSpec, *, algorithm: Callable[[SweepSpec, Points], Proposer] = proposer) -> None:
        """Raises ValueError where the space cannot be, Unavailable."""
        self._points = Points(spec.parameters)
        self._constraints = constraints(spec.constraints, spec.parameters)
        self._seed = spec.search.seed
        self._algorithm = algorithm(spec, self._points)
        self._grid, self._space = (
            counted(spec.parameters, self._constraints)
            if all(values is not None for values in self._points.choices)
            else (None, None)
        )
        self._results: dict[int, Result] = {}
        self._taken: Counter[Point] = Counter()

    def tell(self, results: Iterable[Result]) -> None:
        """These trials are so now."""
        for result in results:
            self._take_back(result.number)
            self._results[result.number] = result
            self._taken[result.point] += 1
            self._algorithm.add(result)

    def forget(self, numbers: Iterable[int]) -> None:
        """These trials are not there any more."""
        for number in numbers:
            if self._take_back(number):
                del self._results[number]
                self._algorithm.remove(number)

    def ask(self, numbers: Sequence[int]) -> Answer:
        """Points for these trials: each of them knows that the ones before it run."""
        found: dict[int, Point] = {}
        why: str | None = None
        for number in numbers:
            point = self._proposed(number) or self._drawn(number)
            if point is None:
                why = self._why_exhausted()
                break
            found[number] = point
            self.tell([Result(number, point, Outcome.RUNNING)])
        # Whether they become trials is not decided here.
        self.forget(found)
        return Answer(points=found, exhausted=why)

    def _proposed(self, number: int) -> Point | None:
        for redraw in range(PROPOSALS):
            point = self._algorithm.propose(number, redraw)
            if point is None:
                return None
            if self._fits(point):
                return point
        return None

    def _drawn(self, number: int) -> Point | None:
        names = [parameter.name for parameter in self._points.parameters]
        for redraw in range(MAX_TRIES if self._grid is None else PROPOSALS):
            point = self._points.at(
                lambda position, redraw=redraw: hashed(self._seed, f"asked {number}", redraw, names[position])  # type: ignore[misc]
            )
            if self._fits(point):
                return point
        if self._grid is None or not self._space:
            return None
        start = int(hashed(self._seed, f"asked {number}", MAX_TRIES, "") * self._space)
        for step in range(min(len(self._taken) + 1, self._space)):  # at most so many are taken
            whole = self._points.of_overlay(self._grid.overlay((start + step) % self._space))
            if whole is not None and whole not in self._taken:
                return whole
        return None

    def _fits(self, point: Point) -> bool:
        if point in self._taken:
            return False
        if not self._constraints:
            return True
        overlay = self._points.overlay(point)
        return not any(constraint.breaks(overlay) for constraint in self._constraints)

    def _take_back(self, number: int) -> bool:
        before = self._results.get(number)
        if before is None:
            return False
        self._taken[before.point] -= 1
        if not self._taken[before.point]:
            del self._taken[before.point]
        return True

    def _why_exhausted(self) -> str:
        if self._grid is not None:
            return f"all {self._space:,} combinations were tried"
        breaking = "broke a constraint or " if self._constraints else ""
        return f"{MAX_TRIES:,} draws in a row {breaking}had been made already"
