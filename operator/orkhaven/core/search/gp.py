"""GP: Optuna's Gaussian process with expected improvement; running trials count by their expected outcomes.

It needs torch and scipy, which are as large as everything else of the operator's image: where they are missing, the
import fails and `suggest` says so.
"""

from __future__ import annotations

import optuna
import scipy.stats.qmc  # noqa: F401  Optuna imports both when it is too late to say so.
import torch

from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search.model import Model
from orkhaven.core.search.points import Points
from orkhaven.core.search.sample import Sizes

SIZES = Sizes(best=60, newest=60, rest=80, running=30)
"""The time of a fit grows with the third power of their number: about a second for 200."""


class Gp(Model):
    needs_all_parameters = True

    def __init__(self, points: Points, spec: SweepSpec) -> None:
        torch.set_num_threads(1)
        super().__init__(points, spec, sizes=SIZES, sampler=_sampler)


def _sampler(seed: int) -> optuna.samplers.GPSampler:
    return optuna.samplers.GPSampler(seed=seed, n_startup_trials=1)
