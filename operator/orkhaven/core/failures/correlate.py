"""What the failures of a cluster have in common and the successes have not: parameters, node, GPU model, image.

Counts, not causes: "batch_size=16 in 5/5, 3/88 of the successful". Only what is unlikely to be chance is told.
"""

from __future__ import annotations

import json
import math
from bisect import bisect_left, bisect_right
from collections import Counter
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any

from orkhaven.core.search.space import lookup
from orkhaven.core.views import ExperimentView

LEAST_FAILED = 2
"""One failure has everything in common with itself."""
LEAST_SHARE = 0.8
"""Of the cluster."""
LEAST_LIFT = 1.5
MOST_CHANCE = 0.01
"""Probability that so many of the cluster would have it if it had nothing to do with it (hypergeometric)."""
FEW_VALUES = 8
"""Numbers with more values than this among the trials are compared by "at least" and "at most"."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    what: str
    """A parameter's dotted name, or node, gpu, image."""
    value: str
    """ "=16", ">=0.01": with its comparison."""
    failed: int
    failed_of: int
    succeeded: int
    succeeded_of: int
    chance: float

    @property
    def lift(self) -> float | None:
        """How much more frequent it is among the failed; None: no success has it."""
        if not self.succeeded:
            return None
        return round(self.failed / self.failed_of / (self.succeeded / self.succeeded_of), 1)

    @property
    def text(self) -> str:
        return (
            f"{self.what}{self.value} in {self.failed}/{self.failed_of}, "
            f"{self.succeeded}/{self.succeeded_of} of the successful"
        )


_Read = Callable[[ExperimentView], Any]


class Correlator:
    """Compares clusters with the trials that succeeded. What is read of these is read once, and only when asked."""

    def __init__(self, succeeded: Sequence[ExperimentView], *, names: Sequence[str]) -> None:
        self._succeeded = succeeded
        self._columns: dict[str, list[Any]] = {}
        self._counts: dict[str, Counter[Any]] = {}
        self._numbers: dict[str, list[float]] = {}
        self._reads: dict[str, _Read] = {name: _param(name) for name in names}
        self._reads |= {"node": _node, "gpu": _gpu, "image": _image}

    def of(self, members: Sequence[ExperimentView], *, limit: int) -> list[Found]:
        """The least likely first, at most one for each thing."""
        if len(members) < LEAST_FAILED or not self._succeeded:
            return []
        found = []
        for what, read in self._reads.items():
            values = [read(child) for child in members]
            best = self._equal(what, values) or self._threshold(what, values)
            if best is not None:
                found.append(best)
        return sorted(found, key=lambda one: (one.chance, one.what))[:limit]

    def _column(self, what: str) -> list[Any]:
        column = self._columns.get(what)
        if column is None:
            column = self._columns[what] = [self._reads[what](child) for child in self._succeeded]
            self._counts[what] = Counter(column)
        return column

    def _column_of_numbers(self, what: str) -> list[float]:
        """Ascending."""
        numbers = self._numbers.get(what)
        if numbers is None:
            numbers = self._numbers[what] = sorted(value for value in self._column(what) if _is_number(value))
        return numbers

    def _equal(self, what: str, values: Sequence[Any]) -> Found | None:
        value, failed = Counter(values).most_common(1)[0]
        if value is None or failed < LEAST_SHARE * len(values):
            return None
        self._column(what)
        return self._judge(what, f"={_text(value)}", failed, len(values), self._counts[what][value])

    def _threshold(self, what: str, values: Sequence[Any]) -> Found | None:
        """For numbers of a range, of which hardly any stands twice."""
        numbers = [value for value in values if _is_number(value)]
        if len(numbers) < len(values):
            return None
        column = self._column_of_numbers(what)
        seen = self._counts[what]
        if len(seen) <= FEW_VALUES and len(seen.keys() | set(numbers)) <= FEW_VALUES:
            return None
        low, high = min(numbers), max(numbers)
        above, below = len(column) - bisect_left(column, low), bisect_right(column, high)
        candidates = (
            self._judge(what, f">={_text(low)}", len(values), len(values), above),
            self._judge(what, f"<={_text(high)}", len(values), len(values), below),
        )
        return min((one for one in candidates if one), key=lambda one: one.chance, default=None)

    def _judge(self, what: str, value: str, failed: int, failed_of: int, succeeded: int) -> Found | None:
        total = len(self._succeeded)
        if failed / failed_of < LEAST_LIFT * succeeded / total:
            return None
        chance = _chance(failed, failed_of, failed + succeeded, failed_of + total)
        if chance > MOST_CHANCE:
            return None
        return Found(
            what=what,
            value=value,
            failed=failed,
            failed_of=failed_of,
            succeeded=succeeded,
            succeeded_of=total,
            chance=chance,
        )


def _chance(hits: int, drawn: int, marked: int, total: int) -> float:
    """The probability of at least `hits` marked ones among `drawn` of `total`, of which `marked` are."""

    def log_choose(n: int, k: int) -> float:
        return math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)

    most = min(drawn, marked)
    least = max(hits, drawn - (total - marked))
    whole = log_choose(total, drawn)
    # The terms fall fast; what comes after a hundred of them changes no digit that is shown.
    terms = range(least, min(most, least + 100) + 1)
    return sum(math.exp(log_choose(marked, k) + log_choose(total - marked, drawn - k) - whole) for k in terms)


def _param(name: str) -> _Read:
    def read(child: ExperimentView) -> Any:
        if child.spec is None:
            return None
        there, value = lookup(child.spec.params, name)
        if not there or value is None:
            return None
        return value if isinstance(value, str | int | float | bool) else json.dumps(value, sort_keys=True, default=str)

    return read


def _node(child: ExperimentView) -> Any:
    return child.status.attempts[-1].node if child.status.attempts else None


def _gpu(child: ExperimentView) -> Any:
    return child.status.attempts[-1].gpu_model if child.status.attempts else None


def _image(child: ExperimentView) -> Any:
    return child.spec.image if child.spec is not None else None


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _text(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return f"{value:.4g}" if isinstance(value, float) else str(value)
