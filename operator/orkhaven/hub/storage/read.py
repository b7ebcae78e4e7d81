"""The read path: what pages, API and the status writer ask. Only SELECTs, on connections that cannot write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, NamedTuple

from sqlalchemy import ColumnElement, Connection, Select, bindparam, func, select
from sqlalchemy.orm import aliased

from orkhaven.hub.storage.engine import Engines
from orkhaven.hub.storage.kept import Log
from orkhaven.hub.storage.models import Line, MetricName, Point, Run, Summary
from orkhaven.hub.storage.rungs import RungValue, from_text, rungs_of

_SUMMARIES_OF = (
    "SELECT run_id, metric_id, count, last_value, last_step, min_value, min_step, max_value, max_step FROM summaries"
)


def _curves_with(x: Any, *joins: tuple[Any, ColumnElement[bool]]) -> Select[Any]:
    query = select(Point.run_id, Point.step, Point.attempt, x, Point.value)
    for target, on in joins:
        query = query.join(target, on)
    return query.where(
        Point.run_id.in_(bindparam("ids", expanding=True)), Point.metric_id == bindparam("metric")
    ).order_by(Point.run_id, Point.step, Point.attempt, Point.seq)


_OTHER = aliased(Point)
_CURVES = _curves_with(Point.step.label("x"))
_CURVES_BY_TIME = _curves_with(
    Line.time, (Line, (Line.run_id == Point.run_id) & (Line.attempt == Point.attempt) & (Line.seq == Point.seq))
)
_CURVES_BY_METRIC = _curves_with(
    _OTHER.value.label("x"),
    (
        _OTHER,
        (_OTHER.run_id == Point.run_id)
        & (_OTHER.metric_id == bindparam("x_metric"))
        & (_OTHER.step == Point.step)
        & (_OTHER.attempt == Point.attempt)
        & (_OTHER.seq == Point.seq),
    ),
)


@dataclass(frozen=True, slots=True, kw_only=True)
class MetricSummary:
    """One metric of one run. None for `last` is NaN; `min` and `max` are None while nothing finite was reported."""

    name: str
    count: int
    last: float | None
    last_step: int
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None

    def best(self, *, minimize: bool) -> tuple[float, int] | None:
        """(value, step) of the better end; of equal ones the smaller step."""
        value, step = (self.min, self.min_step) if minimize else (self.max, self.max_step)
        return None if value is None or step is None else (value, step)


@dataclass(frozen=True, slots=True, kw_only=True)
class RunSnapshot:
    """A run as far as it is known: what its status is made of."""

    id: int
    uid: str
    namespace: str
    name: str
    sweep: str | None
    objective: str | None
    minimize: bool | None
    attempt: int
    step: int
    time: float
    """Of the newest attempt's last line, by the trainer's clock, in seconds since the epoch."""
    first_step: int
    first_time: float
    total_steps: int | None
    revision: int
    applied_revision: int
    applied_hash: str | None
    metrics: tuple[MetricSummary, ...] = ()
    rungs: tuple[RungValue, ...] = ()
    """Those of its ladder that it has passed."""


class SeriesPoint(NamedTuple):
    step: int
    value: float | None
    """None is NaN."""
    time: float
    """Seconds since the epoch, by the trainer's clock."""
    attempt: int


class SummaryRow(NamedTuple):
    """One metric of one run, for tables of many."""

    name: str
    points: int
    last: float | None
    last_step: int
    min: float | None
    min_step: int | None
    max: float | None
    max_step: int | None


class RunChange(NamedTuple):
    """That a run has something new."""

    id: int
    uid: str
    revision: int
    updated: float


class CurvePoint(NamedTuple):
    """A point on its way into a plot; `x` is the step, or what was asked for instead."""

    x: float
    value: float | None
    """None is NaN."""


