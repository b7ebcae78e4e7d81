"""A run's pictures and volumes as JSON for its page's script, and the list of all that it reported."""

from __future__ import annotations

import asyncio
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.artifacts.store import Found
from orkhaven.hub.context import Hub, hub_of, storage_trouble
from orkhaven.hub.pages.context import viewer_in
from orkhaven.hub.pages.data import resource
from orkhaven.hub.pages.render import PageRoute, columns, page, url
from orkhaven.hub.pages.views.images import of_run, once, pictures, rows
from orkhaven.hub.ports import Body

PAGE_ROWS = 20

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/n/{namespace}/experiments/{name}/images")
async def images(request: Request, namespace: Namespace, name: Name) -> Response:
    await viewer_in(request, namespace)
    hub = hub_of(request)
    body = await resource(hub, "Experiment", namespace, name)
    return columns(request, await pictures_of(hub, body))


@router.get("/n/{namespace}/experiments/{name}/artifacts")
async def artifacts(
    request: Request, namespace: Namespace, name: Name, page_number: Annotated[int, Query(alias="page", ge=1)] = 1
) -> Response:
    viewer = await viewer_in(request, namespace)
    hub = hub_of(request)
    body = await resource(hub, "Experiment", namespace, name)
    found = await reported(hub, body)
    last = max(1, -(-len(found) // PAGE_ROWS))
    number = min(page_number, last)
    chosen = found[(number - 1) * PAGE_ROWS : number * PAGE_ROWS]
    return page(
        request,
        "experiment_artifacts.html",
        viewer=viewer,
        namespace=namespace,
        name=name,
        rows=await asyncio.to_thread(rows, chosen, once(hub.volumes.why_not)),
        total=len(found),
        number=number,
        last=last,
        base=url("n", namespace, "experiments", name, "artifacts"),
    )


async def pictures_of(hub: Hub, body: Body) -> dict[str, Any]:
    """Raises HttpError 503."""
    return await asyncio.to_thread(pictures, await reported(hub, body), once(hub.volumes.why_not))


async def reported(hub: Hub, body: Body) -> list[Found]:
    """What this very run reported, in order of arrival. Raises HttpError 503."""
    meta = body["metadata"]
    try:
        found = await asyncio.to_thread(hub.store.artifacts.of_run, meta["namespace"], meta["name"])
    except SQLAlchemyError as error:
        raise storage_trouble(error) from error
    return of_run(found, body)
