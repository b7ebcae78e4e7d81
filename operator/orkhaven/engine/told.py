"""What those who wait were told last, and when: the memory beside the decisions of `core.queue.reasons` (the built-in
queue) and `core.kueue.why` (Kueue). Lost with the process: the former reads the status then, the latter waits a minute.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

from orkhaven.api import Reason
from orkhaven.core.actions import Plan
from orkhaven.core.kueue.why import RETOLD_SECONDS
from orkhaven.core.queue.plan import QueuePlan
from orkhaven.core.queue.reasons import Told, said_by, tell
from orkhaven.core.views import ExperimentView, Key, Why


class Waiting:
    """One per engine."""

    def __init__(self) -> None:
        self._told: dict[Key, Told] = {}
        """By the built-in queue."""
        self._kueue: dict[Key, float] = {}
        """When those that wait for Kueue were told something new, by the monotonic clock."""

    def __bool__(self) -> bool:
        """Whether a run waits for the built-in queue."""
        return bool(self._told)

    def why(self, key: Key) -> Why | None:
        """What the built-in queue has it wait for; None: it does not."""
        told = self._told.get(key)
        return told.why if told is not None else None

    def decided(self, plan: QueuePlan, *, stored: Callable[[Key], ExperimentView | None], now: datetime) -> set[Key]:
        """Those that are told something else than before, or no more."""
        before = self._told
        self._told = tell(plan, before=before, stored=lambda key: said_by(stored(key)), now=now)
        return {key for key in before.keys() | self._told.keys() if before.get(key) != self._told.get(key)}

    def may_retell(self, view: ExperimentView, *, at: float) -> bool:
        """Whether what differs in Kueue's words alone is worth a write: a change of a quota has thousands that wait
        told. `at`: by the monotonic clock."""
        if view.status.reason != Reason.WAITING_FOR_KUEUE:
            return True
        return at - self._kueue.setdefault(view.meta.key, at) >= RETOLD_SECONDS

    def looked(self, view: ExperimentView, plan: Plan, *, at: float) -> None:
        """What a look at one has come to."""
        if plan.status is None:
            return
        if plan.status["reason"] != Reason.WAITING_FOR_KUEUE:
            self._kueue.pop(view.meta.key, None)
        elif plan.status["message"] != view.status.message:
            self._kueue[view.meta.key] = at

    def forget(self, key: Key) -> None:
        """It is gone."""
        self._told.pop(key, None)
        self._kueue.pop(key, None)
