"""The runs that wait for GPUs: of one namespace, or of all that the person may read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orkhaven.api.sharing import QUEUE_COLUMNS, Run, in_order, queue_row, totals
from orkhaven.hub.api.answers import Format, as_download
from orkhaven.hub.api.ingest import NAMESPACE_PATTERN
from orkhaven.hub.context import hub_of
from orkhaven.hub.pages.context import viewer_in, viewer_of
from orkhaven.hub.pages.data import asked
from orkhaven.hub.pages.exports import FILE_HEADERS
from orkhaven.hub.pages.render import PageRoute, page, url
from orkhaven.hub.pages.start import readable_namespaces
from orkhaven.hub.query.lists import same
from orkhaven.hub.session import Viewer

router = APIRouter(include_in_schema=False, route_class=PageRoute)

MOST_ROWS = 500
"""Of the page; the file has all."""

Words = Annotated[str, Query(max_length=200)]
Where = Annotated[str, Query(max_length=63, pattern=f"^$|{NAMESPACE_PATTERN}")]
"""Empty: all that the person may read."""


@router.get("/queue")
async def queue(request: Request, namespace: Where = "", q: Words = "") -> Response:
    viewer, namespaces = await readers_view(request, namespace)
    runs = sharing_of(request, [namespace] if namespace else namespaces)
    waiting = in_order(runs)
    found = select(waiting, q)
    in_part = "hx-request" in request.headers
    return page(
        request,
        "queue_table.html" if in_part else "queue.html",
        viewer=viewer,
        namespace=namespace or None,
        namespaces=namespaces,
        events=url("n", namespace, "events") if namespace else None,
        rows=found[:MOST_ROWS],
        found=len(found),
        total=len(waiting),
        totals=totals(runs),
        q=q,
        here=url("queue", namespace=namespace, q=q),
        export=url("queue", "export", namespace=namespace, q=q),
    )


@router.get("/queue/export")
async def export(request: Request, format: Format = Format.CSV, namespace: Where = "", q: Words = "") -> Response:
    _, namespaces = await readers_view(request, namespace)
    rows = select(in_order(sharing_of(request, [namespace] if namespace else namespaces)), q)
    lines = [queue_row(run) for run in rows]
    return as_download(format, same(QUEUE_COLUMNS), lines, name=f"{namespace or 'all'}-queue", headers=FILE_HEADERS)


async def readers_view(request: Request, namespace: str) -> tuple[Viewer, list[str]]:
    """Who asks, and the namespaces that they may read; `namespace` is one of these. Raises HttpError."""
    viewer = await viewer_in(request, namespace) if namespace else await viewer_of(request)
    return viewer, await readable_namespaces(request, viewer)


def sharing_of(request: Request, namespaces: list[str]) -> list[Run]:
    """The runs of these that have not ended. Raises HttpError 503."""
    with asked():
        return [run for one in namespaces for run in hub_of(request).queries.sharing(one)]


def select(runs: list[Run], words: str) -> list[Run]:
    """Those that have every word in what the table shows of them."""
    wanted = words.lower().split()
    return [run for run in runs if all(word in _text(run) for word in wanted)]


def _text(run: Run) -> str:
    return f"{run.name} {run.sweep or ''} {run.namespace} {run.user} {run.priority} {run.reason} {run.message}".lower()
