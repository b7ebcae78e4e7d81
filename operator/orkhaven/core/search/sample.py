"""Which part of a long history a model is made of: a model of everything costs a quarter of a second per trial at
10,000 trials, and says hardly more than one of a well chosen part.

The best ones, which are what the model wants to find again; the newest ones, which show what was tried lately; and a
fair sample of the rest, so that no region where nothing was good is forgotten. A function of the history alone,
whatever the order in which it was learnt: the sample is drawn by a hash of the trial's number, so that it hardly
changes as the history grows.
"""

from __future__ import annotations

import hashlib
from bisect import bisect_left, insort
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from orkhaven.core.search.history import Outcome, Result

_ENDED = frozenset({Outcome.COMPLETE, Outcome.PRUNED})


@dataclass(frozen=True, slots=True, kw_only=True)
class Sizes:
    """At most so many trials of each kind."""

    best: int
    newest: int
    rest: int
    running: int

    @property
    def ended(self) -> int:
        return self.best + self.newest + self.rest


class Sample:
    """Of one search. Trials come and go one at a time, each for the price of a look-up."""

    def __init__(self, sizes: Sizes, *, minimize: bool) -> None:
        self._sizes, self._sign = sizes, 1.0 if minimize else -1.0
        self._by_number: dict[int, Result] = {}
        self._best: list[tuple[bool, float, int]] = []
        self._newest: list[int] = []
        self._drawn: list[tuple[bytes, int]] = []
        self._running: list[int] = []

    def __len__(self) -> int:
        """Trials that have ended with a value, all of them."""
        return len(self._newest)

    def add(self, result: Result) -> None:
        if result.number in self._by_number:
            self.remove(result.number)
        self._by_number[result.number] = result
        self._each(result, insort)

    def remove(self, number: int) -> None:
        result = self._by_number.pop(number, None)
        if result is not None:
            self._each(result, _take_out)

    def chosen(self) -> list[Result]:
        """By number."""
        sizes = self._sizes
        numbers = set(self._running[max(0, len(self._running) - sizes.running) :])
        if len(self._newest) <= sizes.ended:
            numbers.update(self._newest)
        else:
            taken = {number for _, _, number in self._best[: sizes.best]}
            taken.update(self._newest[-sizes.newest :])
            left = sizes.ended - len(taken)
            for _, number in self._drawn:
                if left == 0:
                    break
                if number not in taken:
                    taken.add(number)
                    left -= 1
            numbers |= taken
        return [self._by_number[number] for number in sorted(numbers)]

    def _each(self, result: Result, change: Callable[[list[Any], Any], None]) -> None:
        if result.outcome is Outcome.RUNNING:
            change(self._running, result.number)
        elif result.outcome in _ENDED and result.value is not None:
            # A pruned one is never better than one that came to its end.
            change(self._best, (result.outcome is Outcome.PRUNED, self._sign * result.value, result.number))
            change(self._newest, result.number)
            change(self._drawn, (hashlib.sha256(b"%d" % result.number).digest()[:8], result.number))


def _take_out(held: list[Any], item: Any) -> None:
    del held[bisect_left(held, item)]
