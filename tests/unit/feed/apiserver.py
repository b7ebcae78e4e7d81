"""As much of an API server as kopf needs to watch: discovery, lists, and watches that the test writes into."""

from __future__ import annotations

import asyncio
import json
from collections import defaultdict
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web

from orkhaven.feed.streams import RESOURCES

PLURALS = {plural: (group, version, kind.value) for kind, (group, version, plural) in RESOURCES.items()}


@dataclass
class ApiServer:
    url: str = ""
    objects: dict[str, list[dict[str, Any]]] = field(default_factory=lambda: defaultdict(list))
    """Plural -> what a list of it has."""
    version: int = 1
    """Of each list."""
    queries: list[tuple[str, str, dict[str, str]]] = field(default_factory=list)
    """("list" or "watch", plural, query)"""
    writes: list[str] = field(default_factory=list)
    fail: list[int] = field(default_factory=list)
    """Statuses that the next lists are answered with."""
    ends_at_once: bool = False
    """Every watch, without an event."""
    opened: asyncio.Condition = field(default_factory=asyncio.Condition)
    streams: dict[str, asyncio.Queue[dict[str, Any] | None]] = field(default_factory=dict)

    async def send(self, plural: str, type_: str, body: dict[str, Any]) -> None:
        """Into the open watch, waiting for it to be opened."""
        async with asyncio.timeout(20), self.opened:
            await self.opened.wait_for(lambda: plural in self.streams)
        self.streams[plural].put_nowait({"type": type_, "object": body})

    def hang_up(self, plural: str) -> None:
        self.streams.pop(plural).put_nowait(None)

    async def handle(self, request: web.Request) -> web.StreamResponse:
        if request.method != "GET":
            self.writes.append(f"{request.method} {request.path}")
            return web.json_response({}, status=405)
        path = request.path.strip("/").split("/")
        plural = path[-1]
        if plural in PLURALS:
            return await self.collection(plural, request)
        return web.json_response(self.discovery(path))

    def discovery(self, path: list[str]) -> dict[str, Any]:
        if path == ["api"]:
            return {"versions": ["v1"]}
        if path == ["apis"]:
            groups: dict[str, str] = {group: version for group, version, _ in PLURALS.values() if group}
            groups["apiextensions.k8s.io"] = "v1"
            return {
                "groups": [
                    {
                        "name": group,
                        "preferredVersion": {"version": version},
                        "versions": [{"version": version, "groupVersion": f"{group}/{version}"}],
                    }
                    for group, version in groups.items()
                ]
            }
        group = path[1] if path[0] == "apis" and len(path) > 1 else ""
        # kopf does not begin before it has found these two, watched or not.
        backbone = {"": [("namespaces", "Namespace")], "apiextensions.k8s.io": [("customresourcedefinitions", "CRD")]}
        served = [(plural, kind) for plural, (of, _, kind) in PLURALS.items() if of == group] + backbone.get(group, [])
        return {
            "resources": [
                {
                    "name": plural,
                    "kind": kind,
                    "singularName": kind.lower(),
                    "namespaced": kind not in ("Node", "Namespace", "CRD"),
                    "verbs": ["get", "list", "watch", "patch"],
                }
                for plural, kind in served
            ]
        }

    async def collection(self, plural: str, request: web.Request) -> web.StreamResponse:
        watching = request.query.get("watch") == "true"
        self.queries.append(("watch" if watching else "list", plural, dict(request.query)))
        if not watching:
            if self.fail:
                code = self.fail.pop(0)
                return web.json_response(
                    {"kind": "Status", "code": code, "message": "etcdserver: no leader"}, status=code
                )
            return web.json_response(
                {"metadata": {"resourceVersion": str(self.version)}, "items": self.objects[plural]}
            )
        response = web.StreamResponse()
        await response.prepare(request)
        if self.ends_at_once:
            return response
        async with self.opened:
            queue = self.streams[plural] = asyncio.Queue()
            self.opened.notify_all()
        while (event := await queue.get()) is not None:
            await response.write(json.dumps(event).encode() + b"\n")
        return response


@asynccontextmanager
async def api_server() -> AsyncIterator[ApiServer]:
    server = ApiServer()
    application = web.Application()
    application.router.add_route("*", "/{path:.*}", server.handle)
    runner = web.AppRunner(application, shutdown_timeout=0.1)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    server.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield server
    finally:
        for queue in server.streams.values():
            queue.put_nowait(None)
        await runner.cleanup()
