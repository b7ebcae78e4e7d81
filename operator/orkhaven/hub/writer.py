"""One thread writes the store. Posts that wait are committed together, so that one commit's cost is shared; a post is
answered only after its commit.

The event loop never waits for the database: it hands posts over and awaits futures.
"""

from __future__ import annotations

import asyncio
import logging
import queue
import threading
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Any, ParamSpec, TypeVar

from sqlalchemy.exc import OperationalError, SQLAlchemyError

from orkhaven.hub.storage.ingest import Ingest, Outcome, Post

T = TypeVar("T")
P = ParamSpec("P")
GROUP_POINTS = 20_000
"""A commit takes at most about this many points: a tenth of a second, which every post in it waits."""

log = logging.getLogger(__name__)


def beside(function: Callable[P, T], /, *args: P.args, **kwargs: P.kwargs) -> Callable[[Ingest], T]:
    """For `Writer.call`: work in the writer's thread that is not `Ingest`'s own."""
    return lambda _ingest: function(*args, **kwargs)


class BusyError(Exception):
    """More waits than may wait: come again."""


@dataclass(frozen=True, slots=True)
class _Job:
    """Work in the writer's thread that is not a post."""

    call: Callable[[Ingest], Any]
    future: asyncio.Future[Any]


@dataclass(frozen=True, slots=True)
class _PostJob:
    post: Post
    future: asyncio.Future[Outcome]


_STOP = None


class Writer:
    """`start` on a running event loop; `close` commits what waits, then ends the thread."""

    def __init__(self, ingest: Ingest, *, max_pending_points: int, clock: Callable[[], float]) -> None:
        self._ingest = ingest
        self._max_pending = max_pending_points
        self._clock = clock
        self._queue: queue.SimpleQueue[_PostJob | _Job | None] = queue.SimpleQueue()
        self._pending = 0
        """Points handed over and not answered. Only the event loop's thread touches it."""
        self._thread = threading.Thread(target=self._run, name="hub-writer", daemon=True)
        self._loop: asyncio.AbstractEventLoop | None = None
        self._closed = False

    @property
    def pending_points(self) -> int:
        return self._pending

    @property
    def is_alive(self) -> bool:
        return self._thread.is_alive()

    def start(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._thread.start()

    async def close(self) -> None:
        self._closed = True
        self._queue.put(_STOP)
        await asyncio.to_thread(self._thread.join)

    async def write(self, post: Post) -> Outcome:
        """Returns after the commit. Raises BusyError, SQLAlchemyError."""
        points = post.points + len(post.lines)
        if self._closed or (self._pending and self._pending + points > self._max_pending):
            raise BusyError
        self._pending += points
        try:
            outcome: Outcome = await self._submit(lambda future: _PostJob(post, future))
            return outcome
        finally:
            self._pending -= points

    async def call(self, job: Callable[[Ingest], T]) -> T:
        """Runs it between two commits. Raises what it raises."""
        if self._closed:
            raise BusyError
        result: T = await self._submit(lambda future: _Job(job, future))
        return result

    async def _submit(self, make: Callable[[asyncio.Future[Any]], _PostJob | _Job]) -> Any:
        assert self._loop is not None, "the writer is not started"
        future: asyncio.Future[Any] = self._loop.create_future()
        self._queue.put(make(future))
        return await future

    # --- the thread ---

    def _run(self) -> None:
        while True:
            group: list[_PostJob] = []
            points = 0
            for item in self._drain():
                if isinstance(item, _PostJob):
                    group.append(item)
                    points += item.post.points
                if group and (points >= GROUP_POINTS or not isinstance(item, _PostJob)):
                    self._write(group)
                    group, points = [], 0
                if item is _STOP:
                    return
                if isinstance(item, _Job):
                    self._answer([self._outcome(item)])
            if group:
                self._write(group)

    def _drain(self) -> list[_PostJob | _Job | None]:
        """Everything that waits, at least one item."""
        items = [self._queue.get()]
        while True:
            try:
                items.append(self._queue.get_nowait())
            except queue.Empty:
                return items

    def _write(self, posts: list[_PostJob]) -> None:
        try:
            outcomes = self._ingest.write([job.post for job in posts], now=self._clock())
        except SQLAlchemyError as error:
            if len(posts) > 1 and not isinstance(error, OperationalError):
                # One post that cannot be written must not take its neighbours with it. Where the database itself is
                # the trouble (gone, full, locked), asking once for each would only take longer.
                for job in posts:
                    self._write([job])
                return
            log.error("a post of %d lines was not stored: %s", len(posts[0].post.lines), error)
            self._answer([(posts[0].future, None, error)])
        except Exception as error:  # whatever it is, the thread goes on and the client is told
            log.exception("a post was not stored")
            self._answer([(job.future, None, error) for job in posts])
        else:
            self._answer([(job.future, outcome, None) for job, outcome in zip(posts, outcomes, strict=True)])

    def _outcome(self, job: _Job) -> _Answer:
        try:
            return (job.future, job.call(self._ingest), None)
        except Exception as error:  # noqa: BLE001 - handed to whoever waits for it
            return (job.future, None, error)

    def _answer(self, answers: Iterable[_Answer]) -> None:
        assert self._loop is not None
        self._loop.call_soon_threadsafe(_resolve, answers)


_Answer = tuple[asyncio.Future[Any], Any, Exception | None]


def _resolve(answers: Iterable[_Answer]) -> None:
    for future, result, error in answers:
        if future.done():  # its request was cancelled: the client went away
            continue
        if error is None:
            future.set_result(result)
        else:
            future.set_exception(error)
