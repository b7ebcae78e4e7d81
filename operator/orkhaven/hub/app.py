"""The hub as an ASGI application: puts the parts together, starts and ends them in order."""

from __future__ import annotations

import asyncio
import contextlib
import functools
import logging
import random
import time
from collections.abc import AsyncIterator, Callable
from typing import Any

from fastapi import FastAPI
from fastapi.exceptions import RequestValidationError
from fastapi.openapi.utils import get_openapi
from sqlalchemy.exc import SQLAlchemyError
from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import JSONResponse
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from orkhaven import __version__
from orkhaven.hub.api import artifacts, ingest, logs, ops, reads, tables, usage
from orkhaven.hub.artifacts.volume import Volumes
from orkhaven.hub.auth import ReadAuthorizer, WriteAuth
from orkhaven.hub.context import Clocks, Hub, storage_trouble
from orkhaven.hub.errors import HttpError, error_body, unavailable
from orkhaven.hub.flusher import Flusher
from orkhaven.hub.logs.collector import Collector
from orkhaven.hub.logs.grep import Grep
from orkhaven.hub.logs.turn import turn_for
from orkhaven.hub.pages.routes import install as install_pages
from orkhaven.hub.ports import Gateway
from orkhaven.hub.query import Queries
from orkhaven.hub.query.catalogue import Catalogue, NotSynced
from orkhaven.hub.query.leaderboard import ParameterError
from orkhaven.hub.query.revisions import Revisions
from orkhaven.hub.query.service import Unknown
from orkhaven.hub.query.tables import Tables
from orkhaven.hub.settings import HubSettings
from orkhaven.hub.silence import Silence
from orkhaven.hub.storage.ingest import Ingest
from orkhaven.hub.storage.store import Store, open_store
from orkhaven.hub.telemetry import Telemetry
from orkhaven.hub.usage.recorder import Recorder
from orkhaven.hub.writer import BusyError, Writer

RETENTION_EVERY = 3600.0
"""Seconds between two looks for histories that are to be deleted."""

log = logging.getLogger(__name__)

OpenStore = Callable[[], Store]
"""Blocks; called in a thread. Raises StoreError."""
OpenGateway = Callable[[], contextlib.AbstractAsyncContextManager[Gateway]]
"""Connects when the event loop runs, disconnects at the end."""


def store_of(settings: HubSettings) -> Store:
    """Raises StoreError."""
    return open_store(settings.database_url, max_metrics_per_run=settings.max_metrics_per_run)


def create_app(
    settings: HubSettings,
    open_gateway: OpenGateway,
    *,
    open_the_store: OpenStore | None = None,
    clocks: Clocks | None = None,
    rng: random.Random | None = None,
) -> FastAPI:
    """Opens nothing until the application is started, and closes what it opened."""
    open_the_store = open_the_store or functools.partial(store_of, settings)
    clocks = clocks or Clocks()
    telemetry = Telemetry()

    @contextlib.asynccontextmanager
    async def lifespan(app: FastAPI) -> AsyncIterator[None]:
        store = await asyncio.to_thread(open_the_store)
        async with contextlib.AsyncExitStack() as stack:
            stack.callback(store.close)
            gateway = await stack.enter_async_context(open_gateway())
            writer = Writer(store.ingest, max_pending_points=settings.max_pending_points, clock=clocks.wall)
            writer.start()
            stack.push_async_callback(writer.close)
            flusher = Flusher(
                gateway,
                store.reader,
                writer,
                settings,
                clock=clocks.monotonic,
                rng=rng or random.Random(),
                on_result=lambda result: telemetry.status_writes.labels(result).inc(),
            )
            await flusher.start()
            stack.push_async_callback(flusher.close)
            revisions = Revisions()
            catalogue = Catalogue(
                gateway,
                namespaces=settings.namespaces,
                revisions=revisions,
                clock=clocks.monotonic,
                rng=rng or random.Random(),
            )
            await catalogue.start()
            stack.push_async_callback(catalogue.close)
            silence = Silence(catalogue, gateway, store.reader, writer, clock=clocks.steady())
            listening = asyncio.create_task(silence.run(), name="hub-silence")
            stack.callback(listening.cancel)
            recorder = Recorder(
                catalogue,
                store.usage,
                writer,
                retention=settings.usage_retention_days * 86_400,
                clock=clocks.steady(),
            )
            recording = asyncio.create_task(recorder.run(), name="hub-usage")
            stack.callback(recording.cancel)
            boards = Tables(catalogue, revisions, store.reader, clock=clocks.monotonic)
            warming = asyncio.create_task(_warm(catalogue, boards))
            stack.callback(warming.cancel)
            tidying = asyncio.create_task(artifacts.tidy(store.artifacts, writer, settings, clock=clocks.steady()))
            stack.callback(tidying.cancel)
            if settings.retention_days is not None:
                task = asyncio.create_task(_retain(writer, settings.retention_days * 86_400, clock=clocks.steady()))
                stack.callback(task.cancel)
            collector = _collector(gateway, store, writer, settings, clocks=clocks, rng=rng, telemetry=telemetry)
            if collector is not None:
                collector.start()
                stack.push_async_callback(collector.close)
            app.state.hub = Hub(
                settings=settings,
                gateway=gateway,
                store=store,
                writer=writer,
                flusher=flusher,
                silence=silence,
                queries=Queries(catalogue, revisions, boards, store.reader),
                write_auth=WriteAuth(gateway, settings, clock=clocks.monotonic),
                read_auth=ReadAuthorizer(gateway, settings, clock=clocks.monotonic),
                telemetry=telemetry,
                collector=collector,
                grep=Grep(),
                volumes=Volumes(settings.output_root, default_claim=settings.output_claim),
                clocks=clocks,
            )
            yield

    app = FastAPI(
        title="Orkhaven hub",
        version=__version__,
        description="Metrics of training runs: taken in, kept, served.",
        lifespan=lifespan,
        docs_url=None,
        redoc_url=None,
    )
    for router in (ingest.router, logs.router, artifacts.router, reads.router, tables.router, usage.router, ops.router):
        app.include_router(router)
    install_pages(app, settings, clocks)
    app.add_exception_handler(HttpError, _http_error)
    for kind in (NotSynced, Unknown, ParameterError, SQLAlchemyError):
        app.add_exception_handler(kind, _query_error)
    app.add_exception_handler(HTTPException, _other_error)
    app.add_exception_handler(RequestValidationError, _invalid)
    app.add_middleware(Measured, telemetry=telemetry)
    app.openapi = lambda: _openapi(app)  # type: ignore[method-assign]
    return app