class Reader:
    """Each call is one short read transaction. Raises SQLAlchemyError."""

    def __init__(self, engines: Engines) -> None:
        self._engine = engines.reader

    def ping(self) -> None:
        """Raises where the store cannot be read."""
        with self._engine.connect() as connection:
            connection.execute(select(Run.id).limit(1))

    def dirty(self) -> list[int]:
        """Runs whose status is behind, oldest first."""
        with self._engine.connect() as connection:
            query = select(Run.id).where(Run.applied_revision < Run.revision).order_by(Run.updated)
            return list(connection.scalars(query))

    def snapshot(self, run_id: int) -> RunSnapshot | None:
        with self._engine.connect() as connection:
            return _snapshot(connection, Run.id == run_id)

    def snapshot_by_name(self, namespace: str, name: str, *, uid: str | None = None) -> RunSnapshot | None:
        """The run of that Experiment; without a uid the newest of that name, also after the Experiment is gone."""
        with self._engine.connect() as connection:
            if uid is not None:
                return _snapshot(connection, Run.uid == uid)
            return _snapshot(connection, Run.namespace == namespace, Run.name == name)

    def heard(self, uids: list[str]) -> dict[str, float]:
        """By uid: when a report or a line of its log came last, in seconds since the epoch by the hubs' clock."""
        found: dict[str, float] = {}
        with self._engine.connect() as connection:
            for at in range(0, len(uids), 500):
                some = uids[at : at + 500]
                for table in (Run, Log):
                    for uid, updated in connection.execute(
                        select(table.uid, func.max(table.updated)).where(table.uid.in_(some)).group_by(table.uid)
                    ):
                        found[uid] = max(updated, found.get(uid, 0.0))
        return found

    def best_of_sweep(self, namespace: str, sweep: str) -> dict[str, tuple[float, int]]:
        """By uid, (value, step) of each run's own objective."""
        query = (
            select(Run.uid, Run.minimize, Summary.min_value, Summary.min_step, Summary.max_value, Summary.max_step)
            .join(MetricName, MetricName.name == Run.objective)
            .join(Summary, (Summary.run_id == Run.id) & (Summary.metric_id == MetricName.id))
            .where(Run.namespace == namespace, Run.sweep == sweep)
        )
        best: dict[str, tuple[float, int]] = {}
        with self._engine.connect() as connection:
            for uid, minimize, low, low_step, high, high_step in connection.execute(query):
                value, step = (low, low_step) if minimize else (high, high_step)
                if value is not None and step is not None:
                    best[uid] = (value, step)
        return best

    def changed_runs(self, namespace: str, sweep: str | None, *, since: float) -> list[RunChange]:
        """Runs of the sweep (None: of the namespace) that were written to at or after that time of the hubs' clocks."""
        query = select(Run.id, Run.uid, Run.revision, Run.updated).where(
            Run.namespace == namespace, Run.updated >= since
        )
        if sweep is not None:
            query = query.where(Run.sweep == sweep)
        with self._engine.connect() as connection:
            return [RunChange(*row) for row in connection.execute(query)]

    def summaries(self, run_ids: Sequence[int]) -> list[tuple[int, SummaryRow]]:
        """(run id, summary) of every metric of these runs: at most some hundred, in one statement."""
        if not run_ids:
            return []
        with self._engine.connect() as connection:
            names = {row[0]: row[1] for row in connection.execute(select(MetricName.id, MetricName.name))}
            # Straight from the driver, the ids (whole numbers of our own) written out: a table of 10,000 runs reads
            # 200,000 of these rows, and needs nothing that SQLAlchemy makes of each. The same text for both databases.
            cursor = connection.connection.cursor()
            try:
                cursor.execute(f"{_SUMMARIES_OF} WHERE run_id IN ({', '.join(str(int(one)) for one in run_ids)})")
                return [(row[0], SummaryRow._make((names[row[1]], *row[2:]))) for row in cursor.fetchall()]
            finally:
                cursor.close()

    def curves(
        self, uids: Sequence[str], metric: str, *, with_time: bool = False, x_metric: str | None = None
    ) -> dict[str, list[CurvePoint]]:
        """By uid, each run's curve as it stands, superseded points left out (see `series`). x is the step; with
        `with_time` the line's time; with `x_metric` what the run reported under that name in the same line, and a point
        without it is left out. Runs that never reported the metric are missing.
        """
        with self._engine.connect() as connection:
            ids: dict[str, int] = {
                name: number
                for number, name in connection.execute(
                    select(MetricName.id, MetricName.name).where(MetricName.name.in_([metric, x_metric or metric]))
                )
            }
            if metric not in ids or (x_metric is not None and x_metric not in ids):
                return {}
            runs = {row[0]: row[1] for row in connection.execute(select(Run.id, Run.uid).where(Run.uid.in_(uids)))}
            statement, values = _CURVES, {"ids": list(runs), "metric": ids[metric]}
            if with_time:
                statement = _CURVES_BY_TIME
            elif x_metric is not None:
                statement, values = _CURVES_BY_METRIC, {**values, "x_metric": ids[x_metric]}
            points: dict[int, list[tuple[int, int, float, float | None]]] = {}
            for run_id, step, attempt, x, value in connection.execute(statement, values):
                points.setdefault(run_id, []).append((step, attempt, x, value))
        return {runs[run_id]: _standing(found) for run_id, found in points.items()}

    def series(self, run_id: int, metric: str, *, from_step: int = 0) -> list[SeriesPoint] | None:
        """The curve as it stands, in order of step; None: the run never reported this metric.

        A later attempt resumes from a checkpoint: what earlier ones reported at or after its first step is superseded
        and left out.
        """
        with self._engine.connect() as connection:
            metric_id = connection.scalar(
                select(MetricName.id)
                .join(Summary, Summary.metric_id == MetricName.id)
                .where(MetricName.name == metric, Summary.run_id == run_id)
            )
            if metric_id is None:
                return None
            of_metric = (Point.run_id == run_id, Point.metric_id == metric_id)
            first_steps = connection.execute(
                select(Point.attempt, func.min(Point.step)).where(*of_metric).group_by(Point.attempt)
            )
            rows = connection.execute(
                select(Point.step, Point.value, Line.time, Point.attempt)
                .join(
                    Line,
                    (Line.run_id == Point.run_id) & (Line.attempt == Point.attempt) & (Line.seq == Point.seq),
                )
                .where(*of_metric, Point.step >= from_step)
                .order_by(Point.step, Point.attempt, Point.seq)
            )
            ends = _ends({row[0]: row[1] for row in first_steps})
            return [
                SeriesPoint(step, value, time, attempt) for step, value, time, attempt in rows if step < ends[attempt]
            ]


