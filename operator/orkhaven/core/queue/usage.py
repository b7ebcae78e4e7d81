"""What namespaces and users have used: GPU-seconds of attempts, each counting half after every half-life.

Kept as the sum at one moment, since all of it decays alike; only attempts that run on are added up anew for each
decision. Attempts end once, so an Experiment counts as it was last seen, also after it was deleted: what is not in the
cluster any more is kept apart, for a process that comes later.
"""

from __future__ import annotations

import math
from collections import deque
from collections.abc import Mapping
from dataclasses import dataclass
from datetime import datetime, timedelta
from statistics import median

from orkhaven.api import Reason
from orkhaven.api.experiment import Attempt
from orkhaven.core.views import ExperimentView

Who = tuple[str, str]
"""Namespace and user."""

MOST_GROWTH = 300.0
"""Time constants: e to their power is still far from what a float can hold."""
RECENT = 200
"""Attempts that ended well last, by which it is told what a run takes."""


@dataclass(frozen=True, slots=True)
class Held:
    """GPUs that were held, evenly."""

    start: datetime
    end: datetime | None
    """None: they still are."""
    gpus: float


def held_by(exp: ExperimentView) -> list[Held]:
    """What its attempts held. Those that the status does not list any more count at the time of the first that it
    does."""
    status = exp.status
    spans, listed, first = [], 0.0, None
    gpus = exp.spec.resources.gpus if exp.spec is not None else 0
    for attempt in status.attempts:
        listed += attempt.gpu_seconds or 0.0
        first = first or attempt.start_time
        spans += _spans(attempt, gpus)
    earlier = status.gpu_seconds - listed
    if first is not None and earlier > 1.0:
        spans.append(Held(first - timedelta(seconds=1), first, earlier))
    return spans


def _spans(attempt: Attempt, gpus: int) -> list[Held]:
    start, end, booked = attempt.start_time, attempt.end_time, attempt.gpu_seconds or 0.0
    if start is None:
        return []
    if end is not None:
        # As it was booked: the GPUs of an attempt that was suspended for a while were not held all the time.
        length = max((end - start).total_seconds(), 1.0)
        return [Held(end - timedelta(seconds=length), end, booked / length)] if booked else []
    spans = [Held(start, None, gpus)] if gpus else []
    return [*spans, Held(start - timedelta(seconds=1), start, booked)] if booked else spans


