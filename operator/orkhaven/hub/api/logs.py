"""GET of the logs of attempts: by pieces, as text, followed, searched, as a file.

Needs what `kubectl logs` needs: to `get pods/log` in the namespace (settings: read_auth).
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Path, Query, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import JSONResponse, Response, StreamingResponse

from orkhaven.hub.api import schemas
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.api.schemas import Schema
from orkhaven.hub.auth import POD_LOGS
from orkhaven.hub.context import Hub, hub_of, storage_trouble
from orkhaven.hub.errors import HttpError
from orkhaven.hub.logs import view
from orkhaven.hub.logs.grep import GrepError
from orkhaven.hub.logs.store import LogInfo, LogStore
from orkhaven.hub.pages.context import authorize, pages_of

T = TypeVar("T")

DEFAULT_BYTES = 256 * 1024
MAX_BYTES = 4 * 1024 * 1024
"""Of one JSON answer."""
POLL_SECONDS = 2.0
"""Who follows a log that another hub collects learns of it this late; also how soon it is seen that the client left."""
WAIT_SECONDS = 20.0
"""Of a JSON page that is followed: then it is answered as it is, so that no proxy takes the connection for dead."""
SAFE = {
    "X-Content-Type-Options": "nosniff",
    "Content-Security-Policy": "sandbox; default-src 'none'",
    "Cross-Origin-Resource-Policy": "same-origin",
    "Cache-Control": "no-store",
}
"""A log is anybody's text: no browser is to take it for anything else, or to keep it for whoever looks next."""


async def _authorized(request: Request, namespace: Namespace) -> None:
    await authorize(request, namespace, what=POD_LOGS)


router = APIRouter(
    prefix="/api/v1/namespaces/{namespace}/experiments/{experiment}",
    tags=["logs"],
    dependencies=[Depends(_authorized)],
    responses={code: {"model": schemas.ErrorBody} for code in (400, 401, 403, 404, 503)},
)

Attempt = Annotated[int, Path(ge=1, le=2**31 - 1, description="Counts from 1.")]


class LogItem(Schema):
    attempt: int
    pod: Annotated[str, schemas.Field(description="The newest one of the attempt.")]
    size: Annotated[int, schemas.Field(description="Bytes that the program printed, kept or not.")]
    stored: Annotated[int, schemas.Field(description="Bytes that the kept ones take, compressed.")]
    created: Annotated[float, schemas.Field(description="Seconds since the epoch, by the hub's clock.")]
    updated: float
    ended: Annotated[float | None, schemas.Field(description="None: more may come.")]


class LogList(Schema):
    namespace: str
    experiment: str
    uid: str | None
    items: list[LogItem]


class LogNote(Schema):
    offset: Annotated[int, schemas.Field(description="It stands before this byte.")]
    time: float
    text: str


class LogPiece(Schema):
    offset: int
    time: Annotated[
        float, schemas.Field(description="About when it was printed: seconds since the epoch, by the node's clock.")
    ]
    text: Annotated[str, schemas.Field(description="What is no UTF-8 is U+FFFD.")]


class LogPage(LogItem):
    namespace: str
    experiment: str
    uid: str
    kept: Annotated[
        list[tuple[int, int]],
        schemas.Field(description="First byte and byte after the last of what is kept; the rest was left out."),
    ]
    notes: list[LogNote]
    pieces: list[LogPiece]
    next: Annotated[int, schemas.Field(description="offset of the next page; of a log that grows, ask again for it.")]


class GrepMatch(Schema):
    offset: Annotated[int, schemas.Field(description="First byte of the line.")]
    text: str
    start: Annotated[int, schemas.Field(description="Where in `text` the match begins, and ends.")]
    end: int
    before: list[str]
    after: list[str]


class GrepAnswer(Schema):
    namespace: str
    experiment: str
    uid: str
    attempt: int
    size: int
    matches: list[GrepMatch]
    more: Annotated[bool, schemas.Field(description="There are further matches than `limit`.")]


@router.get("/logs")
async def list_logs(request: Request, namespace: Namespace, experiment: Name) -> LogList:
    """Which attempts have a log; also after the Experiment is gone: then of the last one of that name."""
    found = await _call(hub_of(request), lambda logs: logs.attempts(namespace, experiment))
    return LogList(
        namespace=namespace,
        experiment=experiment,
        uid=found[0].uid if found else None,
        items=[LogItem(**_item(info)) for info in found],
    )


