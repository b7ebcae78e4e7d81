"""How a pod's log is asked for, and what comes of answers without end."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from aiohttp import web
from kubernetes.aio.client import Configuration

from orkhaven.errors import Forbidden, Invalid, NotFound, Unavailable
from orkhaven.kube import TokenReview
from orkhaven.kube.client import Client
from orkhaven.kube.gateway import Gateway
from tests.unit.kube.server import serving, status


@asynccontextmanager
async def talking(*, hang: asyncio.Event | None = None, cut: bool = False) -> AsyncIterator[Gateway]:
    """A server whose log is two lines, then waits, ends or breaks off."""

    async def log(request: web.Request) -> web.StreamResponse:
        response = web.StreamResponse()
        await response.prepare(request)
        await response.write(b"one\n")
        await response.write(b"two\n")
        if hang is not None:
            await hang.wait()
        if cut and request.transport is not None:
            request.transport.abort()
        return response

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/ns/pods/p/log", log)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}"))
    try:
        yield Gateway(client)
    finally:
        await client.close()
        await runner.cleanup()


async def test_a_log_is_asked_for_with_times_and_from_a_second_on() -> None:
    async with serving((200, "a line\n")) as server:
        client = server.client()
        async with Gateway(client).pod_log(
            "ns", "p", container="trainer", follow=True, since="2026-01-01T00:00:00Z"
        ) as stream:
            assert await stream.read() == b"a line\n"
            assert await stream.read() == b""
        (request,) = server.requests
        assert request.path == "/api/v1/namespaces/ns/pods/p/log"
        assert request.query == {
            "container": "trainer",
            "timestamps": "true",
            "follow": "true",
            "sinceTime": "2026-01-01T00:00:00Z",
        }
        assert request.headers["Authorization"] == "Bearer old"
        assert server.calls == [("log", "pods", "200")]
        await client.close()


@pytest.mark.parametrize(
    ("answer", "error"),
    [
        (status(404, "NotFound", "gone"), NotFound),
        (status(400, "BadRequest", "container is waiting to start"), Invalid),
        (status(403, "Forbidden", "pods/log"), Forbidden),
        (status(500, "InternalError", "dial tcp: the kubelet is away"), Unavailable),
    ],
    ids=lambda value: getattr(value, "__name__", ""),
)
async def test_a_refusal_is_the_error_that_it_is_elsewhere(answer: object, error: type[Exception]) -> None:
    async with serving(answer) as server:  # type: ignore[arg-type]
        client = server.client()
        with pytest.raises(error):
            async with Gateway(client).pod_log("ns", "p", container="c", follow=False):
                raise AssertionError("it was entered")
        await client.close()


async def test_a_new_token_is_tried_once() -> None:
    def renew(configuration: Configuration) -> None:
        configuration.api_key["BearerToken"] = "Bearer new"

    async with serving(status(401, "Unauthorized", "expired"), (200, "a\n")) as server:
        client = server.client(reload=renew)
        async with Gateway(client).pod_log("ns", "p", container="c", follow=False) as stream:
            assert await stream.read() == b"a\n"
        assert [request.headers["Authorization"] for request in server.requests] == ["Bearer old", "Bearer new"]
        await client.close()


async def test_a_read_that_is_given_up_loses_nothing_and_leaving_ends_a_log_without_end() -> None:
    hang = asyncio.Event()
    async with talking(hang=hang) as gateway, gateway.pod_log("ns", "p", container="c", follow=True) as stream:
        text = b""
        while text != b"one\ntwo\n":
            text += await stream.read()
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.01):
                await stream.read()
        hang.set()
        assert await stream.read() == b""


async def test_a_connection_that_breaks_is_unavailable_and_no_end() -> None:
    async with talking(cut=True) as gateway, gateway.pod_log("ns", "p", container="c", follow=True) as stream:

        async def to_the_end() -> None:
            while await stream.read():
                continue

        with pytest.raises(Unavailable, match="the stream broke"):
            await to_the_end()


async def test_a_right_on_a_part_is_asked_for_as_that() -> None:
    async with serving((201, {"status": {"allowed": True}})) as server:
        client = server.client()
        who = TokenReview(authenticated=True, username="anna")
        assert await Gateway(client).access_review(who, verb="get", kind="Pod", namespace="ns", subresource="log")
        (request,) = server.requests
        assert request.body["spec"]["resourceAttributes"] == {
            "verb": "get",
            "group": "",
            "resource": "pods",
            "namespace": "ns",
            "subresource": "log",
        }
        await client.close()
