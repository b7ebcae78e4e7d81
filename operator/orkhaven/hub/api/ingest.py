"""POST of metric lines: checked, committed, then answered."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Callable, Coroutine
from typing import Annotated, Any

import anyio.to_thread
from fastapi import APIRouter, Path, Request
from fastapi.routing import APIRoute
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse, Response

from orkhaven.hub import lines
from orkhaven.hub.api.schemas import ErrorBody, IngestAnswer
from orkhaven.hub.auth import bearer
from orkhaven.hub.context import Hub, hub_of, storage_trouble
from orkhaven.hub.errors import HttpError, error_body, unavailable
from orkhaven.hub.storage.ingest import Outcome, Post
from orkhaven.hub.writer import BusyError
from orkrun import contract


class _Direct(APIRoute):
    """Described like any route, but the handler gets request and path as they are: FastAPI's own way through
    dependencies takes about as long as the whole rest of a POST.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        async def handle(request: Request) -> Response:
            namespace, experiment = request.path_params["namespace"], request.path_params["experiment"]
            for name, value, pattern, longest in (
                ("namespace", namespace, NAMESPACE_PATTERN, 63),
                ("experiment", experiment, NAME_PATTERN, 253),
            ):
                if len(value) > longest or re.fullmatch(pattern, value) is None:
                    raise HttpError(
                        422,
                        "InvalidParameter",
                        f"a {name} has at most {longest} characters and fits {pattern}",
                        where=f"path {name}",
                    )
            return await post_metrics(request, namespace, experiment)

        return handle


router = APIRouter(tags=["ingest"], route_class=_Direct)

NDJSON = "application/x-ndjson"
INLINE_BYTES = 64 * 1024
"""Bodies up to this are parsed on the event loop (about a millisecond); larger ones in a thread."""
MAX_REPORTED = 100
"""Rejections listed in an answer; the count is of all."""

NAMESPACE_PATTERN = "^[a-z0-9]([-a-z0-9]*[a-z0-9])?$"
NAME_PATTERN = "^[a-z0-9]([-a-z0-9.]*[a-z0-9])?$"
Namespace = Annotated[str, Path(pattern=NAMESPACE_PATTERN, max_length=63)]
Name = Annotated[str, Path(pattern=NAME_PATTERN, max_length=253)]


@router.post(
    contract.metrics_path("{namespace}", "{experiment}"),
    response_model=IngestAnswer,
    responses={code: {"model": ErrorBody} for code in (401, 403, 408, 413, 415, 422, 503)},
    openapi_extra={
        "requestBody": {
            "required": True,
            "content": {
                NDJSON: {
                    "schema": {"type": "string"},
                    "example": '{"attempt": 1, "seq": 1, "step": 1, "time": 1790000000, "metrics": {"dice": 0.5}}\n',
                }
            },
        },
    },
)
async def post_metrics(request: Request, namespace: Namespace, experiment: Name) -> JSONResponse:
    """Takes metric lines of a run, one JSON object each line. Needs the pod's projected token, audience `orkhaven`.

    Idempotent by (attempt, seq): sending a line again does no harm, and the first one counts. What is answered is
    committed. A bad line or field is answered 422 and says where; all good lines of the same POST are kept
    nevertheless.
    """
    hub = hub_of(request)
    try:
        return await _take_in(request, hub, namespace, experiment)
    except HttpError as error:
        if error.status >= 500:
            hub.silence.deaf()  # it spoke, and was not heard
        raise


async def _take_in(request: Request, hub: Hub, namespace: str, experiment: str) -> JSONResponse:
    token = bearer(request.headers.get("authorization"))
    run = await hub.write_auth.run_of(token, namespace, experiment)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != NDJSON:
        raise HttpError(
            415, "UnsupportedMediaType", f"send {NDJSON}, not {media_type or 'nothing'}", where="header Content-Type"
        )
    body = await read_body(request, limit=hub.settings.max_body_bytes, seconds=hub.settings.max_body_seconds)
    parsed = lines.parse(body) if len(body) <= INLINE_BYTES else await anyio.to_thread.run_sync(lines.parse, body)
    outcome: Outcome | None = None
    if parsed.lines:
        try:
            outcome = await hub.writer.write(Post(run, parsed.lines))
        except BusyError:
            raise unavailable("more metrics are waiting to be stored than may wait; send them again") from None
        except SQLAlchemyError as error:
            raise storage_trouble(error) from error
        if outcome.accepted:
            hub.flusher.touch(outcome.run_id, at_once=outcome.passed_rung)
            hub.queries.touch(namespace, run.sweep)
    refusals = (*parsed.refusals, *(outcome.refusals if outcome else ()))
    telemetry = hub.telemetry
    if outcome is not None:
        telemetry.accepted.inc(outcome.accepted)
        if outcome.duplicates:
            telemetry.duplicates.inc(outcome.duplicates)
        telemetry.points.inc(outcome.points)
    if refusals:
        telemetry.rejected.inc(len(refusals))
    return _answer(outcome, refusals)


def _answer(outcome: Outcome | None, refusals: tuple[lines.Refusal, ...]) -> JSONResponse:
    content: dict[str, Any] = {
        "accepted": outcome.accepted if outcome else 0,
        "duplicates": outcome.duplicates if outcome else 0,
        "rejected": len(refusals),
        "lastSeq": outcome.last_seq if outcome else None,
    }
    if not refusals:
        return JSONResponse(content)
    first = refusals[0]
    content |= error_body("BadMetricLine", first.message, where=first.where)
    content["rejections"] = [
        {"line": refusal.line, "field": refusal.field, "message": refusal.message}
        for refusal in refusals[:MAX_REPORTED]
    ]
    return JSONResponse(content, status_code=422)


async def read_body(request: Request, *, limit: int, seconds: float) -> bytes:
    """The body. Raises HttpError 413 as soon as it is known to be too large, 408 where it does not end in time."""
    too_large = HttpError(413, "BodyTooLarge", f"a body has at most {limit} bytes; send fewer lines at once")
    declared = request.headers.get("content-length", "")
    if declared.isdigit() and int(declared) > limit:
        raise too_large
    chunks: list[bytes] = []
    size = 0
    try:
        async with asyncio.timeout(seconds):
            async for chunk in request.stream():
                size += len(chunk)
                if size > limit:
                    raise too_large
                chunks.append(chunk)
    except TimeoutError:
        raise HttpError(408, "BodyTooSlow", f"a body has to arrive within {seconds:g} seconds; send it again") from None
    return b"".join(chunks)
