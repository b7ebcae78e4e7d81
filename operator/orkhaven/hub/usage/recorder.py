"""Follows the cluster and keeps the ledger up to date. Level-triggered: after a start everything is taken in once, and
what was missed meanwhile is seen in what there is.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable

from sqlalchemy.exc import SQLAlchemyError

from orkhaven.hub.query.catalogue import Catalogue, NotSynced
from orkhaven.hub.query.rows import ExperimentRow
from orkhaven.hub.usage.store import UsageStore
from orkhaven.hub.writer import BusyError, Writer, beside

TICK = 2.0
"""Seconds between two writes of what has changed."""
LOOK_EVERY = 15.0
"""Seconds between two looks at all that hold GPUs. The end of one that was deleted is known this well."""
RETAIN_EVERY = 3600.0
BATCH = 200
"""Experiments in one commit: some ten milliseconds, which reports wait for."""
STALE = 10.0
"""Seconds without the API server after which nobody can say who still runs."""

log = logging.getLogger(__name__)

Name = tuple[str, str]


class Recorder:
    """`run` as a task."""

    def __init__(
        self,
        catalogue: Catalogue,
        store: UsageStore,
        writer: Writer,
        *,
        retention: float,
        clock: Callable[[], float],
    ) -> None:
        """`retention`: seconds. `clock`: seconds since the epoch, that go on as time does."""
        self._catalogue = catalogue
        self._store = store
        self._writer = writer
        self._retention = retention
        self._clock = clock
        self._seen: dict[Name, ExperimentRow] = {}
        """What was taken in of each Experiment."""

    async def run(self) -> None:
        """Until cancelled."""
        looked = retained = float("-inf")
        await self._catalogue.wait_synced()
        while True:
            try:
                await self.record()
                if self._clock() - looked >= LOOK_EVERY:
                    looked = self._clock()
                    await self.look()
                if self._clock() - retained >= RETAIN_EVERY:
                    retained = self._clock()
                    await self._writer.call(beside(self._store.forget_before, retained - self._retention))
            except (SQLAlchemyError, BusyError) as error:
                log.warning("the ledger is written later", extra={"error": str(error)})
            await asyncio.sleep(TICK)

    async def record(self) -> int:
        """Takes in what has changed. How many Experiments."""
        there = {
            (row.namespace, row.name): row
            for namespace in self._catalogue.namespaces()
            for row in self._catalogue.experiments(namespace).values()
        }
        changed = [(name, row) for name, row in there.items() if self._is_news(name, row)]
        # A row is never changed, only replaced: what says the same costs one comparison from now on.
        news = {name for name, _ in changed}
        self._seen = {name: row for name, row in there.items() if name not in news}
        for start in range(0, len(changed), BATCH):
            batch = changed[start : start + BATCH]
            worth = [row for _, row in batch if (row.held and (row.gpus or row.gpu_seconds)) or row.saved_gpu_seconds]
            if worth:
                await self._writer.call(beside(self._store.record, worth, now=self._clock()))
            # Only what is in the store: a write that failed is tried again.
            self._seen |= dict(batch)
        return len(changed)

    async def look(self) -> None:
        await self._writer.call(beside(self._store.look, self._lives, now=self._clock()))
        await self._writer.call(beside(self._store.count_lost))

    def _is_news(self, name: Name, row: ExperimentRow) -> bool:
        old = self._seen.get(name)
        return old is None or (old is not row and _said(old) != _said(row))

    def _lives(self, namespace: str, name: str, uid: str) -> bool | None:
        try:
            self._catalogue.require(namespace)
        except NotSynced:
            return None
        if self._catalogue.stale_seconds(namespace) > STALE:
            return None
        row = self._catalogue.experiment(namespace, name)
        return row is not None and row.uid == uid


def _said(row: ExperimentRow) -> tuple[object, ...]:
    return (row.uid, row.held, row.gpu_seconds, row.saved_gpu_seconds, row.state == "Suspended", row.created_by)
