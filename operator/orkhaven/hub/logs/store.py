"""Logs in the database: written by the writer's thread alone, between two commits of metrics; read by any thread."""

from __future__ import annotations

import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from sqlalchemy import Connection, delete, func, insert, select, update

from orkhaven.hub.logs.pieces import CHUNK, Append, unpack
from orkhaven.hub.logs.stamps import Cursor
from orkhaven.hub.storage.engine import Engines
from orkhaven.hub.storage.kept import Log, LogChunk, LogNote

MAX_NOTES = 200
"""Of one log. A run that is suspended and resumed more often goes on without saying so."""


@dataclass(frozen=True, slots=True, kw_only=True)
class LogIdentity:
    """Whose log it is, and which pod it comes from now."""

    namespace: str
    name: str
    uid: str
    attempt: int
    pod: str
    pod_uid: str


@dataclass(frozen=True, slots=True, kw_only=True)
class LogState:
    """Where a log stands: what a follower begins with."""

    id: int
    size: int
    cursor: Cursor
    ended: float | None
    last: bytes
    """The text after the last whole multiple of CHUNK."""
    last_time: float


@dataclass(frozen=True, slots=True, kw_only=True)
class LogInfo:
    id: int
    namespace: str
    name: str
    uid: str
    attempt: int
    pod: str
    created: float
    updated: float
    ended: float | None
    size: int
    stored: int


@dataclass(frozen=True, slots=True)
class Note:
    start: int
    time: float
    text: str


@dataclass(frozen=True, slots=True)
class Piece:
    start: int
    data: bytes
    time: float = 0.0

    @property
    def end(self) -> int:
        return self.start + len(self.data)


