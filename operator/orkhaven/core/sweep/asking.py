"""What a search that learns from its results is asked, and the trials that become of the answer.

A trial is named by its number, not by its parameters: were the answer lost after its Experiment was made, the next
answer for the same number would have another name, and the number two trials. So the first Experiment of a number
stays, and its parameters are the truth.

With repeats the search sees combinations: their mean. What the first repeat of a combination has, the others get.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any
from weakref import WeakKeyDictionary

from orkhaven.api import ExperimentStatus, SweepSpec
from orkhaven.api.experiment import State
from orkhaven.core.identity import NAME_DIGITS
from orkhaven.core.search import Asked
from orkhaven.core.search.history import Answer, Ask, Outcome, Result
from orkhaven.core.search.space import lay_over
from orkhaven.core.views import ExperimentView, Meta

MAX_ASKED = 16
"""Trials that are asked for at once: the answer may take 50 ms for each, and other sweeps wait for theirs."""


_FINAL = (Outcome.COMPLETE, Outcome.FAILED)
"""One that was stopped early may be let go on by a person."""


@dataclass(frozen=True, slots=True)
class _Known:
    uid: str
    result: Result | None


class Asking:
    """Of one sweep, for as long as its `Asked` source is remembered. Only saves reading ten thousand trials anew."""

    @classmethod
    def of(cls, source: Asked, spec: SweepSpec, meta: Meta) -> Asking:
        known = _asking.get(source)
        if known is None:
            known = _asking[source] = cls(source, spec, sweep=meta.key.name, uid=meta.uid)
        return known

    def __init__(self, source: Asked, spec: SweepSpec, *, sweep: str, uid: str) -> None:
        # Not the source itself: it is what this is kept by.
        self._points, self._spec, self._sweep, self._uid = source.points, spec, sweep, uid
        self._known: dict[int, _Known] = {}
        self._combinations: dict[int, Result] = {}
        self._names: list[str] = []
        self._named: set[str] = set()

    def ask(self, children: Sequence[ExperimentView], combinations: Sequence[int]) -> Ask:
        there: dict[int, _Known] = {}
        for child in children:
            if child.trial is not None and child.spec is not None:
                there[child.trial] = self._read(child.trial, child)
        self._known = there
        asked = tuple(combinations[:MAX_ASKED])
        results = [known.result for _, known in sorted(there.items()) if known.result is not None]
        if (repeats := self._spec.search.repeats) > 1:
            together: dict[int, list[Result]] = {}
            for result in results:
                together.setdefault(result.number // repeats, []).append(result)
            results = [self._joined(number, held, repeats) for number, held in together.items()]
        return Ask(spec=self._spec, results=tuple(one for one in results if one.number not in asked), numbers=asked)

    def _joined(self, combination: int, results: Sequence[Result], repeats: int) -> Result:
        """What a combination has come to; the same object as before where nothing changed, for it is told once."""
        joined = joined_result(combination, results, repeats)
        before = self._combinations.get(combination)
        if before == joined:
            return before
        self._combinations[combination] = joined
        return joined

    def name(self, number: int) -> str:
        """Of a trial. All names before it are known with it, so that no two are the same."""
        while len(self._names) <= number:
            full = hashlib.sha256(f"{self._uid}/{len(self._names)}".encode()).hexdigest()
            parts = (full[at : at + NAME_DIGITS] for at in range(0, len(full) - NAME_DIGITS, NAME_DIGITS))
            name = next(name for part in parts if (name := f"{self._sweep}-{part}") not in self._named)
            self._names.append(name)
            self._named.add(name)
        return self._names[number]

    def _read(self, number: int, child: ExperimentView) -> _Known:
        before = self._known.get(number)
        if before is not None and before.uid != child.meta.uid:
            before = None
        if before is not None and (before.result is None or before.result.outcome in _FINAL):
            return before
        outcome, value, step = outcome_of(child.status, metric=self._spec.objective.metric)
        assert child.spec is not None
        point = before.result.point if before and before.result else self._points.of(child.spec.params)
        known = _Known(child.meta.uid, None if point is None else Result(number, point, outcome, value, step))
        # The same object as long as nothing changed: what is told once is known by it.
        return before if before == known and before is not None else known


_asking: WeakKeyDictionary[Asked, Asking] = WeakKeyDictionary()


def outcome_of(status: ExperimentStatus, *, metric: str) -> tuple[Outcome, float | None, int]:
    """What a trial teaches the search: (outcome, value, step)."""
    objective = status.objective
    if status.state is State.SUCCEEDED:
        if objective is None or not math.isfinite(objective.value):
            return Outcome.FAILED, None, 0
        return Outcome.COMPLETE, objective.value, objective.step
    if status.state is State.PRUNED:
        # What it had when it was stopped, which is not its best.
        last = (status.metrics or {}).get(metric)
        value = last.last if last is not None and last.last is not None else objective.value if objective else None
        if value is None or not math.isfinite(value):
            return Outcome.FAILED, None, 0
        step = status.progress.step if status.progress is not None else objective.step if objective else 0
        return Outcome.PRUNED, value, step
    # One that is skipped teaches nothing either: its result, if there is one, is another Experiment's.
    silent = status.state in (State.FAILED, State.SKIPPED)
    return (Outcome.FAILED if silent else Outcome.RUNNING), None, 0


def joined_result(combination: int, results: Sequence[Result], repeats: int) -> Result:
    """Of a combination's repeats: the mean of those that came to their end, else of those that were stopped."""
    point = results[0].point
    if len(results) < repeats or any(one.outcome is Outcome.RUNNING for one in results):
        return Result(combination, point, Outcome.RUNNING)
    for outcome in (Outcome.COMPLETE, Outcome.PRUNED):
        values = [one.value for one in results if one.outcome is outcome and one.value is not None]
        if values:
            steps = (one.step for one in results if one.outcome is outcome)
            return Result(combination, point, outcome, math.fsum(values) / len(values), max(steps))
    return Result(combination, point, Outcome.FAILED)


class Chosen:
    """The parameters of the combinations of one look."""

    def __init__(self, source: Asked, answer: Answer | None, children: Sequence[ExperimentView], repeats: int) -> None:
        self.source, self._answer, self._repeats = source, answer, repeats
        self._made: dict[int, dict[str, Any]] = {}
        if repeats > 1:
            for child in sorted(children, key=lambda child: child.trial or 0):
                if child.trial is not None and child.spec is not None:
                    self._made.setdefault(child.trial // repeats, child.spec.params)
        self.waiting: set[int] = set()
        """Combinations whose other repeats wait for the first one: only once it is there, what they get is certain."""

    def params(self, combination: int) -> dict[str, Any] | None:
        """None: not now."""
        if self.source.is_known(combination):
            return self.source.params(combination)
        if combination in self._made:
            return lay_over(self._made[combination], {})
        point = self._answer.points.get(combination) if self._answer is not None else None
        if point is None or combination in self.waiting:
            return None
        if self._repeats > 1:
            self.waiting.add(combination)
        return self.source.params_at(point)
