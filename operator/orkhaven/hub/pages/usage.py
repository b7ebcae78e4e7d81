"""Where the GPU-hours went: of a namespace, or of all that the person may read."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orkhaven.hub.api.answers import Format
from orkhaven.hub.api.ingest import Namespace
from orkhaven.hub.api.usage import DEFAULT_SINCE, as_usage_file, readable, usage_of
from orkhaven.hub.context import hub_of
from orkhaven.hub.pages.context import viewer_in, viewer_of
from orkhaven.hub.pages.data import asked
from orkhaven.hub.pages.exports import FILE_HEADERS
from orkhaven.hub.pages.render import PageRoute, page, url
from orkhaven.hub.pages.start import readable_namespaces
from orkhaven.hub.pages.views.usage import SPANS, bars_of, row_of, shown_parts
from orkhaven.hub.session import Viewer
from orkhaven.hub.usage.report import By, Per

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Text = Annotated[str, Query(max_length=10)]


@router.get("/usage")
async def everywhere(
    request: Request, by: By = By.NAMESPACE, since: Text = DEFAULT_SINCE, until: Text = "", per: Per = Per.DAY
) -> Response:
    return await _page(request, await viewer_of(request), None, by=by, since=since, until=until, per=per)


@router.get("/n/{namespace}/usage")
async def of_namespace(
    request: Request,
    namespace: Namespace,
    by: By = By.USER,
    since: Text = DEFAULT_SINCE,
    until: Text = "",
    per: Per = Per.DAY,
) -> Response:
    viewer = await viewer_in(request, namespace)
    return await _page(request, viewer, namespace, by=by, since=since, until=until, per=per)


@router.get("/export/usage")
async def export_everywhere(
    request: Request,
    format: Format = Format.CSV,
    by: By = By.NAMESPACE,
    since: Text = DEFAULT_SINCE,
    until: Text = "",
    per: Per | None = None,
) -> Response:
    viewer = await viewer_of(request)
    with asked():
        namespaces = await readable(hub_of(request), viewer.authorization)
        found = await usage_of(hub_of(request), namespaces, by=by, since=since, until=until, per=per)
    return as_usage_file(found, per, format, name="usage", headers=FILE_HEADERS)


@router.get("/n/{namespace}/export/usage")
async def export_namespace(
    request: Request,
    namespace: Namespace,
    format: Format = Format.CSV,
    by: By = By.USER,
    since: Text = DEFAULT_SINCE,
    until: Text = "",
    per: Per | None = None,
) -> Response:
    await viewer_in(request, namespace)
    with asked():
        found = await usage_of(hub_of(request), [namespace], by=by, since=since, until=until, per=per)
    return as_usage_file(found, per, format, name=f"{namespace}-usage", headers=FILE_HEADERS)


async def _page(
    request: Request, viewer: Viewer, namespace: str | None, *, by: By, since: str, until: str, per: Per
) -> Response:
    hub = hub_of(request)
    with asked():
        namespaces = [namespace] if namespace is not None else await readable(hub, viewer.authorization)
        found = await usage_of(hub, namespaces, by=by, since=since, until=until, per=per)
    where = ("n", namespace) if namespace is not None else ()
    chosen = {"by": by.value, "since": since, "until": until, "per": per.value}

    def here(**changes: str) -> str:
        return url(*where, "usage", **{**chosen, **changes})

    return page(
        request,
        "usage.html",
        viewer=viewer,
        namespace=namespace,
        namespaces=await readable_namespaces(request, viewer),
        found=found,
        by=by.value,
        per=per.value,
        since=since,
        until=until,
        parts=shown_parts(found.total),
        rows=[row_of(one, by.value) for one in found.rows],
        bars=bars_of(found.periods),
        choices=[(one.value, here(by=one.value)) for one in By if namespace is None or one is not By.NAMESPACE],
        periods=[(one.value, here(per=one.value)) for one in Per],
        spans=[(label, here(since=span, until=""), span == since and not until) for label, span in SPANS],
        export=url(*where, "export", "usage", by=by.value, since=since, until=until),
        export_per=url(*where, "export", "usage", **chosen),
        other=url("usage") if namespace is not None else None,
    )
