"""The tables. The layout is chosen for size (about 30 bytes a point in SQLite) and for ingest; `alembic/` makes it.

Truth is the set of lines (run, attempt, seq) with their points; everything else, in `runs` and `summaries`, can be
derived from it and does not depend on the order in which lines arrive. NaN is NULL, in both databases.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, ForeignKey, Index, Integer, String
from sqlalchemy.orm import DeclarativeBase, Mapped, mapped_column


class Base(DeclarativeBase):
    pass


class Run(Base):
    """An Experiment that reported something. Outlives the Experiment."""

    __tablename__ = "runs"
    __table_args__ = (Index("runs_by_name", "namespace", "name"), Index("runs_by_sweep", "namespace", "sweep"))

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    uid: Mapped[str] = mapped_column(String(64), unique=True)
    """UID of the Experiment: a namesake made later is another run."""
    namespace: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(253))
    sweep: Mapped[str | None] = mapped_column(String(253))
    objective: Mapped[str | None] = mapped_column(String(128))
    """spec.objective.metric, as the last report found it."""
    minimize: Mapped[bool | None]
    ladder: Mapped[str | None] = mapped_column(String(256))
    """spec.rungs, see `rungs`."""
    created: Mapped[float] = mapped_column(Double)
    """Seconds since the epoch, by the hub's clock, as is `updated`."""
    updated: Mapped[float] = mapped_column(Double)
    lines: Mapped[int] = mapped_column(Integer)
    points: Mapped[int] = mapped_column(BigInteger)

    # The newest attempt's first and last line: what progress and pace are made of. Times are the trainer's.
    attempt: Mapped[int] = mapped_column(Integer)
    first_seq: Mapped[int] = mapped_column(Integer)
    first_step: Mapped[int] = mapped_column(BigInteger)
    first_time: Mapped[float] = mapped_column(Double)
    last_seq: Mapped[int] = mapped_column(Integer)
    last_step: Mapped[int] = mapped_column(BigInteger)
    last_time: Mapped[float] = mapped_column(Double)

    total_steps: Mapped[int | None] = mapped_column(BigInteger)
    """Of the latest line that said it: (total_attempt, total_seq)."""
    total_attempt: Mapped[int] = mapped_column(Integer)
    total_seq: Mapped[int] = mapped_column(Integer)

    revision: Mapped[int] = mapped_column(BigInteger)
    """Rises with every commit that changes the run."""
    applied_revision: Mapped[int] = mapped_column(BigInteger)
    """The revision that the Experiment's status shows; smaller than `revision`: there is something to write."""
    applied_hash: Mapped[str | None] = mapped_column(String(64))
    """SHA-256 of the status written last, so that the same is not written again, over restarts too."""


class MetricName(Base):
    """Names are long and few: points carry the id."""

    __tablename__ = "metric_names"

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    name: Mapped[str] = mapped_column(String(128), unique=True)


class Line(Base):
    """One report: what makes ingest idempotent, and the time of its points."""

    __tablename__ = "lines"
    __table_args__ = {"sqlite_with_rowid": False}

    run_id: Mapped[int] = mapped_column(ForeignKey("runs.id"), primary_key=True)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger)
    time: Mapped[float] = mapped_column(Double)


class Point(Base):
    """One value. The key is the order in which curves are read; no foreign keys: they cost more than the row. In
    PostgreSQL it is no constraint, see the third migration: an index of its first three columns is half as large, and
    `lines` keeps out what comes twice.
    """

    __tablename__ = "points"
    __table_args__ = (
        Index("points_by_step", "run_id", "metric_id", "step").ddl_if(dialect="postgresql"),
        {"sqlite_with_rowid": False},
    )

    run_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    metric_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    step: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True)
    seq: Mapped[int] = mapped_column(Integer, primary_key=True)
    value: Mapped[float | None] = mapped_column(Double)


class Summary(Base):
    """One metric of one run, kept with every commit. Smallest and largest are of the finite values; of equal ones the
    smallest step counts.
    """

    __tablename__ = "summaries"
    __table_args__ = {"sqlite_with_rowid": False}

    run_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    metric_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    count: Mapped[int] = mapped_column(BigInteger)
    last_attempt: Mapped[int] = mapped_column(Integer)
    last_seq: Mapped[int] = mapped_column(Integer)
    last_step: Mapped[int] = mapped_column(BigInteger)
    last_value: Mapped[float | None] = mapped_column(Double)
    min_value: Mapped[float | None] = mapped_column(Double)
    min_step: Mapped[int | None] = mapped_column(BigInteger)
    max_value: Mapped[float | None] = mapped_column(Double)
    max_step: Mapped[int | None] = mapped_column(BigInteger)
