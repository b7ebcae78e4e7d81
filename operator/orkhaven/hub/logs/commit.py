"""What followers share: one queue into the writer's thread, one budget of bytes, one bell for those who read along."""

from __future__ import annotations

import asyncio
from collections.abc import Callable

from orkhaven.hub.logs.pieces import Append
from orkhaven.hub.logs.store import LogStore
from orkhaven.hub.writer import Writer, beside

BATCH_BYTES = 512 * 1024
"""Compressed bytes of one transaction: a few milliseconds, which a POST of metrics may have to wait."""


class Committer:
    """Appends that wait are committed together; metrics get their turn between two batches."""

    def __init__(self, logs: LogStore, writer: Writer, *, clock: Callable[[], float]) -> None:
        self._logs = logs
        self._writer = writer
        self._clock = clock
        self._waiting: list[tuple[Append, asyncio.Future[bool]]] = []
        self._wake = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self.bell = Bell()

    def start(self) -> None:
        self._task = asyncio.create_task(self._run(), name="hub-log-committer")

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    async def commit(self, append: Append) -> bool:
        """Whether it was done (`LogStore.append`). Raises SQLAlchemyError, BusyError."""
        future: asyncio.Future[bool] = asyncio.get_running_loop().create_future()
        self._waiting.append((append, future))
        self._wake.set()
        return await future

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            self._wake.clear()
            while self._waiting:
                batch = self._take()
                appends = [append for append, _ in batch]
                now = self._clock()
                try:
                    done = await self._writer.call(beside(self._logs.append, appends, now=now))
                except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
                    for _, future in batch:
                        if not future.done():
                            future.set_exception(error)
                    continue
                for (append, future), good in zip(batch, done, strict=True):
                    if not future.done():
                        future.set_result(good)
                    if good:
                        self.bell.ring(append.log_id)

    def _take(self) -> list[tuple[Append, asyncio.Future[bool]]]:
        size = count = 0
        for append, _ in self._waiting:
            size += sum(len(chunk.data) for chunk in append.chunks)
            count += 1
            if size >= BATCH_BYTES:
                break
        batch, self._waiting = self._waiting[:count], self._waiting[count:]
        return batch


class Bell:
    """Wakes those who wait for more of a log. Only a hint: whoever waits looks into the store, also without it."""

    def __init__(self) -> None:
        self._waiting: dict[int, set[asyncio.Future[None]]] = {}

    def ring(self, log_id: int) -> None:
        for future in self._waiting.pop(log_id, ()):
            if not future.done():
                future.set_result(None)

    def ticket(self, log_id: int) -> asyncio.Future[None]:
        """Taken before one looks into the store, so that nothing that comes after the look is missed."""
        future: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        self._waiting.setdefault(log_id, set()).add(future)
        return future

    async def wait(self, log_id: int, ticket: asyncio.Future[None], *, seconds: float) -> None:
        """Until it rings, at most so long. Gives the ticket back; 0 seconds do only that."""
        try:
            if seconds:
                async with asyncio.timeout(seconds):
                    await ticket
        except TimeoutError:
            pass
        finally:
            waiting = self._waiting.get(log_id)
            if waiting is not None:
                waiting.discard(ticket)
                if not waiting:
                    del self._waiting[log_id]


class Budget:
    """Bytes a second over all logs. Who has read more waits, and so does the kubelet, through TCP: nothing is lost by
    it, only late.
    """

    def __init__(self, bytes_per_second: float, *, clock: Callable[[], float]) -> None:
        self._rate = bytes_per_second
        self._clock = clock
        self._credit = bytes_per_second
        self._at = clock()

    def spend(self, size: int) -> float:
        """Seconds to wait before reading more."""
        now = self._clock()
        # max: a clock that goes back is not paid for.
        self._credit = min(self._rate, self._credit + max(0.0, now - self._at) * self._rate) - size
        self._at = now
        return max(0.0, -self._credit / self._rate)
