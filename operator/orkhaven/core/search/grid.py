"""Every combination, by its number: mixed radix, with conditional parameters collapsed where they do not count.

The number of combinations is counted, not enumerated: below a position it depends only on which conditions further down
still hold, so that a parameter's values fall into few groups. A grid of 10^12 costs microseconds.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any

from orkhaven.api.sweep import Parameter
from orkhaven.core.identity import canonical_json
from orkhaven.core.search.space import choices, conditions, varying


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
    needed_until: int
    """Position of the last parameter that listens to this one; its own position where none does."""


State = tuple[tuple[int, int], ...]
"""(position, fulfilled conditions) of the earlier parameters that later ones still listen to."""


@dataclass(slots=True)
class Grid:
    """Order: the last parameter varies fastest, as in itertools.product."""

    axes: tuple[_Axis, ...]
    names: tuple[str, ...]
    _counts: dict[tuple[int, State], int] = field(default_factory=dict)

    @classmethod
    def of(cls, parameters: Sequence[Parameter]) -> Grid:
        """Raises ValueError where a parameter is continuous or `when` is unfounded."""
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
        axes = []
        for index, parameter in enumerate(parameters):
            values = choices(parameter)
            if values is None:
                raise ValueError(f"spec.parameters[{index}].range: Grid needs values, scale Integer or a step")
            heard = listeners.get(index, [])
            signatures = tuple(_signature(value, heard) for value in values) if heard else ()
            axes.append(_Axis(parameter.name, values, clauses[index], signatures, last.get(index, index)))
        return cls(tuple(axes), varying(parameters))

    @property
    def count(self) -> int:
        return self._count(0, ())

    def overlay(self, index: int) -> Mapping[str, Any]:
        """What combination `index` sets, 0 <= index < count."""
        chosen: dict[str, Any] = {}
        state: State = ()
        for position, axis in enumerate(self.axes):
            if not _holds(axis.clauses, state):
                state = self._next(position, state, 0)
            elif not axis.signatures:
                state = self._next(position, state, 0)
                place, index = divmod(index, self._count(position + 1, state))
                chosen[axis.name] = axis.values[place]
            else:
                for value, signature in zip(axis.values, axis.signatures, strict=True):
                    after = self._next(position, state, signature)
                    below = self._count(position + 1, after)
                    if index < below:
                        chosen[axis.name], state = value, after
                        break
                    index -= below
        return chosen

    def _count(self, position: int, state: State) -> int:
        """Combinations of the parameters from `position` on."""
        if position == len(self.axes):
            return 1
        known = self._counts.get((position, state))
        if known is not None:
            return known
        axis = self.axes[position]
        if not _holds(axis.clauses, state):
            count = self._count(position + 1, self._next(position, state, 0))
        elif not axis.signatures:
            count = len(axis.values) * self._count(position + 1, self._next(position, state, 0))
        else:
            groups: dict[int, int] = {}
            for signature in axis.signatures:
                groups[signature] = groups.get(signature, 0) + 1
            count = sum(
                size * self._count(position + 1, self._next(position, state, signature))
                for signature, size in groups.items()
            )
        self._counts[(position, state)] = count
        return count

    def _next(self, position: int, state: State, signature: int) -> State:
        """What is still to be known after `position`. A parameter that is left out fulfils nothing."""
        kept = tuple(entry for entry in state if self.axes[entry[0]].needed_until > position)
        return (*kept, (position, signature)) if self.axes[position].needed_until > position else kept


def _signature(value: Any, heard: Sequence[frozenset[bytes]]) -> int:
    text = canonical_json(value)
    return sum(1 << bit for bit, allowed in enumerate(heard) if text in allowed)


def _holds(clauses: Sequence[_Clause], state: State) -> bool:
    fulfilled = dict(state)
    return all(fulfilled.get(clause.position, 0) & clause.bit for clause in clauses)