class Usage:
    """Fed with each version of each Experiment."""

    def __init__(self, half_life: timedelta) -> None:
        self._tau = half_life.total_seconds() / math.log(2)
        self._base: datetime | None = None
        """The moment that the sums are of. They are moved to a later one only before they leave a float's range."""
        self._ended: dict[Who, float] = {}
        self._of: dict[str, tuple[Who, float]] = {}
        """By uid of an Experiment: what it has in the sums."""
        self._open: dict[str, tuple[Who, tuple[Held, ...]]] = {}
        """By uid: what it still holds."""
        self._recorded: dict[Who, float] = {}
        """Of the sums: what Experiments have that are deleted, as it is recorded elsewhere."""
        self._unrecorded: list[tuple[datetime, Who, float]] = []
        """The same of those that were deleted since, and when."""
        self._times: deque[float] = deque(maxlen=RECENT)

    @property
    def run_time(self) -> timedelta | None:
        """Median of the attempts that ended well last; None: there is none yet."""
        return timedelta(seconds=median(self._times)) if self._times else None

    def learn(self, exp: ExperimentView) -> None:
        who, uid = (exp.meta.key.namespace, exp.created_by), exp.meta.uid
        spans = held_by(exp)
        before = self._of.pop(uid, None)
        if before is None and not spans:
            return
        if spans and (before is None or uid in self._open):
            self._note_time(exp.status.attempts[-1])
        if before is not None:
            self._ended[before[0]] = max(self._ended[before[0]] - before[1], 0.0)
        amount = sum(self._at_base(span, span.end) for span in spans if span.end is not None)
        self._ended[who] = self._ended.get(who, 0.0) + amount
        self._of[uid] = who, amount
        going = tuple(span for span in spans if span.end is None)
        if going:
            self._open[uid] = who, going
        else:
            self._open.pop(uid, None)

    def forget(self, uid: str, now: datetime) -> None:
        """It was deleted. What it used was used."""
        _, spans = self._open.pop(uid, (("", ""), ()))
        going = sum(self._at_base(span, now) for span in spans)
        who, amount = self._of.pop(uid, (("", ""), 0.0))
        if amount + going > 0.0:
            self._ended[who] += going
            self._unrecorded.append((now, who, amount + going))

    @property
    def has_news(self) -> bool:
        """Whether something was deleted that is not recorded elsewhere."""
        return bool(self._unrecorded)

    def of_deleted(self, now: datetime) -> dict[Who, float]:
        """GPU-seconds of deleted Experiments, as they count now."""
        fade = self._growth(now, self._base or now)
        return {who: amount / fade for who, amount in self._all_deleted().items()}

    def recorded(self, at: datetime) -> None:
        """What `of_deleted` said at that time need not be told again."""
        later = []
        for when, who, amount in self._unrecorded:
            if when > at:
                later.append((when, who, amount))
            else:
                self._recorded[who] = self._recorded.get(who, 0.0) + amount
        self._unrecorded = later

    def remember(self, deleted: Mapping[Who, float], at: datetime) -> None:
        """What `of_deleted` said at that time in the process that led then. What was deleted before that is in it, seen
        here too or not."""
        if self._base is None:
            self._base = at
        before = self._all_deleted()
        growth = self._growth(at, self._base)
        for who, amount in deleted.items():
            self._recorded[who] = max(amount * growth, self._recorded.get(who, 0.0))
        self._unrecorded = [deletion for deletion in self._unrecorded if deletion[0] > at]
        after = self._all_deleted()
        for who in before.keys() | after.keys():
            more = after.get(who, 0.0) - before.get(who, 0.0)
            self._ended[who] = max(self._ended.get(who, 0.0) + more, 0.0)

    def _all_deleted(self) -> dict[Who, float]:
        found = dict(self._recorded)
        for _, who, amount in self._unrecorded:
            found[who] = found.get(who, 0.0) + amount
        return found

    def at(self, now: datetime) -> dict[Who, float]:
        """GPU-seconds, as they count now."""
        fade = self._growth(now, self._base or now)
        used = {who: amount / fade for who, amount in self._ended.items()}
        for who, spans in self._open.values():
            used[who] = used.get(who, 0.0) + sum(self._fresh(span, now) for span in spans)
        return used

    def _note_time(self, last: Attempt) -> None:
        if last.reason == Reason.COMPLETED and last.start_time is not None and last.end_time is not None:
            self._times.append((last.end_time - last.start_time).total_seconds())

    def _fresh(self, span: Held, end: datetime) -> float:
        """GPU-seconds, as they count at its end."""
        length = max((end - span.start).total_seconds(), 0.0)
        return -span.gpus * self._tau * math.expm1(-length / self._tau)

    def _at_base(self, span: Held, end: datetime) -> float:
        if self._base is None:
            self._base = end
        if (end - self._base).total_seconds() > MOST_GROWTH / 2 * self._tau:
            fade = self._growth(end, self._base)
            self._ended = {who: amount / fade for who, amount in self._ended.items()}
            self._of = {uid: (who, amount / fade) for uid, (who, amount) in self._of.items()}
            self._recorded = {who: amount / fade for who, amount in self._recorded.items()}
            self._unrecorded = [(when, who, amount / fade) for when, who, amount in self._unrecorded]
            self._base = end
        return self._fresh(span, end) * self._growth(end, self._base)

    def _growth(self, later: datetime, earlier: datetime) -> float:
        """By how much what is used later counts more. Limited, as a clock may be years off."""
        exponent = (later - earlier).total_seconds() / self._tau
        return math.exp(min(max(exponent, -MOST_GROWTH), MOST_GROWTH))
