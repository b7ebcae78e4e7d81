"""Writes the status of runs that reported something: at once for the first report and for one that passes a rung (early
stopping waits for it; a run has at most 16), else at most once per run and interval.

What is behind is read from the store, so a restart forgets nothing. A run's write is: read the Experiment, stop where
it is gone or finished, apply with its resourceVersion, read again on a conflict. While the API server is away
everything waits.
"""

from __future__ import annotations

import asyncio
import heapq
import logging
import random
from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from sqlalchemy.exc import SQLAlchemyError

from orkhaven.errors import ApiError, Conflict, NotFound
from orkhaven.hub import status
from orkhaven.hub.ports import FIELD_MANAGER, Gateway, is_finished
from orkhaven.hub.settings import HubSettings
from orkhaven.hub.storage.read import Reader, RunSnapshot
from orkhaven.hub.writer import BusyError, Writer

CONFLICT_TRIES = 4
BACKOFF_BASE = 1.0
"""Seconds; doubled after each failure in a row of a run."""

log = logging.getLogger(__name__)


class Result(StrEnum):
    WRITTEN = "written"
    UNCHANGED = "unchanged"
    FINISHED = "finished"
    GONE = "gone"
    FAILED = "failed"


@dataclass(slots=True)
class _Entry:
    """A run that is due at some time, or has lately been written."""

    due: float | None = None
    """Monotonic seconds; None: nothing to write."""
    not_before: float = 0.0
    failures: int = 0
    busy: bool = False
    at_once: bool = False
    """What came while it was busy does not wait for the interval."""


