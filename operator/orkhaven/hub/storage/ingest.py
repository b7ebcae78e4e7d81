"""The write path: posts in, one transaction, outcomes back. Only the writer's thread calls it.

Newness of a line is decided here, under the run's lock, before anything is written, so that points go in without a
conflict clause (COPY in PostgreSQL) and summaries count each line once.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, fields
from operator import attrgetter

from sqlalchemy import Connection, bindparam, delete, func, select, update
from sqlalchemy.dialects import postgresql, sqlite

from orkhaven.hub.lines import Line as MetricLine
from orkhaven.hub.lines import Refusal
from orkhaven.hub.storage import dialect
from orkhaven.hub.storage.engine import Engines
from orkhaven.hub.storage.models import Line, MetricName, Point, Run, Summary
from orkhaven.hub.storage.rungs import passes
from orkhaven.hub.storage.state import RunState, SummaryState

CACHED_RUNS = 2_000
"""Runs that stay in memory between commits, with their summaries: the live ones. About 7 KB each with 20 metrics."""
_IN_CHUNK = 500
_STATE_COLUMNS = [getattr(Run, field.name) for field in fields(RunState) if field.name not in ("summaries", "seen")]
_CHANGED = [column.key for column in _STATE_COLUMNS if column.key != "id"]


@dataclass(frozen=True, slots=True, kw_only=True)
class RunIdentity:
    """Whose lines they are."""

    uid: str
    namespace: str
    name: str
    sweep: str | None = None
    objective: str | None = None
    """Name of the objective's metric."""
    minimize: bool | None = None
    ladder: str | None = None
    """Steps at which early stopping compares it, see `rungs`."""


@dataclass(frozen=True, slots=True)
class Post:
    run: RunIdentity
    lines: tuple[MetricLine, ...]

    @property
    def points(self) -> int:
        return sum(len(line.metrics) for line in self.lines)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    run_id: int
    accepted: int
    """New lines."""
    duplicates: int
    """Lines that were there before."""
    points: int
    """New points."""
    last_seq: int
    """Largest seq stored of the newest attempt."""
    passed_rung: bool = False
    """Early stopping waits for this report."""
    refusals: tuple[Refusal, ...] = ()


@dataclass(frozen=True, slots=True)
class _Pending:
    """What the transaction adds, in one statement per table."""

    lines: list[dialect.Row]
    points: list[dialect.Row]


