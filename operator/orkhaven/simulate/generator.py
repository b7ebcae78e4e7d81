"""Traces like those of public GPU clusters: heavy-tailed durations, sweeps in bursts, days and nights, few heavy users.

Where each number comes from: docs/simulate.md.
"""

from __future__ import annotations

import math
from dataclasses import dataclass, replace
from itertools import accumulate
from random import Random

from orkhaven.api import Priority
from orkhaven.simulate.trace import TraceRun

HOUR = 3600.0
DAY = 24 * HOUR

MEDIAN_SECONDS = 23 * 60.0
SIGMA = 1.92
"""Of the logarithm: with the median, 90 % take less than 4.5 hours."""
LONGEST = 0.1
"""Of a run, as a share of the whole trace: 3 days of a month. One run must not decide what a short trace shows."""
INTERACTIVE_MEDIAN_SECONDS = 5 * 60.0
INTERACTIVE_SIGMA = 1.2
INTERACTIVE_LONGEST_SECONDS = 4 * HOUR
SHORTEST_SECONDS = 10.0
GPUS = {1: 0.70, 2: 0.12, 4: 0.10, 8: 0.08}
LONGER_BY_GPUS = 0.25
"""Exponent: a run on 8 GPUs takes 1.7 times as long as one on a single GPU."""
PRIORITIES = {Priority.INTERACTIVE: 0.10, Priority.STANDARD: 0.55, Priority.PREEMPTIBLE: 0.35}
"""By submissions; one Interactive is one run."""
SWEEPS = 0.25
"""Share of the submissions that are a sweep's."""
SWEEP_MEAN = 12.0
SWEEP_LARGEST = 64
"""GPUs of all its trials together."""
ALIKE = 0.3
"""Sigma of the logarithm of the durations inside a sweep."""
HEAVY_USERS = 1.0
"""Exponent of Zipf's law over a namespace's users."""
NIGHT = 0.3
"""Submissions at the least busy hour (4 o'clock), as a share of those at the busiest (16 o'clock)."""
WEEKEND = 0.6


@dataclass(frozen=True, slots=True, kw_only=True)
class Shape:
    """How large a trace is."""

    days: float = 3.0
    gpus: int = 50
    """Of the cluster."""
    load: float = 1.2
    """GPU-seconds asked for, over those that there are."""
    namespaces: int = 20
    users: int = 8
    """Of each namespace."""
    largest: int = 8
    """GPUs of one run at most: those of a node."""
    skew: float = 0.5
    """Exponent of Zipf's law over the namespaces' demands; 0: all ask for as much."""


def make_trace(shape: Shape, rng: Random) -> list[TraceRun]:
    """As many submissions as make up the load, in the order of time."""
    wanted = shape.load * shape.gpus * shape.days * DAY
    namespaces = _zipf(shape.namespaces, shape.skew)
    users = _zipf(shape.users, HEAVY_USERS)
    hours = list(accumulate(_intensity(hour) for hour in range(math.ceil(shape.days * 24))))
    runs: list[TraceRun] = []
    total = 0.0
    while total < wanted:
        at = rng.choices(range(len(hours)), cum_weights=hours)[0] * HOUR + rng.random() * HOUR
        namespace = rng.choices(range(shape.namespaces), cum_weights=namespaces)[0]
        user = rng.choices(range(shape.users), cum_weights=users)[0]
        first = TraceRun(
            submitted=float(round(min(at, shape.days * DAY))),
            namespace=f"team-{namespace:02}",
            user=f"user-{namespace:02}-{user:02}",
            gpus=min(rng.choices(list(GPUS), weights=list(GPUS.values()))[0], shape.largest),
            duration=0.0,
            priority=rng.choices(list(PRIORITIES), weights=list(PRIORITIES.values()))[0],
        )
        submission = _submission(first, rng, longest=LONGEST * shape.days * DAY)
        total += sum(run.gpus * run.duration for run in submission)
        runs += submission
    return sorted(runs, key=lambda run: run.submitted)


def _submission(first: TraceRun, rng: Random, *, longest: float) -> list[TraceRun]:
    if first.priority is Priority.INTERACTIVE:
        first = replace(first, gpus=1 if rng.random() < 0.85 else min(2, first.gpus))
        seconds = rng.lognormvariate(math.log(INTERACTIVE_MEDIAN_SECONDS), INTERACTIVE_SIGMA)
        return [replace(first, duration=_within(seconds, min(INTERACTIVE_LONGEST_SECONDS, longest)))]
    median = MEDIAN_SECONDS * first.gpus**LONGER_BY_GPUS
    typical = rng.lognormvariate(math.log(median), SIGMA)
    if rng.random() >= SWEEPS:
        return [replace(first, duration=_within(typical, longest))]
    trials = min(2 + int(rng.expovariate(1 / SWEEP_MEAN)), SWEEP_LARGEST // first.gpus)
    durations = (typical * rng.lognormvariate(0, ALIKE) for _ in range(trials))
    return [replace(first, duration=_within(one, longest)) for one in durations]


def _within(seconds: float, longest: float) -> float:
    return float(round(min(max(seconds, SHORTEST_SECONDS), longest)))


def _intensity(hour: int) -> float:
    """How much is submitted in an hour; the trace begins on a Monday at midnight."""
    middle, swing = (1 + NIGHT) / 2, (1 - NIGHT) / 2
    of_day = middle + swing * math.cos(2 * math.pi * (hour % 24 - 16) / 24)
    return of_day * (WEEKEND if hour // 24 % 7 >= 5 else 1.0)


def _zipf(count: int, exponent: float) -> list[float]:
    """Cumulative weights."""
    return list(accumulate((rank + 1) ** -exponent for rank in range(count)))
