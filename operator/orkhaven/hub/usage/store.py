"""The ledger in the database. A line may be written any number of times: by its key it is the same one."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping, Sequence
from dataclasses import asdict, fields
from itertools import groupby
from typing import Any, cast

from sqlalchemy import Connection, Select, Table, bindparam, delete, func, or_, select, update
from sqlalchemy.dialects import postgresql, sqlite

from orkhaven.api.usage import OPEN, Spent
from orkhaven.hub.query.rows import ExperimentRow
from orkhaven.hub.storage.engine import Engines
from orkhaven.hub.storage.kept import Usage
from orkhaven.hub.storage.models import Line as Report
from orkhaven.hub.storage.models import Run
from orkhaven.hub.usage.lines import Key, Line, lines_of

_TABLE = cast(Table, Usage.__table__)
_COLUMNS = [field.name for field in fields(Line)]
_KEY = ("uid", "attempt", "pod")
_SELECT = select(*(getattr(Usage, name) for name in _COLUMNS))
LOST_AT_ONCE = 200

Lives = Callable[[str, str, str], bool | None]
"""Whether an Experiment of this namespace, name and uid is there; None: nobody can say."""


class UsageStore:
    """Each call is one transaction. Raises SQLAlchemyError."""

    def __init__(self, engines: Engines) -> None:
        self._writer, self._reader = engines.writer, engines.reader
        self._insert: Any = sqlite.insert if engines.is_sqlite else postgresql.insert

    # --- for the writer's thread ---

    def record(self, rows: Sequence[ExperimentRow], *, now: float) -> None:
        """Takes in what these say."""
        with self._writer.begin() as connection:
            known = _by_uid(connection, [row.uid for row in rows])
            made = [line for row in rows for line in lines_of(row, known.get(row.uid, {}))]
            if made:
                statement = self._insert(Usage)
                changes = {name: statement.excluded[name] for name in (*_COLUMNS, "seen") if name not in _KEY}
                connection.execute(
                    statement.on_conflict_do_update(index_elements=_KEY, set_=changes),
                    [{**asdict(line), "seen": now} for line in made],
                )

    def look(self, lives: Lives, *, now: float) -> None:
        """Notes which still hold their GPUs, and closes the lines of those that are gone: at the time when they were
        seen last."""
        with self._writer.begin() as connection:
            query = select(Usage.uid, Usage.namespace, Usage.name).distinct().where(Usage.spent.in_(OPEN))
            found = {row.uid: lives(row.namespace, row.name, row.uid) for row in connection.execute(query)}
            there = [{"of": uid} for uid, alive in found.items() if alive]
            if there:
                running = (
                    update(_TABLE).where(_TABLE.c.uid == bindparam("of"), _TABLE.c.ended.is_(None)).values(seen=now)
                )
                connection.execute(running, there)
            for uid in (uid for uid, alive in found.items() if alive is False):
                held = Usage.gpu_seconds + (Usage.seen - Usage.began) * Usage.gpus
                mine = update(Usage).where(Usage.uid == uid)
                connection.execute(
                    mine.where(Usage.ended.is_(None), Usage.seen > Usage.began).values(
                        ended=Usage.seen, gpu_seconds=held
                    )
                )
                connection.execute(mine.where(Usage.ended.is_(None)).values(ended=Usage.began))
                connection.execute(mine.where(Usage.spent.in_(OPEN)).values(spent=str(Spent.CANCELLED), cause=""))

    def count_lost(self) -> int:
        """Of preempted attempts whose runs have reported since: how much was done again. How many there were."""
        with self._writer.begin() as connection:
            query = (
                select(Usage.uid, Usage.attempt, Usage.pod, Usage.began, Usage.ended, Usage.gpu_seconds, Run.id)
                .join(Run, Run.uid == Usage.uid)
                .where(
                    Usage.spent == str(Spent.PREEMPTED),
                    Usage.lost.is_(None),
                    Usage.ended.is_not(None),
                    Run.attempt > Usage.attempt,
                )
                .limit(LOST_AT_ONCE)
            )
            found = connection.execute(query).all()
            for uid, attempt, pod, began, ended, held, run in found:
                kept = _kept_until(connection, run, attempt)
                end = began if ended is None else ended  # the query has none of these
                share = min(max((end - max(kept or began, began)) / max(end - began, 1e-9), 0.0), 1.0)
                connection.execute(
                    update(Usage)
                    .where(Usage.uid == uid, Usage.attempt == attempt, Usage.pod == pod)
                    .values(lost=held * share)
                )
            return len(found)

    def forget_before(self, ended: float) -> int:
        """Deletes what ended earlier. How many lines."""
        with self._writer.begin() as connection:
            return connection.execute(delete(Usage).where(Usage.ended < ended)).rowcount

    # --- for any thread ---

    def between(self, since: float, until: float, *, namespaces: Collection[str]) -> list[Line]:
        """Lines that have something of this time."""
        query = _SELECT.where(
            Usage.namespace.in_(namespaces),
            Usage.began < until,
            or_(Usage.ended.is_(None), Usage.ended >= since),
        )
        with self._reader.connect() as connection:
            return _lines(connection, query)

    def namespaces(self) -> list[str]:
        """Those that have spent something, by name."""
        with self._reader.connect() as connection:
            return list(connection.scalars(select(Usage.namespace).distinct().order_by(Usage.namespace)))


def _by_uid(connection: Connection, uids: Sequence[str]) -> Mapping[str, Mapping[Key, Line]]:
    found = _lines(connection, _SELECT.where(Usage.uid.in_(uids)).order_by(Usage.uid))
    return {uid: {line.key: line for line in lines} for uid, lines in groupby(found, key=lambda line: line.uid)}


def _lines(connection: Connection, query: Select[Any]) -> list[Line]:
    return [Line(**dict(zip(_COLUMNS, row, strict=True))) for row in connection.execute(query)]


def _kept_until(connection: Connection, run: int, attempt: int) -> float | None:
    """When the attempt reported the last step that the next one did not do again; None: there is none."""
    mine = (Report.run_id == run,)
    following = select(func.min(Report.attempt)).where(*mine, Report.attempt > attempt).scalar_subquery()
    first = select(func.min(Report.step)).where(*mine, Report.attempt == following).scalar_subquery()
    kept = select(func.max(Report.time)).where(*mine, Report.attempt == attempt, Report.step < first)
    return connection.scalar(kept)
