"""Tables of sweeps, made when somebody asks for one and kept up to date after that.

A table is made anew only where a run was deleted, or replaced by a rerun; otherwise what changed is put into it: at
once for what the cluster says, and at most every `REFRESH_SECONDS` for what the store knows. Of one event loop; the
store is read in threads.
"""

from __future__ import annotations

import asyncio
import itertools
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from orkhaven.hub.query.catalogue import Catalogue
from orkhaven.hub.query.fields import field as ref
from orkhaven.hub.query.revisions import Revisions, Scope
from orkhaven.hub.query.rows import ExperimentRow
from orkhaven.hub.query.table import Table
from orkhaven.hub.storage.read import Reader, RunChange

REFRESH_SECONDS = 0.5
"""Between two looks into the store for one table."""
MAX_TABLES = 8
MAX_CELLS = 2_000_000
"""Metrics times runs of all tables that are kept, 56 bytes each; the one just asked for stays in any case."""
CLOCK_SKEW = 5.0
"""Seconds by which clocks of several hubs on one PostgreSQL may differ."""


CHUNK = 500
"""Runs whose metrics are read at once."""


@dataclass(slots=True)
class _Entry:
    generation: int
    table: Table = field(default_factory=Table)
    seen: int = -1
    """The scope's revision that the table shows."""
    looked_at: float = float("-inf")
    """Monotonic seconds of the last look into the store."""
    updated: float = 0.0
    """The latest `updated` seen in the store."""
    known: dict[int, int] = field(default_factory=dict)
    """By run id, the revision that the table shows."""
    waiting: dict[str, RunChange] = field(default_factory=dict)
    """By uid, runs of the store whose Experiment has not been seen, or is gone."""


class Tables:
    def __init__(
        self, catalogue: Catalogue, revisions: Revisions, reader: Reader, *, clock: Callable[[], float]
    ) -> None:
        self._catalogue = catalogue
        self._revisions = revisions
        self._reader = reader
        self._clock = clock
        self._entries: OrderedDict[Scope, _Entry] = OrderedDict()
        self._locks: dict[Scope, asyncio.Lock] = {}
        self._generations = itertools.count(1)

    async def of(self, namespace: str, sweep: str | None) -> tuple[Table, str]:
        """The table, up to date, and what tells this state of it from all others. Raises SQLAlchemyError.

        The table is to be used before the next await: it goes on changing.
        """
        scope = (namespace, sweep)
        async with self._locks.setdefault(scope, asyncio.Lock()):
            entry = self._catch_up(scope)
            while self._clock() - entry.looked_at >= REFRESH_SECONDS:
                await self._look(entry, scope)
                # Where runs were deleted meanwhile, this is another entry, and the store is to be read again.
                entry = self._catch_up(scope)
            entry.table.settle()
        self._entries.move_to_end(scope)
        self._forget()
        return entry.table, f"{entry.generation}.{entry.table.version}"

    async def warm(self) -> int:
        """Makes the tables that people are likely to ask for first, as many as are kept: sweeps that go on, then the
        newest. Call it when the catalogue is synced. Returns how many. Raises SQLAlchemyError.
        """
        sweeps = [row for one in self._catalogue.namespaces() for row in self._catalogue.sweeps(one)]
        sweeps.sort(key=lambda row: row.created or "", reverse=True)
        sweeps.sort(key=lambda row: row.finished)
        made = 0
        for row in sweeps[:MAX_TABLES]:
            if sum(entry.table.cells for entry in self._entries.values()) > MAX_CELLS:
                break
            table, _ = await self.of(row.namespace, row.name)
            # Whoever asks first gets what the store has by then, not what it had now.
            self._entries[row.namespace, row.name].looked_at = float("-inf")
            # What every first page needs.
            table.order([(ref("objective"), not row.objective.minimize)])
            table.varying()
            made += 1
        return made

    def _catch_up(self, scope: Scope) -> _Entry:
        """With the cluster."""
        entry = self._entries.get(scope)
        revision = self._revisions.of(*scope)
        if entry is not None and entry.seen == revision:
            return entry
        rows = (
            _without_replaced(self._catalogue.experiments(*scope)) if scope[1] else self._catalogue.experiments(*scope)
        )
        if entry is None or not entry.table.covers(rows):
            entry = self._entries[scope] = _Entry(next(self._generations))
        entry.table.put(rows.values())
        entry.seen = revision
        return entry

    async def _look(self, entry: _Entry, scope: Scope) -> None:
        """Into the store, for what is new there."""
        looked_at = self._clock()
        # The same runs come again for CLOCK_SKEW: their revision tells.
        found = await asyncio.to_thread(self._reader.changed_runs, *scope, since=entry.updated - CLOCK_SKEW)
        entry.waiting |= {change.uid: change for change in found if entry.known.get(change.id) != change.revision}
        changes = [change for uid, change in entry.waiting.items() if uid in entry.table.index]
        for start in range(0, len(changes), CHUNK):
            chunk = changes[start : start + CHUNK]
            summaries = await asyncio.to_thread(self._reader.summaries, [change.id for change in chunk])
            uids = {change.id: change.uid for change in chunk}
            entry.table.put_summaries((uids[run_id], summary) for run_id, summary in summaries)
            for change in chunk:
                entry.known[change.id] = change.revision
                del entry.waiting[change.uid]
        entry.updated = max((entry.updated, *(change.updated for change in found)))
        entry.looked_at = looked_at

    def _forget(self) -> None:
        """Tables that nobody asked for lately, beyond what may be kept."""
        cells = sum(entry.table.cells for entry in self._entries.values())
        while len(self._entries) > 1 and (len(self._entries) > MAX_TABLES or cells > MAX_CELLS):
            scope, entry = next(iter(self._entries.items()))
            if self._locks[scope].locked():
                break
            del self._entries[scope], self._locks[scope]
            cells -= entry.table.cells


def _without_replaced(rows: Mapping[str, ExperimentRow]) -> Mapping[str, ExperimentRow]:
    """A sweep's trials: of one that failed and was run again, what took its place."""
    replaced = {row.rerun_of for row in rows.values() if row.rerun_of is not None}
    return {name: row for name, row in rows.items() if name not in replaced} if replaced else rows
