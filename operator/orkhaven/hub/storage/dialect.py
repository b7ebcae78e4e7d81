"""The statements that carry the load, in the fastest form of each database. Rows are plain tuples in column order."""

from __future__ import annotations

import struct
from collections.abc import Sequence
from typing import Any, Protocol, cast

from sqlalchemy import Connection, Table
from sqlalchemy.dialects import postgresql

from orkhaven.hub.storage.models import Run, Summary

Row = tuple[Any, ...]

LINE_COLUMNS = ("run_id", "attempt", "seq", "step", "time")
POINT_COLUMNS = ("run_id", "metric_id", "step", "attempt", "seq", "value")
SUMMARY_KEY = ("run_id", "metric_id")
SUMMARY_VALUES = (
    "count",
    "last_attempt",
    "last_seq",
    "last_step",
    "last_value",
    "min_value",
    "min_step",
    "max_value",
    "max_step",
)
SUMMARY_COLUMNS = SUMMARY_KEY + SUMMARY_VALUES

_SUMMARIES = cast(Table, Summary.__table__)
_RUNS = cast(Table, Run.__table__)
_PG = postgresql.dialect()  # type: ignore[no-untyped-call]

_UPSERT = "ON CONFLICT (run_id, metric_id) DO UPDATE SET " + ", ".join(
    f"{column} = excluded.{column}" for column in SUMMARY_VALUES
)


class Dialect(Protocol):
    """Rows given to `add_*` are new for certain: the caller holds the run's lock and has looked."""

    def add_lines(self, connection: Connection, rows: Sequence[Row]) -> None: ...

    def add_points(self, connection: Connection, rows: Sequence[Row]) -> None: ...

    def put_summaries(self, connection: Connection, rows: Sequence[Row]) -> None: ...

    def update_runs(self, connection: Connection, columns: Sequence[str], rows: Sequence[Row]) -> None:
        """Rows hold these columns, then the run's id."""
        ...


class Sqlite:
    def add_lines(self, connection: Connection, rows: Sequence[Row]) -> None:
        _insert_many(connection, "lines", LINE_COLUMNS, rows)

    def add_points(self, connection: Connection, rows: Sequence[Row]) -> None:
        # In key order, neighbours go into the same page: several times faster than as they came. No two rows have one
        # key, so that values, of which some are None, are never compared.
        _insert_many(connection, "points", POINT_COLUMNS, sorted(rows))

    def put_summaries(self, connection: Connection, rows: Sequence[Row]) -> None:
        _insert_many(connection, "summaries", SUMMARY_COLUMNS, sorted(rows), _UPSERT)

    def update_runs(self, connection: Connection, columns: Sequence[str], rows: Sequence[Row]) -> None:
        assignments = ", ".join(f"{column} = ?" for column in columns)
        connection.exec_driver_sql(f"UPDATE runs SET {assignments} WHERE id = ?", cast(Any, list(rows)))


def _insert_many(
    connection: Connection, table: str, columns: Sequence[str], rows: Sequence[Row], suffix: str = ""
) -> None:
    if rows:
        marks = ", ".join("?" * len(columns))
        connection.exec_driver_sql(
            f"INSERT INTO {table} ({', '.join(columns)}) VALUES ({marks}) {suffix}", cast(Any, list(rows))
        )


class Postgresql:
    def add_lines(self, connection: Connection, rows: Sequence[Row]) -> None:
        _copy(
            connection,
            "lines",
            LINE_COLUMNS,
            [_LINE.pack(5, 4, run, 4, attempt, 4, seq, 8, step, 8, time) for run, attempt, seq, step, time in rows],
        )

    def add_points(self, connection: Connection, rows: Sequence[Row]) -> None:
        # In key order: where neighbours come one after the other, a page of the index is split behind the newest, not
        # in its middle.
        _copy(
            connection,
            "points",
            POINT_COLUMNS,
            [
                _POINT.pack(6, 4, run, 4, metric, 8, step, 4, attempt, 4, seq, 8, value)
                if value is not None
                else _POINT_NAN.pack(6, 4, run, 4, metric, 8, step, 4, attempt, 4, seq, -1)
                for run, metric, step, attempt, seq, value in sorted(rows)
            ],
        )

    def put_summaries(self, connection: Connection, rows: Sequence[Row]) -> None:
        if not rows:
            return
        arrays = ", ".join(f"%s::{_pg_type(_SUMMARIES, column)}[]" for column in SUMMARY_COLUMNS)
        connection.exec_driver_sql(
            f"INSERT INTO summaries ({', '.join(SUMMARY_COLUMNS)}) SELECT * FROM unnest({arrays}) {_UPSERT}",
            tuple(map(_array, zip(*rows, strict=True))),
        )

    def update_runs(self, connection: Connection, columns: Sequence[str], rows: Sequence[Row]) -> None:
        # One statement for all, as for summaries, and not one round trip for each.
        arrays = ", ".join(f"%s::{_pg_type(_RUNS, column)}[]" for column in (*columns, "id"))
        assignments = ", ".join(f"{column} = new.{column}" for column in columns)
        connection.exec_driver_sql(
            f"UPDATE runs SET {assignments} FROM unnest({arrays}) AS new ({', '.join(columns)}, id) "
            "WHERE runs.id = new.id",
            tuple(map(_array, zip(*rows, strict=True))),
        )


def _array(values: Sequence[Any]) -> str | list[Any]:
    """One column as PostgreSQL reads it. Numbers as the text of an array, which is several times faster than what the
    driver makes of a list; texts are left to the driver, which knows how to quote.
    """
    if any(isinstance(value, str) for value in values):
        return list(values)
    return "{" + ",".join(["NULL" if value is None else repr(value) for value in values]) + "}"


def _pg_type(table: Table, column: str) -> str:
    return str(table.columns[column].type.compile(dialect=_PG)).lower()


# Rows as COPY's binary format has them: the number of columns, then each column's length and value.
_LINE = struct.Struct("!hiiiiiiiqid")
_POINT = struct.Struct("!hiiiiiqiiiiid")
_POINT_NAN = struct.Struct("!hiiiiiqiiiii")
_HEAD = b"PGCOPY\n\xff\r\n\0" + bytes(8)
_TAIL = b"\xff\xff"


def _copy(connection: Connection, table: str, columns: Sequence[str], rows: Sequence[bytes]) -> None:
    driver = cast(Any, connection.connection.driver_connection)
    with (
        driver.cursor() as cursor,
        cursor.copy(f"COPY {table} ({', '.join(columns)}) FROM STDIN (FORMAT BINARY)") as copy,
    ):
        copy.write(b"".join((_HEAD, *rows, _TAIL)))


def dialect_for(name: str) -> Dialect:
    return Sqlite() if name == "sqlite" else Postgresql()
