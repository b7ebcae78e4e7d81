"""POST of a run's artifacts, by the pod's own token; GET of their list and content, by whoever may read the run."""

from __future__ import annotations

import asyncio
import hashlib
import logging
import os
from collections.abc import AsyncIterator, Callable
from typing import Annotated, Any

from fastapi import APIRouter, Path, Query, Request
from pydantic import Field
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse, Response, StreamingResponse

from orkhaven.errors import ApiError, NotFound
from orkhaven.hub.api import schemas
from orkhaven.hub.api.ingest import Name, Namespace, read_body
from orkhaven.hub.api.paging import page
from orkhaven.hub.api.schemas import Schema
from orkhaven.hub.artifacts import serve
from orkhaven.hub.artifacts.entry import MAX_BODY, BadEntry, Entry, parse
from orkhaven.hub.artifacts.store import ArtifactStore, Found, Limits, Place, TooMany
from orkhaven.hub.artifacts.volume import NotServed
from orkhaven.hub.auth import bearer
from orkhaven.hub.context import Hub, hub_of, storage_trouble
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.pages.context import authorize
from orkhaven.hub.settings import HubSettings
from orkhaven.hub.storage.ingest import RunIdentity
from orkhaven.hub.writer import BusyError, Writer, beside
from orkrun import contract

TIDY_SECONDS = 600.0
_BLOCK = 256 * 1024

log = logging.getLogger(__name__)

router = APIRouter(tags=["artifacts"], responses={c: {"model": schemas.ErrorBody} for c in (400, 401, 403, 404, 503)})


class ArtifactAnswer(Schema):
    id: int
    new: Annotated[bool, Field(description="False: it was there before.")]
    stored: Annotated[bool, Field(description="The hub has its content.")]


class ArtifactItem(Schema):
    id: int
    attempt: int
    seq: int
    name: str
    kind: Annotated[str, Field(description="image, volume or file.")]
    step: int | None
    time: Annotated[float, Field(description="Seconds since the epoch, by the trainer's clock.")]
    caption: str
    group: Annotated[str, Field(description="What belongs together, a case and slice say.")]
    role: Annotated[str, Field(description="image, mask, prediction or nothing.")]
    media_type: Annotated[str, Field(description="As the run says; what is served is decided by the content.")]
    size: int
    sha256: str
    path: Annotated[str, Field(description="Below the run's folder on the output volume.")]
    source: Annotated[
        str | None, Field(description="store: the hub has it; volume: on the output volume; none: see `why`.")
    ]
    why: Annotated[str | None, Field(description="Why its content cannot be had here.")]
    url: Annotated[str | None, Field(description="Path of its content.")]


class ArtifactList(Schema):
    namespace: str
    experiment: str
    uid: str | None
    items: list[ArtifactItem]
    next: Annotated[str | None, Field(description="Cursor of the next page; none: this is the last.")] = None


