"""Connections: one engine that writes and one that only reads, for SQLite and PostgreSQL by the same URL."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sqlalchemy import Connection, Engine, create_engine, event
from sqlalchemy.engine import make_url
from sqlalchemy.exc import ArgumentError

BUSY_TIMEOUT_MS = 10_000
"""How long SQLite waits for another process's lock: a migration or a backup, nothing of our own."""
READERS = 4


class StoreError(Exception):
    """The store cannot be opened as it is; the message says why and what to do."""


@dataclass(frozen=True, slots=True)
class Engines:
    writer: Engine
    reader: Engine

    @property
    def is_sqlite(self) -> bool:
        return self.writer.dialect.name == "sqlite"

    def dispose(self) -> None:
        self.writer.dispose()
        self.reader.dispose()


def open_engines(database_url: str) -> Engines:
    """Raises StoreError for a URL of another kind. Opens no connection yet."""
    try:
        url = make_url(database_url)
    except ArgumentError as error:
        raise StoreError(f"ORKHAVEN_HUB_DATABASE_URL: {error}") from None
    if url.get_backend_name() == "sqlite":
        if not url.database or url.database == ":memory:":
            raise StoreError("ORKHAVEN_HUB_DATABASE_URL: SQLite needs a file, e.g. sqlite:////var/lib/orkhaven/hub.db")
        folder = Path(url.database).parent
        try:
            folder.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise StoreError(f"the store's folder {folder} cannot be made: {error.strerror}") from None
        engines = Engines(
            writer=create_engine(url, pool_size=1, max_overflow=0), reader=create_engine(url, pool_size=READERS)
        )
        _tune_sqlite(engines.writer, begin="BEGIN IMMEDIATE", read_only=False)
        _tune_sqlite(engines.reader, begin="BEGIN", read_only=True)
        return engines
    if url.get_backend_name() == "postgresql":
        url = url.set(drivername="postgresql+psycopg")
        # A connection that died with its server is noticed before it is used.
        return Engines(
            writer=create_engine(url, pool_size=1, max_overflow=0, pool_pre_ping=True),
            reader=create_engine(url, pool_size=READERS, pool_pre_ping=True),
        )
    raise StoreError(
        f"ORKHAVEN_HUB_DATABASE_URL: {url.get_backend_name()} is not supported; use sqlite:// or postgresql://"
    )


def _tune_sqlite(engine: Engine, *, begin: str, read_only: bool) -> None:
    @event.listens_for(engine, "connect")
    def connect(connection: Any, _record: Any) -> None:
        # The driver would begin transactions by itself, and only before writes; ours begin where we say.
        connection.isolation_level = None
        cursor = connection.cursor()
        cursor.execute(f"PRAGMA busy_timeout = {BUSY_TIMEOUT_MS}")
        if read_only:
            cursor.execute("PRAGMA query_only = ON")
        else:
            cursor.execute("PRAGMA journal_mode = WAL")
            # FULL: an answered POST survives a power cut, not only a killed process. Group commit pays for it.
            cursor.execute("PRAGMA synchronous = FULL")
            # Live runs write the same pages again and again: carried over from the log to the file every 32 MB and not
            # every 4, a page is written there less often.
            cursor.execute("PRAGMA wal_autocheckpoint = 8000")
            # SQLite truncates a grown log only if told so.
            cursor.execute(f"PRAGMA journal_size_limit = {64 * 1024 * 1024}")
        # KiB. Readers have the system's page cache behind them, and there are several.
        cursor.execute(f"PRAGMA cache_size = {-2_000 if read_only else -16_000}")
        cursor.close()

    @event.listens_for(engine, "begin")
    def begin_transaction(connection: Connection) -> None:
        connection.exec_driver_sql(begin)
