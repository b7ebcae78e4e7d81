"""kopf as the feed, against an API server on loopback: what it asks for, hands on, and is not ended by."""

from __future__ import annotations

import asyncio
import json
import os
import time
from collections import Counter
from collections.abc import AsyncIterator, Callable, Mapping
from itertools import islice
from pathlib import Path
from typing import Any

import pytest

from orkhaven.core.views import Key
from orkhaven.engine.ports import Kind
from orkhaven.feed import Watcher
from orkhaven.feed.streams import Backoffs
from orkhaven.kube import credentials
from tests.unit.feed.apiserver import ApiServer, api_server

DEADLINE = 20.0


class Seen:
    """`ports.Feed` that keeps what it is told."""

    def __init__(self) -> None:
        self.observed: list[tuple[Kind, str, int]] = []
        self.forgotten: list[tuple[Kind, Key, str]] = []

    def known(self, kind: Kind, body: Mapping[str, Any]) -> None:
        return None

    def observe(self, kind: Kind, view: Any) -> bool:
        self.observed.append((kind, view.meta.key.name, view.meta.resource_version))
        return True

    def forget(self, kind: Kind, key: Key, uid: str) -> bool:
        self.forgotten.append((kind, key, uid))
        return True


def body(name: str, version: int, *, kind: str = "Experiment") -> dict[str, Any]:
    return {
        "apiVersion": "orkhaven.io/v1alpha1",
        "kind": kind,
        "metadata": {"namespace": "ns", "name": name, "uid": f"uid-{name}", "resourceVersion": str(version)},
        "spec": {"params": {}},
    }


async def until(what: str, condition: Callable[[], object]) -> None:
    async with asyncio.timeout(DEADLINE):
        while True:
            if condition():
                return
            await asyncio.sleep(0.01)


