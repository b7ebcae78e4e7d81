"""Which fault strikes at which moment: drawn from a seed, so that a storm can be had again.

A moment is a number of finished trials, not of seconds: the same storm on a slow machine and on a fast one.
"""

from __future__ import annotations

import random
from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Strike:
    fault: str
    after: int
    """Trials that have ended by then."""
    pause: float
    """Seconds more, so that it does not always come when a trial has just ended."""


def drawn(seed: int, *, kills: Sequence[str], others: Sequence[str], count: int, trials: int) -> list[Strike]:
    """`count` kills, each kind as often as any other or once more, and each of the others once; in order of time.

    The last tenth of the sweep is left alone: what strikes there may strike after its end.
    """
    rng = random.Random(seed)
    rounds = [rng.sample(list(kills), len(kills)) for _ in range(-(-count // len(kills)))] if kills else []
    chosen = [kill for kinds in rounds for kill in kinds][:count] + list(others)
    rng.shuffle(chosen)
    last = max(1, trials * 9 // 10)
    moments = sorted(rng.randrange(last) for _ in chosen)
    return [Strike(fault, after, round(rng.uniform(0.0, 4.0), 1)) for fault, after in zip(chosen, moments, strict=True)]
