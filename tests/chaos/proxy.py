"""A proxy before the API server, in which its answers go wrong: TLS on both sides, watches streamed.

Shows the API server's own certificate, so that who connects to it notices nothing; credentials (bearer tokens) are
passed on. Runs in a thread of its own, so that a test may be written straight on.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import ssl
import threading
from collections import Counter
from collections.abc import Iterator
from enum import StrEnum
from pathlib import Path

import aiohttp
from aiohttp import web

LATE_SECONDS = 10.0
_NOT_PASSED = {"connection", "keep-alive", "transfer-encoding", "content-length", "host", "te", "upgrade"}


class Trouble(StrEnum):
    """What becomes of requests while it lasts."""

    GONE = "watches are told that their resourceVersion is too old (410)"
    THROTTLED = "429 with Retry-After: 1"
    BROKEN = "500"
    LATE = "executed at once, answered 10 s later"
    LOST = "executed, and the connection closed instead of an answer"


class FaultProxy:
    """`start`, then `url`. `hit` counts the requests that each trouble has met."""

    def __init__(
        self,
        upstream: str,
        *,
        ca: Path,
        certificate: Path,
        key: Path,
        host: str = "127.0.0.1",
        late: float = LATE_SECONDS,
    ) -> None:
        self._upstream, self._host, self._late = upstream, host, late
        self._client = ssl.create_default_context(cafile=str(ca))
        self._server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        self._server.load_cert_chain(certificate, key)
        self.port = 0
        self.trouble: Trouble | None = None
        self.hit: Counter[str] = Counter()
        self._watches: dict[int, web.Request] = {}
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._loop.run_forever, name="fault-proxy", daemon=True)

    def start(self) -> FaultProxy:
        self._thread.start()
        asyncio.run_coroutine_threadsafe(self._listen(), self._loop).result(30)
        return self

    def stop(self) -> None:
        asyncio.run_coroutine_threadsafe(self._close(), self._loop).result(30)
        self._loop.call_soon_threadsafe(self._loop.stop)
        self._thread.join(10)
        self._loop.close()

    @contextlib.contextmanager
    def troubled(self, trouble: Trouble) -> Iterator[None]:
        self.trouble = trouble
        try:
            yield
        finally:
            self.trouble = None

    def cut(self) -> int:
        """Breaks all watches in the middle; says how many."""

        async def do() -> int:
            cut = [request for request in self._watches.values() if request.transport is not None]
            for request in cut:
                assert request.transport is not None
                request.transport.abort()
            return len(cut)

        count = asyncio.run_coroutine_threadsafe(do(), self._loop).result(10)
        self.hit["cut"] += count
        return count

    async def _listen(self) -> None:
        self._session = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(ssl=self._client, limit=0),
            auto_decompress=False,
            timeout=aiohttp.ClientTimeout(total=None, sock_connect=5),
        )
        app = web.Application(client_max_size=64 * 1024**2)
        app.router.add_route("*", "/{path:.*}", self._handle)
        self._runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.5)
        await self._runner.setup()
        site = web.TCPSite(self._runner, self._host, 0, ssl_context=self._server)
        await site.start()
        self.port = self._runner.addresses[0][1]

    async def _close(self) -> None:
        await self._session.close()
        await self._runner.cleanup()
        left = asyncio.all_tasks() - {asyncio.current_task()}
        for task in left:
            task.cancel()
        await asyncio.gather(*left, return_exceptions=True)

    async def _handle(self, request: web.Request) -> web.StreamResponse:
        trouble = self.trouble
        watch = request.query.get("watch") in ("true", "1")
        if trouble is Trouble.GONE and watch:
            self.hit[trouble] += 1
            # The real one says it in both ways: at once, or as the first line of a stream.
            return _gone(as_event=self.hit[trouble] % 2 == 0)
        if trouble in (Trouble.THROTTLED, Trouble.BROKEN) and not watch:
            self.hit[trouble] += 1
            code = 429 if trouble is Trouble.THROTTLED else 500
            return web.json_response(_status(code), status=code, headers={"Retry-After": "1"} if code == 429 else {})
        try:
            # A stream has no end to wait for.
            endless = watch or request.query.get("follow") in ("true", "1")
            return await self._forward(request, None if endless else trouble, watch=watch)
        except (aiohttp.ClientError, OSError):
            # As it looks without a proxy: nobody there, or gone in the middle.
            return _drop(request)

    async def _forward(self, request: web.Request, trouble: Trouble | None, *, watch: bool) -> web.StreamResponse:
        headers = [(name, value) for name, value in request.headers.items() if name.lower() not in _NOT_PASSED]
        body = await request.read()
        async with self._session.request(
            request.method, self._upstream + request.raw_path, headers=headers, data=body or None, allow_redirects=False
        ) as answer:
            if trouble is Trouble.LATE:
                self.hit[trouble] += 1
                content = await answer.read()
                await asyncio.sleep(self._late)
                return web.Response(body=content, status=answer.status, headers=_passed(answer))
            if trouble is Trouble.LOST:
                self.hit[trouble] += 1
                await answer.read()
                return _drop(request)
            response = web.StreamResponse(status=answer.status, headers=_passed(answer))
            if watch:
                self._watches[id(request)] = request
            try:
                await response.prepare(request)
                async for chunk in answer.content.iter_any():
                    await response.write(chunk)
            except (aiohttp.ClientError, OSError):
                return _drop(request)
            finally:
                self._watches.pop(id(request), None)
            await response.write_eof()
            return response


def _passed(answer: aiohttp.ClientResponse) -> dict[str, str]:
    return {name: value for name, value in answer.headers.items() if name.lower() not in _NOT_PASSED}


def _drop(request: web.Request) -> web.Response:
    if request.transport is not None:
        request.transport.abort()
    return web.Response(status=502)


def _status(code: int) -> dict[str, object]:
    reasons = {410: "Expired", 429: "TooManyRequests", 500: "InternalError"}
    return {
        "kind": "Status",
        "apiVersion": "v1",
        "status": "Failure",
        "code": code,
        "reason": reasons[code],
        "message": f"made to fail with {code}",
    }


def _gone(*, as_event: bool) -> web.Response:
    if not as_event:
        return web.json_response(_status(410), status=410)
    line = json.dumps({"type": "ERROR", "object": _status(410)}) + "\n"
    return web.Response(text=line, content_type="application/json")
