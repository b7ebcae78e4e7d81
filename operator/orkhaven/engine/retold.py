"""How often a run repeats what Kueue says of it: not at each change of a quota, which has thousands that wait told."""

from __future__ import annotations

from orkhaven.api import Reason
from orkhaven.core.actions import Plan
from orkhaven.core.kueue.why import RETOLD_SECONDS
from orkhaven.core.views import ExperimentView, Key


class Retold:
    """When each run that waits for Kueue was told something new last. Lost with the process, which costs a minute."""

    def __init__(self) -> None:
        self._at: dict[Key, float] = {}

    def may(self, view: ExperimentView, *, at: float) -> bool:
        """`at`: by the monotonic clock."""
        if view.status.reason != Reason.WAITING_FOR_KUEUE:
            return True
        return at - self._at.setdefault(view.meta.key, at) >= RETOLD_SECONDS

    def told(self, view: ExperimentView, plan: Plan, *, at: float) -> None:
        """What a look has come to."""
        if plan.status is None:
            return
        if plan.status["reason"] != Reason.WAITING_FOR_KUEUE:
            self._at.pop(view.meta.key, None)
        elif plan.status["message"] != view.status.message:
            self._at[view.meta.key] = at

    def forget(self, key: Key) -> None:
        self._at.pop(key, None)