@router.get(
    "/attempts/{attempt}/log",
    response_class=Response,
    responses={
        200: {
            "description": "text/plain; or with `format=json` a page, with `grep` the matches, with `download` gzip.",
            "content": {"text/plain": {}, "application/json": {}, "application/gzip": {}},
        }
    },
)
async def get_log(
    request: Request,
    namespace: Namespace,
    experiment: Name,
    attempt: Attempt,
    offset: Annotated[int | None, Query(ge=0, description="First byte wanted.")] = None,
    before: Annotated[
        int | None, Query(ge=0, description="With `format=json`: the page that ends before this byte.")
    ] = None,
    limit: Annotated[
        int, Query(ge=1, le=MAX_BYTES, description="Bytes of a JSON page; with `grep` matches, 500 at most.")
    ] = DEFAULT_BYTES,
    tail: Annotated[int | None, Query(ge=0, le=100_000, description="The last so many lines, of 1 MiB.")] = None,
    follow: Annotated[
        bool,
        Query(
            description="Go on until the attempt has ended; with `format=json` wait for more than there is, at most "
            f"{WAIT_SECONDS:.0f} seconds."
        ),
    ] = False,
    download: Annotated[bool, Query(description="All of it as a file, gzip.")] = False,
    grep: Annotated[str | None, Query(max_length=1000, description="A regular expression (Python's).")] = None,
    ignore_case: Annotated[bool, Query(description="For `grep`.")] = False,
    context: Annotated[int, Query(ge=0, le=10, description="Lines before and after each match.")] = 2,
    format: Annotated[str, Query(pattern="^(text|json)$")] = "text",
) -> Response:
    """An attempt's log, while it is written and after its pod is gone.

    As text it has lines of the hub's own, `[orkhaven: ...]`, where something was left out. As JSON it comes by pages
    of whole lines, with the place of each piece in bytes.
    """
    hub = hub_of(request)
    info = await _info(hub, namespace, experiment, attempt)
    if grep is not None:
        return await _grep(hub, info, grep, ignore_case=ignore_case, context=context, limit=min(limit, 500))
    if download:
        name = f"{experiment}-{attempt}.log.gz"
        headers = SAFE | {"Content-Disposition": f'attachment; filename="{name}"'}
        return StreamingResponse(_gzip(hub.store.logs, info), media_type="application/gzip", headers=headers)
    start = offset or 0
    if tail is not None and offset is None:
        start = await _call(hub, lambda logs: view.tail_start(logs, info, tail))

    async def allowed() -> bool:
        """A right that was taken away ends what it had begun; asked as often as for any other request."""
        try:
            await _authorized(request, namespace)
        except HttpError:
            return False
        return not pages_of(request).stopping.is_set() and not await request.is_disconnected()

    if format == "json":
        if before is not None:
            start, limit = await _call(hub, lambda logs: view.page_before(logs, info, before, limit))
        elif follow:
            info = await _newer(hub, info, start, allowed)
        return JSONResponse(await _call(hub, lambda logs: _page(logs, info, start, limit)), headers=SAFE)
    text = _follow(hub, info, start, allowed) if follow else _text(hub.store.logs, info, start)
    return StreamingResponse(text, media_type="text/plain; charset=utf-8", headers=SAFE)


# --- where it comes from ---


async def _call(hub: Hub, query: Callable[[LogStore], T]) -> T:
    try:
        return await asyncio.to_thread(query, hub.store.logs)
    except SQLAlchemyError as error:
        raise storage_trouble(error) from error


async def _info(hub: Hub, namespace: str, experiment: str, attempt: int) -> LogInfo:
    info = await _call(hub, lambda logs: logs.info(namespace, experiment, attempt))
    if info is None:
        why = (
            "the hub does not keep logs (setting logs)"
            if hub.collector is None
            else "its container has not started, ended before the hub saw it, or its log is older than logs are kept"
        )
        raise HttpError(404, "NotFound", f"there is no log of attempt {attempt} of {experiment!r}: {why}")
    return info


