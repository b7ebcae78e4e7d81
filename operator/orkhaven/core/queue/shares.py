"""What is due to whom: weights of namespaces, what they and their users have used, and the limits of their quotas."""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import timedelta

from orkhaven.api import GROUP


@dataclass(frozen=True, slots=True, kw_only=True)
class Shares:
    """What the order of the queue is made of, beside the runs themselves."""

    weights: Mapping[str, float] = field(default_factory=dict)
    """By namespace, above 0; one that is missing has 1."""
    usage: Mapping[tuple[str, str], float] = field(default_factory=dict)
    """GPU-seconds by (namespace, user), those of long ago counting less: half after each half-life."""
    half_life: timedelta = timedelta(days=2)
    min_run: timedelta = timedelta(minutes=5)
    """For how long a run that was released is left alone."""
    run_time: timedelta | None = None
    """What a run takes, by those that ended last; None: not known."""

    def weight(self, namespace: str) -> float:
        return self.weights.get(namespace, 1.0)

    @property
    def horizon(self) -> float:
        """Seconds for which a GPU that is held now counts: as long as one that was always held would have counted."""
        return self.half_life.total_seconds() / math.log(2)


@dataclass(frozen=True, slots=True, kw_only=True)
class Quota:
    """GPUs that a namespace's pods may ask for (ResourceQuota, requests.nvidia.com/gpu)."""

    limit: int
    used_by_others: int = 0
    """By pods that are not ours."""


def entitlements(total: float, *, demands: Mapping[str, float], weights: Mapping[str, float]) -> dict[str, float]:
    """What each namespace may have of `total` GPUs, by weight: what one does not want is shared among the others."""
    due: dict[str, float] = {}
    left, weight_left = total, sum(weights[name] for name in demands)
    for name in sorted(demands, key=lambda name: (demands[name] / weights[name], name)):
        due[name] = min(demands[name], left * weights[name] / weight_left) if weight_left > 0 else 0.0
        left -= due[name]
        weight_left -= weights[name]
    return due


ANNOTATION_WEIGHT = f"{GROUP}/gpu-weight"
"""Of a Namespace: its share of the GPUs, against the others'."""
LEAST_WEIGHT, MOST_WEIGHT = 0.001, 1_000_000.0
_NUMBER = re.compile(r"[0-9]{1,7}(\.[0-9]{1,6})?")


def parse_weight(text: str) -> float | None:
    """None: it is none."""
    found = float(text) if _NUMBER.fullmatch(text.strip()) else 0.0
    return found if LEAST_WEIGHT <= found <= MOST_WEIGHT else None
