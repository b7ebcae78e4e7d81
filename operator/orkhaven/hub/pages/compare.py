"""Two to eight runs side by side: only what differs, curves on top of each other."""

from __future__ import annotations

import asyncio
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orkhaven.hub.api.ingest import Namespace
from orkhaven.hub.context import hub_of
from orkhaven.hub.errors import HttpError
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import resource
from orkhaven.hub.pages.experiments import summaries_of
from orkhaven.hub.pages.images import pictures_of
from orkhaven.hub.pages.render import PageRoute, columns, page, url
from orkhaven.hub.pages.start import readable_namespaces
from orkhaven.hub.pages.views.compare import compare_view
from orkhaven.hub.pages.views.experiments import experiment_view
from orkhaven.hub.ports import Body

MOST = 8

router = APIRouter(include_in_schema=False, route_class=PageRoute)


Runs = Annotated[list[str], Query(max_length=100)]


async def _compared(request: Request, namespace: str, run: list[str]) -> tuple[list[str], list[Body]]:
    """Raises HttpError 400, 404 or 503."""
    names = list(dict.fromkeys(run))
    if not 2 <= len(names) <= MOST:
        raise HttpError(
            400, "InvalidParameter", f"Pin 2 to {MOST} runs on a sweep's page to compare them, not {len(names)}."
        )
    hub = hub_of(request)
    return names, list(await asyncio.gather(*(resource(hub, "Experiment", namespace, name) for name in names)))


@router.get("/n/{namespace}/compare/images")
async def images(request: Request, namespace: Namespace, run: Runs = []) -> Response:  # noqa: B006
    """The pictures of each, for the page's script to put those of one case side by side."""
    await viewer_in(request, namespace)
    names, bodies = await _compared(request, namespace, run)
    found = await asyncio.gather(*(pictures_of(hub_of(request), body) for body in bodies))
    return columns(request, {"runs": [{"name": name, **of_run} for name, of_run in zip(names, found, strict=True)]})


@router.get("/n/{namespace}/compare")
async def compare(
    request: Request,
    namespace: Namespace,
    run: Runs = [],  # noqa: B006
    metric: Annotated[str, Query(max_length=128)] = "",
    all: bool = False,
) -> Response:
    """With `all`, also what is the same."""
    viewer = await viewer_in(request, namespace)
    names, bodies = await _compared(request, namespace, run)
    now = pages_of(request).now()
    summaries = await asyncio.gather(
        *(
            summaries_of(request, namespace, name, uid=body["metadata"]["uid"])
            for name, body in zip(names, bodies, strict=True)
        )
    )
    runs = [experiment_view(body, now=now) for body in bodies]
    known = list(dict.fromkeys(one.name for of_run in summaries for one in of_run))
    sweeps = {one.sweep for one in runs}
    sweep = sweeps.pop() if len(sweeps) == 1 else None
    crumbs = [(namespace, url("n", namespace, "sweeps")), ("Sweeps", url("n", namespace, "sweeps"))]
    return page(
        request,
        "compare.html",
        viewer=viewer,
        namespace=namespace,
        namespaces=await readable_namespaces(request, viewer),
        events=url("n", namespace, "events", sweep=sweep),
        crumbs=[*crumbs, *([(sweep, url("n", namespace, "sweeps", sweep))] if sweep else []), ("Compare", None)],
        view=compare_view(runs, bodies, summaries, everything=all),
        names=names,
        all=all,
        other=url("n", namespace, "compare", run=names, metric=metric, all=None if all else "1"),
        metrics=known,
        metric=metric or next((one.objective for one in runs if one.objective), ""),
    )
