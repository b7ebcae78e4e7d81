"""Tables of what is kept beside metrics: logs and artifacts. They hang on an Experiment's uid, not on a row of `runs`:
an attempt that died before its first metric is the one whose log is wanted.

Logs are in the database and not in files beside it: one backup holds all, several hubs on PostgreSQL read the same,
and text and the place to go on at are committed together, so that a crash neither loses nor doubles a line.
"""

from __future__ import annotations

from sqlalchemy import BigInteger, Double, Index, Integer, LargeBinary, String, UniqueConstraint
from sqlalchemy.orm import Mapped, mapped_column

from orkhaven.hub.storage.models import Base


class Log(Base):
    """The log of one attempt. Its text is numbered by bytes, from 0; a suspended attempt's next pod goes on in it."""

    __tablename__ = "logs"
    __table_args__ = (
        UniqueConstraint("namespace", "uid", "attempt"),
        Index("logs_by_name", "namespace", "name", "attempt"),
        Index("logs_by_ended", "ended"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    namespace: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(253))
    """Of the Experiment, as is `uid`."""
    uid: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int] = mapped_column(Integer)
    pod: Mapped[str] = mapped_column(String(253))
    """The newest one, which the cursor is of."""
    pod_uid: Mapped[str] = mapped_column(String(64))
    created: Mapped[float] = mapped_column(Double)
    """Seconds since the epoch, by the hub's clock, as are `updated` and `ended`."""
    updated: Mapped[float] = mapped_column(Double)
    ended: Mapped[float | None] = mapped_column(Double)
    """None: more may come."""
    size: Mapped[int] = mapped_column(BigInteger)
    """Bytes of text that came, kept or not."""
    stored: Mapped[int] = mapped_column(BigInteger)
    """Bytes that its chunks take, compressed."""
    # Where to go on in the pod's log: see logs.stamps.Cursor.
    cursor_time: Mapped[int] = mapped_column(BigInteger)
    cursor_same: Mapped[int] = mapped_column(BigInteger)
    cursor_open: Mapped[int] = mapped_column(BigInteger)
    cursor_high: Mapped[int] = mapped_column(BigInteger)


class LogChunk(Base):
    """A piece of text, compressed by zlib. What lies in no chunk was left out."""

    __tablename__ = "log_chunks"

    log_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    start: Mapped[int] = mapped_column(BigInteger, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(Integer)
    """Bytes of text."""
    time: Mapped[float] = mapped_column(Double)
    """Of the log when the piece was begun: seconds since the epoch, by the node's clock; 0 unknown."""
    data: Mapped[bytes] = mapped_column(LargeBinary)


class LogNote(Base):
    """A remark of the hub's on a log: it ended here, the pod was deleted."""

    __tablename__ = "log_notes"

    log_id: Mapped[int] = mapped_column(Integer, primary_key=True)
    number: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    start: Mapped[int] = mapped_column(BigInteger)
    """It stands before this byte of the text."""
    time: Mapped[float] = mapped_column(Double)
    text: Mapped[str] = mapped_column(String(500))


class Artifact(Base):
    """One line of a run's manifest."""

    __tablename__ = "artifacts"
    __table_args__ = (
        UniqueConstraint("namespace", "uid", "attempt", "seq"),
        Index("artifacts_by_name", "namespace", "experiment"),
        Index("artifacts_by_received", "received"),
    )

    id: Mapped[int] = mapped_column(Integer, primary_key=True)
    namespace: Mapped[str] = mapped_column(String(63))
    experiment: Mapped[str] = mapped_column(String(253))
    uid: Mapped[str] = mapped_column(String(64))
    attempt: Mapped[int] = mapped_column(Integer)
    seq: Mapped[int] = mapped_column(Integer)
    name: Mapped[str] = mapped_column(String(200))
    kind: Mapped[str] = mapped_column(String(16))
    path: Mapped[str] = mapped_column(String(512))
    """Below the run's folder on the output volume. Only ever opened by artifacts.volume."""
    sha256: Mapped[str] = mapped_column(String(64))
    size: Mapped[int] = mapped_column(BigInteger)
    media_type: Mapped[str] = mapped_column(String(100))
    step: Mapped[int | None] = mapped_column(BigInteger)
    time: Mapped[float] = mapped_column(Double)
    """Seconds since the epoch, by the trainer's clock; `received` is by the hub's."""
    caption: Mapped[str] = mapped_column(String(1000))
    group: Mapped[str] = mapped_column(String(200))
    role: Mapped[str] = mapped_column(String(32))
    claim: Mapped[str] = mapped_column(String(253))
    """Of the output volume, as the Experiment said; empty: the cluster's default."""
    folder: Mapped[str] = mapped_column(String(64))
    """The run's folder on it: its run hash, as the Experiment's status said; empty: not known."""
    received: Mapped[float] = mapped_column(Double)


class Usage(Base):
    """GPU time that one pod held, or that a run saved: a line of the ledger. Outlives the Experiment."""

    __tablename__ = "usage"
    __table_args__ = (Index("usage_by_namespace", "namespace", "ended"), Index("usage_by_spent", "spent"))

    uid: Mapped[str] = mapped_column(String(64), primary_key=True)
    """Of the Experiment, as is `name`."""
    attempt: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    """0: attempts that nobody has seen one by one; -1: saved."""
    pod: Mapped[str] = mapped_column(String(253), primary_key=True)
    namespace: Mapped[str] = mapped_column(String(63))
    name: Mapped[str] = mapped_column(String(253))
    creator: Mapped[str] = mapped_column(String(253))
    sweep: Mapped[str] = mapped_column(String(253))
    model: Mapped[str] = mapped_column(String(253))
    spent: Mapped[str] = mapped_column(String(16))
    """See orkhaven.api.usage."""
    cause: Mapped[str] = mapped_column(String(64))
    gpus: Mapped[int] = mapped_column(Integer)
    began: Mapped[float] = mapped_column(Double)
    """Seconds since the epoch, by the nodes' clocks, as is `ended`."""
    ended: Mapped[float | None] = mapped_column(Double)
    """None: it holds them still, since `began`, beside `gpu_seconds`."""
    gpu_seconds: Mapped[float] = mapped_column(Double)
    lost: Mapped[float | None] = mapped_column(Double)
    """GPU-seconds of these that were spent again, since nothing was saved after them; None: not known."""
    seen: Mapped[float] = mapped_column(Double)
    """When the hub has last seen that it holds them, by the hub's clock."""


class ArtifactBlob(Base):
    """The bytes of an artifact that was uploaded. Apart, so that lists never touch them."""

    __tablename__ = "artifact_blobs"

    artifact_id: Mapped[int] = mapped_column(Integer, primary_key=True, autoincrement=False)
    size: Mapped[int] = mapped_column(BigInteger)
    data: Mapped[bytes] = mapped_column(LargeBinary)
