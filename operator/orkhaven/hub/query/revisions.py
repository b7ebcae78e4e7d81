"""Counters that rise when something in a namespace or a sweep changes, and a way to wait for it. Of one event loop."""

from __future__ import annotations

import asyncio

Scope = tuple[str, str | None]
"""Namespace, and a sweep in it or None: everything in the namespace."""


class Revisions:
    """Revisions of all scopes come from one counter, so that one that is made anew never repeats an old number."""

    def __init__(self) -> None:
        self._counter = 0
        self._known: dict[Scope, int] = {}
        self._waiting: dict[Scope, asyncio.Event] = {}

    def of(self, namespace: str, sweep: str | None = None) -> int:
        """0: nothing was ever seen there."""
        return self._known.get((namespace, sweep), 0)

    def bump(self, namespace: str, sweep: str | None = None) -> None:
        """Something changed in the sweep, and so in its namespace."""
        self._counter += 1
        for scope in {(namespace, sweep), (namespace, None)}:
            self._known[scope] = self._counter
            event = self._waiting.pop(scope, None)
            if event is not None:
                event.set()

    async def changed(self, namespace: str, sweep: str | None = None, *, after: int) -> int:
        """The revision, as soon as it is another than `after`. Whoever draws something waits a while between two
        calls: 10,000 runs report more often than anyone looks.
        """
        scope = (namespace, sweep)
        while self.of(*scope) == after:
            await self._waiting.setdefault(scope, asyncio.Event()).wait()
        return self.of(*scope)
