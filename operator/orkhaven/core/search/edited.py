"""A grid whose values were edited after trials of it had been made: those keep their numbers, the combinations that
nobody has tried yet get the numbers that are free, in the grid's order.

Nothing is remembered of how the grid was before. What has been tried is what the trials' parameters say, so that the
answer is the same after every restart, and after some of the new combinations have become trials too.
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterator, Mapping, Sequence
from itertools import count
from typing import Any

from orkhaven.api.search import Parameter
from orkhaven.core.identity import canonical_json
from orkhaven.core.search.grid import Grid
from orkhaven.core.search.space import Overlay, Trouble, conditions, lay_over, lookup


class Edited:
    """A `TrialSource`."""

    shortfall: str | None = None
    trouble: Trouble | None = None

    def __init__(
        self,
        grid: Grid,
        parameters: Sequence[Parameter],
        template: Mapping[str, Any],
        *,
        ordered: Callable[[int], Overlay],
        made: Mapping[int, Mapping[str, Any]],
        limit: int | None,
    ) -> None:
        """`ordered`: what stands at each place of the grid's order. `made`: the parameters of the trials that are
        there, by number. `limit`: search.maxTrials."""
        # Also those that now have a single value: trials that were made with others are still to be told apart.
        self.names = tuple(parameter.name for parameter in parameters)
        self._made, self._template = made, template
        wanted = conditions(parameters)
        numbers = (_number(params, grid, parameters, wanted=wanted, template=template) for params in made.values())
        covered = {number for number in numbers if number is not None}
        new = len(made) + grid.count - len(covered)
        self.total = new if limit is None else min(new, max(limit, len(made)))
        self._coming = _uncovered(grid, ordered, covered)
        self._free = (number for number in count() if number not in made)
        self._given: dict[int, Overlay] = {}

    def look_ahead(self, wanted: int, *, tries: int | None = None) -> bool:
        return True

    def is_known(self, index: int) -> bool:
        return True

    def params(self, index: int) -> dict[str, Any]:
        """IndexError also where more numbers are asked for than combinations are left."""
        if index in self._made:
            return lay_over(self._made[index], {})
        while index not in self._given and (not self._given or next(reversed(self._given)) < index):
            found = next(self._coming, None)
            if found is None:
                break
            self._given[next(self._free)] = found
        if index not in self._given:
            raise IndexError(f"trial {index} of {self.total}")
        return lay_over(self._template, self._given[index])


def _uncovered(grid: Grid, ordered: Callable[[int], Overlay], covered: Collection[int]) -> Iterator[Overlay]:
    for place in range(grid.count):
        overlay = ordered(place)
        if grid.index_of(overlay) not in covered:
            yield overlay


def _number(
    params: Mapping[str, Any],
    grid: Grid,
    parameters: Sequence[Parameter],
    *,
    wanted: Sequence[Sequence[Any]],
    template: Mapping[str, Any],
) -> int | None:
    """Which combination of the grid a trial's parameters are; None: none of them any more."""
    chosen: dict[str, Any] = {}
    for parameter, clauses in zip(parameters, wanted, strict=True):
        names = [parameters[clause.position].name for clause in clauses]
        if not all(
            name in chosen and canonical_json(chosen[name]) in clause.allowed
            for name, clause in zip(names, clauses, strict=True)
        ):
            continue
        there, value = lookup(params, parameter.name)
        if not there:
            return None
        chosen[parameter.name] = value
    if canonical_json(lay_over(template, chosen)) != canonical_json(params):
        return None
    try:
        return grid.index_of(chosen)
    except KeyError:
        return None
