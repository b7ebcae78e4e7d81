"""One stream of events per page: that something changed, never what. The page fetches what it shows anew, with its own
rights.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncGenerator, Coroutine
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response, StreamingResponse

from orkhaven.hub.api.ingest import Namespace
from orkhaven.hub.context import Hub, hub_of
from orkhaven.hub.errors import HttpError
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.render import PageRoute
from orkhaven.hub.pages.security import HEADERS

COALESCE = 0.5
"""Seconds between two events of a stream: 10,000 runs report more often than anybody looks. With the time to fetch it
stays within a second.
"""
BEAT = 15.0
"""Seconds after which a silent stream says that it lives, and looks whether its reader may still read."""
STALE = 10.0
"""Seconds without the API server after which a page is told that it may show old things."""

Stream = AsyncGenerator[bytes, None]

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/n/{namespace}/events")
async def events(
    request: Request,
    namespace: Namespace,
    sweep: Annotated[str | None, Query(max_length=253)] = None,
) -> Response:
    await viewer_in(request, namespace)
    return StreamingResponse(
        stream(request, hub_of(request), namespace, sweep),
        media_type="text/event-stream",
        # nginx and its kind keep a stream back otherwise.
        headers={**HEADERS, "Cache-Control": "no-store", "X-Accel-Buffering": "no"},
    )


async def stream(request: Request, hub: Hub, namespace: str, sweep: str | None) -> Stream:
    """Ends with the server's shutdown, with the reader, and with the reader's rights. Its first event has the
    namespace's revision, as the page has: where they differ the page is old already."""
    pages = pages_of(request)
    seen = hub.queries.revision(namespace, sweep)
    yield _event("hello", hub.queries.revision(namespace))
    checked = pages.monotonic()
    while True:
        moved = await _first(hub.queries.changed(namespace, sweep, after=seen), pages.stopping)
        if pages.stopping.is_set():
            return
        if pages.monotonic() - checked >= BEAT:
            checked = pages.monotonic()
            try:
                await viewer_in(request, namespace)
            except HttpError as error:
                if error.status < 500:
                    yield _event("bye", seen)
                    return
        if moved:
            seen = hub.queries.revision(namespace, sweep)
            yield _event("changed", seen)
            await asyncio.sleep(COALESCE)
        else:
            yield _event("stale" if hub.queries.stale_seconds(namespace) > STALE else "beat", seen)


async def _first(change: Coroutine[Any, Any, int], stopping: asyncio.Event) -> bool:
    """Whether it changed before the next beat is due, or the server stops."""
    tasks = [asyncio.ensure_future(change), asyncio.ensure_future(stopping.wait())]
    try:
        await asyncio.wait(tasks, timeout=BEAT, return_when=asyncio.FIRST_COMPLETED)
        return tasks[0].done()
    finally:
        for task in tasks:
            task.cancel()


def _event(name: str, revision: int) -> bytes:
    return f"event: {name}\ndata: {revision}\n\n".encode()
