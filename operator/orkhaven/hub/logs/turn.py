"""Of several hubs on one PostgreSQL, one follows logs. A matter of cost alone: `LogStore.append` lets nobody write who
does not know the log's end, so two at once would lose and double nothing.
"""

from __future__ import annotations

import threading
from typing import Protocol

from sqlalchemy import Connection, create_engine, text
from sqlalchemy.exc import SQLAlchemyError
from sqlalchemy.pool import NullPool

from orkhaven.hub.storage.engine import Engines

_LOCK = 0x0_12_4A_BF
"""PostgreSQL advisory lock of a session: it goes with the process that held it."""


class Turn(Protocol):
    """Blocks a little; for a thread."""

    def take(self) -> bool:
        """Whether it is ours, also where it was before. Never raises: a database that is away gives no turn."""
        ...

    def close(self) -> None: ...


class Always:
    """SQLite has one hub."""

    def take(self) -> bool:
        return True

    def close(self) -> None:
        return


class Postgres:
    """A connection of its own: the lock lives as long. Once closed it takes no turn any more: its last look may still
    be under way in a thread when the hub ends, and what that took nobody would give back.
    """

    def __init__(self, engines: Engines) -> None:
        self._engine = create_engine(engines.writer.url, poolclass=NullPool, isolation_level="AUTOCOMMIT")
        self._connection: Connection | None = None
        self._one_at_a_time = threading.Lock()
        self._closed = False

    def take(self) -> bool:
        with self._one_at_a_time:
            if self._closed:
                return False
            try:
                if self._connection is not None:
                    self._connection.execute(text("SELECT 1"))
                    return True
                connection = self._engine.connect()
                if connection.scalar(text("SELECT pg_try_advisory_lock(:key)"), {"key": _LOCK}):
                    self._connection = connection
                    return True
                connection.close()
            except SQLAlchemyError:
                self._drop()
            return False

    def close(self) -> None:
        with self._one_at_a_time:
            self._closed = True
            self._drop()

    def _drop(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            try:
                connection.close()
            except SQLAlchemyError:
                return  # it was gone, and the lock with it


def turn_for(engines: Engines) -> Turn:
    return Always() if engines.is_sqlite else Postgres(engines)