def _collector(
    gateway: Gateway,
    store: Store,
    writer: Writer,
    settings: HubSettings,
    *,
    clocks: Clocks,
    rng: random.Random | None,
    telemetry: Telemetry,
) -> Collector | None:
    if not settings.logs:
        return None
    return Collector(
        gateway,
        store.logs,
        writer,
        settings,
        turn=turn_for(store.engines),
        namespaces=settings.namespaces,
        clock=clocks.wall,
        monotonic=clocks.monotonic,
        rng=rng or random.Random(),
        on_bytes=telemetry.log_bytes.inc,
    )


async def _warm(catalogue: Catalogue, boards: Tables) -> None:
    """So that the first to look after a start waits no longer than the next one. The hub is ready without it."""
    try:
        await catalogue.wait_synced()
        count = await boards.warm()
        log.info("tables are made", extra={"sweeps": count})
    except SQLAlchemyError as error:
        log.warning("tables are made when they are asked for", extra={"error": str(error)})


async def _retain(writer: Writer, seconds: float, *, clock: Callable[[], float]) -> None:
    while True:
        forget = functools.partial(Ingest.forget_before, updated=clock() - seconds)
        try:
            while await writer.call(forget):
                continue
        except (SQLAlchemyError, BusyError) as error:
            log.warning("old histories were not deleted", extra={"error": str(error)})
        await asyncio.sleep(RETENTION_EVERY)


# --- errors, all in one shape ---


async def _http_error(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, HttpError)
    return error.response()


async def _query_error(_request: Request, error: Exception) -> JSONResponse:
    """What `Queries` raises."""
    match error:
        case NotSynced():
            return unavailable(str(error)).response()
        case Unknown():
            return HttpError(404, "NotFound", str(error)).response()
        case ParameterError(parameter="cursor"):
            return HttpError(400, "BadCursor", error.message, where="query cursor").response()
        case ParameterError():
            return HttpError(422, "InvalidParameter", error.message, where=f"query {error.parameter}").response()
    assert isinstance(error, SQLAlchemyError)
    return storage_trouble(error).response()


async def _other_error(_request: Request, error: Exception) -> JSONResponse:
    """What the router says: no such path, no such method."""
    assert isinstance(error, HTTPException)
    code = {404: "NotFound", 405: "MethodNotAllowed"}.get(error.status_code, "Error")
    return JSONResponse(error_body(code, str(error.detail)), status_code=error.status_code, headers=error.headers)


async def _invalid(_request: Request, error: Exception) -> JSONResponse:
    assert isinstance(error, RequestValidationError)
    first = error.errors()[0]
    where = " ".join(str(part) for part in first["loc"])
    return HttpError(422, "InvalidParameter", first["msg"], where=where).response()


class Measured:
    """Counts and times requests by route (never by path: names of runs would make the series endless), and answers 500
    in the common shape.
    """

    def __init__(self, app: ASGIApp, telemetry: Telemetry) -> None:
        self._app = app
        self._telemetry = telemetry

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        if scope["type"] != "http":
            await self._app(scope, receive, send)
            return
        started = time.perf_counter()
        code = 0

        async def note(message: Message) -> None:
            nonlocal code
            if message["type"] == "http.response.start":
                code = message["status"]
            await send(message)

        try:
            await self._app(scope, receive, note)
        except Exception:
            log.exception("a request failed", extra={"path": scope["path"]})
            if code == 0:
                body = error_body("Internal", "the hub failed; its log says why")
                await JSONResponse(body, status_code=500)(scope, receive, note)
        finally:
            route = getattr(scope.get("route"), "path", "other")
            self._telemetry.answered(route, scope["method"], code, seconds=time.perf_counter() - started)


def _openapi(app: FastAPI) -> dict[str, Any]:
    if app.openapi_schema is None:
        document = get_openapi(title=app.title, version=app.version, description=app.description, routes=app.routes)
        document["components"]["securitySchemes"] = {"bearer": {"type": "http", "scheme": "bearer"}}
        for methods in document["paths"].values():
            for operation in methods.values():
                operation["security"] = [{"bearer": []}]
        app.openapi_schema = document
    return app.openapi_schema
