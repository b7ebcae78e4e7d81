"""Watches of kopf's that end at once are asked for less and less often.

kopf asks for the next watch as soon as one has ended and has no setting for a pause: a server that ended all at once
was asked 4,500 times a second. So the function that asks is replaced, though it is kopf's own affair (its version is
pinned, and a test counts the requests). A pause inside the request, as aiohttp's tracing would allow, is none: kopf
takes a task that is cancelled there for one that goes on, and then never ends.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections import defaultdict
from collections.abc import AsyncIterator
from typing import Any

from kopf._cogs.clients import watching

from orkhaven.pauses import Pauses

_pauses: defaultdict[tuple[Any, Any], Pauses] = defaultdict(Pauses)
"""By resource and namespace."""
_ask = watching.watch_objs


async def _paced(*, resource: Any, namespace: Any, **more: Any) -> AsyncIterator[Any]:
    pauses = _pauses[resource, namespace]
    await asyncio.sleep(pauses.after_end())
    pauses.begin()
    async with contextlib.aclosing(_ask(resource=resource, namespace=namespace, **more)) as events:  # type: ignore[type-var]
        async for event in events:
            if event["type"] not in ("BOOKMARK", "ERROR"):
                pauses.heard()
            yield event


def install() -> None:
    """For all of the process; once more changes nothing."""
    watching.watch_objs = _paced
