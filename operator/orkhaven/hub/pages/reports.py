"""A sweep's report as a file: for whoever is logged in, and the same below /api/v1 for a token."""

from __future__ import annotations

from typing import Any

from fastapi import APIRouter, Request
from starlette.responses import Response

from orkhaven.hub.api.answers import attachment
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.api.reads import READ
from orkhaven.hub.pages.context import viewer_in
from orkhaven.hub.pages.render import PageRoute, answer
from orkhaven.hub.report.page import report_of

router = APIRouter(include_in_schema=False, route_class=PageRoute)
api = APIRouter(**READ)

HTML_FILE: dict[int | str, dict[str, Any]] = {200: {"content": {"text/html": {"schema": {"type": "string"}}}}}


@router.get("/n/{namespace}/sweeps/{name}/report")
async def page_report(request: Request, namespace: Namespace, name: Name) -> Response:
    await viewer_in(request, namespace)
    return await _report(request, namespace, name)


@api.get("/sweeps/{sweep}/report", responses=HTML_FILE)
async def get_report(request: Request, namespace: Namespace, sweep: Name) -> Response:
    """The sweep as one HTML file that needs no network: leaderboard, plots, failures, parameters, YAML."""
    return await _report(request, namespace, sweep)


async def _report(request: Request, namespace: str, name: str) -> Response:
    html = await report_of(request, namespace, name)
    headers = {"Content-Disposition": attachment(f"{name}-report", "html")}
    return answer(request, html, "text/html; charset=utf-8", headers=headers)
