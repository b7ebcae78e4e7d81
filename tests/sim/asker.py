"""Who answers a search with a history in the simulation: the real choice of what is new and allowed, over an algorithm
that is a hash of all results. At once, or when the test says so; with a failure where it says so.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import dataclass, field

from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search.history import Answer, Ask, Outcome, Result
from orkhaven.core.search.points import Point, Points
from orkhaven.core.search.random import hashed
from orkhaven.core.search.suggest import Suggester


class Hashed:
    """A `Proposer`: another history, another point."""

    def __init__(self, spec: SweepSpec, points: Points) -> None:
        self._spec, self._points = spec, points
        self._ended: dict[int, Result] = {}

    def add(self, result: Result) -> None:
        if result.outcome is not Outcome.RUNNING:
            self._ended[result.number] = result

    def remove(self, number: int) -> None:
        self._ended.pop(number, None)

    def propose(self, number: int, redraw: int) -> Point | None:
        history = hashlib.sha256(repr(sorted(self._ended.items())).encode()).hexdigest()
        names = [parameter.name for parameter in self._points.parameters]
        return self._points.at(lambda p: hashed(self._spec.search.seed, f"{number} {history}", redraw, names[p]))


@dataclass
class FakeAsker:
    """`ports.Asker`."""

    late: bool = False
    """Answers wait until `give`."""
    answer: Callable[[Ask], Answer] | None = None
    """Instead of the search."""
    asked: list[Ask] = field(default_factory=list)
    _waiting: list[tuple[Ask, Callable[[Answer], None]]] = field(default_factory=list)

    def ask(self, sweep: str, ask: Ask, done: Callable[[Answer], None]) -> None:
        self.asked.append(ask)
        self._waiting.append((ask, done))
        if not self.late:
            self.give()

    def give(self) -> None:
        """All answers that are waiting."""
        waiting, self._waiting = self._waiting, []
        for ask, done in waiting:
            done(self.answer(ask) if self.answer is not None else searched(ask))


def searched(ask: Ask) -> Answer:
    suggester = Suggester(ask.spec, algorithm=Hashed)
    suggester.tell(ask.results)
    return suggester.ask(ask.numbers)
