"""Every combination, by its number: mixed radix, with conditional parameters collapsed where they do not count, and
without what a constraint refuses.

The number of combinations is counted, not enumerated: below a position it depends only on which conditions further down
still hold and on the values that a constraint is still to see, so that a parameter's values fall into few groups. A
grid of 10^12 costs microseconds.
"""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from itertools import accumulate
from typing import Any

from orkhaven.api.search import Parameter
from orkhaven.core.identity import canonical_json
from orkhaven.core.search.constraints import Constraint
from orkhaven.core.search.space import Overlay, choices, conditions

MAX_LOOKS = 400_000
"""What counting may cost, about half a second: `_LOOK` for a value, and 1 for each comparison of a constraint that can
be checked with it."""
_LOOK = 4


class TooMany(ValueError):
    """Constraints or conditions tie more combinations together than can be counted."""


@dataclass(frozen=True, slots=True)
class _Clause:
    """One condition, with its place among those that listen to the same parameter."""

    position: int
    bit: int


@dataclass(frozen=True, slots=True)
class _Axis:
    name: str
    values: Sequence[Any]
    clauses: tuple[_Clause, ...]
    """All have to hold, or the parameter is left out."""
    signatures: tuple[int, ...]
    """Per value: the set of later conditions that it fulfils, as bits. Empty where nothing listens."""
    alike: tuple[int, ...]
    """Of a parameter that a constraint names, per value: the first value that all constraints and conditions take as
    the same. That one is remembered, not only what it fulfils. Empty where none names it."""
    closing: tuple[Constraint, ...]
    """Constraints whose last parameter this is: with its value they can be checked."""
    needed_until: int
    """Position of the last parameter that listens to this one or ends a constraint with it; its own where none."""

    @property
    def tracked(self) -> bool:
        return bool(self.alike)

    @property
    def plain(self) -> bool:
        """Whether all its values have the same below them."""
        return not self.signatures and not self.tracked

    def fulfils(self, choice: int) -> int:
        if not self.tracked:
            return choice
        return self.signatures[choice - 1] if choice and self.signatures else 0


State = tuple[tuple[int, int], ...]
"""(position, choice) of the earlier parameters that matter to later ones. The choice is the set of fulfilled
conditions, or of a tracked parameter the number from 1 of the first value that is alike; 0: left out."""


