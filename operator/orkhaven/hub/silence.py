"""Says of which running runs nothing is heard: no report, no line of their log.

Whether that is too long is the operator's to decide. What it may rely on: all the time that a silence lasts, a hub was
there to hear, and could keep what it heard. So a hub that was away, or whose store was, makes no run look stalled.

A silence is `status.progress.silent`, written again after an eighth of its length more; the next report's write removes
it. When something was heard last is in the store, whichever hub it was that heard it.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import UTC, datetime
from typing import Any, Protocol

from sqlalchemy.exc import SQLAlchemyError

from orkhaven.errors import ApiError
from orkhaven.hub import status
from orkhaven.hub.ports import FIELD_MANAGER, Gateway, is_finished
from orkhaven.hub.query.catalogue import Catalogue
from orkhaven.hub.query.rows import ExperimentRow
from orkhaven.hub.storage.read import RunSnapshot
from orkhaven.hub.writer import BusyError, Writer

LOOK_SECONDS = 15.0
FIRST_SECONDS = 60.0
"""The shortest silence that is told."""
GROWTH = 1 / 8
"""Of the silence: so much longer before it is told again. A run that is silent for a day is told of 60 times."""

log = logging.getLogger(__name__)


class Heard(Protocol):
    """What the store knows. Blocks; for a thread. Raises SQLAlchemyError."""

    def heard(self, uids: list[str]) -> Mapping[str, float]:
        """By uid of an Experiment: when a report or a line of its log came last, in seconds since the epoch by the
        hubs' clock."""
        ...

    def snapshot_by_name(self, namespace: str, name: str, *, uid: str | None = None) -> RunSnapshot | None: ...


class Silence:
    """`run` as a task; `deaf` from wherever something could not be taken in."""

    def __init__(
        self,
        catalogue: Catalogue,
        gateway: Gateway,
        reader: Heard,
        writer: Writer,
        *,
        clock: Callable[[], float],
    ) -> None:
        """`clock`: seconds since the epoch, that go on as time does."""
        self._catalogue = catalogue
        self._gateway = gateway
        self._reader = reader
        self._writer = writer
        self._clock = clock
        self._since = clock()
        self._told: dict[str, tuple[float, float]] = {}
        """By uid: since when the silence was that was told of last, and until when."""

    def deaf(self) -> None:
        """Something that a run said was not kept: from now on it is listened anew."""
        self._since = self._clock()

    async def run(self) -> None:
        """Until cancelled."""
        while True:
            await asyncio.sleep(LOOK_SECONDS)
            await self.look()

    async def look(self) -> int:
        """Tells of those whose silence has become longer. How many it told of."""
        now = self._clock()
        runs = list(self._running())
        running = {row.uid for row, _ in runs}
        self._told = {uid: told for uid, told in self._told.items() if uid in running}
        if not runs:
            return 0
        try:
            heard = await asyncio.to_thread(self._reader.heard, [row.uid for row, _ in runs])
        except SQLAlchemyError as error:
            self.deaf()
            log.warning("nobody can say who is silent: the store cannot be read", extra={"error": str(error)})
            return 0
        count = 0
        for row, started in runs:
            since = max(started, self._since, heard.get(row.uid, 0.0))
            told_since, told_until = self._told.get(row.uid, (0.0, 0.0))
            again = told_until + (told_until - told_since) * GROWTH if told_since == since else since + FIRST_SECONDS
            if now < max(again, since + FIRST_SECONDS):
                continue
            if await self._tell(row, since=since, until=now):
                self._told[row.uid] = (since, now)
                count += 1
        return count

    def _running(self) -> list[tuple[ExperimentRow, float]]:
        """(run, when its container started) of those that the API server says are running, where it can be heard."""
        found = []
        for namespace in self._catalogue.namespaces():
            if self._catalogue.stale_seconds(namespace) > LOOK_SECONDS:
                continue
            for row in self._catalogue.experiments(namespace).values():
                attempt = row.trail[-1] if row.trail else None
                if row.state == "Running" and attempt is not None and attempt.end is None:
                    found.append((row, attempt.start))
        return found

    async def _tell(self, row: ExperimentRow, *, since: float, until: float) -> bool:
        try:
            run = await asyncio.to_thread(self._reader.snapshot_by_name, row.namespace, row.name, uid=row.uid)
            wanted: dict[str, Any] = {"progress": {"step": 0}} if run is None else status.status_of(run)
            wanted["progress"]["silent"] = {"since": _time(since), "until": _time(until)}
            if run is not None:
                # First into the store, which so shows that it takes what it is given; and the next report, whatever it
                # says, is a change then.
                digest = status.digest_of(wanted)
                await self._writer.call(
                    lambda ingest: ingest.mark_applied(run.id, revision=run.applied_revision, digest=digest)
                )
            experiment = await self._gateway.get("Experiment", row.namespace, row.name)
            if experiment["metadata"]["uid"] != row.uid or is_finished(experiment):
                return False
            await self._gateway.apply_status(
                "Experiment",
                row.namespace,
                row.name,
                wanted,
                field_manager=FIELD_MANAGER,
                uid=row.uid,
                resource_version=int(experiment["metadata"]["resourceVersion"]),
            )
        except (SQLAlchemyError, BusyError) as error:
            self.deaf()
            log.warning("a silence is not told: the store is in trouble", extra={"error": str(error)})
            return False
        except ApiError as error:
            log.info("a silence is told later", extra={"run": row.name, "error": str(error)})
            return False
        return True


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(seconds, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
