"""What is tried next: an index becomes parameters, so that a grid of a million trials costs nothing until it is
reached.

A source is a pure function of the spec: the same index gives the same parameters in every process, and no two indices
give the same ones.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from orkhaven.api.sweep import Algorithm, SweepSpec
from orkhaven.core.search.grid import Grid
from orkhaven.core.search.listing import listed_overlays
from orkhaven.core.search.random import Draws
from orkhaven.core.search.space import Trials, TrialSource

__all__ = ["TrialSource", "Trials", "trial_params"]


def trial_params(spec: SweepSpec, template: Mapping[str, Any]) -> TrialSource:
    """The trials of a sweep, over the parameters that all of them share (`template`, as the user wrote them).

    Raises ValueError with the field's path where a dotted name leads through a value that is no object, or where a
    value has no JSON form.
    """
    limit = spec.search.max_trials
    if spec.search.algorithm is Algorithm.LIST:
        overlays, names = listed_overlays(spec.trials, template)
        source = Trials(template, total=_at_most(len(overlays), limit), names=names, overlay=overlays.__getitem__)
    elif spec.search.algorithm is Algorithm.RANDOM:
        draws = Draws(spec.parameters, spec.search.seed)
        total = _at_most(draws.space, limit)
        source = Trials(template, total=total, names=draws.names, overlay=draws.overlay)
    else:
        grid = Grid.of(spec.parameters)
        source = Trials(template, total=_at_most(grid.count, limit), names=grid.names, overlay=grid.overlay)
    if source.total:
        source.params(0)  # a path that leads nowhere is known before the first trial
    return source


def _at_most(count: int | None, limit: int | None) -> int:
    if count is None:
        if limit is None:
            raise ValueError("spec.search.maxTrials: Random needs it where a range is continuous")
        return limit
    return count if limit is None else min(count, limit)
