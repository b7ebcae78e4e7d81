"""The store as the rest of the hub sees it: opened and migrated in one step, a write side and a read side."""

from __future__ import annotations

from dataclasses import dataclass

from orkhaven.hub.artifacts.store import ArtifactStore
from orkhaven.hub.logs.store import LogStore
from orkhaven.hub.storage.engine import Engines, open_engines
from orkhaven.hub.storage.ingest import Ingest
from orkhaven.hub.storage.migrate import migrate
from orkhaven.hub.storage.read import Reader
from orkhaven.hub.usage.store import UsageStore


@dataclass(frozen=True, slots=True)
class Store:
    engines: Engines
    ingest: Ingest
    """For the writer's thread alone."""
    reader: Reader
    """For any thread."""
    logs: LogStore
    artifacts: ArtifactStore
    usage: UsageStore

    def close(self) -> None:
        self.engines.dispose()


def open_store(database_url: str, *, max_metrics_per_run: int) -> Store:
    """Makes or migrates it. Raises StoreError."""
    engines = open_engines(database_url)
    try:
        migrate(engines)
    except BaseException:
        engines.dispose()
        raise
    return Store(
        engines,
        Ingest(engines, max_metrics_per_run=max_metrics_per_run),
        Reader(engines),
        LogStore(engines),
        ArtifactStore(engines),
        UsageStore(engines),
    )