class Flusher:
    """`start` once, `touch` after every commit that added something, `close` at the end. Of one event loop."""

    def __init__(
        self,
        gateway: Gateway,
        reader: Reader,
        writer: Writer,
        settings: HubSettings,
        *,
        clock: Callable[[], float],
        rng: random.Random,
        on_result: Callable[[Result], None] = lambda result: None,
    ) -> None:
        self._gateway = gateway
        self._reader = reader
        self._writer = writer
        self._interval = settings.flush_seconds
        self._backoff_max = settings.flush_backoff_max_seconds
        self._slots = asyncio.Semaphore(settings.flush_concurrency)
        self._clock = clock
        self._rng = rng
        self._on_result = on_result
        self._entries: dict[int, _Entry] = {}
        self._heap: list[tuple[float, int]] = []
        self._flushes = 0
        self._wake = asyncio.Event()
        self._tasks: set[asyncio.Task[None]] = set()
        self._loop_task: asyncio.Task[None] | None = None

    @property
    def waiting(self) -> int:
        """Runs whose status is behind."""
        return sum(1 for entry in self._entries.values() if entry.due is not None or entry.busy)

    @property
    def writing(self) -> int:
        """Runs whose status is being looked at or written at this moment."""
        return sum(1 for entry in self._entries.values() if entry.busy)

    async def start(self) -> None:
        """Takes up what a former process left behind."""
        for run_id in await asyncio.to_thread(self._reader.dirty):
            self.touch(run_id)
        self._loop_task = asyncio.create_task(self._run(), name="hub-flusher")

    async def close(self) -> None:
        """Stops; what is not written is still marked as such in the store."""
        tasks = [*self._tasks, *([self._loop_task] if self._loop_task else [])]
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    def touch(self, run_id: int, *, at_once: bool = False) -> None:
        """The run has something new. `at_once`: somebody waits for it."""
        entry = self._entries.setdefault(run_id, _Entry())
        if at_once and not entry.failures:
            entry.at_once = entry.busy
            self._schedule(run_id, entry, self._clock())
        elif entry.due is None:
            self._schedule(run_id, entry, max(self._clock(), entry.not_before))

    def _schedule(self, run_id: int, entry: _Entry, due: float) -> None:
        entry.due = due
        heapq.heappush(self._heap, (due, run_id))
        self._wake.set()

    async def _run(self) -> None:
        while True:
            now = self._clock()
            while self._heap and self._heap[0][0] <= now:
                due, run_id = heapq.heappop(self._heap)
                entry = self._entries.get(run_id)
                if entry is None or entry.due != due or entry.busy:
                    continue
                await self._slots.acquire()
                entry.due, entry.busy = None, True
                task = asyncio.create_task(self._flush(run_id, entry))
                self._tasks.add(task)
                task.add_done_callback(self._tasks.discard)
                now = self._clock()
            self._wake.clear()
            timeout = max(0.0, self._heap[0][0] - self._clock()) if self._heap else None
            try:
                async with asyncio.timeout(timeout):
                    await self._wake.wait()
            except TimeoutError:
                continue

    async def _flush(self, run_id: int, entry: _Entry) -> None:
        result = Result.FAILED
        try:
            result = await self._write(run_id)
        except (ApiError, SQLAlchemyError, BusyError) as error:
            log.warning("a run's status was not written", extra={"run": run_id, "error": str(error)})
        except Exception:
            log.exception("a run's status was not written", extra={"run": run_id})
        finally:
            self._slots.release()
            entry.busy = False
        self._on_result(result)
        now = self._clock()
        at_once, entry.at_once = entry.at_once, False
        if result is Result.FAILED:
            pause = min(self._backoff_max, BACKOFF_BASE * 2 ** min(entry.failures, 10))
            entry.failures += 1
            entry.not_before = now + self._rng.uniform(pause / 2, pause)
            self._schedule(run_id, entry, entry.not_before)
            return
        entry.failures = 0
        # An unchanged status costs nobody anything, but looking does.
        entry.not_before = now + self._interval
        if entry.due is not None:  # touched meanwhile
            self._schedule(run_id, entry, entry.due if at_once else max(entry.due, entry.not_before))
        self._forget_idle(now)

    def _forget_idle(self, now: float) -> None:
        """Drops runs that have been silent for an interval: their next report is a first one again."""
        self._flushes += 1
        if self._flushes >= len(self._entries):  # so that it costs a constant per flush
            self._flushes = 0
            for run_id, entry in list(self._entries.items()):
                if entry.due is None and not entry.busy and entry.not_before <= now:
                    del self._entries[run_id]

    async def _write(self, run_id: int) -> Result:
        """Raises ApiError, SQLAlchemyError, BusyError."""
        for _ in range(CONFLICT_TRIES):
            run = await asyncio.to_thread(self._reader.snapshot, run_id)
            if run is None or run.revision <= run.applied_revision:
                return Result.UNCHANGED
            wanted = status.status_of(run)
            digest = status.digest_of(wanted)
            if digest == run.applied_hash:
                await self._mark(run, None)
                return Result.UNCHANGED
            try:
                experiment = await self._gateway.get("Experiment", run.namespace, run.name)
            except NotFound:
                experiment = None
            if experiment is None or experiment["metadata"]["uid"] != run.uid:
                await self._mark(run, None)
                return Result.GONE
            if is_finished(experiment):
                await self._mark(run, None)
                return Result.FINISHED
            try:
                await self._gateway.apply_status(
                    "Experiment",
                    run.namespace,
                    run.name,
                    wanted,
                    field_manager=FIELD_MANAGER,
                    uid=run.uid,
                    resource_version=int(experiment["metadata"]["resourceVersion"]),
                )
            except Conflict:
                continue  # the operator was faster: look again whether it has finished
            except NotFound:
                await self._mark(run, None)
                return Result.GONE
            await self._mark(run, digest)
            return Result.WRITTEN
        raise Conflict(f"the Experiment changed {CONFLICT_TRIES} times while it was written")

    async def _mark(self, run: RunSnapshot, digest: str | None) -> None:
        await self._writer.call(lambda ingest: ingest.mark_applied(run.id, revision=run.revision, digest=digest))
