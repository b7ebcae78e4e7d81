"""kopf's requests for watches: those that end at once are asked for less and less often, and that it has listed anew is
noticed.

kopf asks for the next watch as soon as one has ended and has no setting for a pause: a server that ended all at once
was asked 4,500 times a second. And of a list that is empty it tells nothing, though that, too, may be what is left
after deletions that no watch told of. So the function that asks is replaced, though it is kopf's own affair (its
version is pinned, and a test counts the requests). A pause inside the request, as aiohttp's tracing would allow, is
none: kopf takes a task that is cancelled there for one that goes on, and then never ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from typing import Any

from kopf._cogs.clients import watching

from orkhaven.pauses import Pauses

_ask = watching.watch_objs


class Watches:
    """Of one watcher: all that kopf asks for while this is `current`, however often kopf begins anew."""

    def __init__(self, listed: Callable[[], None]) -> None:
        """`listed` is called, in kopf's thread, whenever a watch begins after a list."""
        self._listed = listed
        self._pauses: defaultdict[tuple[Any, Any], Pauses] = defaultdict(Pauses)
        """By resource and namespace."""
        self._seen: dict[tuple[Any, Any], str | None] = {}
        """The version that the next watch goes on from, if there is no list between."""

    async def ask(self, *, resource: Any, namespace: Any, since: str | None, **more: Any) -> AsyncIterator[Any]:
        what = resource, namespace
        pauses = self._pauses[what]
        await asyncio.sleep(pauses.after_end())
        pauses.begin()
        if self._seen.get(what) != since:
            self._listed()
        self._seen[what] = since
        events = _ask(resource=resource, namespace=namespace, since=since, **more)
        async with contextlib.aclosing(events) as open_events:  # type: ignore[type-var]
            async for event in open_events:
                if event["type"] != "ERROR":
                    self._seen[what] = event["object"].get("metadata", {}).get("resourceVersion", self._seen[what])
                if event["type"] not in ("BOOKMARK", "ERROR"):
                    pauses.heard()
                yield event


current: ContextVar[Watches | None] = ContextVar("watches", default=None)
"""Those of the kopf that is started in this context; None: kopf's own way."""


def _watch_objs(**asked: Any) -> AsyncIterator[Any]:
    watches = current.get()
    return watches.ask(**asked) if watches is not None else _ask(**asked)


def install() -> None:
    """For all of the process; once more changes nothing."""
    watching.watch_objs = _watch_objs
