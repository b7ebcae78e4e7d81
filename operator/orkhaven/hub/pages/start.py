"""The way in: to the namespace that was asked for, or to the first that the person may read."""

from __future__ import annotations

import asyncio
import re
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import RedirectResponse, Response

from orkhaven.hub.context import hub_of
from orkhaven.hub.errors import HttpError
from orkhaven.hub.pages.context import viewer_of
from orkhaven.hub.pages.render import PageRoute, page, url
from orkhaven.hub.pages.security import HEADERS
from orkhaven.hub.session import Viewer

MOST_NAMESPACES = 200
"""Of the picker. Each costs one question to the API server per person and minute; the others can be typed."""

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@router.get("/")
async def start(request: Request, namespace: Annotated[str | None, Query(max_length=63)] = None) -> Response:
    viewer = await viewer_of(request)
    if namespace is not None and not re.fullmatch(r"[a-z0-9]([-a-z0-9]*[a-z0-9])?", namespace):
        raise HttpError(400, "BadNamespace", "a namespace is lower-case letters, digits and '-', such as radiology")
    if namespace is None:
        readable = await readable_namespaces(request, viewer)
        if not readable:
            return page(request, "start.html", viewer=viewer)
        namespace = readable[0]
    headers = {**HEADERS, "Cache-Control": "no-store"}
    return RedirectResponse(url("n", namespace, "sweeps"), status_code=303, headers=headers)


@router.get("/session")
async def session(request: Request) -> Response:
    """Whether there is a login: 204, or 401."""
    try:
        await viewer_of(request)
    except HttpError as error:
        return error.response()
    return Response(status_code=204, headers={**HEADERS, "Cache-Control": "no-store"})


async def readable_namespaces(request: Request, viewer: Viewer) -> list[str]:
    """Those with sweeps or experiments that this person may read. Raises HttpError 503."""
    hub = hub_of(request)

    async def may(namespace: str) -> bool:
        try:
            await hub.read_auth.require(viewer.authorization, namespace)
        except HttpError as error:
            if error.status >= 500:
                raise
            return False
        return True

    found = hub.queries.catalogue.namespaces()[:MOST_NAMESPACES]
    allowed = await asyncio.gather(*(may(namespace) for namespace in found))
    return [namespace for namespace, yes in zip(found, allowed, strict=True) if yes]
