"""Trials whose parameters depend on the results of others: the first ones are known, all others are asked for.

The first ones are the initial points and, up to as many as a model needs, points of Sobol's sequence: functions of the
spec, as for any other search. Of the others the source knows how many there will be, not which.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta
from typing import Any

from orkhaven.api.search import Algorithm
from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search.constraints import Constraint
from orkhaven.core.search.history import Answer
from orkhaven.core.search.initial import initial_points
from orkhaven.core.search.points import Point, Points
from orkhaven.core.search.random import Draws, sobol_points
from orkhaven.core.search.space import Trouble, lay_over, varying

FIRST = {Algorithm.TPE: 10, Algorithm.GP: 10, Algorithm.CMAES: 1}
"""Trials that need no model, initial points included. CMAES begins around the middle of the space by itself."""
RETRY_BASE, RETRY_MAX = timedelta(seconds=10), timedelta(minutes=10)


class Asked:
    """A `TrialSource`. What it remembers of answers only saves asking again."""

    def __init__(self, spec: SweepSpec, template: Mapping[str, Any], rules: Sequence[Constraint]) -> None:
        """Raises ValueError like `trial_params`."""
        self.names = varying(spec.parameters)
        self.points = Points(spec.parameters)
        first = initial_points(spec, rules)
        self._draws = Draws(
            spec.parameters,
            sobol_points(spec.parameters, spec.search.seed),
            seed=spec.search.seed,
            constraints=rules,
            first=first,
        )
        self._first = max(len(first), FIRST[spec.search.algorithm])
        self._most = spec.search.max_trials or 0
        if self._draws.space is not None:
            self._most = min(self._most, self._draws.space)
        self._template = template
        self._is_checked = False
        self._failures = 0
        self._exhausted: tuple[int, str] | None = None
        self.trouble: Trouble | None = None

    @property
    def shortfall(self) -> str | None:
        return self._exhausted[1] if self._exhausted else self._draws.shortfall

    @property
    def total(self) -> int:
        most = min(self._most, self._draws.known) if self._draws.dry else self._most
        return min(most, self._exhausted[0]) if self._exhausted else most

    def look_ahead(self, wanted: int, *, tries: int | None = None) -> bool:
        found = self._draws.look_ahead(min(wanted, self._first, self._most), tries=tries)
        if not self._is_checked and self._draws.known:
            lay_over(self._template, self._draws.overlay(0))
            self._is_checked = True
        return found

    @property
    def known(self) -> int:
        """Trials that need no results."""
        return min(self._first, self.total)

    def is_known(self, index: int) -> bool:
        return index < self._first

    def params(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.total:
            raise IndexError(f"trial {index} of {self.total}")
        if not self.is_known(index):
            raise LookupError(f"trial {index} depends on the results of others")
        return lay_over(self._template, self._draws.overlay(index))

    def params_at(self, point: Point) -> dict[str, Any]:
        """The full parameters of a trial that was asked for."""
        return lay_over(self._template, self.points.overlay(point))

    def hear(self, answer: Answer, *, made: int, now: datetime) -> None:
        """`made`: trials that there are already."""
        if answer.exhausted is not None:
            self._exhausted = (made + len(answer.points), answer.exhausted)
        why = answer.unavailable or answer.problem
        if why is None:
            self.trouble, self._failures = None, 0
            return
        self._failures += 1
        wait = min(RETRY_MAX, RETRY_BASE * 2 ** min(self._failures - 1, 16))
        if answer.unavailable is not None:
            self.trouble = Trouble("SearchUnavailable", why, now + RETRY_MAX)
        else:
            self.trouble = Trouble("SearchFailed", why, now + wait)