@router.post(
    contract.artifacts_path("{namespace}", "{experiment}"),
    response_model=ArtifactAnswer,
    responses={code: {"model": schemas.ErrorBody} for code in (413, 415, 422)},
    openapi_extra={
        "requestBody": {"required": True, "content": {contract.ARTIFACT_TYPE: {"schema": {"type": "string"}}}}
    },
)
async def post_artifact(request: Request, namespace: Namespace, experiment: Name) -> JSONResponse:
    """Takes one artifact: a line of JSON, a newline, then its content or nothing. Needs the pod's projected token.

    Idempotent by (attempt, seq). What is answered is committed. Without content, or above the run's limit, it is
    listed, and served from the output volume where that is mounted.
    """
    hub = hub_of(request)
    run = await hub.write_auth.run_of(bearer(request.headers.get("authorization")), namespace, experiment)
    media_type = request.headers.get("content-type", "").partition(";")[0].strip().lower()
    if media_type != contract.ARTIFACT_TYPE:
        raise HttpError(415, "UnsupportedMediaType", f"send {contract.ARTIFACT_TYPE}", where="header Content-Type")
    head, _, content = (await read_body(request, limit=MAX_BODY, seconds=hub.settings.max_body_seconds)).partition(
        b"\n"
    )
    entry = _checked(head, content)
    limits = Limits(count=contract.MAX_ARTIFACTS, run_bytes=hub.settings.artifact_run_bytes)
    place, now = await _place(hub, run), hub.clocks.wall()
    try:
        taken = await hub.writer.call(
            beside(hub.store.artifacts.add, run, entry, content, place=place, limits=limits, now=now)
        )
    except TooMany:
        raise HttpError(422, "TooManyArtifacts", f"a run has at most {limits.count} artifacts") from None
    except BusyError:
        raise unavailable("the hub is shutting down; send it again") from None
    except SQLAlchemyError as error:
        raise storage_trouble(error) from error
    return JSONResponse(ArtifactAnswer(id=taken.id, new=taken.new, stored=taken.stored).model_dump(by_alias=True))


def _checked(head: bytes, content: bytes) -> Entry:
    if len(head) > contract.MAX_ARTIFACT_LINE:
        raise HttpError(422, "BadArtifact", f"the first line has at most {contract.MAX_ARTIFACT_LINE} bytes")
    try:
        entry = parse(head)
    except BadEntry as bad:
        raise HttpError(422, "BadArtifact", bad.message, where=bad.field or None) from None
    if content and len(content) != entry.size:
        raise HttpError(422, "BadArtifact", f"{entry.size} bytes, but {len(content)} came", where="size")
    if content and hashlib.sha256(content).hexdigest() != entry.sha256:
        raise HttpError(422, "BadArtifact", "it is not the digest of what came", where="sha256")
    return entry


async def _place(hub: Hub, run: RunIdentity) -> Place:
    """Of its output, by the API server: what a pod says of itself must not choose a folder."""
    try:
        body = await hub.gateway.get("Experiment", run.namespace, run.name)
    except NotFound:
        return Place(claim="", folder="")
    except ApiError as error:
        raise unavailable(f"the API server did not answer: {error}") from error
    if body["metadata"].get("uid") != run.uid:
        return Place(claim="", folder="")
    spec, status = body.get("spec") or {}, body.get("status") or {}
    folder = status.get("outputFolder") or status.get("runHash") or ""
    return Place(claim=str((spec.get("output") or {}).get("claim") or ""), folder=str(folder)[:64])


async def _authorize(request: Request, namespace: str) -> Hub:
    await authorize(request, namespace)
    return hub_of(request)


@router.get(contract.artifacts_path("{namespace}", "{experiment}"))
async def list_artifacts(
    request: Request,
    namespace: Namespace,
    experiment: Name,
    kind: Annotated[contract.ArtifactKind | None, Query(description="Only these.")] = None,
    limit: Annotated[int, Query(ge=1, le=1000)] = 200,
    cursor: Annotated[str | None, Query(max_length=2048)] = None,
) -> ArtifactList:
    """What the run reported, in order of arrival; also after the Experiment is gone: then of the last of that name."""
    hub = await _authorize(request, namespace)
    try:
        found = await asyncio.to_thread(hub.store.artifacts.of_run, namespace, experiment)
    except SQLAlchemyError as error:
        raise storage_trouble(error) from error
    chosen = [one for one in found if kind is None or one.entry.kind == kind]
    rows, following = page(chosen, key=lambda one: (one.id,), limit=limit, cursor=cursor)
    items = await asyncio.to_thread(lambda: [_item(hub, one) for one in rows])
    return ArtifactList(
        namespace=namespace,
        experiment=experiment,
        uid=found[0].uid if found else None,
        items=items,
        next=following,
    )


