"""Experiments: the list of a namespace's, and one run's page."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.context import hub_of, storage_trouble
from orkhaven.hub.errors import HttpError
from orkhaven.hub.pages.actions import allowed
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import asked, resource
from orkhaven.hub.pages.logs import log_panel
from orkhaven.hub.pages.render import PageRoute, page, url
from orkhaven.hub.pages.start import readable_namespaces
from orkhaven.hub.pages.views.board import PAGE_ROWS, BoardState, board_of
from orkhaven.hub.pages.views.experiments import again, experiment_view
from orkhaven.hub.ports import Body
from orkhaven.hub.query.leaderboard import Request as TableRequest
from orkhaven.hub.storage.read import MetricSummary

COLUMNS = ("sweep", "state", "reason", "objective", "step", "attempts", "node", "gpu", "created")

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Text = Annotated[str, Query(max_length=2048)]


@router.get("/n/{namespace}/experiments")
async def experiments(
    request: Request,
    namespace: Namespace,
    filter: Text = "",
    sort: Text = "-created",
    cursor: Annotated[str | None, Query(max_length=4096)] = None,
) -> Response:
    viewer = await viewer_in(request, namespace)
    hub = hub_of(request)
    state = BoardState(filter=filter, sort=sort, cursor=cursor)
    problem = None
    wanted = TableRequest(filter=filter, sort=sort, columns=",".join(COLUMNS), limit=PAGE_ROWS, cursor=cursor)
    try:
        with asked():
            found = await hub.queries.leaderboard(namespace, None, wanted)
    except HttpError as error:
        if error.status != 400:
            raise
        problem = f"{error.where}: {error.message}"
        with asked():
            plain = TableRequest(columns=",".join(COLUMNS), limit=PAGE_ROWS)
            found = await hub.queries.leaderboard(namespace, None, plain)
    base = ("n", namespace, "experiments")
    in_part = "hx-request" in request.headers
    return page(
        request,
        "experiments_table.html" if in_part else "experiments.html",
        viewer=viewer,
        namespace=namespace,
        namespaces=[] if in_part else await readable_namespaces(request, viewer),
        events=url("n", namespace, "events"),
        board=board_of(found, state, base=base, minimize=False),
        state=state,
        problem=problem,
        here=url(*base, **state.query(cursor=cursor)),
    )


@router.get("/n/{namespace}/experiments/{name}")
async def experiment(request: Request, namespace: Namespace, name: Name, metric: Text = "") -> Response:
    viewer = await viewer_in(request, namespace)
    body = await resource(hub_of(request), "Experiment", namespace, name)
    values = await _values(request, namespace, name, body)
    xp, summaries = values["xp"], values["summaries"]
    known = [one.name for one in summaries]
    crumbs: list[tuple[str, str | None]] = [(namespace, url("n", namespace, "sweeps"))]
    if xp.sweep:
        crumbs += [("Sweeps", url("n", namespace, "sweeps")), (xp.sweep, url("n", namespace, "sweeps", xp.sweep))]
    else:
        crumbs += [("Experiments", url("n", namespace, "experiments"))]
    return page(
        request,
        "experiment.html",
        viewer=viewer,
        namespace=namespace,
        namespaces=await readable_namespaces(request, viewer),
        events=url("n", namespace, "events", sweep=xp.sweep),
        crumbs=[*crumbs, (name, None)],
        allowed=await allowed(request, viewer, kind="Experiment", namespace=namespace, name=name),
        metrics=known,
        metric=metric if metric in known else xp.objective if xp.objective in known else "",
        body=body,
        again=again(body),
        log=await log_panel(request, viewer, xp),
        **values,
    )


@router.get("/n/{namespace}/experiments/{name}/state")
async def state(request: Request, namespace: Namespace, name: Name) -> Response:
    """The parts that change while it runs."""
    viewer = await viewer_in(request, namespace)
    body = await resource(hub_of(request), "Experiment", namespace, name)
    return page(
        request,
        "experiment_live.html",
        viewer=viewer,
        namespace=namespace,
        **await _values(request, namespace, name, body),
    )


async def _values(request: Request, namespace: str, name: str, body: Body) -> dict[str, Any]:
    return {
        "xp": experiment_view(body, now=pages_of(request).now()),
        "summaries": await summaries_of(request, namespace, name, uid=body["metadata"]["uid"]),
    }


async def summaries_of(request: Request, namespace: str, name: str, *, uid: str) -> tuple[MetricSummary, ...]:
    """Raises HttpError 503."""
    reader = hub_of(request).store.reader
    try:
        run = await asyncio.to_thread(reader.snapshot_by_name, namespace, name, uid=uid)
    except SQLAlchemyError as error:
        raise storage_trouble(error) from error
    return run.metrics if run is not None else ()
