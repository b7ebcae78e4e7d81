"""The writing thread: posts share commits, one that cannot be written harms no other, more than fits is refused."""

from __future__ import annotations

import asyncio
import threading
from typing import Any, cast

import pytest
from sqlalchemy.exc import IntegrityError

from orkhaven.hub.lines import Line
from orkhaven.hub.storage.ingest import Ingest, Outcome, Post, RunIdentity
from orkhaven.hub.storage.store import Store
from orkhaven.hub.writer import BusyError, Writer

NOW = 1_790_000_000.0


class GatedIngest(Ingest):
    """The real one, which waits at a gate before each commit and notes how many posts it had."""

    def __init__(self, store: Store) -> None:
        super().__init__(store.engines, max_metrics_per_run=100)
        self.gate = threading.Event()
        self.groups: list[int] = []

    def write(self, posts: Any, *, now: float) -> list[Outcome]:
        assert self.gate.wait(10)
        self.groups.append(len(posts))
        return super().write(posts, now=now)


def post(name: str, *seqs: int, namespace: str = "radiology") -> Post:
    identity = RunIdentity(uid=name, namespace=namespace, name=name)
    return Post(identity, tuple(Line(seq, 1, seq, seq, NOW, None, (("loss", 1.0),)) for seq in seqs))


async def test_posts_that_wait_are_committed_together(store: Store) -> None:
    ingest = GatedIngest(store)
    writer = Writer(ingest, max_pending_points=1000, clock=lambda: NOW)
    writer.start()
    tasks = [asyncio.create_task(writer.write(post(f"run-{number}", 1))) for number in range(20)]
    await asyncio.sleep(0)
    ingest.gate.set()
    outcomes = await asyncio.gather(*tasks)
    assert [outcome.accepted for outcome in outcomes] == [1] * 20
    assert sum(ingest.groups) == 20
    assert len(ingest.groups) <= 2
    await writer.close()


async def test_one_post_that_cannot_be_written_harms_no_other(store: Store) -> None:
    ingest = GatedIngest(store)
    writer = Writer(ingest, max_pending_points=1000, clock=lambda: NOW)
    writer.start()
    posts = [post("a", 1), post("poison", 1, namespace=cast(Any, None)), post("b", 1), post("a", 2)]
    tasks = [asyncio.create_task(writer.write(one)) for one in posts]
    await asyncio.sleep(0)
    ingest.gate.set()
    first, poison, third, fourth = await asyncio.gather(*tasks, return_exceptions=True)
    assert isinstance(poison, IntegrityError)
    assert [cast(Outcome, outcome).accepted for outcome in (first, third, fourth)] == [1, 1, 1]
    await writer.close()


async def test_more_than_may_wait_is_refused_at_once_and_fits_later(store: Store) -> None:
    ingest = GatedIngest(store)
    writer = Writer(ingest, max_pending_points=10, clock=lambda: NOW)
    writer.start()
    # One post larger than the limit is taken when nothing else waits: it could never be sent otherwise.
    large = asyncio.create_task(writer.write(post("a", *range(1, 50))))
    await asyncio.sleep(0)
    with pytest.raises(BusyError):
        await writer.write(post("b", 1))
    ingest.gate.set()
    assert (await large).accepted == 49
    assert (await writer.write(post("b", 1))).accepted == 1
    assert writer.pending_points == 0
    await writer.close()


async def test_a_client_that_goes_away_leaves_its_lines(store: Store) -> None:
    ingest = GatedIngest(store)
    writer = Writer(ingest, max_pending_points=1000, clock=lambda: NOW)
    writer.start()
    gone = asyncio.create_task(writer.write(post("a", 1)))
    await asyncio.sleep(0)
    gone.cancel()
    ingest.gate.set()
    assert (await writer.write(post("a", 1))).duplicates == 1
    await writer.close()


async def test_what_waits_at_the_end_is_committed(store: Store) -> None:
    ingest = GatedIngest(store)
    writer = Writer(ingest, max_pending_points=1000, clock=lambda: NOW)
    writer.start()
    task = asyncio.create_task(writer.write(post("a", 1)))
    await asyncio.sleep(0)
    closing = asyncio.create_task(writer.close())
    await asyncio.sleep(0)
    ingest.gate.set()
    await closing
    assert (await task).accepted == 1
    with pytest.raises(BusyError):
        await writer.write(post("a", 2))
    assert not writer.is_alive