def _snapshot(connection: Connection, *where: object) -> RunSnapshot | None:
    run = connection.execute(select(Run.__table__).where(*where).order_by(Run.id.desc()).limit(1)).one_or_none()  # type: ignore[arg-type]
    if run is None:
        return None
    query = (
        select(
            MetricName.name,
            Summary.count,
            Summary.last_value,
            Summary.last_step,
            Summary.min_value,
            Summary.min_step,
            Summary.max_value,
            Summary.max_step,
            Summary.metric_id,
        )
        .join(MetricName, MetricName.id == Summary.metric_id)
        .where(Summary.run_id == run.id)
    )
    rows = connection.execute(query).all()
    ladder = from_text(run.ladder)
    objective = next((row[-1] for row in rows if row[0] == run.objective), None) if ladder else None
    rungs: tuple[RungValue, ...] = ()
    if objective is not None:
        rungs = rungs_of(connection, run.id, objective, ladder, minimize=bool(run.minimize))
    metrics = [
        MetricSummary(
            name=name,
            count=count,
            last=last,
            last_step=last_step,
            min=low,
            min_step=low_step,
            max=high,
            max_step=high_step,
        )
        for name, count, last, last_step, low, low_step, high, high_step, _ in rows
    ]
    return RunSnapshot(
        id=run.id,
        uid=run.uid,
        namespace=run.namespace,
        name=run.name,
        sweep=run.sweep,
        objective=run.objective,
        minimize=run.minimize,
        attempt=run.attempt,
        step=run.last_step,
        time=run.last_time,
        first_step=run.first_step,
        first_time=run.first_time,
        total_steps=run.total_steps,
        revision=run.revision,
        applied_revision=run.applied_revision,
        applied_hash=run.applied_hash,
        metrics=tuple(sorted(metrics, key=lambda metric: metric.name)),
        rungs=rungs,
    )


def _standing(points: Sequence[tuple[int, int, float | None, float | None]]) -> list[CurvePoint]:
    """(step, attempt, x, value) in order of step, without what later attempts superseded."""
    first_steps: dict[int, int] = {}
    for step, attempt, _, _ in points:
        first_steps.setdefault(attempt, step)
    ends = _ends(first_steps)
    return [CurvePoint(x, value) for step, attempt, x, value in points if step < ends[attempt] and x is not None]


def _ends(first_steps: dict[int, int]) -> dict[int, float]:
    """By attempt, the step from which a later attempt's points count instead."""
    ends: dict[int, float] = {}
    end = float("inf")
    for attempt in sorted(first_steps, reverse=True):
        ends[attempt] = end
        end = min(end, first_steps[attempt])
    return ends


def thin_out(points: Sequence[SeriesPoint], limit: int) -> list[SeriesPoint]:
    """At most `limit` (at least 4) of the points, in order: first, last, and the smallest and largest of each stretch,
    so that no peak is lost. NaN stands where nothing else does.
    """
    if len(points) <= limit:
        return list(points)
    buckets = (limit - 2) // 2
    inner = range(1, len(points) - 1)
    kept = [0]
    for bucket in range(buckets):
        stretch = inner[len(inner) * bucket // buckets : len(inner) * (bucket + 1) // buckets]
        finite = [index for index in stretch if points[index].value is not None]
        if finite:
            ends = {
                min(finite, key=lambda index: points[index].value or 0.0),
                max(finite, key=lambda index: points[index].value or 0.0),
            }
            kept += sorted(ends)
        elif stretch:
            kept.append(stretch[0])
    kept.append(len(points) - 1)
    return [points[index] for index in kept]
