"""The stream of events of a page: says that something changed, and ends when it should."""

from __future__ import annotations

import asyncio

import pytest
from starlette.requests import Request

from orkhaven.hub.pages import events
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser, add_sweep


def stream(browser: Browser, *, sweep: str | None = None) -> events.Stream:
    """httpx gathers an answer before it returns it, and this one has no end: so the generator itself."""
    scope = {
        "type": "http",
        "method": "GET",
        "path": f"/n/{NAMESPACE}/events",
        "headers": [(b"authorization", b"Bearer reader")],
        "query_string": b"",
        "app": browser.hub.app,
    }
    return events.stream(Request(scope), browser.hub.app.state.hub, NAMESPACE, sweep)


async def following(opened: events.Stream) -> str:
    async with asyncio.timeout(10):
        return (await anext(opened)).decode().splitlines()[0]


async def test_many_changes_are_said_in_few_events(
    browser: Browser, fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = stream(browser)
    assert await following(opened) == "event: hello"
    for number in range(50):
        add_sweep(fake_cluster, f"sweep-{number}")
    monkeypatch.setattr(events, "BEAT", 0.01)
    said = []
    catalogue = browser.hub.app.state.hub.queries.catalogue
    while (event := await following(opened)) != "event: beat" or len(catalogue.sweeps(NAMESPACE)) < 50:
        said.append(event)
    assert 1 <= said.count("event: changed") <= 3
    await opened.aclose()


async def test_a_silent_stream_beats(browser: Browser, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(events, "BEAT", 0.01)
    opened = stream(browser)
    assert await following(opened) == "event: hello"
    assert await following(opened) == "event: beat"
    await opened.aclose()


async def test_it_ends_with_the_readers_rights(
    browser: Browser, fake_cluster: FakeCluster, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(events, "BEAT", 0.01)
    opened = stream(browser)
    assert await following(opened) == "event: hello"
    fake_cluster.tokens.clear()
    assert await following(opened) == "event: bye"
    with pytest.raises(StopAsyncIteration):
        await anext(opened)


async def test_it_ends_when_the_server_stops(browser: Browser) -> None:
    opened = stream(browser)
    assert await following(opened) == "event: hello"
    browser.hub.app.state.pages.stopping.set()
    with pytest.raises(StopAsyncIteration):
        async with asyncio.timeout(10):
            await anext(opened)
