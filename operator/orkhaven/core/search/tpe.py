"""TPE: Optuna's tree-structured Parzen estimator, multivariate, with running trials as a constant liar."""

from __future__ import annotations

from optuna.samplers import TPESampler

from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search.model import Model
from orkhaven.core.search.points import Points
from orkhaven.core.search.sample import Sizes

SIZES = Sizes(best=100, newest=150, rest=150, running=250)
"""Optuna looks for what sets the best 25 apart from the others: the 25 are always among the best 100, and 400 show what
the others are like."""


class Tpe(Model):
    def __init__(self, points: Points, spec: SweepSpec) -> None:
        super().__init__(points, spec, sizes=SIZES, sampler=_sampler)


def _sampler(seed: int) -> TPESampler:
    # That enough trials have ended is known already.
    return TPESampler(seed=seed, multivariate=True, constant_liar=True, n_startup_trials=1)
