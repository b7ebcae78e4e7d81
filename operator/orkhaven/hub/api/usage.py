"""GET of the ledger: where the GPU-hours went."""

from __future__ import annotations

import asyncio
from collections.abc import Collection
from datetime import UTC, datetime
from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orkhaven.hub.api import schemas
from orkhaven.hub.api.answers import FILES, Format, as_download, as_file, as_json, format_of
from orkhaven.hub.api.ingest import Namespace
from orkhaven.hub.api.reads import READ, Formats
from orkhaven.hub.context import Hub, hub_of
from orkhaven.hub.errors import HttpError
from orkhaven.hub.usage.report import COLUMNS, By, Per, Report, report, span_of

DEFAULT_SINCE = "30d"
MOST_NAMESPACES = 200
"""Of an answer about all. Each costs one question to the API server per person and minute."""

router = APIRouter()

Since = Annotated[
    str, Query(max_length=10, description="The last days or weeks, today among them (7d, 4w), or a day (2026-11-30).")
]
Until = Annotated[str, Query(max_length=10, description="The last day that counts. Default: today. Days are UTC.")]
Which = Annotated[By, Query(description="What the rows are of.")]
Period = Annotated[Per | None, Query(description="Also split by day, week (from Monday) or month. Default: by day.")]


@router.get(
    "/api/v1/namespaces/{namespace}/usage",
    response_model=schemas.UsageReport,
    tags=READ["tags"],
    dependencies=READ["dependencies"],
    responses={**READ["responses"], **FILES},
)
async def get_usage(
    request: Request,
    namespace: Namespace,
    by: Which = By.USER,
    since: Since = DEFAULT_SINCE,
    until: Until = "",
    per: Period = None,
    format: Formats = None,
) -> Response:
    """GPU-hours of a namespace, by user, sweep, model or cause, and what came of them. What runs counts up to now.

    CSV and LaTeX: a line for each row; where `per` is given, for each row and period.
    """
    found = await usage_of(hub_of(request), [namespace], by=by, since=since, until=until, per=per)
    return _answer(found, per, format_of(request, format), name=f"{namespace}-usage")


@router.get(
    "/api/v1/usage",
    response_model=schemas.UsageReport,
    tags=READ["tags"],
    responses={**READ["responses"], **FILES},
)
async def get_all_usage(
    request: Request,
    by: Which = By.NAMESPACE,
    since: Since = DEFAULT_SINCE,
    until: Until = "",
    per: Period = None,
    format: Formats = None,
) -> Response:
    """The same over all namespaces whose experiments the person may get: at most 200."""
    hub = hub_of(request)
    namespaces = await readable(hub, request.headers.get("authorization"))
    found = await usage_of(hub, namespaces, by=by, since=since, until=until, per=per)
    return _answer(found, per, format_of(request, format), name="usage")


async def readable(hub: Hub, authorization: str | None) -> list[str]:
    """Namespaces that have spent something and that this person may read. Raises HttpError 401 or 503."""

    async def may(namespace: str) -> bool:
        try:
            await hub.read_auth.require(authorization, namespace)
        except HttpError as error:
            if error.status != 403:
                raise
            return False
        return True

    known = sorted({*await asyncio.to_thread(hub.store.usage.namespaces), *hub.queries.catalogue.namespaces()})
    if not known:
        await hub.read_auth.identify(authorization)
    allowed = await asyncio.gather(*(may(namespace) for namespace in known[:MOST_NAMESPACES]))
    return [namespace for namespace, yes in zip(known, allowed, strict=False) if yes]


async def usage_of(hub: Hub, namespaces: Collection[str], *, by: By, since: str, until: str, per: Per | None) -> Report:
    """Raises ParameterError, SQLAlchemyError."""
    now = datetime.fromtimestamp(hub.clocks.wall(), UTC)
    span = span_of(since, until, now=now)

    def add_up() -> Report:
        lines = hub.store.usage.between(*span.seconds, namespaces=namespaces)
        return report(lines, span, by=by, per=per or Per.DAY, now=now)

    return await asyncio.to_thread(add_up)


def file_of(found: Report, per: Per | None) -> tuple[list[tuple[str, str]], list[dict[str, object]]]:
    """(columns, rows) of a file."""
    keys = [found.by.value, *COLUMNS]
    if per is not None:
        keys.insert(0, "period")
    return [(key, key) for key in keys], found.rows if per is None else found.cells


def as_usage_file(found: Report, per: Per | None, format_: Format, *, name: str, headers: dict[str, str]) -> Response:
    """For whoever is logged in: JSON as a file too."""
    return as_download(format_, *file_of(found, per), name=name, headers=headers)


def _answer(found: Report, per: Per | None, format_: Format, *, name: str) -> Response:
    if format_ is not Format.JSON:
        return as_file(format_, *file_of(found, per), name=name)
    return as_json(
        {
            "since": f"{found.span.since:%Y-%m-%d}",
            "until": f"{found.span.last:%Y-%m-%d}",
            "by": found.by,
            "per": found.per,
            "total": found.total,
            "rows": found.rows,
            "periods": found.periods,
        }
    )
