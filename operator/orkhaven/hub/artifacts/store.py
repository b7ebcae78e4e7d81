"""Artifacts in the database: every line of a manifest, and the bytes of the small ones."""

from __future__ import annotations

from dataclasses import asdict, dataclass

from sqlalchemy import Connection, delete, func, insert, select

from orkhaven.hub.artifacts.entry import Entry
from orkhaven.hub.storage.engine import Engines
from orkhaven.hub.storage.ingest import RunIdentity
from orkhaven.hub.storage.kept import Artifact, ArtifactBlob


class TooMany(Exception):
    """The run has as many artifacts as it may have."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    count: int
    """Artifacts of a run."""
    run_bytes: int
    """Uploaded bytes of a run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Place:
    """Where a run's output is, as the API server says."""

    claim: str
    folder: str


@dataclass(frozen=True, slots=True, kw_only=True)
class Taken:
    id: int
    stored: bool
    """The bytes are in the store."""
    new: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Found:
    """A line with where its bytes may be."""

    id: int
    namespace: str
    experiment: str
    uid: str
    entry: Entry
    place: Place
    stored: bool


class ArtifactStore:
    """Each call is one transaction. Raises SQLAlchemyError."""

    def __init__(self, engines: Engines) -> None:
        self._writer = engines.writer
        self._reader = engines.reader

    # --- for the writer's thread ---

    def add(self, run: RunIdentity, entry: Entry, content: bytes, *, place: Place, limits: Limits, now: float) -> Taken:
        """Idempotent by (attempt, seq): the first one counts. Content above the run's limit is not kept, its line is.
        Raises TooMany.
        """
        mine = (Artifact.namespace == run.namespace, Artifact.uid == run.uid)
        with self._writer.begin() as connection:
            known = connection.scalar(
                select(Artifact.id).where(*mine, Artifact.attempt == entry.attempt, Artifact.seq == entry.seq)
            )
            if known is not None:
                return Taken(id=known, stored=_has_blob(connection, known), new=False)
            if (connection.scalar(select(func.count()).select_from(Artifact).where(*mine)) or 0) >= limits.count:
                raise TooMany
            made = connection.execute(
                insert(Artifact).values(
                    namespace=run.namespace,
                    experiment=run.name,
                    uid=run.uid,
                    claim=place.claim,
                    folder=place.folder,
                    received=now,
                    **asdict(entry),
                )
            ).inserted_primary_key
            assert made is not None
            stored = bool(content) and self._used(connection, run) + len(content) <= limits.run_bytes
            if stored:
                connection.execute(insert(ArtifactBlob).values(artifact_id=made[0], size=len(content), data=content))
            return Taken(id=made[0], stored=stored, new=True)

    def _used(self, connection: Connection, run: RunIdentity) -> int:
        query = (
            select(func.sum(ArtifactBlob.size))
            .join(Artifact, Artifact.id == ArtifactBlob.artifact_id)
            .where(Artifact.namespace == run.namespace, Artifact.uid == run.uid)
        )
        return int(connection.scalar(query) or 0)

    def forget(self, *, received_before: float | None, max_bytes: int, limit: int = 50) -> int:
        """Deletes artifacts that came before that time, and the oldest ones with bytes while all together have more
        than `max_bytes`: at most `limit`. Returns how many.
        """
        with self._writer.begin() as connection:
            going: set[int] = set()
            if received_before is not None:
                old = select(Artifact.id).where(Artifact.received < received_before).order_by(Artifact.id).limit(limit)
                going.update(connection.scalars(old))
            too_much = int(connection.scalar(select(func.sum(ArtifactBlob.size))) or 0) - max_bytes
            if too_much > 0:
                query = select(ArtifactBlob.artifact_id, ArtifactBlob.size).order_by(ArtifactBlob.artifact_id)
                for artifact_id, size in connection.execute(query.limit(limit)):
                    if too_much <= 0:
                        break
                    going.add(artifact_id)
                    too_much -= size
            connection.execute(delete(ArtifactBlob).where(ArtifactBlob.artifact_id.in_(going)))
            connection.execute(delete(Artifact).where(Artifact.id.in_(going)))
        return len(going)

    # --- for any thread ---

    def of_run(self, namespace: str, experiment: str) -> list[Found]:
        """Of the newest Experiment of that name, in order of arrival."""
        where = (Artifact.namespace == namespace, Artifact.experiment == experiment)
        with self._reader.connect() as connection:
            newest = connection.scalar(select(Artifact.uid).where(*where).order_by(Artifact.id.desc()).limit(1))
            if newest is None:
                return []
            query = _FOUND.where(*where, Artifact.uid == newest).order_by(Artifact.id)
            return [_found(row) for row in connection.execute(query)]

    def one(self, namespace: str, experiment: str, artifact_id: int) -> Found | None:
        """By its id, which is good for this run alone."""
        query = _FOUND.where(
            Artifact.namespace == namespace, Artifact.experiment == experiment, Artifact.id == artifact_id
        )
        with self._reader.connect() as connection:
            row = connection.execute(query).one_or_none()
        return None if row is None else _found(row)

    def content(self, artifact_id: int) -> bytes | None:
        with self._reader.connect() as connection:
            return connection.scalar(select(ArtifactBlob.data).where(ArtifactBlob.artifact_id == artifact_id))


def _has_blob(connection: Connection, artifact_id: int) -> bool:
    query = select(ArtifactBlob.artifact_id).where(ArtifactBlob.artifact_id == artifact_id)
    return connection.scalar(query) is not None


_ENTRY = tuple(Entry.__dataclass_fields__)
_FOUND = select(
    *(getattr(Artifact, name) for name in ("id", "namespace", "experiment", "uid", "claim", "folder", *_ENTRY)),
    ArtifactBlob.artifact_id.is_not(None).label("stored"),
).outerjoin(ArtifactBlob, ArtifactBlob.artifact_id == Artifact.id)


def _found(row: object) -> Found:
    values = row._asdict()  # type: ignore[attr-defined]
    return Found(
        id=values["id"],
        namespace=values["namespace"],
        experiment=values["experiment"],
        uid=values["uid"],
        entry=Entry(**{name: values[name] for name in _ENTRY}),
        place=Place(claim=values["claim"], folder=values["folder"]),
        stored=bool(values["stored"]),
    )