@dataclass(slots=True)
class Grid:
    """Order: the last parameter varies fastest, as in itertools.product."""

    axes: tuple[_Axis, ...]
    _counts: dict[tuple[int, State], int] = field(default_factory=dict)
    _tables: dict[tuple[int, State], tuple[list[int], list[tuple[int | None, State]]]] = field(default_factory=dict)
    looks: int = 0
    """Values that counting has looked at for constraints."""

    @classmethod
    def of(
        cls,
        parameters: Sequence[Parameter],
        constraints: Sequence[Constraint] = (),
        *,
        only: Mapping[str, Sequence[Any]] | None = None,
    ) -> Grid:
        """`only`: for some parameters, which of their values.

        Raises ValueError where a parameter is continuous or `when` is unfounded, TooMany where a `when` listens to too
        many values.
        """
        listeners: dict[int, list[frozenset[bytes]]] = {}
        last: dict[int, int] = {}
        clauses: list[tuple[_Clause, ...]] = []
        for index, wanted in enumerate(conditions(parameters)):
            own = []
            for condition in wanted:
                heard = listeners.setdefault(condition.position, [])
                if condition.allowed not in heard:
                    heard.append(condition.allowed)
                own.append(_Clause(condition.position, 1 << heard.index(condition.allowed)))
                last[condition.position] = index
            clauses.append(tuple(own))
        closing: dict[int, list[Constraint]] = {}
        for constraint in constraints:
            closing.setdefault(constraint.positions[-1], []).append(constraint)
            for position in constraint.positions:
                last[position] = max(last.get(position, position), constraint.positions[-1])
        tracked = {position for constraint in constraints for position in constraint.positions}
        axes = []
        for index, parameter in enumerate(parameters):
            values = only[parameter.name] if only and parameter.name in only else choices(parameter)
            if values is None:
                raise ValueError(f"spec.parameters[{index}].range: Grid needs values, scale Integer or a step")
            heard = listeners.get(index, [])
            if (heard or index in tracked) and len(values) > MAX_LOOKS // _LOOK:
                raise TooMany(f"spec.parameters[{index}]: {len(values):,} values are too many to tell apart")
            signatures = tuple(_signature(value, heard) for value in values) if heard else ()
            axes.append(
                _Axis(
                    parameter.name,
                    values,
                    clauses[index],
                    signatures,
                    _alike(index, parameter.name, values, signatures, constraints) if index in tracked else (),
                    tuple(closing.get(index, ())),
                    last.get(index, index),
                )
            )
        return cls(tuple(axes))

    @property
    def count(self) -> int:
        """Raises TooMany."""
        return self._count(0, ())

    def overlay(self, index: int) -> Mapping[str, Any]:
        """What combination `index` sets, 0 <= index < count."""
        chosen: dict[str, Any] = {}
        state: State = ()
        for position, axis in enumerate(self.axes):
            if axis.plain and _holds(axis.clauses, state, self.axes):
                state = self._next(position, state, 0)
                place, index = divmod(index, self._count(position + 1, state))
                chosen[axis.name] = axis.values[place]
                continue
            ends, branches = self._table(position, state)
            at = bisect_right(ends, index)
            index -= ends[at - 1] if at else 0
            found, state = branches[at]
            if found is not None:
                chosen[axis.name] = axis.values[found]
        return chosen

    def index_of(self, overlay: Overlay) -> int:
        """The number of the combination that sets this. Raises KeyError where none does."""
        index = 0
        state: State = ()
        for position, axis in enumerate(self.axes):
            there = axis.name in overlay
            text = canonical_json(overlay[axis.name]) if there else b""
            if axis.plain and _holds(axis.clauses, state, self.axes) and there:
                state = self._next(position, state, 0)
                at = next((at for at, value in enumerate(axis.values) if canonical_json(value) == text), None)
                if at is None:
                    raise KeyError(axis.name)
                index += at * self._count(position + 1, state)
                continue
            for found, after in self._branches(position, state):
                if there is (found is not None) and (found is None or canonical_json(axis.values[found]) == text):
                    state = after
                    break
                index += self._count(position + 1, after)
            else:
                raise KeyError(axis.name)
        return index

    def _count(self, position: int, state: State) -> int:
        """Combinations of the parameters from `position` on."""
        if position == len(self.axes):
            return 1
        known = self._counts.get((position, state))
        if known is not None:
            return known
        axis = self.axes[position]
        if axis.plain and _holds(axis.clauses, state, self.axes):
            count = len(axis.values) * self._count(position + 1, self._next(position, state, 0))
        else:
            groups: dict[State, int] = {}
            for _, after in self._branches(position, state):
                groups[after] = groups.get(after, 0) + 1
            count = sum(size * self._count(position + 1, after) for after, size in groups.items())
        self._counts[(position, state)] = count
        return count

    def _table(self, position: int, state: State) -> tuple[list[int], list[tuple[int | None, State]]]:
        """The branches, and before which combination each ends."""
        known = self._tables.get((position, state))
        if known is None:
            branches = list(self._branches(position, state))
            ends = list(accumulate(self._count(position + 1, after) for _, after in branches))
            known = self._tables[(position, state)] = ends, branches
        return known

    def _branches(self, position: int, state: State) -> Iterator[tuple[int | None, State]]:
        """The values that the parameter can have here, by number (None: it is left out), each with what follows from
        it."""
        axis = self.axes[position]
        if not _holds(axis.clauses, state, self.axes):
            if not axis.closing or self._allowed(axis, state, position, None):
                yield None, self._next(position, state, 0)
            return
        if axis.tracked and (position, state) not in self._counts:
            self.looks += len(axis.values) * (_LOOK + sum(constraint.size for constraint in axis.closing))
            if self.looks > MAX_LOOKS:
                raise TooMany(
                    "spec.constraints: they tie too many combinations together to count them; compare fewer parameters "
                    "with each other, give them fewer values, or use algorithm Random or Sobol"
                )
        for place in range(len(axis.values)):
            if not axis.closing or self._allowed(axis, state, position, place):
                fulfilled = axis.signatures[place] if axis.signatures else 0
                yield place, self._next(position, state, axis.alike[place] + 1 if axis.tracked else fulfilled)

    def _allowed(self, axis: _Axis, state: State, position: int, place: int | None) -> bool:
        chosen = {
            self.axes[at].name: self.axes[at].values[choice - 1]
            for at, choice in state
            if choice and self.axes[at].tracked
        }
        if place is not None:
            chosen[axis.name] = axis.values[place]
        return not any(constraint.breaks(chosen) for constraint in axis.closing)

    def _next(self, position: int, state: State, choice: int) -> State:
        """What is still to be known after `position`. A parameter that is left out fulfils nothing."""
        kept = tuple(entry for entry in state if self.axes[entry[0]].needed_until > position)
        return (*kept, (position, choice)) if self.axes[position].needed_until > position else kept


def _signature(value: Any, heard: Sequence[frozenset[bytes]]) -> int:
    text = canonical_json(value)
    return sum(1 << bit for bit, allowed in enumerate(heard) if text in allowed)


def _alike(
    position: int, name: str, values: Sequence[Any], signatures: Sequence[int], constraints: Sequence[Constraint]
) -> tuple[int, ...]:
    if any(position in constraint.joined for constraint in constraints):
        return tuple(range(len(values)))
    atoms = [atom for constraint in constraints for atom in constraint.atoms.get(position, ())]
    first: dict[tuple[Any, ...], int] = {}
    found = []
    for place, value in enumerate(values):
        answers = (signatures[place] if signatures else 0, *(atom({name: value}) for atom in atoms))
        found.append(first.setdefault(answers, place))
    return tuple(found)


def _holds(clauses: Sequence[_Clause], state: State, axes: Sequence[_Axis]) -> bool:
    fulfilled = {position: axes[position].fulfils(choice) for position, choice in state} if clauses else {}
    return all(fulfilled.get(clause.position, 0) & clause.bit for clause in clauses)