def _page(logs: LogStore, info: LogInfo, start: int, limit: int) -> dict[str, Any]:
    end = min(info.size, start + limit)
    pieces = view.joined(logs.read(info.id, start, end), whole=end == info.size)
    following = pieces[-1].start + len(pieces[-1].data) if pieces else max(start, end)
    kept = logs.extents(info.id)
    if not pieces:
        # All of the page was left out: go on where there is text again.
        following = next((first for first, last in kept if first >= start), info.size)
    return LogPage(
        **_item(info),
        namespace=info.namespace,
        experiment=info.name,
        uid=info.uid,
        kept=kept,
        notes=[LogNote(offset=note.start, time=note.time, text=note.text) for note in logs.notes(info.id)],
        pieces=[
            LogPiece(offset=piece.start, time=piece.time, text=piece.data.decode("utf-8", "replace"))
            for piece in pieces
        ],
        next=max(following, start),
    ).model_dump(by_alias=True)


def _item(info: LogInfo) -> dict[str, Any]:
    names = ("attempt", "pod", "size", "stored", "created", "updated", "ended")
    return {name: getattr(info, name) for name in names}


async def _grep(hub: Hub, info: LogInfo, pattern: str, *, ignore_case: bool, context: int, limit: int) -> Response:
    pieces = hub.store.logs.read(info.id, 0, info.size)
    try:
        found = await hub.grep.search(pattern, pieces, ignore_case=ignore_case, context=context, limit=limit)
    except GrepError as error:
        raise HttpError(400, "BadPattern", str(error), where="query grep") from None
    except SQLAlchemyError as error:
        raise storage_trouble(error) from error
    answer = GrepAnswer(
        namespace=info.namespace,
        experiment=info.name,
        uid=info.uid,
        attempt=info.attempt,
        size=info.size,
        matches=[GrepMatch(**match) for match in found["matches"]],
        more=found["more"],
    )
    return JSONResponse(answer.model_dump(by_alias=True), headers=SAFE)


# --- streams; a store that fails in the middle breaks the connection, which is the only way left to say so ---


async def _pieces(made: Iterator[bytes]) -> AsyncIterator[bytes]:
    while (piece := await asyncio.to_thread(next, made, None)) is not None:
        yield piece


async def _text(logs: LogStore, info: LogInfo, start: int) -> AsyncIterator[bytes]:
    decoder = view.decoder()
    async for piece in _pieces(view.text_of(logs, info, start=start)):
        yield decoder.decode(piece).encode()
    yield decoder.decode(b"", True).encode()


async def _gzip(logs: LogStore, info: LogInfo) -> AsyncIterator[bytes]:
    """The bytes as they came."""
    packer = zlib.compressobj(6, zlib.DEFLATED, 31)
    async for piece in _pieces(view.text_of(logs, info)):
        packed = await asyncio.to_thread(packer.compress, piece)
        if packed:
            yield packed
    yield packer.flush()


async def _newer(hub: Hub, info: LogInfo, start: int, allowed: Callable[[], Awaitable[bool]]) -> LogInfo:
    """The log once it has more than `start` bytes, has ended, or WAIT_SECONDS are over."""
    deadline = hub.clocks.monotonic() + WAIT_SECONDS
    while info.size <= start and info.ended is None and hub.clocks.monotonic() < deadline:
        newer = await _changed(hub, info)
        if newer is None or not await allowed():
            return info
        info = newer
    return info


async def _changed(hub: Hub, info: LogInfo) -> LogInfo | None:
    """What has become of it, at once or after POLL_SECONDS at most. None: it is gone."""
    bell = hub.collector.bell if hub.collector is not None else None
    ticket = None if bell is None else bell.ticket(info.id)
    newer = await asyncio.to_thread(hub.store.logs.refresh, info.id)
    changed = newer is None or newer.size != info.size or newer.ended is not None
    if bell is not None and ticket is not None:
        await bell.wait(info.id, ticket, seconds=0 if changed else POLL_SECONDS)
    elif not changed:
        await asyncio.sleep(POLL_SECONDS)
    return newer


async def _follow(hub: Hub, info: LogInfo, start: int, allowed: Callable[[], Awaitable[bool]]) -> AsyncIterator[bytes]:
    logs, decoder = hub.store.logs, view.decoder()
    position = min(start, info.size)
    while True:
        ended = info.ended is not None
        async for piece in _pieces(view.text_of(logs, info, start=position, notes=ended)):
            yield decoder.decode(piece).encode()
        position = info.size
        if ended:
            yield decoder.decode(b"", True).encode()
            return
        newer = await _changed(hub, info)
        if newer is None or not await allowed():
            return
        info = newer