class LogStore:
    """Each call is one transaction. Raises SQLAlchemyError."""

    def __init__(self, engines: Engines) -> None:
        self._writer = engines.writer
        self._reader = engines.reader

    # --- for the writer's thread ---

    def open(self, who: LogIdentity, *, now: float) -> LogState:
        """The log of that attempt, made where there is none. Another pod than before goes on in it from its own
        beginning, also where it had ended: a suspended run that was resumed.
        """
        mine = (Log.namespace == who.namespace, Log.uid == who.uid, Log.attempt == who.attempt)
        with self._writer.begin() as connection:
            row = connection.execute(select(Log.__table__).where(*mine)).one_or_none()
            if row is None:
                values = {
                    "namespace": who.namespace,
                    "name": who.name,
                    "uid": who.uid,
                    "attempt": who.attempt,
                    "pod": who.pod,
                    "pod_uid": who.pod_uid,
                    "created": now,
                    "updated": now,
                    **dict.fromkeys(("size", "stored"), 0),
                    **_cursor(Cursor()),
                }
                # Of two hubs that see the pod at once, one fails here by the unique key, and looks again.
                made = connection.execute(insert(Log).values(values)).inserted_primary_key
                assert made is not None
                return LogState(id=made[0], size=0, cursor=Cursor(), ended=None, last=b"", last_time=0.0)
            cursor, ended = _cursor_of(row), row.ended
            if row.pod_uid != who.pod_uid:
                cursor, ended = Cursor(), None
                connection.execute(
                    update(Log)
                    .where(Log.id == row.id)
                    .values(pod=who.pod, pod_uid=who.pod_uid, ended=None, updated=now, **_cursor(cursor))
                )
                self._note(connection, row.id, start=row.size, now=now, text=f"pod {who.pod} begins here")
            whole = row.size // CHUNK * CHUNK
            chunk = connection.execute(
                select(LogChunk.data, LogChunk.time).where(LogChunk.log_id == row.id, LogChunk.start == whole)
            ).one_or_none()
        last = unpack(chunk[0])[: row.size - whole] if chunk is not None else b""
        # A piece that is lost or damaged must not move what comes after it: the place of each byte is its address.
        last = last.ljust(row.size - whole, b"?")
        return LogState(
            id=row.id, size=row.size, cursor=cursor, ended=ended, last=last, last_time=chunk[1] if chunk else 0.0
        )

    def append(self, appends: Sequence[Append], *, now: float) -> list[bool]:
        """Commits all of them. False: the log is not as the append took it to be, because somebody else follows the
        same pod, or it was deleted; nothing of that append was done.
        """
        with self._writer.begin() as connection:
            return [self._append(connection, one, now=now) for one in appends]

    def _append(self, connection: Connection, one: Append, *, now: float) -> bool:
        mine = LogChunk.log_id == one.log_id
        gone = [LogChunk.start >= one.replaces] if one.replaces < one.before else []
        if one.drop is not None:
            gone.append((LogChunk.start >= one.drop[0]) & (LogChunk.start < min(one.drop[1], one.replaces)))
        freed = 0
        for which in gone:
            freed += connection.scalar(select(func.sum(func.length(LogChunk.data))).where(mine, which)) or 0
        added = sum(len(chunk.data) for chunk in one.chunks)
        changed = connection.execute(
            update(Log)
            .where(Log.id == one.log_id, Log.size == one.before, Log.pod_uid == one.pod_uid)
            .values(size=one.after, stored=Log.stored + (added - freed), updated=now, **_cursor(one.cursor))
        )
        if changed.rowcount != 1:
            return False
        for which in gone:
            connection.execute(delete(LogChunk).where(mine, which))
        if one.chunks:
            rows = [
                {"log_id": one.log_id, "start": c.start, "size": c.size, "time": c.time, "data": c.data}
                for c in one.chunks
            ]
            connection.execute(insert(LogChunk), rows)
        return True

    def end(self, log_id: int, *, pod_uid: str, note: str, now: float) -> None:
        """Nothing more will come from that pod. A log that has ended already, or goes on with another pod, stays."""
        with self._writer.begin() as connection:
            changed = connection.execute(
                update(Log)
                .where(Log.id == log_id, Log.pod_uid == pod_uid, Log.ended.is_(None))
                .values(ended=now, updated=now)
            )
            if changed.rowcount == 1:
                size = connection.scalar(select(Log.size).where(Log.id == log_id)) or 0
                self._note(connection, log_id, start=size, now=now, text=note)

    def note(self, log_id: int, *, text: str, now: float) -> None:
        """A remark at the end of what there is."""
        with self._writer.begin() as connection:
            size = connection.scalar(select(Log.size).where(Log.id == log_id))
            if size is not None:
                self._note(connection, log_id, start=size, now=now, text=text)

    def _note(self, connection: Connection, log_id: int, *, start: int, now: float, text: str) -> None:
        count = connection.scalar(select(func.count()).select_from(LogNote).where(LogNote.log_id == log_id)) or 0
        if count < MAX_NOTES:
            connection.execute(
                insert(LogNote).values(log_id=log_id, number=count, start=start, time=now, text=text[:500])
            )

    def forget(self, *, ended_before: float | None, max_bytes: int, limit: int = 20) -> int:
        """Deletes logs that ended before that time, and the oldest ended ones while all together take more than
        `max_bytes`: at most `limit`, so that metrics never wait long. Returns how many.
        """
        with self._writer.begin() as connection:
            too_much = (connection.scalar(select(func.sum(Log.stored))) or 0) - max_bytes
            going: list[int] = []
            query = select(Log.id, Log.ended, Log.stored).where(Log.ended.is_not(None)).order_by(Log.ended).limit(limit)
            for log_id, ended, stored in connection.execute(query):
                if too_much <= 0 and (ended_before is None or ended is None or ended >= ended_before):
                    break
                going.append(log_id)
                too_much -= stored
            for table in (LogChunk, LogNote):
                connection.execute(delete(table).where(table.log_id.in_(going)))
            connection.execute(delete(Log).where(Log.id.in_(going)))
        return len(going)

    # --- for any thread ---

    def unfinished(self) -> list[tuple[int, LogIdentity]]:
        """Logs to which more may come."""
        query = select(Log.id, Log.namespace, Log.name, Log.uid, Log.attempt, Log.pod, Log.pod_uid).where(
            Log.ended.is_(None)
        )
        with self._reader.connect() as connection:
            return [
                (
                    row.id,
                    LogIdentity(
                        namespace=row.namespace,
                        name=row.name,
                        uid=row.uid,
                        attempt=row.attempt,
                        pod=row.pod,
                        pod_uid=row.pod_uid,
                    ),
                )
                for row in connection.execute(query)
            ]

    def ended_pods(self, pod_uids: Sequence[str]) -> set[str]:
        """Which of these pods' logs are kept to their end."""
        found: set[str] = set()
        with self._reader.connect() as connection:
            for start in range(0, len(pod_uids), 500):
                query = select(Log.pod_uid).where(
                    Log.pod_uid.in_(pod_uids[start : start + 500]), Log.ended.is_not(None)
                )
                found.update(connection.scalars(query))
        return found

    def info(self, namespace: str, name: str, attempt: int) -> LogInfo | None:
        """Of the newest Experiment of that name that has such an attempt."""
        query = _INFO.where(Log.namespace == namespace, Log.name == name, Log.attempt == attempt)
        with self._reader.connect() as connection:
            row = connection.execute(query.order_by(Log.id.desc()).limit(1)).one_or_none()
        return None if row is None else LogInfo(**row._asdict())

    def refresh(self, log_id: int) -> LogInfo | None:
        with self._reader.connect() as connection:
            row = connection.execute(_INFO.where(Log.id == log_id)).one_or_none()
        return None if row is None else LogInfo(**row._asdict())

    def attempts(self, namespace: str, name: str) -> list[LogInfo]:
        """Of the newest Experiment of that name, by attempt."""
        query = _INFO.where(Log.namespace == namespace, Log.name == name).order_by(Log.id)
        with self._reader.connect() as connection:
            found = [LogInfo(**row._asdict()) for row in connection.execute(query)]
        newest = found[-1].uid if found else ""
        return sorted((one for one in found if one.uid == newest), key=lambda one: one.attempt)

    def notes(self, log_id: int) -> list[Note]:
        query = select(LogNote.start, LogNote.time, LogNote.text).where(LogNote.log_id == log_id)
        with self._reader.connect() as connection:
            return [Note(*row) for row in connection.execute(query.order_by(LogNote.number))]

    def extents(self, log_id: int) -> list[tuple[int, int]]:
        """What is kept, as (first byte, byte after the last), in order; neighbours are joined."""
        query = select(LogChunk.start, LogChunk.size).where(LogChunk.log_id == log_id).order_by(LogChunk.start)
        joined: list[tuple[int, int]] = []
        with self._reader.connect() as connection:
            for start, size in connection.execute(query):
                if joined and joined[-1][1] == start:
                    joined[-1] = (joined[-1][0], start + size)
                else:
                    joined.append((start, start + size))
        return joined

    def read(self, log_id: int, start: int, end: int) -> Iterator[Piece]:
        """The kept text from `start` to before `end`, piece by piece; one piece at a time is in memory."""
        position = start
        while position < end:
            query = (
                select(LogChunk.start, LogChunk.data, LogChunk.time)
                .where(LogChunk.log_id == log_id, LogChunk.start > position - CHUNK, LogChunk.start < end)
                .where(LogChunk.start + LogChunk.size > position)
                .order_by(LogChunk.start)
                .limit(_READ_AT_ONCE)
            )
            with self._reader.connect() as connection:
                rows = connection.execute(query).all()
            for at, packed, time in rows:
                text = _unpacked(packed)
                first = max(position, at)
                piece = Piece(first, text[first - at : end - at], time)
                position = at + len(text)
                if piece.data:
                    yield piece
            if len(rows) < _READ_AT_ONCE:
                return


_READ_AT_ONCE = 8
_INFO = select(
    *(
        getattr(Log, name)
        for name in (
            *("id", "namespace", "name", "uid", "attempt", "pod"),
            *("created", "updated", "ended", "size", "stored"),
        )
    )
)


def _unpacked(data: bytes) -> bytes:
    try:
        return unpack(data)
    except zlib.error:
        return b"[orkhaven: this piece of the log is damaged]\n"


def _cursor(cursor: Cursor) -> dict[str, int]:
    return {
        "cursor_time": cursor.time,
        "cursor_same": cursor.same,
        "cursor_open": cursor.open,
        "cursor_high": cursor.high,
    }


def _cursor_of(row: object) -> Cursor:
    return Cursor(
        time=row.cursor_time,  # type: ignore[attr-defined]
        same=row.cursor_same,  # type: ignore[attr-defined]
        open=row.cursor_open,  # type: ignore[attr-defined]
        high=row.cursor_high,  # type: ignore[attr-defined]
    )