def _item(hub: Hub, found: Found) -> ArtifactItem:
    entry = found.entry
    why = None if found.stored else hub.volumes.why_not(found)
    source = "store" if found.stored else None if why else "volume"
    path = f"{contract.artifacts_path(found.namespace, found.experiment)}/{found.id}/content"
    names = ("attempt", "seq", "name", "kind", "step", "time", "caption", "group", "role", "media_type", "size")
    return ArtifactItem(
        id=found.id,
        **{name: getattr(entry, name) for name in names},
        sha256=entry.sha256,
        path=entry.path,
        source=source,
        why=why,
        url=path if source else None,
    )


@router.get(
    contract.artifacts_path("{namespace}", "{experiment}") + "/{artifact}/content",
    response_class=Response,
    responses={
        200: {"content": {"application/octet-stream": {}}},
        206: {"description": "The range that was asked for."},
        304: {"description": "As If-None-Match has it."},
        416: {"model": schemas.ErrorBody},
    },
)
async def get_content(
    request: Request, namespace: Namespace, experiment: Name, artifact: Annotated[int, Path(ge=1, le=2**31 - 1)]
) -> Response:
    """The bytes of an artifact, by its id in the list. PNG, JPEG, GIF and WebP are shown in place, all else is a
    download. One range at a time; the ETag is the SHA-256.
    """
    hub = await _authorize(request, namespace)
    try:
        found = await asyncio.to_thread(hub.store.artifacts.one, namespace, experiment, artifact)
        content = await asyncio.to_thread(hub.store.artifacts.content, artifact) if found and found.stored else None
    except SQLAlchemyError as error:
        raise storage_trouble(error) from error
    if found is None:
        raise HttpError(404, "NotFound", f"{experiment!r} has no artifact {artifact}")
    entry = found.entry
    if serve.is_fresh(entry, request.headers.get("if-none-match")):
        return Response(status_code=304, headers={"ETag": serve.etag(entry), "Cache-Control": "private, no-cache"})
    try:
        part = serve.wanted(entry, request.headers.get("range"), request.headers.get("if-range"))
    except serve.Unsatisfiable:
        raise HttpError(416, "RangeNotSatisfiable", f"it has {entry.size} bytes", where="header Range") from None
    start, end = part or (0, entry.size)
    status, extra = 200, {"Content-Length": str(end - start)}
    if part is not None:
        status, extra["Content-Range"] = 206, f"bytes {start}-{end - 1}/{entry.size}"
    if content is not None:
        headers = serve.headers(entry, content[:64]) | extra
        return Response(content[start:end], status_code=status, headers=headers)
    opened = hub.volumes.open(found)
    try:
        fd = await asyncio.to_thread(opened.__enter__)
    except NotServed as error:
        raise HttpError(404, "NotServed", f"artifact {artifact}: {error}") from None

    async def body() -> AsyncIterator[bytes]:
        try:
            position = start
            while position < end:
                block = await asyncio.to_thread(os.pread, fd, min(_BLOCK, end - position), position)
                if not block:
                    return  # cut short under us: the length that was promised says so to the client
                position += len(block)
                yield block
        finally:
            opened.__exit__(None, None, None)

    first = os.pread(fd, 64, 0)
    return StreamingResponse(body(), status_code=status, headers=serve.headers(entry, first) | extra)


async def tidy(artifacts: ArtifactStore, writer: Writer, settings: HubSettings, *, clock: Callable[[], float]) -> None:
    """For ever: forgets what is too old or too much."""
    days = settings.artifact_retention_days
    while True:
        before: Any = None if days is None else clock() - days * 86_400
        try:
            while await writer.call(
                beside(artifacts.forget, received_before=before, max_bytes=settings.artifact_store_bytes)
            ):
                continue
        except (SQLAlchemyError, BusyError) as error:
            log.warning("old artifacts were not deleted", extra={"error": str(error).splitlines()[0]})
        await asyncio.sleep(TIDY_SECONDS)
