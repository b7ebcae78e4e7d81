"""Follows the log of one pod from where the store left it to its end. Everything is decided from the store and the API
server at the moment: a restart, a second delivery or a cut connection changes nothing.
"""

from __future__ import annotations

import asyncio
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass

from sqlalchemy.exc import SQLAlchemyError

from orkhaven.errors import ApiError, Invalid, NotFound
from orkhaven.hub.logs.commit import Budget, Committer
from orkhaven.hub.logs.pieces import Limits, Pieces
from orkhaven.hub.logs.pods import Phase, PodRef, experiment_of, pod_of
from orkhaven.hub.logs.stamps import SECOND, Stripper
from orkhaven.hub.logs.store import LogIdentity, LogState, LogStore
from orkhaven.hub.ports import Gateway, LogBytes
from orkhaven.hub.writer import BusyError, Writer, beside

FLUSH_BYTES = 128 * 1024
"""Text held in memory of one log before it is written; 200 logs hold 25 MiB at most."""
THREAD_BYTES = 16 * 1024
"""Above it a piece is compressed in a thread: half a millisecond of the event loop."""
IDLE_SECONDS = 300.0
"""A log that says nothing for so long is asked for anew: its connection may be dead without anybody having said so."""
BACKOFF_BASE, BACKOFF_MAX = 1.0, 60.0
"""Seconds; doubled after each failure in a row."""
NOT_STARTED_SECONDS = 2.0
"""Until a container that the API server says runs has a log."""

log = logging.getLogger(__name__)


