"""Many writes of one plan side by side."""

from __future__ import annotations

import asyncio

import pytest

from orkhaven.engine.executor import side_by_side


class Work:
    """Things that begin and end when the test says so."""

    def __init__(self) -> None:
        self.begun: list[int] = []
        self.ended: list[int] = []
        self.may_end = asyncio.Event()
        self.fails: set[int] = set()

    async def do(self, thing: int) -> None:
        self.begun.append(thing)
        if thing in self.fails:
            raise ValueError(str(thing))
        await self.may_end.wait()
        self.ended.append(thing)


async def turns(count: int = 20) -> None:
    for _ in range(count):
        await asyncio.sleep(0)


async def test_so_many_are_under_way_at_once_and_each_is_done_once_in_order() -> None:
    work = Work()
    running = asyncio.create_task(side_by_side(work.do, range(10), at_once=4))
    await turns()
    assert work.begun == [0, 1, 2, 3]
    work.may_end.set()
    await running
    assert work.begun == sorted(work.ended) == list(range(10))


async def test_after_a_failure_none_is_begun_and_those_under_way_are_waited_for() -> None:
    work = Work()
    work.fails = {2}
    running = asyncio.create_task(side_by_side(work.do, range(10), at_once=4))
    await turns()
    assert not running.done()
    work.may_end.set()
    with pytest.raises(ValueError, match="2"):
        await running
    assert (work.begun, work.ended) == ([0, 1, 2], [0, 1])


async def test_whoever_is_cancelled_leaves_nothing_under_way() -> None:
    work = Work()
    running = asyncio.create_task(side_by_side(work.do, range(10), at_once=4))
    await turns()
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    work.may_end.set()
    await turns()
    assert (work.begun, work.ended) == ([0, 1, 2, 3], [])


def test_one_at_a_time_needs_no_event_loop() -> None:
    done: list[int] = []

    async def do(thing: int) -> None:
        done.append(thing)

    with pytest.raises(StopIteration):
        side_by_side(do, range(3), at_once=1).send(None)
    assert done == [0, 1, 2]
