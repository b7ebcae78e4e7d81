"""Who leads: the ten best of all succeeded trials, in an order that depends on nothing but the trials."""

from __future__ import annotations

import heapq
import json
import math
from collections.abc import Iterable, Sequence
from typing import Any

from orkhaven.api.experiment import Direction
from orkhaven.api.sweep import LeaderboardRow
from orkhaven.core.search.space import lookup
from orkhaven.core.views import ExperimentView

ROWS = 10
MAX_PARAMS_BYTES = 2048
"""JSON bytes of parameters that a row shows; what goes beyond is in the Experiment itself."""


def leaderboard(
    children: Iterable[ExperimentView], *, direction: Direction, names: Sequence[str], rows: int = ROWS
) -> list[LeaderboardRow]:
    """The best first. Ties: the earlier step, then the name.

    `children`: those that succeeded; one without an objective has no rank. `names`: dotted parameters to show.
    """
    sign = -1.0 if direction is Direction.MAXIMIZE else 1.0
    ranked = (
        (sign * objective.value, objective.step, child.meta.key.name, child)
        for child in children
        if (objective := child.status.objective) is not None and math.isfinite(objective.value)
    )
    return [
        LeaderboardRow(experiment=name, value=sign * value + 0.0, step=step, params=_shown(child, names))
        for value, step, name, child in heapq.nsmallest(rows, ranked, key=lambda row: row[:3])
    ]


def _shown(child: ExperimentView, names: Sequence[str]) -> dict[str, Any]:
    params = child.spec.params if child.spec else {}
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