class Moved(Exception):
    """The log is not as it was left: another hub writes it, or retention took it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Tools:
    """What all followers work with."""

    gateway: Gateway
    logs: LogStore
    writer: Writer
    committer: Committer
    budget: Budget
    limits: Limits
    flush_seconds: float
    clock: Callable[[], float]
    """Wall clock, for what is stored."""
    monotonic: Callable[[], float]
    rng: random.Random
    on_bytes: Callable[[int], None]


class Follower:
    """One pod. `run` returns once its log has ended and is kept."""

    def __init__(self, tools: Tools, pod: PodRef) -> None:
        self._tools = tools
        self.pod = pod
        self._log_id: int | None = None
        self._size = 0
        self.deleted = False
        """The watch said that the pod is gone."""
        self._ended = asyncio.Event()

    def seen(self, pod: PodRef | None) -> None:
        """As the watch shows it; None: deleted."""
        if pod is not None:
            self.pod = pod
        self.deleted = self.deleted or pod is None
        if pod is None or pod.phase is Phase.ENDED:
            self._ended.set()

    async def run(self) -> None:
        failures = 0
        size = -1
        while True:
            try:
                if await self._once():
                    return
                if self._size != size:  # it goes forward: no reason to be shy
                    failures, size = 0, self._size
                continue
            except Invalid as error:
                # The kubelet: "container is waiting to start". It is no failure, and it does not last.
                log.debug("a pod has no log yet", extra={"pod": self.pod.name, "error": str(error)})
                await self._pause(NOT_STARTED_SECONDS)
                continue
            except (ApiError, SQLAlchemyError, BusyError, Moved) as error:
                failures += 1
                log.log(
                    logging.WARNING if failures in (1, 5) else logging.DEBUG,
                    "a log cannot be followed now: %s",
                    _first_line(error),
                    extra={"namespace": self.pod.namespace, "pod": self.pod.name, "failures": failures},
                )
            ceiling = min(BACKOFF_MAX, BACKOFF_BASE * 2 ** min(failures - 1, 10))
            await asyncio.sleep(self._tools.rng.uniform(ceiling / 2, ceiling))

    async def _once(self) -> bool:
        """One connection. True: there is nothing more to be had. Raises ApiError, SQLAlchemyError, BusyError, Moved."""
        identity = await self._identity()
        if identity is None:
            await self._finish("the log ends here: the pod's Job was deleted, later lines may be missing")
            return True
        state = await self._open(identity)
        if state.ended is not None:
            return True
        try:
            return await self._read(state)
        except NotFound:
            await self._finish(f"the log ends here: pod {self.pod.name} was deleted, later lines may be missing")
            return True

    async def _identity(self) -> LogIdentity | None:
        """By the pod's Job: a label alone may be anybody's. None: it is no run's."""
        pod = self.pod
        try:
            job = await self._tools.gateway.get("Job", pod.namespace, pod.job)
        except NotFound:
            return None  # and with the Job its pods go
        found = experiment_of(job)
        if found is None or job["metadata"].get("uid") != pod.job_uid:
            return None
        return LogIdentity(
            namespace=pod.namespace, name=found[0], uid=found[1], attempt=pod.attempt, pod=pod.name, pod_uid=pod.uid
        )

    async def _open(self, identity: LogIdentity) -> LogState:
        tools = self._tools
        state = await tools.writer.call(beside(tools.logs.open, identity, now=tools.clock()))
        self._log_id, self._size = state.id, state.size
        return state

    async def _finish(self, note: str) -> None:
        tools, log_id = self._tools, self._log_id
        if log_id is None:
            return
        await tools.writer.call(beside(tools.logs.end, log_id, pod_uid=self.pod.uid, note=note, now=tools.clock()))
        tools.committer.bell.ring(log_id)

    async def _read(self, state: LogState) -> bool:
        """True: the log is whole."""
        tools = self._tools
        stripper = Stripper(state.cursor)
        pieces = Pieces(
            state.id,
            self.pod.uid,
            size=state.size,
            last=state.last,
            time=state.last_time,
            limits=tools.limits,
        )
        ended = self.pod.phase is Phase.ENDED
        async with tools.gateway.pod_log(
            self.pod.namespace,
            self.pod.name,
            container=self.pod.container,
            follow=not ended,
            since=state.cursor.since,
        ) as stream:
            at_end = await self._copy(stream, stripper, pieces, final=ended)
        if ended and at_end:
            code = "" if self.pod.exit_code is None else f", exit code {self.pod.exit_code}"
            await self._finish(f"the log ends here: the container ended{code}")
            return True
        # The kubelet closed it, or it was idle. Whether the container has ended is for the API server to say; where it
        # has, the next connection reads what may be left, to the end.
        body = await tools.gateway.get("Pod", self.pod.namespace, self.pod.name)
        if body["metadata"].get("uid") != self.pod.uid:
            raise NotFound(f"pod {self.pod.name} is another one by now", status=404)
        now = pod_of(body)
        if now is not None:
            self.seen(now)
        if at_end and self.pod.phase is not Phase.ENDED:
            await self._pause(NOT_STARTED_SECONDS)
        return False

    async def _copy(self, stream: LogBytes, stripper: Stripper, pieces: Pieces, *, final: bool) -> bool:
        """From the stream into the store. True: the stream has come to its end; False: it fell silent."""
        text = bytearray()
        try:
            at_end = await self._pump(stream, stripper, pieces, text)
        except ApiError:
            await self._flush(text, stripper, pieces)  # what arrived before the connection broke is good
            raise
        if final and at_end:
            text += stripper.finish()
        await self._flush(text, stripper, pieces)
        return at_end

    async def _pump(self, stream: LogBytes, stripper: Stripper, pieces: Pieces, text: bytearray) -> bool:
        tools = self._tools
        due = 0.0
        while True:
            wait = IDLE_SECONDS if not text else max(0.0, due - tools.monotonic())
            try:
                async with asyncio.timeout(wait):
                    block = await stream.read()
            except TimeoutError:
                if not text:
                    return False
                await self._flush(text, stripper, pieces)
                continue
            if not block:
                return True
            tools.on_bytes(len(block))
            fresh = stripper.feed(block)
            if fresh and not text:
                due = tools.monotonic() + tools.flush_seconds
            text += fresh
            if len(text) >= FLUSH_BYTES or (text and tools.monotonic() >= due):
                await self._flush(text, stripper, pieces)
            pause = tools.budget.spend(len(block))
            if pause:
                await asyncio.sleep(pause)

    async def _flush(self, text: bytearray, stripper: Stripper, pieces: Pieces) -> None:
        """Empties `text` into the store, with the cursor that stands after it. Raises Moved."""
        if not text:
            return
        content, cursor = bytes(text), stripper.cursor
        text.clear()  # also where it fails: the follower begins anew from what is stored
        seconds = cursor.time / SECOND
        if len(content) > THREAD_BYTES:
            append = await asyncio.to_thread(pieces.add, content, cursor=cursor, time=seconds)
        else:
            append = pieces.add(content, cursor=cursor, time=seconds)
        if not await self._tools.committer.commit(append):
            raise Moved("it was changed by another hub, or deleted")

    async def _pause(self, seconds: float) -> None:
        """Shorter where the pod ends meanwhile."""
        if self._ended.is_set():
            seconds = min(seconds, 0.2)
            await asyncio.sleep(seconds)
            return
        try:
            async with asyncio.timeout(seconds):
                await self._ended.wait()
        except TimeoutError:
            return


def _first_line(error: Exception) -> str:
    """Without the statement and its values, which for a log are the log."""
    cause = getattr(error, "orig", None) or error
    return (str(cause).strip().splitlines() or [type(cause).__name__])[0][:300]
