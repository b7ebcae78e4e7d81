"""The read path: what pages, API and the status writer ask. Only SELECTs, on connections that cannot write."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple

from sqlalchemy import Connection, func, select

from orkhaven.hub.storage.engine import Engines
from orkhaven.hub.storage.models import Line, MetricName, Point, Run, Summary


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


class SeriesPoint(NamedTuple):
    step: int
    value: float | None
    """None is NaN."""
    time: float
    """Seconds since the epoch, by the trainer's clock."""
    attempt: int


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
        )
        .join(MetricName, MetricName.id == Summary.metric_id)
        .where(Summary.run_id == run.id)
    )
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
        for name, count, last, last_step, low, low_step, high, high_step in connection.execute(query)
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
    )


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