@pytest.fixture
async def server(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[ApiServer]:
    async with api_server() as made:
        config = {
            "apiVersion": "v1",
            "kind": "Config",
            "current-context": "c",
            "clusters": [{"name": "c", "cluster": {"server": made.url}}],
            "users": [{"name": "u", "user": {"token": "t"}}],
            "contexts": [{"name": "c", "context": {"cluster": "c", "user": "u"}}],
        }
        path = tmp_path / "kubeconfig"
        path.write_text(json.dumps(config))
        monkeypatch.setenv("KUBECONFIG", str(path))
        yield made


@pytest.fixture
async def watched(server: ApiServer) -> AsyncIterator[tuple[ApiServer, Seen, Watcher]]:
    server.objects["experiments"] = [body("e", 1)]
    seen = Seen()
    watcher = Watcher(seen, login=lambda: credentials(os.environ["KUBECONFIG"]))
    watcher.start()
    try:
        yield server, seen, watcher
    finally:
        for plural in list(server.streams):
            server.hang_up(plural)
        await watcher.stop()
        assert not watcher.alive


async def test_it_hands_on_what_is_there_what_changes_and_what_goes(watched: tuple[ApiServer, Seen, Watcher]) -> None:
    server, seen, watcher = watched
    await until("the list", lambda: (Kind.EXPERIMENT, "e", 1) in seen.observed)
    assert watcher.last_listed > 0
    await server.send("experiments", "MODIFIED", body("e", 2))
    await server.send("experiments", "DELETED", body("e", 3))
    await until("the deletion", lambda: seen.forgotten)
    assert (Kind.EXPERIMENT, "e", 2) in seen.observed
    assert seen.forgotten == [(Kind.EXPERIMENT, Key("ns", "e"), "uid-e")]


async def test_of_jobs_and_pods_only_our_own_are_asked_for(watched: tuple[ApiServer, Seen, Watcher]) -> None:
    server, _, _ = watched
    await until(
        "all watches",
        lambda: (
            {plural for what, plural, _ in server.queries if what == "watch"} >= set(server.streams)
            and len(server.streams) == 5
        ),
    )
    selectors = {(what, plural): query.get("labelSelector") for what, plural, query in server.queries}
    ours = "app.kubernetes.io/managed-by=orkhaven"
    for what in ("list", "watch"):
        assert selectors[what, "pods"] == ours
        assert selectors[what, "jobs"] == ours
        assert selectors[what, "experiments"] is None
        assert selectors[what, "nodes"] is None
    assert {query.get("limit") for what, _, query in server.queries if what == "list"} == {"500"}


async def test_kopf_writes_nothing(watched: tuple[ApiServer, Seen, Watcher]) -> None:
    server, seen, _ = watched
    await until("the list", lambda: seen.observed)
    await server.send("experiments", "MODIFIED", body("e", 2))
    await until("the change", lambda: (Kind.EXPERIMENT, "e", 2) in seen.observed)
    assert server.writes == []


@pytest.mark.parametrize("code", [500, 504], ids=str)
async def test_an_error_in_the_stream_that_ends_kopf_starts_it_again(
    watched: tuple[ApiServer, Seen, Watcher], code: int
) -> None:
    server, seen, watcher = watched
    await until("the list", lambda: seen.observed)
    server.objects["experiments"] = [body("e", 7)]
    await server.send("experiments", "ERROR", {"kind": "Status", "code": code, "message": "etcdserver: no leader"})
    await until("the list after it", lambda: (Kind.EXPERIMENT, "e", 7) in seen.observed)
    assert watcher.starts == 2
    assert watcher.alive


async def test_a_stream_that_has_lost_its_place_lists_again_inside_kopf(
    watched: tuple[ApiServer, Seen, Watcher],
) -> None:
    server, seen, watcher = watched
    await until("the list", lambda: seen.observed)
    server.objects["experiments"] = [body("other", 9)]
    before = watcher.last_listed
    await server.send("experiments", "ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
    await until("the list after it", lambda: (Kind.EXPERIMENT, "other", 9) in seen.observed)
    # No DELETED event for `e`: that is what the resync after a list is for.
    assert seen.forgotten == []
    assert watcher.last_listed > before
    assert watcher.starts == 1


async def test_a_list_that_is_empty_is_noticed_too(watched: tuple[ApiServer, Seen, Watcher]) -> None:
    server, _, watcher = watched
    await until("all watches", lambda: len(server.streams) == 5)
    before = watcher.last_listed
    server.hang_up("experiments")
    await until("the next watch", lambda: "experiments" in server.streams)
    assert watcher.last_listed == before, "it went on from where the last one ended"
    # The only one is deleted while the watch is away.
    server.objects["experiments"], server.version = [], 5
    await server.send("experiments", "ERROR", {"kind": "Status", "code": 410, "message": "too old resource version"})
    await until("the list to be noticed", lambda: watcher.last_listed > before)
    assert watcher.starts == 1


async def test_errors_of_the_api_server_are_outlasted(server: ApiServer) -> None:
    server.fail = [500, 503, 500, 500]
    server.objects["experiments"] = [body("e", 1)]
    seen = Seen()
    watcher = Watcher(seen, login=lambda: credentials(os.environ["KUBECONFIG"]))
    watcher.start()
    await until("the list", lambda: (Kind.EXPERIMENT, "e", 1) in seen.observed)
    assert watcher.starts == 1
    for plural in list(server.streams):
        server.hang_up(plural)
    await watcher.stop()


async def test_a_restart_on_request_is_immediate(watched: tuple[ApiServer, Seen, Watcher]) -> None:
    server, seen, watcher = watched
    await until("the list", lambda: seen.observed)
    server.objects["experiments"] = [body("e", 5)]
    watcher.restart()
    await until("the list after it", lambda: (Kind.EXPERIMENT, "e", 5) in seen.observed)
    assert watcher.starts == 2


async def test_watches_that_all_end_at_once_are_asked_for_ever_less_often(
    watched: tuple[ApiServer, Seen, Watcher],
) -> None:
    server, seen, watcher = watched
    await until("all watches", lambda: len(server.streams) == 5)
    server.ends_at_once = True
    asked = len(server.queries)
    started = time.monotonic()
    for plural in list(server.streams):
        server.hang_up(plural)
    await until(
        "a fifth try", lambda: max(Counter(plural for _, plural, _ in server.queries[asked:]).values(), default=0) >= 5
    )
    # 0.1 s, 0.2 s, 0.4 s, 0.8 s, each at half at least; the first of the five may come without one.
    assert time.monotonic() - started >= 0.35
    assert len(server.queries) - asked <= 25 + 5
    server.ends_at_once = False
    await server.send("experiments", "MODIFIED", body("e", 2))
    await until("the change", lambda: (Kind.EXPERIMENT, "e", 2) in seen.observed)
    assert watcher.starts == 1


def test_back_offs_never_end_and_never_exceed_their_limit() -> None:
    waits = list(islice(Backoffs(), 1000))
    assert all(0.25 <= wait <= 30 for wait in waits)
    assert min(waits[20:]) >= 15
    assert len(set(waits)) > 900
