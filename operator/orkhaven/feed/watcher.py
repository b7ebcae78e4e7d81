"""Keeps kopf running in a thread of its own and carries its events to the engine's loop.

A thread, because kopf cancels every task of its event loop when it ends, workers and lease included, and because its
start-up with ten thousand objects keeps a loop busy for seconds, which would cost the lease.
"""

from __future__ import annotations

import asyncio
import logging
import random
import threading
import time
from collections import deque
from collections.abc import Callable, Sequence
from typing import Any

import kopf

from orkhaven.engine.parsers import PARSERS
from orkhaven.engine.ports import Feed, Kind
from orkhaven.feed import streams, watches

log = logging.getLogger(__name__)

BATCH = 500
"""Events that the engine's loop takes at once before others have their turn."""
SETTLED = 60.0
"""Seconds after which a run of kopf counts as a good one, and the next failure starts the back-off anew."""
LONGEST_PAUSE = 30.0
STOP_TIMEOUT = 15.0


class Watcher:
    """Started and stopped from the engine's loop. kopf ending, for whatever reason, means kopf again, never the end."""

    def __init__(self, feed: Feed, *, login: streams.Login, namespaces: Sequence[str] = ()) -> None:
        self._feed = feed
        self._namespaces = tuple(namespaces)
        self._login = login
        self._events: deque[tuple[Kind, str | None, Any]] = deque()
        self._scheduled = False
        self._stopping = threading.Event()
        self._current: threading.Event | None = None
        """Ends the present run of kopf."""
        self._wanted = False
        """Whether that end was asked for."""
        self._thread: threading.Thread | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self.last_event = float("-inf")
        """When, on the monotonic clock, an event came last."""
        self.last_listed = float("-inf")
        """When kopf listed something last, or an event came that is part of a list: it has just started, or lost its
        place and started over."""
        self._watches = watches.Watches(self._on_list)
        self.starts = 0

    def start(self) -> None:
        watches.install()
        self._loop = asyncio.get_running_loop()
        self._thread = threading.Thread(target=self._main, name="watch", daemon=True)
        self._thread.start()

    async def stop(self) -> None:
        """Returns once the thread has ended, or after a time-out: it writes nothing, so it may stay behind."""
        self._stopping.set()
        self.restart()
        thread = self._thread
        if thread is not None:
            await asyncio.to_thread(thread.join, STOP_TIMEOUT)

    def restart(self) -> None:
        """Begin anew: the streams look dead."""
        self._wanted = True
        if self._current is not None:
            self._current.set()

    @property
    def alive(self) -> bool:
        """Whether somebody looks after kopf."""
        return self._thread is not None and self._thread.is_alive()

    # --- in the thread ---------------------------------------------------------------------------------------------

    def _main(self) -> None:
        pause = 1.0
        while not self._stopping.is_set():
            started = time.monotonic()
            self.starts += 1
            try:
                asyncio.run(self._once())
                if not self._wanted:
                    log.warning("the watch ended by itself; starting it again")
            except Exception:
                # A stream answered by 500 or 504 ("etcdserver: no leader") ends kopf; that is its way, not a bug of
                # ours.
                log.warning("the watch failed; starting it again", exc_info=True)
            if time.monotonic() - started > SETTLED:
                pause = 1.0
            if not self._wanted:
                self._stopping.wait(pause * (0.5 + random.random() / 2))
                pause = min(LONGEST_PAUSE, pause * 2)

    async def _once(self) -> None:
        # One flag for each run: kopf waits for it in a thread, which has to be let go when kopf ends by itself.
        flag = self._current = threading.Event()
        self._wanted = False
        if self._stopping.is_set():
            return
        watches.current.set(self._watches)
        try:
            await kopf.operator(
                registry=streams.registry(self._on_event, self._login),
                settings=streams.settings(),
                standalone=True,
                clusterwide=not self._namespaces,
                namespaces=self._namespaces,
                stop_flag=flag,
            )
        finally:
            flag.set()

    def _on_list(self) -> None:
        self.last_listed = time.monotonic()

    def _on_event(self, kind: Kind, type_: str | None, body: dict[str, Any]) -> None:
        try:
            view = self._feed.known(kind, body) or PARSERS[kind](body)
        except Exception:
            log.exception("an object cannot be read", extra={"kind": str(kind), "object": body.get("metadata")})
            return
        self._events.append((kind, type_, view))
        if not self._scheduled:
            self._scheduled = True
            self._call(self._drain)

    def _call(self, function: Callable[[], None]) -> None:
        assert self._loop is not None
        try:
            self._loop.call_soon_threadsafe(function)
        except RuntimeError:
            # The engine's loop has been closed: the process is ending.
            self._stopping.set()

    # --- in the engine's loop --------------------------------------------------------------------------------------

    def _drain(self) -> None:
        # Before the events are taken: one that comes during the loop then schedules a drain of its own at worst.
        self._scheduled = False
        self.last_event = time.monotonic()
        for _ in range(BATCH):
            try:
                kind, type_, view = self._events.popleft()
            except IndexError:
                return
            if type_ is None:
                self.last_listed = self.last_event
            if type_ == "DELETED":
                self._feed.forget(kind, view.meta.key, view.meta.uid)
            else:
                self._feed.observe(kind, view)
        self._scheduled = True
        self._call(self._drain)
