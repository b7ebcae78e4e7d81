"""What is tried next: an index becomes parameters, so that a grid of a million trials costs nothing until it is
reached.

A source is a pure function of the spec: the same index gives the same parameters in every process, and no two indices
give the same ones. Of a search that learns from its results (`asked`) that holds for the first trials; the others are
a function of the results too, which `suggest` computes in a process of its own. Nothing that this package imports by
itself needs more than the standard library: the algorithms are imported by `suggest`, when they are asked.
"""

from __future__ import annotations

from bisect import insort
from collections.abc import Mapping, Sequence
from typing import Any

from orkhaven.api.search import Algorithm, Order
from orkhaven.api.sweep import SweepSpec
from orkhaven.core.identity import canonical_json
from orkhaven.core.search.asked import FIRST, Asked
from orkhaven.core.search.constraints import Constraint, constraints
from orkhaven.core.search.edited import Edited
from orkhaven.core.search.grid import Grid
from orkhaven.core.search.initial import initial_points
from orkhaven.core.search.listing import listed_overlays
from orkhaven.core.search.order import Shuffle
from orkhaven.core.search.random import Draws, random_points, sobol_points
from orkhaven.core.search.space import Overlay, Trials, TrialSource, Trouble, lay_over, varying

__all__ = ["Asked", "TrialSource", "Trials", "trial_params"]


def trial_params(
    spec: SweepSpec,
    template: Mapping[str, Any],
    *,
    made: Mapping[int, Mapping[str, Any]] | None = None,
    tries: int | None = None,
) -> TrialSource:
    """The trials of a sweep, over the parameters that all of them share (`template`, as the user wrote them).

    `made`: the parameters of trials that are there already, by index. By them a Grid that was edited meanwhile is
    recognised (see `edited`); and, where it says no order (which is Shuffled), one that was begun by a version that
    knew none, and goes on in sequence. `tries`: draws until the
    first trial has to be found; after that `look_ahead` goes on, and raises what this would have raised.

    Raises ValueError with the field's path where a dotted name leads through a value that is no object, where a value
    has no JSON form, where a constraint or an initial point cannot be, or where nothing keeps the constraints.
    """
    limit = spec.search.max_trials
    algorithm = spec.search.algorithm
    if algorithm is Algorithm.LIST:
        overlays, names = listed_overlays(spec.trials, template)
        return _checked(
            Trials(template, total=_at_most(len(overlays), limit), names=names, overlay=overlays.__getitem__)
        )
    rules = constraints(spec.constraints, spec.parameters)
    if algorithm is Algorithm.GRID:
        return _grid(spec, template, rules, made or {})
    if algorithm in FIRST:
        asked = Asked(spec, template, rules)
        asked.look_ahead(1, tries=tries)
        if not asked.total:
            raise ValueError(_nothing_left(spec, rules, asked.shortfall))
        return asked
    drawn = _Drawn(spec, template, rules)
    drawn.look_ahead(1, tries=tries)
    return drawn


def _checked(source: Trials) -> Trials:
    """A path that leads nowhere is known before the first trial."""
    if source.total:
        source.params(0)
    return source


def _grid(
    spec: SweepSpec,
    template: Mapping[str, Any],
    rules: Sequence[Constraint],
    made: Mapping[int, Mapping[str, Any]],
) -> TrialSource:
    grid = Grid.of(spec.parameters, rules)
    count = grid.count
    if not count:
        raise ValueError(_nothing_left(spec, rules))
    first = initial_points(spec, rules)

    def trials(order: Order) -> Trials:
        ordered = _Ordered(grid, _shuffle(order, count, spec.search.seed), first)
        total = _at_most(count, spec.search.max_trials)
        return _checked(Trials(template, total=total, names=varying(spec.parameters), overlay=ordered.overlay))

    orders = [spec.search.order] if spec.search.order is not None else [Order.SHUFFLED, Order.SEQUENTIAL]
    for order in orders:
        if _fits(found := trials(order), made):
            return found
    ordered = _Ordered(grid, _shuffle(orders[0], count, spec.search.seed), first)
    return Edited(grid, spec.parameters, template, ordered=ordered.overlay, made=made, limit=spec.search.max_trials)


def _shuffle(order: Order, count: int, seed: int) -> Shuffle | None:
    return Shuffle(count, seed) if order is Order.SHUFFLED else None


def _fits(source: TrialSource, made: Mapping[int, Mapping[str, Any]]) -> bool:
    """Whether all that was made is what the source would make."""
    return all(
        index < source.total and canonical_json(source.params(index)) == canonical_json(params)
        for index, params in made.items()
    )


class _Ordered:
    """A grid in its order, some combinations first."""

    def __init__(self, grid: Grid, shuffle: Shuffle | None, first: Sequence[Overlay]) -> None:
        self._grid, self._shuffle, self._first = grid, shuffle, first
        self._taken: list[int] = []
        """The places of `first`, ascending."""
        for overlay in first:
            number = grid.index_of(overlay)
            insort(self._taken, number if shuffle is None else shuffle.place_of(number))

    def overlay(self, index: int) -> Overlay:
        if index < len(self._first):
            return self._first[index]
        place = index - len(self._first)
        for taken in self._taken:
            place += taken <= place
        return self._grid.overlay(place if self._shuffle is None else self._shuffle[place])


class _Drawn:
    """A `TrialSource` of draws: how many there are may only turn out as they are drawn."""

    trouble: Trouble | None = None

    def __init__(self, spec: SweepSpec, template: Mapping[str, Any], rules: Sequence[Constraint]) -> None:
        self.names = varying(spec.parameters)
        points = random_points if spec.search.algorithm is Algorithm.RANDOM else sobol_points
        self._draws = Draws(
            spec.parameters,
            points(spec.parameters, spec.search.seed),
            seed=spec.search.seed,
            constraints=rules,
            first=initial_points(spec, rules),
        )
        self._template = template
        self._spec, self._rules = spec, rules
        self._is_checked = False
        self._most = _at_most(self._draws.space, spec.search.max_trials)

    @property
    def shortfall(self) -> str | None:
        return self._draws.shortfall

    @property
    def total(self) -> int:
        return min(self._most, self._draws.known) if self._draws.dry else self._most

    def look_ahead(self, wanted: int, *, tries: int | None = None) -> bool:
        found = self._draws.look_ahead(min(wanted, self._most), tries=tries)
        if not self._is_checked and self._draws.known:
            lay_over(self._template, self._draws.overlay(0))
            self._is_checked = True
        if not self.total:
            raise ValueError(_nothing_left(self._spec, self._rules, self.shortfall))
        return found

    def is_known(self, index: int) -> bool:
        return True

    def params(self, index: int) -> dict[str, Any]:
        if not 0 <= index < self.total:
            raise IndexError(f"trial {index} of {self.total}")
        return lay_over(self._template, self._draws.overlay(index))


def _nothing_left(spec: SweepSpec, rules: Sequence[Constraint], shortfall: str | None = None) -> str:
    if shortfall is not None:
        return f"spec.constraints: no combination that keeps them all was found: {shortfall}"
    alone = next((rule for rule in rules if not Grid.of(spec.parameters, [rule]).count), None)
    count = Grid.of(spec.parameters).count
    if alone is not None:
        return f"{alone.path}: none of the {count:,} combinations keeps it: {alone.text}"
    return f"spec.constraints: none of the {count:,} combinations keeps them all"


def _at_most(count: int | None, limit: int | None) -> int:
    if count is None:
        if limit is None:
            raise ValueError("spec.search.maxTrials: Random and Sobol need it where a range is continuous")
        return limit
    return count if limit is None else min(count, limit)
