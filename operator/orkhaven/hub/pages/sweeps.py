"""The list of a namespace's sweeps."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orkhaven.api.sweep_status import SweepState
from orkhaven.hub.api.ingest import Namespace
from orkhaven.hub.context import hub_of
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import asked
from orkhaven.hub.pages.render import PageRoute, page, url
from orkhaven.hub.pages.start import readable_namespaces
from orkhaven.hub.pages.views.sweeps import SORTS, select, sweep_view

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Words = Annotated[str, Query(max_length=200)]


@router.get("/n/{namespace}/sweeps")
async def sweeps(
    request: Request, namespace: Namespace, q: Words = "", state: Words = "", sort: Words = "-age"
) -> Response:
    viewer = await viewer_in(request, namespace)
    hub, now = hub_of(request), pages_of(request).now()
    with asked():
        found = [sweep_view(row, now=now) for row in hub.queries.sweeps(namespace)]
    here = {"q": q, "state": state}
    in_part = "hx-request" in request.headers
    return page(
        request,
        "sweeps_table.html" if in_part else "sweeps.html",
        viewer=viewer,
        namespace=namespace,
        namespaces=[] if in_part else await readable_namespaces(request, viewer),
        events=url("n", namespace, "events"),
        rows=select(found, words=q, state=state, sort=sort),
        total=len(found),
        q=q,
        state=state,
        sort=sort,
        states=[one.value for one in SweepState],
        here=url("n", namespace, "sweeps", **here, sort=sort),
        export=url("n", namespace, "export", "sweeps", **here, sort=sort),
        links={
            key: url("n", namespace, "sweeps", **here, sort=f"-{key}" if sort == key else key)
            if key in ("name", "state")
            else url("n", namespace, "sweeps", **here, sort=key if sort == f"-{key}" else f"-{key}")
            for key in SORTS
        },
    )
