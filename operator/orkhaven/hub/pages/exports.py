"""Lists as files, for whoever is logged in: what the page shows, all pages of it, as CSV, JSON or LaTeX.

The same calls as the API's, behind the login. Plots' data comes from the plots' own routes, with `format`.
"""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orkhaven.hub.api.answers import Format, as_download
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.context import hub_of
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import asked
from orkhaven.hub.pages.render import PageRoute
from orkhaven.hub.pages.security import HEADERS
from orkhaven.hub.pages.views.board import BoardState, View
from orkhaven.hub.pages.views.sweeps import select, sweep_view
from orkhaven.hub.query.leaderboard import Request as TableRequest
from orkhaven.hub.query.lists import (
    EXPERIMENT_COLUMNS,
    FAILURE_COLUMNS,
    SWEEP_COLUMNS,
    failure_lines,
    same,
    sweep_line,
)

FILE_HEADERS = {**HEADERS, "Cache-Control": "no-store"}

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Text = Annotated[str, Query(max_length=2048)]
Many = Annotated[list[str], Query(max_length=200)]


@router.get("/n/{namespace}/export/sweeps")
async def sweeps(
    request: Request,
    namespace: Namespace,
    format: Format = Format.CSV,
    q: Text = "",
    state: Text = "",
    sort: Text = "-age",
) -> Response:
    await viewer_in(request, namespace)
    now = pages_of(request).now()
    with asked():
        rows = {row.name: row for row in hub_of(request).queries.sweeps(namespace)}
    chosen = select([sweep_view(row, now=now) for row in rows.values()], words=q, state=state, sort=sort)
    lines = [sweep_line(rows[view.name]) for view in chosen]
    return as_download(format, same(SWEEP_COLUMNS), lines, name=f"{namespace}-sweeps", headers=FILE_HEADERS)


@router.get("/n/{namespace}/export/experiments")
async def experiments(
    request: Request, namespace: Namespace, format: Format = Format.CSV, filter: Text = "", sort: Text = "-created"
) -> Response:
    await viewer_in(request, namespace)
    wanted = TableRequest(filter=filter, sort=sort, columns=EXPERIMENT_COLUMNS, limit=None)
    with asked():
        found = await hub_of(request).queries.leaderboard(namespace, None, wanted)
    shown = [(column.key, column.label) for column in found.columns]
    return as_download(format, shown, found.items, name=f"{namespace}-experiments", headers=FILE_HEADERS)


@router.get("/n/{namespace}/sweeps/{name}/export")
async def leaderboard(
    request: Request,
    namespace: Namespace,
    name: Name,
    format: Format = Format.CSV,
    filter: Text = "",
    brush: Text = "",
    sort: Text = "",
    col: Many = [],  # noqa: B006
    run: Many = [],  # noqa: B006
    view: View = View.RUNS,
) -> Response:
    await viewer_in(request, namespace)
    queries = hub_of(request).queries
    state = BoardState(filter=filter, brush=brush, sort=sort, columns=tuple(col), runs=tuple(run), view=view)
    wanted = state.request(limit=None)
    with asked():
        if view is View.SETS:
            sets = await queries.sets(namespace, name, wanted)
            columns, items = sets.columns, [one.item for one in sets.sets]
        else:
            found = await queries.leaderboard(namespace, name, wanted)
            pinned = {item["name"] for item in found.pinned}
            columns = found.columns
            items = found.pinned + [item for item in found.items if item["name"] not in pinned]
    shown = [(column.key, column.label) for column in columns]
    file = f"{name}-{'parameter-sets' if view is View.SETS else 'leaderboard'}"
    return as_download(format, shown, items, name=file, headers=FILE_HEADERS)


@router.get("/n/{namespace}/sweeps/{name}/export/failures")
async def failures(request: Request, namespace: Namespace, name: Name, format: Format = Format.CSV) -> Response:
    await viewer_in(request, namespace)
    with asked():
        row = hub_of(request).queries.sweep(namespace, name)
    return as_download(format, same(FAILURE_COLUMNS), failure_lines(row), name=f"{name}-failures", headers=FILE_HEADERS)
