"""Decayed GPU-seconds by namespace and user, kept as runs start and end."""

from __future__ import annotations

import math
from datetime import timedelta


class Usage:
    """What each has used, where use of one half-life ago counts half."""

    def __init__(self, half_life: timedelta) -> None:
        self._rate = math.log(2) / half_life.total_seconds()
        self._used: dict[tuple[str, str], tuple[float, int, float]] = {}
        """GPU-seconds at a time, the GPUs held since then, and that time."""

    def hold(self, namespace: str, user: str, gpus: int, now: float) -> None:
        """`gpus` more from now on; negative: fewer."""
        _, held, _ = self._used.get((namespace, user), (0.0, 0, now))
        self._used[namespace, user] = (self._seconds(namespace, user, now), held + gpus, now)

    def at(self, now: float) -> dict[tuple[str, str], float]:
        return {(namespace, user): self._seconds(namespace, user, now) for namespace, user in self._used}

    def _seconds(self, namespace: str, user: str, now: float) -> float:
        seconds, held, since = self._used.get((namespace, user), (0.0, 0, now))
        kept = math.exp(-self._rate * (now - since))
        return seconds * kept + held * (1 - kept) / self._rate
