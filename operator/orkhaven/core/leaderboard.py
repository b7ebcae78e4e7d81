"""Who leads: the ten best of all succeeded trials, in an order that depends on nothing but the trials."""

from __future__ import annotations

import heapq
import json
import math
import statistics
from collections.abc import Iterable, Sequence, Set
from typing import Any

from orkhaven.api.experiment import TERMINAL_STATES, Direction, ObjectiveStatus, State
from orkhaven.api.sweep_status import LeaderboardRow
from orkhaven.core.overrides import effective
from orkhaven.core.search.space import lookup
from orkhaven.core.views import ExperimentView

ROWS = 10
MAX_PARAMS_BYTES = 2048
"""JSON bytes of parameters that a row shows; what goes beyond is in the Experiment itself."""
_SUCCEEDED = frozenset({State.SUCCEEDED})


def leaderboard(
    children: Iterable[ExperimentView],
    *,
    direction: Direction,
    names: Sequence[str],
    repeats: int = 1,
    states: Set[State] = _SUCCEEDED,
    rows: int = ROWS,
) -> list[LeaderboardRow]:
    """The best first. Ties: the earlier step, then the name.

    `children`: of whom those count that ended in one of `states` with a finite objective. `names`: dotted parameters to
    show.
    `repeats`: trials of one combination (numbers repeats * i to repeats * i + repeats - 1), which are one row then, by
    their mean. Such a row stands once all of them have ended: one lucky seed leads nobody.
    Where pruned ones do not count, a combination of which a repeat was pruned has no row; nor has one whose repeats do
    not have the same parameters any more.
    """
    sign = -1.0 if direction is Direction.MAXIMIZE else 1.0
    if repeats > 1:
        return _of_repeats(children, sign=sign, names=names, repeats=repeats, states=states, rows=rows)
    ranked = (
        (sign * objective.value, objective.step, child.meta.key.name, child)
        for child in children
        if (objective := _result(child, states)) is not None
    )
    return [
        LeaderboardRow(experiment=name, value=sign * value + 0.0, step=step, params=_shown(child, names))
        for value, step, name, child in heapq.nsmallest(rows, ranked, key=lambda row: row[:3])
    ]


def _of_repeats(
    children: Iterable[ExperimentView],
    *,
    sign: float,
    names: Sequence[str],
    repeats: int,
    states: Set[State],
    rows: int,
) -> list[LeaderboardRow]:
    groups: dict[int, list[ExperimentView]] = {}
    for child in children:
        if child.trial is not None and child.status.state in TERMINAL_STATES:
            groups.setdefault(child.trial // repeats, []).append(child)
    ranked = []
    for group in groups.values():
        found = [(result, child) for child in group if (result := _result(child, states)) is not None]
        outdone = State.PRUNED not in states and any(child.status.state is State.PRUNED for child in group)
        # One that was run again with other parameters is no repeat of the others.
        alike = all(child.spec and group[0].spec and child.spec.params == group[0].spec.params for child in group)
        if len(group) < repeats or not found or outdone or not alike:
            continue
        best, leader = min(found, key=lambda one: (sign * one[0].value, one[0].step, one[1].meta.key.name))
        values = [result.value for result, _ in found]
        mean = statistics.fmean(values)
        failed = len(group) - len(found) - sum(child.status.state is State.SKIPPED for child in group)
        ranked.append((sign * mean, best.step, leader.meta.key.name, mean, values, failed, leader))
    return [
        LeaderboardRow(
            experiment=name,
            value=mean + 0.0,
            std=statistics.stdev(values) if len(values) > 1 else None,
            n=len(values),
            failed=failed,
            step=step,
            params=_shown(leader, names),
        )
        for _, step, name, mean, values, failed, leader in heapq.nsmallest(rows, ranked, key=lambda row: row[:3])
    ]


def _result(child: ExperimentView, states: Set[State]) -> ObjectiveStatus | None:
    objective = child.status.objective
    counts = child.status.state in states and objective is not None and math.isfinite(objective.value)
    return objective if counts else None


def _shown(child: ExperimentView, names: Sequence[str]) -> dict[str, Any]:
    params = effective(child.spec, child.status.overrides).params if child.spec else {}
    shown: dict[str, Any] = {}
    left = MAX_PARAMS_BYTES
    for name in names:
        there, value = lookup(params, name)
        if not there:
            continue
        left -= len(json.dumps({name: value}))
        if left < 0:
            break
        shown[name] = value
    return shown
