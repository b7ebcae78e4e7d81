"""The hub follows pods' logs: over restarts, broken connections, full stores and ends of every kind."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import random
import tracemalloc
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from orkhaven.core.parse import CONTAINER as OPERATORS_CONTAINER
from orkhaven.hub.logs import follower
from orkhaven.hub.logs.pods import CONTAINER
from orkhaven.hub.logs.stamps import SECOND
from orkhaven.hub.logs.turn import turn_for
from orkhaven.hub.storage.store import Store
from tests.unit.hub.conftest import RunningHub, running_hub
from tests.unit.hub.fakes import NAMESPACE
from tests.unit.hub.pods import BEGIN, LogCluster, Said, stamp

MIB = 1024 * 1024


@pytest.fixture
def cluster() -> LogCluster:
    made = LogCluster()
    made.add_reader("reader")
    made.add_log_reader("watcher")
    return made


@pytest.fixture(autouse=True)
def short_pauses(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(follower, "BACKOFF_BASE", 0.01)
    monkeypatch.setattr(follower, "BACKOFF_MAX", 0.05)
    monkeypatch.setattr(follower, "NOT_STARTED_SECONDS", 0.02)


@contextlib.asynccontextmanager
async def keeping(cluster: LogCluster, url: str, **settings: Any) -> AsyncIterator[RunningHub]:
    async with running_hub(cluster, url, **{"log_flush_seconds": 0.02, **settings}) as hub:
        yield hub


def kept(hub: RunningHub, name: str = "trial", attempt: int = 1) -> bytes:
    """The text in the store."""
    logs = hub.app.state.hub.store.logs
    info = logs.info(NAMESPACE, name, attempt)
    return b"" if info is None else b"".join(piece.data for piece in logs.read(info.id, 0, info.size))


def notes(hub: RunningHub, name: str = "trial", attempt: int = 1) -> list[str]:
    logs = hub.app.state.hub.store.logs
    info = logs.info(NAMESPACE, name, attempt)
    return [] if info is None else [note.text for note in logs.notes(info.id)]


def ended(hub: RunningHub, name: str = "trial", attempt: int = 1) -> bool:
    info = hub.app.state.hub.store.logs.info(NAMESPACE, name, attempt)
    return info is not None and info.ended is not None


def test_the_container_is_named_as_the_operator_names_it() -> None:
    assert CONTAINER == OPERATORS_CONTAINER


async def test_a_log_is_kept_while_it_grows_and_after_its_pod_is_gone(cluster: LogCluster, database_url: str) -> None:
    pod = cluster.add_talker("trial")
    cluster.say(pod, b"epoch 1\n", b"epoch ")
    async with keeping(cluster, database_url) as hub:
        await hub.until(lambda: kept(hub) == b"epoch 1\nepoch ")
        cluster.say(pod, b"2\n")
        await hub.until(lambda: kept(hub) == b"epoch 1\nepoch 2\n")
        cluster.say(pod, b"done\n")
        cluster.end(pod, code=3)
        await hub.until(lambda: ended(hub))
        assert notes(hub) == ["the log ends here: the container ended, exit code 3"]
        await hub.until(lambda: hub.app.state.hub.collector.following == 0)
        del cluster.objects["Pod", NAMESPACE, pod]
        answer = await hub.get("experiments/trial/attempts/1/log", token="watcher")
        assert answer.text == (
            "epoch 1\nepoch 2\ndone\n[orkhaven: the log ends here: the container ended, exit code 3]\n"
        )


async def test_a_pod_that_comes_later_is_seen_by_the_watch(cluster: LogCluster, sqlite_url: str) -> None:
    async with keeping(cluster, sqlite_url) as hub:
        await hub.until(lambda: "watch Pod" in cluster.calls)
        pod = cluster.add_talker("trial", running=False)
        cluster.begin(pod)
        await hub.until(lambda: "log trial-1-abcde" in cluster.calls)
        cluster.logs[pod] = Said()
        cluster.say(pod, b"hello\n")
        await hub.until(lambda: kept(hub) == b"hello\n")


@pytest.mark.parametrize("too_old", [False, True], ids=["ended", "too old"])
async def test_watches_that_all_end_at_once_are_asked_for_ever_less_often(
    cluster: LogCluster, sqlite_url: str, too_old: bool
) -> None:
    cluster.ends_at_once = True
    if too_old:
        cluster.oldest_version = 10**9
    # The hub's own watches come upon the same; what they ask for is another kind.
    async with keeping(cluster, sqlite_url) as hub:
        await hub.until(lambda: cluster.calls.count("watch Pod") >= 4)
        began = asyncio.get_running_loop().time()
        await hub.until(lambda: cluster.calls.count("watch Pod") >= 6)
        # The fourth and the fifth end with 0.8 s and 1.6 s, at half at least; one may have begun before.
        assert asyncio.get_running_loop().time() - began >= 0.8
        cluster.ends_at_once, cluster.oldest_version = False, 0
        pod = cluster.add_talker("trial")
        cluster.say(pod, b"hello\n")
        await hub.until(lambda: kept(hub) == b"hello\n")


async def test_broken_connections_lose_and_double_nothing(cluster: LogCluster, sqlite_url: str) -> None:
    pod = cluster.add_talker("trial")
    rng = random.Random(5)
    cluster.block = 37
    async with keeping(cluster, sqlite_url) as hub:
        for number in range(40):
            cluster.say(pod, b"line %d\n" % number, b"part %d, " % number, step=rng.choice([0, 1, SECOND]))
            if number % 4 == 0:
                await hub.until(lambda: len(kept(hub)) > 0)
                cluster.drop(pod)
        cluster.end(pod)
        await hub.until(lambda: ended(hub))
        assert kept(hub) == cluster.text(pod)
        assert len({since for _, since, _ in cluster.opened}) > 1


async def test_a_restarted_hub_goes_on_where_the_former_one_stopped(cluster: LogCluster, database_url: str) -> None:
    pod = cluster.add_talker("trial")
    for number in range(5):
        cluster.say(pod, b"from hub %d\n" % number, b"half ")
        async with keeping(cluster, database_url) as hub:
            await hub.until(lambda: kept(hub) == cluster.text(pod))
    cluster.end(pod)
    async with keeping(cluster, database_url) as hub:
        await hub.until(lambda: ended(hub))
        assert kept(hub) == cluster.text(pod)
    count = len(cluster.opened)
    cluster.calls.clear()
    async with keeping(cluster, database_url) as hub:
        await hub.until(lambda: "watch Pod" in cluster.calls)
        assert len(cluster.opened) == count, "what is kept to its end is not asked for again"


async def test_a_pod_deleted_under_the_hub_says_so(cluster: LogCluster, sqlite_url: str) -> None:
    pod = cluster.add_talker("trial")
    cluster.say(pod, b"working\n")
    async with keeping(cluster, sqlite_url) as hub:
        await hub.until(lambda: kept(hub) == b"working\n")
        cluster.vanish(pod)
        await hub.until(lambda: ended(hub))
        assert notes(hub) == ["the log ends here: pod trial-1-abcde was deleted, later lines may be missing"]


async def test_a_pod_deleted_while_no_hub_ran_says_so(cluster: LogCluster, sqlite_url: str) -> None:
    pod = cluster.add_talker("trial")
    cluster.say(pod, b"working\n")
    async with keeping(cluster, sqlite_url) as hub:
        await hub.until(lambda: kept(hub) == b"working\n")
    cluster.vanish(pod)
    async with keeping(cluster, sqlite_url) as hub:
        await hub.until(lambda: ended(hub))
        assert "deleted while nobody followed it" in notes(hub)[0]
        assert kept(hub) == b"working\n"


async def test_a_resumed_attempt_s_next_pod_goes_on_in_the_same_log(cluster: LogCluster, sqlite_url: str) -> None:
    first = cluster.add_talker("trial")
    cluster.say(first, b"one\n")
    async with keeping(cluster, sqlite_url) as hub:
        await hub.until(lambda: kept(hub) == b"one\n")
        cluster.vanish(first)
        await hub.until(lambda: ended(hub))
        second = cluster.add_talker("trial", suffix="fghij")
        cluster.say(second, b"two\n")
        await hub.until(lambda: kept(hub) == b"one\ntwo\n")
        cluster.end(second)
        await hub.until(lambda: ended(hub))
        assert notes(hub)[1] == "pod trial-1-fghij begins here"
        text = (await hub.get("experiments/trial/attempts/1/log", token="watcher")).text
        assert text.index("was deleted") < text.index("fghij begins") < text.index("two")


async def test_only_the_first_and_the_last_part_of_a_long_log_are_kept(cluster: LogCluster, database_url: str) -> None:
    pod = cluster.add_talker("trial")
    limits = {"log_head_bytes": 2 * 65536, "log_tail_bytes": 3 * 65536}
    async with keeping(cluster, database_url, **limits) as hub:
        cluster.say(pod, *(b"%06d %s\n" % (number, b"x" * (number % 2000)) for number in range(1000)))
        cluster.end(pod)
        await hub.until(lambda: ended(hub), seconds=30)
        whole = cluster.text(pod)
        page = (await hub.get("experiments/trial/attempts/1/log", token="watcher", format="json", limit=1000)).json()
        assert page["size"] == len(whole)
        (first, second) = page["kept"]
        assert first == [0, 2 * 65536]
        assert second[0] <= len(whole) - 3 * 65536
        assert second[1] == len(whole)
        assert second[0] > len(whole) - 4 * 65536
        text = kept(hub)
        assert text == whole[: first[1]] + whole[second[0] :]
        plain = (await hub.get("experiments/trial/attempts/1/log", token="watcher")).text
        assert f"{second[0] - first[1]:,} bytes are left out here" in plain


async def test_a_pod_that_belongs_to_no_run_has_no_log_here(cluster: LogCluster, sqlite_url: str) -> None:
    stranger = cluster.add_talker("stranger")
    cluster.objects["Job", NAMESPACE, "stranger-1"]["metadata"]["ownerReferences"] = []
    cluster.say(stranger, b"secret\n")
    pod = cluster.add_talker("trial")
    cluster.say(pod, b"hello\n")
    async with keeping(cluster, sqlite_url) as hub:
        await hub.until(lambda: kept(hub) == b"hello\n")
        assert kept(hub, "stranger") == b""


async def test_while_the_api_server_is_away_the_hub_waits_and_then_goes_on(
    cluster: LogCluster, sqlite_url: str
) -> None:
    pod = cluster.add_talker("trial")
    cluster.say(pod, b"one\n")
    async with keeping(cluster, sqlite_url) as hub:
        await hub.until(lambda: kept(hub) == b"one\n")
        cluster.away = True
        cluster.drop(pod)
        calls = len(cluster.calls)
        await hub.until(lambda: len(cluster.calls) > calls + 2)
        cluster.say(pod, b"two\n")
        cluster.away = False
        await hub.until(lambda: kept(hub) == b"one\ntwo\n")


async def test_a_full_disk_is_said_and_what_was_kept_stays(
    cluster: LogCluster, sqlite_url: str, caplog: pytest.LogCaptureFixture
) -> None:
    pod = cluster.add_talker("trial")
    cluster.say(pod, b"one\n")
    async with keeping(cluster, sqlite_url) as hub:
        await hub.until(lambda: kept(hub) == b"one\n")
        engine = hub.app.state.hub.store.engines.writer
        with engine.connect() as connection:
            used = connection.exec_driver_sql("PRAGMA page_count").scalar_one()
            connection.exec_driver_sql(f"PRAGMA max_page_count = {used}")
        noise = random.Random(1).randbytes(300_000).replace(b"\n", b"") + b"\n"
        cluster.say(pod, noise)
        await hub.until(lambda: "database or disk is full" in caplog.text)
        assert "randbytes" not in caplog.text
        assert kept(hub) == b"one\n"
        with engine.connect() as connection:
            connection.exec_driver_sql("PRAGMA max_page_count = 1000000")
        await hub.until(lambda: kept(hub) == b"one\n" + noise)


async def test_two_hundred_pods_are_followed_at_once(cluster: LogCluster, sqlite_url: str) -> None:
    pods = [cluster.add_talker(f"trial-{number}") for number in range(200)]
    for pod in pods:
        cluster.say(pod, b"from %s\n" % pod.encode())
    async with keeping(cluster, sqlite_url) as hub:
        for number in range(200):
            # One at a time: to read all of them at each look would keep the event loop from what is waited for.
            await hub.until(lambda number=number: bool(kept(hub, f"trial-{number}")))
        assert hub.app.state.hub.collector.following == 200
        for number, pod in enumerate(pods):
            assert kept(hub, f"trial-{number}") == cluster.text(pod)


async def test_old_logs_go_and_so_do_the_oldest_of_too_many(
    cluster: LogCluster, database_url: str, tmp_path: Path
) -> None:
    for name in ("a", "b", "c"):
        pod = cluster.add_talker(name)
        cluster.say(pod, random.Random(name).randbytes(50_000).replace(b"\n", b"") + b"\n")
        cluster.end(pod)
    async with keeping(cluster, database_url) as hub:
        await hub.until(lambda: all(ended(hub, name) for name in "abc"))
        logs = hub.app.state.hub.store.logs
        order = sorted("abc", key=lambda name: logs.info(NAMESPACE, name, 1).ended)
        assert logs.forget(ended_before=None, max_bytes=10**9) == 0
        assert logs.forget(ended_before=None, max_bytes=120_000) == 1
        assert [bool(kept(hub, name)) for name in order] == [False, True, True]
        assert logs.forget(ended_before=10.0**11, max_bytes=10**9) == 2
        assert not any(kept(hub, name) for name in order)


class Flood:
    """50 MB of one line, without its end."""

    def __init__(self) -> None:
        self._blocks = itertools.chain([stamp(BEGIN) + b" "], itertools.repeat(b"\x00\xff" * 25_000, 1000))

    async def read(self) -> bytes:
        return next(self._blocks, b"")


async def test_a_line_without_an_end_takes_little_memory_and_little_room(cluster: LogCluster, sqlite_url: str) -> None:
    pod = cluster.add_talker("trial")
    cluster.end(pod)

    @contextlib.asynccontextmanager
    async def pod_log(*_: Any, **__: Any) -> AsyncIterator[Any]:
        yield Flood()

    cluster.pod_log = pod_log  # type: ignore[method-assign]
    tracemalloc.start()
    try:
        limits = {"log_head_bytes": 2 * MIB, "log_tail_bytes": 2 * MIB, "log_bytes_per_second": 1e9}
        async with keeping(cluster, sqlite_url, **limits) as hub:
            await hub.until(lambda: ended(hub), seconds=120)
            _, peak = tracemalloc.get_traced_memory()
            info = hub.app.state.hub.store.logs.info(NAMESPACE, "trial", 1)
            assert info.size == 50_000_000
            assert info.stored < 1_000_000
            kept_bytes = sum(end - start for start, end in hub.app.state.hub.store.logs.extents(info.id))
            assert kept_bytes <= 4 * MIB + 65536
            assert peak < 30_000_000  # what the first hub of a process imports is in it: some 15 MB
    finally:
        tracemalloc.stop()


def test_a_turn_that_is_given_back_is_not_taken_again_by_a_look_that_comes_late(store: Store) -> None:
    if store.engines.is_sqlite:
        pytest.skip("SQLite has one hub, whose turn it always is")
    first, second = turn_for(store.engines), turn_for(store.engines)
    assert first.take()
    assert not second.take(), "one at a time"
    first.close()
    assert not first.take(), "its hub has ended meanwhile"
    assert second.take()
    second.close()
