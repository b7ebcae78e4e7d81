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
from orkhaven.kube.gateway import MOST_READ, TAIL_BYTES, Gateway
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


# --- the end of a log -------------------------------------------------------------------------------------------------


@asynccontextmanager
async def saying(*lines: bytes) -> AsyncIterator[tuple[Gateway, list[str]]]:
    """A kubelet with these lines, which gives the last ones as it is asked to. With what it was asked for."""
    asked: list[str] = []

    async def log(request: web.Request) -> web.StreamResponse:
        asked.append(request.query_string)
        response = web.StreamResponse()
        await response.prepare(request)
        for line in lines[-int(request.query["tailLines"]) :]:
            await response.write(line)
        return response

    app = web.Application()
    app.router.add_get("/api/v1/namespaces/ns/pods/p/log", log)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    client = Client(Configuration(host=f"http://127.0.0.1:{runner.addresses[0][1]}"))
    try:
        yield Gateway(client), asked
    finally:
        await client.close()
        await runner.cleanup()


async def test_of_a_long_log_the_end_is_kept_and_the_rest_is_not_asked_for() -> None:
    lines = [b"%07d %s\n" % (number, b"x" * 91) for number in range(5000)]
    async with saying(*lines) as (gateway, asked):
        text = await gateway.pod_tail("ns", "p", container="trainer")
    assert asked == ["container=trainer&tailLines=2000"]
    assert len(text) == TAIL_BYTES
    assert text.endswith(lines[-1].decode())
    assert text == b"".join(lines).decode()[-TAIL_BYTES:]


async def test_of_lines_that_are_too_long_fewer_are_asked_for() -> None:
    lines = [b"%04d %s\n" % (number, b"x" * 16_000) for number in range(400)]
    assert sum(map(len, lines)) > MOST_READ
    async with saying(*lines) as (gateway, asked):
        text = await gateway.pod_tail("ns", "p", container="trainer")
    assert asked == ["container=trainer&tailLines=2000", "container=trainer&tailLines=200"]
    assert text == b"".join(lines).decode()[-TAIL_BYTES:]


async def test_a_character_that_is_cut_in_half_is_no_error() -> None:
    async with saying("ä".encode() * TAIL_BYTES + b"\n") as (gateway, _):
        text = await gateway.pod_tail("ns", "p", container="trainer")
    assert text.strip("\ufffd\n") == "ä" * (TAIL_BYTES // 2 - 1)


@pytest.mark.parametrize(
    "said",
    [
        "unable to retrieve container logs for containerd://4f0c",
        'failed to try resolving symlinks in path "/var/log/pods/ns_p/trainer/0.log": no such file or directory',
    ],
)
async def test_a_kubelet_that_has_no_log_any_more_and_says_so_with_200_is_no_log(said: str) -> None:
    async with saying(said.encode()) as (gateway, _):
        with pytest.raises(Invalid):
            await gateway.pod_tail("ns", "p", container="trainer")


async def test_an_empty_log_is_one() -> None:
    async with saying() as (gateway, _):
        assert await gateway.pod_tail("ns", "p", container="trainer") == ""
