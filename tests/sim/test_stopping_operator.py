"""The operator's end: its workers stop whenever they are told to, whatever they were just about to do."""

from __future__ import annotations

import asyncio

import pytest

from orkhaven.core.views import Key
from orkhaven.engine.engine import QUEUE_TASK, Task
from orkhaven.engine.ports import Kind
from tests.sim.harness import Simulation


@pytest.mark.parametrize("turns", range(6))
def test_workers_that_are_woken_as_they_are_cancelled_stop(turns: int) -> None:
    """`turns` of the event loop lie between the two: some find the news under way to the worker."""
    simulation = Simulation()

    async def wake_and_stop() -> bool:
        work = asyncio.create_task(simulation.engine.run())
        await _turns(200)  # until all has been looked at
        simulation.engine.add(QUEUE_TASK, delay=100)  # for which they wait, and for news
        await _turns(50)
        simulation.engine.add(Task(Kind.SWEEP, Key("nobody", "none")))
        await _turns(turns)
        work.cancel()
        done, _ = await asyncio.wait({work}, timeout=2)
        return bool(done)

    assert asyncio.run(wake_and_stop())


async def _turns(count: int) -> None:
    for _ in range(count):
        await asyncio.sleep(0)
