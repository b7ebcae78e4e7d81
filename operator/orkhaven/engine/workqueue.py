"""Which object is looked at next: a keyed queue that coalesces, delays, backs off and keeps a key to one worker.

Pure: time is a parameter, in seconds of a clock that never goes back. `Engine` waits on it.
"""

from __future__ import annotations

import heapq
from collections.abc import Callable, Hashable
from dataclasses import dataclass, field
from typing import Generic, TypeVar

from orkhaven.engine.ports import Random

K = TypeVar("K", bound=Hashable)


@dataclass(slots=True)
class _Entry:
    """What is known of a key that is waiting, being worked on, or has failed."""

    due: float | None = None
    """When it has to be handed out; None: nothing to do."""
    working: bool = False
    started: float | None = None
    """When it was handed out last."""
    failures: int = 0


@dataclass(slots=True)
class WorkQueue(Generic[K]):
    """Fifty changes of one object while it is being looked at become one more look."""

    interval: Callable[[K], float]
    """Shortest time between two looks at a key. The first look after a longer pause is at once."""
    base: float
    longest: float
    """Back-off in seconds: base, doubling, at most longest, times 0.5 to 1.0 at random."""
    random: Random
    _entries: dict[K, _Entry] = field(default_factory=dict)
    _heap: list[tuple[float, int, K]] = field(default_factory=list)
    _order: int = 0

    def add(self, key: K, *, now: float, delay: float = 0.0) -> None:
        """Have it looked at no later than `delay` from now, its interval permitting. An earlier date stays."""
        entry = self._entries.setdefault(key, _Entry())
        due = now + delay
        if entry.started is not None:
            due = max(due, entry.started + self.interval(key))
        if entry.due is not None and entry.due <= due:
            return
        entry.due = due
        if not entry.working:
            self._push(key, due)

    def pop(self, *, now: float) -> tuple[K, float] | None:
        """The key that has waited longest and the seconds since it was due. None: nothing is due."""
        while self._heap and self._heap[0][0] <= now:
            due, _, key = heapq.heappop(self._heap)
            entry = self._entries.get(key)
            # An entry of the heap whose date was moved or whose key is being worked on is a left-over.
            if entry is None or entry.working or entry.due != due:
                continue
            entry.due, entry.working, entry.started = None, True, now
            return key, now - due
        return None

    def done(self, key: K, *, now: float, again_after: float | None = None) -> None:
        """It was looked at: forget its failures, look again after that many seconds, if given."""
        entry = self._entries[key]
        entry.working, entry.failures = False, 0
        self._return(key, entry)
        if again_after is not None:
            self.add(key, now=now, delay=again_after)
        self._tidy(key, entry, now)

    def failed(self, key: K, *, now: float, at_least: float = 0.0) -> float:
        """It could not be done: look again after the back-off, which is returned in seconds."""
        entry = self._entries[key]
        entry.working = False
        delay = min(self.longest, self.base * 2.0 ** min(entry.failures, 32)) * (0.5 + self.random() / 2)
        delay = max(delay, at_least)
        entry.failures += 1
        # What happened meanwhile does not shorten the back-off: it is news of a state that could not be acted on.
        entry.due = None
        self.add(key, now=now, delay=delay)
        return delay

    def next_due(self) -> float | None:
        """When `pop` has something to give; None: not before something is added."""
        while self._heap:
            due, _, key = self._heap[0]
            entry = self._entries.get(key)
            if entry is not None and not entry.working and entry.due == due:
                return due
            heapq.heappop(self._heap)
        return None

    def depth(self, *, now: float) -> int:
        """Keys that are due and not being worked on."""
        return sum(1 for e in self._entries.values() if not e.working and e.due is not None and e.due <= now)

    def working(self) -> int:
        """Keys that are handed out."""
        return sum(1 for e in self._entries.values() if e.working)

    def _return(self, key: K, entry: _Entry) -> None:
        if entry.due is not None:
            self._push(key, entry.due)

    def _tidy(self, key: K, entry: _Entry, now: float) -> None:
        """Drop what says nothing any more, so that the memory of ten thousand finished objects is not kept."""
        assert entry.started is not None
        if entry.due is None and self.interval(key) == 0:
            del self._entries[key]

    def _push(self, key: K, due: float) -> None:
        self._order += 1
        heapq.heappush(self._heap, (due, self._order, key))
