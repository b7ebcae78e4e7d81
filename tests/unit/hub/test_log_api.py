"""What the API shows of a log, to whom, and that hostile text and patterns do no harm."""

from __future__ import annotations

import asyncio
import gzip
import random
import uuid
from collections.abc import AsyncIterator
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.hub.logs import follower, view
from orkhaven.hub.logs.grep import Grep, GrepError
from orkhaven.hub.logs.pieces import CHUNK, Limits, Pieces
from orkhaven.hub.logs.stamps import Cursor
from orkhaven.hub.logs.store import LogIdentity, Piece
from orkhaven.hub.storage.store import Store
from tests.unit.hub.conftest import RunningHub, running_hub
from tests.unit.hub.fakes import NAMESPACE
from tests.unit.hub.pods import LogCluster

PATH = "experiments/trial/attempts/1/log"


@pytest.fixture
def cluster() -> LogCluster:
    made = LogCluster()
    made.add_reader("reader")
    made.add_log_reader("watcher")
    return made


@pytest.fixture
async def hub(cluster: LogCluster, sqlite_url: str, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[RunningHub]:
    monkeypatch.setattr(follower, "NOT_STARTED_SECONDS", 0.02)
    async with running_hub(cluster, sqlite_url, log_flush_seconds=0.02) as running:
        yield running


async def said(hub: RunningHub, cluster: LogCluster, *texts: bytes, end: bool = True) -> str:
    pod = cluster.add_talker("trial")
    cluster.say(pod, *texts)
    if end:
        cluster.end(pod)
    logs = hub.app.state.hub.store.logs

    def kept() -> bool:
        info = logs.info(NAMESPACE, "trial", 1)
        return info is not None and info.size == sum(map(len, texts)) and (not end or info.ended is not None)

    await hub.until(kept)
    return pod


async def get(hub: RunningHub, path: str = PATH, **params: Any) -> Any:
    return await hub.get(path, token="watcher", **params)


async def test_whoever_may_read_experiments_but_not_pods_logs_sees_none(hub: RunningHub, cluster: LogCluster) -> None:
    await said(hub, cluster, b"secret\n")
    for path in (PATH, "experiments/trial/logs"):
        assert (await hub.get(path, token=None)).status_code == 401
        answer = await hub.get(path, token="reader")
        assert answer.status_code == 403
        assert "may not get pods/log in namespace 'radiology'" in answer.json()["error"]["message"]
        assert (await hub.get(path, token="watcher")).status_code == 200
    assert (await hub.get("sweeps", token="watcher")).status_code == 403


async def test_a_log_that_is_not_there_says_why(hub: RunningHub) -> None:
    answer = await get(hub)
    assert answer.status_code == 404
    assert "there is no log of attempt 1 of 'trial': its container has not started" in answer.json()["error"]["message"]
    assert (await get(hub, "experiments/trial/logs")).json()["items"] == []


async def test_hostile_text_is_text_for_any_browser(hub: RunningHub, cluster: LogCluster) -> None:
    await said(hub, cluster, b"<script>alert(1)</script>\x1b[31m\x00\xff\xfe \xe2\x82\n")
    answer = await get(hub)
    assert answer.text.startswith("<script>alert(1)</script>\x1b[31m\x00\ufffd\ufffd \ufffd\n")
    assert answer.headers["content-type"] == "text/plain; charset=utf-8"
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "sandbox" in answer.headers["content-security-policy"]
    packed = await get(hub, download="true")
    assert packed.headers["content-disposition"] == 'attachment; filename="trial-1.log.gz"'
    assert gzip.decompress(packed.content).startswith(b"<script>alert(1)</script>\x1b[31m\x00\xff\xfe \xe2\x82\n")


async def test_pages_go_on_where_the_last_one_ended_and_make_the_whole(hub: RunningHub, cluster: LogCluster) -> None:
    lines = [f"line {number} {'é' * (number % 97)}\n".encode() for number in range(1500)]
    await said(hub, cluster, *lines)
    text, offset, pages = "", 0, 0
    while True:
        page = (await get(hub, format="json", offset=offset, limit=10_000)).json()
        text += "".join(piece["text"] for piece in page["pieces"])
        pages += 1
        if page["next"] == page["size"]:
            break
        assert page["next"] > offset
        offset = page["next"]
    assert text.encode() == b"".join(lines)
    assert pages > 10
    assert page["notes"][0]["text"].startswith("the log ends here")


async def test_the_last_lines_are_found(hub: RunningHub, cluster: LogCluster) -> None:
    await said(hub, cluster, *(b"line %d\n" % number for number in range(100)))
    assert (await get(hub, tail=2)).text.splitlines()[:2] == ["line 98", "line 99"]
    assert (await get(hub, tail=0)).text.startswith("[orkhaven: the log ends here")
    assert (await get(hub, tail=5000)).text.startswith("line 0\n")
    page = (await get(hub, tail=1, format="json")).json()
    assert [piece["text"] for piece in page["pieces"]] == ["line 99\n"]


async def test_a_log_is_followed_to_its_end(hub: RunningHub, cluster: LogCluster) -> None:
    pod = await said(hub, cluster, b"one\n", end=False)
    following = asyncio.create_task(get(hub, follow="true"))
    cluster.say(pod, b"two\n")
    await hub.until(lambda: not following.done())
    cluster.say(pod, b"three\n")
    cluster.end(pod)
    answer = await following
    assert answer.text.startswith("one\ntwo\nthree\n[orkhaven: the log ends here")


async def test_who_may_no_more_read_is_followed_no_more(
    cluster: LogCluster, sqlite_url: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("orkhaven.hub.api.logs.POLL_SECONDS", 0.02)
    async with running_hub(cluster, sqlite_url, log_flush_seconds=0.02, token_cache_seconds=0) as hub:
        await said(hub, cluster, b"one\n", end=False)
        following = asyncio.create_task(get(hub, follow="true"))
        await hub.until(lambda: cluster.calls.count("review access") >= 2)
        cluster.log_readers.clear()
        assert (await following).text == "one\n"


class TestSearch:
    async def test_lines_are_found_with_their_place_and_neighbours(self, hub: RunningHub, cluster: LogCluster) -> None:
        lines = [b"line %d\n" % number for number in range(10_000)]
        await said(hub, cluster, *lines)
        found = (await get(hub, grep=r"LINE 50\d\d$", ignore_case="true", context=1, limit=3)).json()
        assert [match["text"] for match in found["matches"]] == ["line 5000", "line 5001", "line 5002"]
        assert found["more"] is True
        first = found["matches"][0]
        assert (first["before"], first["after"]) == (["line 4999"], ["line 5001"])
        assert first["offset"] == len(b"".join(lines[:5000]))
        assert first["text"][first["start"] : first["end"]] == "line 5000"
        assert (await get(hub, grep="nothing")).json()["matches"] == []

    @pytest.mark.parametrize("pattern", ["(", "*a", "(?P<x>a)(?P<x>b)"])
    async def test_a_pattern_that_is_none_is_explained(
        self, hub: RunningHub, cluster: LogCluster, pattern: str
    ) -> None:
        await said(hub, cluster, b"one\n")
        answer = await get(hub, grep=pattern)
        assert (answer.status_code, answer.json()["error"]["code"]) == (400, "BadPattern")

    async def test_a_pattern_that_takes_for_ever_is_stopped_and_the_hub_goes_on(
        self, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        monkeypatch.setattr("orkhaven.hub.logs.grep.SECONDS", 1)
        grep, ticks = Grep(), 0

        async def others() -> None:
            nonlocal ticks
            while True:
                ticks += 1
                await asyncio.sleep(0)

        busy = asyncio.create_task(others())
        with pytest.raises(GrepError, match="repetitions inside repetitions"):
            await grep.search(r"(a+)+$", iter([Piece(0, b"a" * 5000 + b"b\n")]), ignore_case=False, context=0, limit=1)
        busy.cancel()
        assert ticks > 100

    async def test_a_line_without_end_is_searched_at_its_beginning_only(self) -> None:
        pieces = (Piece(start, b"x" * CHUNK) for start in range(0, 100 * CHUNK, CHUNK))
        found = await Grep().search("x$", pieces, ignore_case=False, context=2, limit=10)
        assert len(found["matches"]) == 1
        assert len(found["matches"][0]["text"]) <= 2000


@settings(max_examples=60)
@given(
    sizes=st.lists(st.integers(1, 200_000), min_size=1, max_size=12),
    head=st.integers(1, 3),
    tail=st.integers(1, 3),
    seed=st.integers(0, 2**16),
)
def test_whatever_the_sizes_of_appends_the_head_and_the_tail_are_kept_at_their_places(
    memory_store: Store, sizes: list[int], head: int, tail: int, seed: int
) -> None:
    rng = random.Random(seed)
    logs = memory_store.logs
    who = LogIdentity(namespace="n", name="x", uid=str(uuid.uuid4()), attempt=1, pod="p", pod_uid="u")
    limits = Limits(head=head * CHUNK, tail=tail * CHUNK)
    whole = b""
    state = logs.open(who, now=1.0)
    pieces = Pieces(state.id, "u", size=0, last=b"", time=0, limits=limits)
    for size in sizes:
        text = rng.randbytes(8) * (size // 8) + b"x" * (size % 8)
        whole += text
        append = pieces.add(text, cursor=Cursor(time=len(whole)), time=1.0)
        assert logs.append([append], now=1.0) == [True]
        if rng.random() < 0.5:  # as after a restart
            state = logs.open(who, now=1.0)
            assert (state.size, state.cursor.time) == (len(whole), len(whole))
            pieces = Pieces(state.id, "u", size=state.size, last=state.last, time=state.last_time, limits=limits)
    assert logs.append([append], now=2.0) == [False], "the same once more is refused"
    for piece in logs.read(state.id, 0, len(whole)):
        assert piece.data == whole[piece.start : piece.end]
    extents = logs.extents(state.id)
    if len(extents) == 1:
        assert extents == [(0, len(whole))]
    else:
        (first, second) = extents
        assert first == (0, head * CHUNK)
        assert second[1] == len(whole)
        assert len(whole) - tail * CHUNK - CHUNK < second[0] <= len(whole) - tail * CHUNK
    begin = rng.randrange(len(whole))
    parts = b"".join(piece.data for piece in logs.read(state.id, begin, begin + 70_000))
    assert parts == b"".join(
        whole[max(begin, low) : min(begin + 70_000, high)] for low, high in extents if high > begin
    )


@pytest.fixture(scope="module")
def memory_store(tmp_path_factory: pytest.TempPathFactory) -> Any:
    from orkhaven.hub.storage.store import open_store

    store = open_store(f"sqlite:///{tmp_path_factory.mktemp('logs')}/hub.db", max_metrics_per_run=10)
    yield store
    store.close()


@given(st.text(max_size=60), st.integers(1, 60))
def test_a_page_never_cuts_a_character_in_two(text: str, cut: int) -> None:
    data = ("x" + text.replace("\n", "")).encode()[: cut + 1]
    (piece,) = view.joined(iter([Piece(0, data)]), whole=False)
    assert piece.data.decode()
