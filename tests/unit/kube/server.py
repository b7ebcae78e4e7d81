"""An HTTP server on loopback that answers as it is told and remembers what it was asked."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from kubernetes.aio.client import Configuration

from orkhaven.kube.client import Client

Answer = tuple[int, Any] | tuple[int, Any, dict[str, str]]


@dataclass
class Request:
    method: str
    path: str
    query: dict[str, str]
    headers: dict[str, str]
    body: Any


@dataclass
class Server:
    """`answers` are given in order; the last one again and again."""

    answers: list[Answer] = field(default_factory=list)
    requests: list[Request] = field(default_factory=list)
    calls: list[tuple[str, str, str]] = field(default_factory=list)
    """What the client's telemetry was told: verb, resource, code."""
    url: str = ""

    async def handle(self, request: web.Request) -> web.Response:
        text = await request.text()
        self.requests.append(
            Request(
                request.method,
                request.path,
                dict(request.query),
                dict(request.headers),
                json.loads(text) if text else None,
            )
        )
        status, body, *headers = self.answers.pop(0) if len(self.answers) > 1 else self.answers[0]
        raw = body if isinstance(body, str) else json.dumps(body)
        return web.Response(status=status, text=raw, headers=headers[0] if headers else None)

    def client(
        self, *, token: str = "old", reload: Callable[[Configuration], Any] | None = None, seconds: float = 5
    ) -> Client:
        configuration = Configuration(host=self.url)
        configuration.api_key["BearerToken"] = f"Bearer {token}"
        return Client(
            configuration, reload=reload, on_call=lambda v, r, c, _: self.calls.append((v, r, c)), seconds=seconds
        )


def status(code: int, reason: str, message: str) -> Answer:
    return code, {"kind": "Status", "status": "Failure", "reason": reason, "message": message, "code": code}


@asynccontextmanager
async def serving(*answers: Answer) -> AsyncIterator[Server]:
    server = Server(list(answers))
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        await runner.cleanup()