class Ingest:
    """State between transactions is a cache only: a run as it is remembered counts while its revision is the one
    stored.
    """

    def __init__(self, engines: Engines, *, max_metrics_per_run: int) -> None:
        self._engine = engines.writer
        self._dialect = dialect.dialect_for(engines.writer.dialect.name)
        self._max_metrics = max_metrics_per_run
        # Made once: to build a statement takes longer than to run it.
        by_uid = select(Run.uid, *_STATE_COLUMNS).where(Run.uid.in_(bindparam("uids", expanding=True))).order_by(Run.id)
        self._select_by_uid = by_uid if engines.is_sqlite else by_uid.with_for_update()
        """Of several hubs on PostgreSQL, a run is one's at a time. SQLite's BEGIN IMMEDIATE has locked all already."""
        self._for_update = "" if engines.is_sqlite else " FOR UPDATE"
        self._insert = sqlite.insert if engines.is_sqlite else postgresql.insert
        self._names: dict[str, int] = {}
        self._latest: float | None = None
        """The newest `updated` in the store; None: not looked up yet."""
        self._runs: OrderedDict[str, RunState] = OrderedDict()
        """By uid, least recently used first."""

    def write(self, posts: Sequence[Post], *, now: float) -> list[Outcome]:
        """Commits all posts or none. Raises SQLAlchemyError; the same posts may then be written again."""
        names = dict[str, int]()
        try:
            with self._engine.begin() as connection:
                now = self._never_back(connection, now)
                runs = self._lock_runs(connection, posts, now=now)
                known = self._resolve_names(connection, self._wanted_names(posts, runs), fresh=names)
                pending = _Pending([], [])
                outcomes = [self._apply(connection, runs[post.run.uid], post, known, pending) for post in posts]
                self._dialect.add_lines(connection, pending.lines)
                self._dialect.add_points(connection, pending.points)
                self._put_runs(connection, runs, {post.run.uid: post.run for post in posts}, now=now)
        except BaseException:
            # Runs in the cache were changed in place; the rolled-back ones must not be used again.
            self._runs.clear()
            raise
        self._names.update(names)
        for uid, run in runs.items():
            run.seen.clear()
            self._runs[uid] = run
            self._runs.move_to_end(uid)
        while len(self._runs) > CACHED_RUNS:
            self._runs.popitem(last=False)
        return outcomes

    def mark_applied(self, run_id: int, *, revision: int, digest: str | None) -> None:
        """The Experiment's status shows this revision. An older mark never replaces a newer one."""
        with self._engine.begin() as connection:
            connection.execute(
                update(Run)
                .where(Run.id == run_id, Run.applied_revision <= revision)
                .values(applied_revision=revision, applied_hash=func.coalesce(digest, Run.applied_hash))
            )

    def forget_before(self, updated: float, *, limit: int = 20) -> int:
        """Deletes the history of runs whose last report is older; at most `limit` runs, so that ingest never waits
        long. Returns how many.
        """
        with self._engine.begin() as connection:
            old = list(connection.scalars(select(Run.id).where(Run.updated < updated).order_by(Run.id).limit(limit)))
            for table in (Point, Summary, Line):
                connection.execute(delete(table).where(table.run_id.in_(old)))
            connection.execute(delete(Run).where(Run.id.in_(old)))
        gone = set(old)
        for uid in [uid for uid, run in self._runs.items() if run.id in gone]:
            del self._runs[uid]
        return len(old)

    # --- inside the transaction ---

    def _never_back(self, connection: Connection, now: float) -> float:
        """The time, or that of the newest report where a clock was put back: whoever asks for what is newer than the
        last thing seen would miss it otherwise.
        """
        if self._latest is None:
            self._latest = connection.scalar(select(func.max(Run.updated)))
        self._latest = now if self._latest is None else max(now, self._latest)
        return self._latest

    def _lock_runs(self, connection: Connection, posts: Sequence[Post], *, now: float) -> dict[str, RunState]:
        identities = {post.run.uid: post.run for post in posts}
        runs = self._unchanged_runs(connection, identities)
        if len(runs) == len(identities):
            return runs
        # All again, though some are known: of several hubs, each locks in one order.
        stored = self._select_runs(connection, identities)
        missing = [identity for uid, identity in sorted(identities.items()) if uid not in stored]
        if missing:
            self._insert_runs(connection, missing, now=now)
            stored |= self._select_runs(connection, [identity.uid for identity in missing])
        for uid, run in stored.items():
            if uid not in runs:
                run.summaries = self._load_summaries(connection, run.id)
                runs[uid] = run
        return runs

    def _unchanged_runs(self, connection: Connection, uids: Iterable[str]) -> dict[str, RunState]:
        """Those that are remembered as they are stored, locked; none where one of them is not remembered at all."""
        known = {uid: self._runs[uid] for uid in uids if uid in self._runs}
        if len(known) < len(list(uids)):
            return {}
        ids = ", ".join(str(run.id) for run in known.values())  # whole numbers of our own
        query = f"SELECT id, revision FROM runs WHERE id IN ({ids}) ORDER BY id{self._for_update}"
        revisions = {row[0]: row[1] for row in connection.exec_driver_sql(query)}
        return {uid: run for uid, run in known.items() if revisions.get(run.id) == run.revision}

    def _select_runs(self, connection: Connection, uids: Iterable[str]) -> dict[str, RunState]:
        rows = connection.execute(self._select_by_uid, {"uids": list(uids)}).all()
        return {row[0]: RunState(**dict(zip(_NAMES, row[1:], strict=True))) for row in rows}

    def _insert_runs(self, connection: Connection, identities: Sequence[RunIdentity], *, now: float) -> None:
        # Another hub may have made it in the meantime.
        connection.execute(
            self._insert(Run).on_conflict_do_nothing(index_elements=["uid"]),
            [
                {
                    "uid": identity.uid,
                    "namespace": identity.namespace,
                    "name": identity.name,
                    "sweep": identity.sweep,
                    "objective": identity.objective,
                    "minimize": identity.minimize,
                    "ladder": identity.ladder,
                    "created": now,
                    "updated": now,
                    "total_steps": None,
                    "applied_hash": None,
                    **dict.fromkeys(_ZERO, 0),
                }
                for identity in identities
            ],
        )

    def _load_summaries(self, connection: Connection, run_id: int) -> dict[str, SummaryState]:
        query = (
            select(MetricName.name, Summary.metric_id, *_SUMMARY_VALUES)
            .join(MetricName, MetricName.id == Summary.metric_id)
            .where(Summary.run_id == run_id)
        )
        return {row[0]: SummaryState(*row[1:]) for row in connection.execute(query)}

    def _wanted_names(self, posts: Sequence[Post], runs: dict[str, RunState]) -> list[str]:
        """Names without an id yet, as far as the runs may have more of them: a refused name leaves nothing behind."""
        wanted: dict[str, set[str]] = {}
        for post in posts:
            mine = wanted.setdefault(post.run.uid, set())
            room = self._max_metrics - len(runs[post.run.uid].summaries)
            for line in post.lines:
                for name, _ in line.metrics:
                    if name not in self._names and len(mine) < room:
                        mine.add(name)
        return sorted(set().union(*wanted.values()))

    def _resolve_names(self, connection: Connection, names: Sequence[str], *, fresh: dict[str, int]) -> dict[str, int]:
        """Ids of all known names. New ones are in `fresh` too: they may be remembered only after the commit."""
        if not names:
            return self._names
        for start in range(0, len(names), _IN_CHUNK):
            chunk = names[start : start + _IN_CHUNK]
            query = select(MetricName.name, MetricName.id).where(MetricName.name.in_(chunk))
            found = {row[0]: row[1] for row in connection.execute(query)}
            absent = [name for name in chunk if name not in found]
            if absent:
                connection.execute(
                    self._insert(MetricName).on_conflict_do_nothing(index_elements=["name"]),
                    [{"name": name} for name in absent],
                )
                found |= {row[0]: row[1] for row in connection.execute(query)}
            fresh |= found
        return {**self._names, **fresh}

    def _apply(
        self, connection: Connection, run: RunState, post: Post, names: dict[str, int], pending: _Pending
    ) -> Outcome:
        old = self._known_seqs(connection, run, [line for line in post.lines if not run.is_certainly_new(line)])
        accepted = points = 0
        refusals: list[Refusal] = []
        run_id, summaries, lines_out, points_out = run.id, run.summaries, pending.lines, pending.points
        before = _objective_step(run, post.run)
        for line in post.lines:
            number, attempt, seq, step, time, _, metrics = line
            key = (attempt, seq)
            if key in old or key in run.seen:
                continue
            accepted += 1
            run.add(line)
            lines_out.append((run_id, attempt, seq, step, time))
            for name, value in metrics:
                summary = summaries.get(name)
                if summary is None:
                    metric = names.get(name)
                    if metric is None or len(summaries) >= self._max_metrics:
                        refusals.append(
                            Refusal(
                                number,
                                f"metrics[{name!r}]",
                                f"a run has at most {self._max_metrics} metric names, and this would be one more",
                            )
                        )
                        continue
                    summary = summaries[name] = SummaryState(metric)
                summary.add(attempt, seq, step, value)
                points_out.append((run_id, summary.metric, step, attempt, seq, value))
                points += 1
        run.points += points
        return Outcome(
            run_id=run.id,
            accepted=accepted,
            duplicates=len(post.lines) - accepted,
            points=points,
            last_seq=run.last_seq,
            passed_rung=passes(post.run.ladder, before, _objective_step(run, post.run)),
            refusals=tuple(refusals),
        )

    def _known_seqs(self, connection: Connection, run: RunState, lines: Sequence[MetricLine]) -> set[tuple[int, int]]:
        by_attempt: dict[int, list[int]] = {}
        for line in lines:
            by_attempt.setdefault(line.attempt, []).append(line.seq)
        known: set[tuple[int, int]] = set()
        for attempt, seqs in by_attempt.items():
            for start in range(0, len(seqs), _IN_CHUNK):
                chunk = seqs[start : start + _IN_CHUNK]
                query = select(Line.seq).where(Line.run_id == run.id, Line.attempt == attempt, Line.seq.in_(chunk))
                known.update((attempt, seq) for seq in connection.scalars(query))
        return known

    def _put_runs(
        self, connection: Connection, runs: dict[str, RunState], identities: dict[str, RunIdentity], *, now: float
    ) -> None:
        summaries: list[dialect.Row] = []
        rows: list[dialect.Row] = []
        for uid, run in runs.items():
            if not run.seen:
                continue
            identity = identities[uid]
            run.sweep, run.objective, run.minimize = identity.sweep, identity.objective, identity.minimize
            run.ladder = identity.ladder
            run.revision += 1
            for summary in run.summaries.values():
                if summary.changed:
                    summary.changed = False
                    summaries.append((run.id, *summary.row()))
            rows.append((now, *_changed_of(run), run.id))
        self._dialect.put_summaries(connection, summaries)
        if rows:
            self._dialect.update_runs(connection, ("updated", *_CHANGED), rows)


def _objective_step(run: RunState, identity: RunIdentity) -> int:
    """Step of the latest report of the objective; -1 before the first."""
    summary = run.summaries.get(identity.objective or "")
    return summary.last_step if summary is not None else -1


_NAMES = [column.key for column in _STATE_COLUMNS]
_changed_of = attrgetter(*_CHANGED)
_ZERO = [
    key
    for key in (*_CHANGED, "applied_revision")
    if key not in ("sweep", "objective", "minimize", "ladder", "total_steps")
]
_SUMMARY_VALUES = [getattr(Summary, column) for column in dialect.SUMMARY_VALUES]
