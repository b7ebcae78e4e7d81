"""What those who wait are told: their place in the line, what they wait for, and about how long.

Places and free GPUs change with every decision, and each status that says so is a write. So a run that waits for its
turn is told again only when it waits for something else, or is much nearer to its turn.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta

from orkhaven.api import Reason
from orkhaven.api.experiment import State
from orkhaven.core.queue.plan import QueuePlan, Standing
from orkhaven.core.views import ExperimentView, Key, Why

NEAR = 20
"""Places in a namespace's line that those who have them are told of again."""
NEARER = 3
"""How many times nearer: from 20th to 1st in three more writes at most."""
PATIENCE = timedelta(seconds=60)

_QUOTA = "quota of namespace "
_TOLD = re.compile(r"position (\d{1,9}) in [^;]*; (.*)", re.DOTALL)


@dataclass(frozen=True, slots=True)
class Told:
    """What a run was told, and when."""

    why: Why
    position: int
    """0: it is not in line."""
    at: datetime


def tell(
    plan: QueuePlan, *, before: Mapping[Key, Told], stored: Callable[[Key], Why | None], now: datetime
) -> dict[Key, Told]:
    """By Experiment. `before`: what they were told last; `stored`: what the status of one says that is not among
    these, as after a restart."""
    told = {}
    for key, why in plan.reasons.items():
        standing = plan.standing.get(key)
        last = before.get(key)
        if standing is None:
            told[key] = last if last is not None and last.why == why else Told(why, 0, now)
            continue
        if last is None:
            last = _read(stored(key), now)
        if last is None or _is_news(last, why, standing, now=now):
            told[key] = Told(Why(why.reason, _words(key, why, standing)), standing.position, now)
        else:
            told[key] = last
    return told


def said_by(exp: ExperimentView | None) -> Why | None:
    """What the status of one that waits for its turn says."""
    if exp is None or exp.status.state is not State.QUEUED or exp.status.reason != Reason.WAITING_FOR_GPUS:
        return None
    return Why(Reason.WAITING_FOR_GPUS, exp.status.message or "")


def _is_news(last: Told, why: Why, standing: Standing, *, now: datetime) -> bool:
    if not last.position or last.why.reason is not why.reason or _by_quota(last.why) != _by_quota(why):
        return True
    nearer = standing.position <= NEAR and standing.position * NEARER <= last.position
    return nearer and now - last.at >= PATIENCE


def _by_quota(why: Why) -> bool:
    return _QUOTA in why.message


def _read(why: Why | None, now: datetime) -> Told | None:
    found = _TOLD.fullmatch(why.message) if why is not None else None
    return Told(why, int(found[1]), now) if why is not None and found is not None else None


def _words(key: Key, why: Why, standing: Standing) -> str:
    about = f"; {roughly(standing.about)}" if standing.about is not None else ""
    return f"position {standing.position} in {key.namespace}; {why.message}{about}"


def roughly(wait: timedelta) -> str:
    """No more exact than such a guess is."""
    minutes = wait.total_seconds() / 60
    if minutes < 1.5:
        return "about 1 min"
    if minutes < 90:
        return f"about {_round(minutes)} min"
    if minutes < 36 * 60:
        return f"about {_round(minutes / 60)} h"
    return f"about {_round(minutes / 1440)} days"


def _round(number: float) -> int:
    """Two digits at most."""
    whole = round(number)
    return whole if whole < 100 else round(whole, -len(str(whole)) + 2)
