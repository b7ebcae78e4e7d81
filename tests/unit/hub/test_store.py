"""The store on SQLite and PostgreSQL: order does not matter, nothing counts twice, old and newer layouts."""

from __future__ import annotations

import math
import random
from collections.abc import Iterator
from pathlib import Path
from typing import Any, cast

import pytest
from alembic import command
from alembic.autogenerate import compare_metadata
from alembic.runtime.migration import MigrationContext
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from sqlalchemy import select, text
from sqlalchemy.exc import IntegrityError

from orkhaven.hub.lines import Line
from orkhaven.hub.storage import models
from orkhaven.hub.storage.engine import StoreError, open_engines
from orkhaven.hub.storage.ingest import Post, RunIdentity
from orkhaven.hub.storage.migrate import _config, migrate
from orkhaven.hub.storage.store import Store, open_store

NOW = 1_790_000_000.0
_uids = iter(range(10**9))


def identity(uid: str = "", **fields: Any) -> RunIdentity:
    name = uid or f"run-{next(_uids)}"
    return RunIdentity(uid=name, namespace="radiology", name=name, **fields)


def a_line(
    seq: int, *, attempt: int = 1, step: int | None = None, total: int | None = None, **metrics: float | None
) -> Line:
    return Line(seq, attempt, seq, seq if step is None else step, NOW + seq, total, tuple(metrics.items()))


def content(store: Store, run: RunIdentity) -> dict[str, Any]:
    """Everything that is known of a run, without ids and counters of the store itself."""
    snapshot = store.reader.snapshot_by_name(run.namespace, run.name)
    assert snapshot is not None
    with store.engines.reader.connect() as connection:
        row = connection.execute(select(models.Run.__table__).where(models.Run.uid == run.uid)).one()._asdict()
        lines = connection.execute(
            select(models.Line.attempt, models.Line.seq, models.Line.step, models.Line.time)
            .where(models.Line.run_id == row["id"])
            .order_by(models.Line.attempt, models.Line.seq)
        ).all()
        points = connection.execute(
            select(
                models.MetricName.name, models.Point.step, models.Point.attempt, models.Point.seq, models.Point.value
            )
            .join(models.MetricName, models.MetricName.id == models.Point.metric_id)
            .where(models.Point.run_id == row["id"])
            .order_by(models.MetricName.name, models.Point.step, models.Point.attempt, models.Point.seq)
        ).all()
    for key in ("id", "uid", "name", "revision", "applied_revision", "applied_hash"):
        del row[key]
    return {
        "run": row,
        "metrics": snapshot.metrics,
        "lines": list(map(tuple, lines)),
        "points": list(map(tuple, points)),
    }


@pytest.fixture(scope="module", params=["sqlite", "postgresql"])
def shared_store(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    """One store for many examples; each uses runs of its own."""
    if request.param == "sqlite":
        url = f"sqlite:///{tmp_path_factory.mktemp('store')}/hub.db"
    else:
        url = request.getfixturevalue("postgres").database("shared")
    store = open_store(url, max_metrics_per_run=100)
    yield store
    store.close()


values = st.one_of(st.none(), st.sampled_from([0.0, -1.5, 2.0, math.inf, -math.inf]), st.floats(allow_nan=False))
reports = st.builds(
    lambda attempt, seq, step, total, metrics: a_line(seq, attempt=attempt, step=step, total=total, **metrics),
    st.integers(1, 3),
    st.integers(1, 6),
    st.integers(0, 5),
    st.none() | st.integers(0, 9),
    st.dictionaries(st.sampled_from(["loss", "dice"]), values),
)


@settings(max_examples=60, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    lines=st.lists(reports, min_size=1, max_size=12, unique_by=lambda line: (line.attempt, line.seq)),
    seed=st.integers(0, 2**32),
)
def test_any_order_repetition_and_split_of_the_lines_gives_the_same_store(
    shared_store: Store, lines: list[Line], seed: int
) -> None:
    once, shuffled = identity(), identity()
    ordered = sorted(lines, key=lambda line: (line.attempt, line.seq))
    shared_store.ingest.write([Post(once, tuple(ordered))], now=NOW)
    rng = random.Random(seed)
    deliveries = lines + rng.choices(lines, k=len(lines))
    rng.shuffle(deliveries)
    while deliveries:
        taken = rng.randint(1, len(deliveries))
        batch, deliveries = deliveries[:taken], deliveries[taken:]
        cut = rng.randint(0, len(batch))
        posts = [Post(shuffled, tuple(part)) for part in (batch[:cut], batch[cut:]) if part]
        shared_store.ingest.write(posts, now=NOW)
        if rng.random() < 0.3:
            shared_store.ingest._runs.clear()  # as after a restart
    assert content(shared_store, shuffled) == content(shared_store, once)


def test_summaries_say_last_extremes_and_count(store: Store) -> None:
    run = identity()
    series = [(1, 0.5), (2, None), (3, 0.9), (4, math.inf), (5, 0.9), (6, 0.1)]
    store.ingest.write([Post(run, tuple(a_line(seq, dice=value) for seq, value in series))], now=NOW)
    snapshot = store.reader.snapshot_by_name("radiology", run.name)
    assert snapshot is not None
    (dice,) = snapshot.metrics
    assert (dice.count, dice.last, dice.last_step) == (6, 0.1, 6)
    assert dice.best(minimize=False) == (0.9, 3)
    assert dice.best(minimize=True) == (0.1, 6)


def test_two_hubs_may_write_one_run(database_url: str) -> None:
    """As with several replicas on PostgreSQL: neither trusts what it remembers over what is stored."""
    first, second = (open_store(database_url, max_metrics_per_run=100) for _ in range(2))
    run = identity()
    first.ingest.write([Post(run, (a_line(1, dice=0.5),))], now=NOW)
    second.ingest.write([Post(run, (a_line(2, dice=0.9), a_line(1, dice=0.0)))], now=NOW)
    (outcome,) = first.ingest.write([Post(run, (a_line(2, dice=0.0), a_line(3, dice=0.7)))], now=NOW)
    assert (outcome.accepted, outcome.duplicates, outcome.last_seq) == (1, 1, 3)
    snapshot = second.reader.snapshot_by_name("radiology", run.name)
    assert snapshot is not None
    (dice,) = snapshot.metrics
    assert (dice.count, dice.last, dice.max) == (3, 0.7, 0.9)
    first.close()
    second.close()


def test_a_write_that_fails_leaves_nothing_and_can_be_repeated(store: Store) -> None:
    run = identity()
    store.ingest.write([Post(run, (a_line(1, dice=0.5),))], now=NOW)
    before = content(store, run)
    bad = Post(RunIdentity(uid="x", namespace=cast(Any, None), name="x"), (a_line(1, fresh=1.0),))
    with pytest.raises(IntegrityError):
        store.ingest.write([Post(run, (a_line(2, dice=0.9, fresh=1.0),)), bad], now=NOW)
    assert content(store, run) == before
    store.ingest.write([Post(run, (a_line(2, dice=0.9, fresh=1.0),))], now=NOW)
    snapshot = store.reader.snapshot_by_name("radiology", run.name)
    assert snapshot is not None
    assert [(metric.name, metric.count) for metric in snapshot.metrics] == [("dice", 2), ("fresh", 1)]


def test_old_histories_are_forgotten_whole(store: Store) -> None:
    old, new = identity(), identity()
    store.ingest.write([Post(old, (a_line(1, dice=0.5),))], now=NOW - 100)
    store.ingest.write([Post(new, (a_line(1, dice=0.5),))], now=NOW)
    assert store.ingest.forget_before(NOW - 50) == 1
    assert store.ingest.forget_before(NOW - 50) == 0
    with store.engines.reader.connect() as connection:
        for table in (models.Run, models.Line, models.Point, models.Summary):
            assert connection.execute(select(text("count(*)")).select_from(table)).scalar() == 1
    # Its next report begins a new history.
    store.ingest.write([Post(old, (a_line(2, dice=0.7),))], now=NOW)
    snapshot = store.reader.snapshot_by_name("radiology", old.name)
    assert snapshot is not None
    assert snapshot.metrics[0].count == 1


def test_the_migrations_make_what_the_models_say(store: Store) -> None:
    def is_made(thing: Any, name: str | None, *_: Any) -> bool:
        return name != "points_by_step" or not store.engines.is_sqlite  # of PostgreSQL alone

    with store.engines.writer.connect() as connection:
        context = MigrationContext.configure(connection, opts={"compare_type": True, "include_object": is_made})
        assert compare_metadata(context, models.Base.metadata) == []


def test_a_store_is_opened_again_with_what_it_had(database_url: str) -> None:
    run = identity()
    for seq in (1, 2):
        store = open_store(database_url, max_metrics_per_run=100)
        (outcome,) = store.ingest.write([Post(run, (a_line(1, dice=0.5), a_line(2, dice=0.6))[:seq])], now=NOW)
        assert (outcome.accepted, outcome.duplicates) == (1, seq - 1)
        store.close()


def test_a_clock_that_is_put_back_hides_no_report(database_url: str) -> None:
    """Tables ask for what was written since the last report they saw."""
    run, other = identity(), identity()
    store = open_store(database_url, max_metrics_per_run=100)
    store.ingest.write([Post(run, (a_line(1, dice=0.5),))], now=NOW)
    store.ingest.write([Post(run, (a_line(2, dice=0.6),))], now=NOW - 3600)
    assert [change.revision for change in store.reader.changed_runs("radiology", None, since=NOW)] == [2]
    store.close()
    store = open_store(database_url, max_metrics_per_run=100)
    store.ingest.write([Post(other, (a_line(1, dice=0.5),))], now=NOW - 7200)
    assert {change.uid for change in store.reader.changed_runs("radiology", None, since=NOW)} == {run.uid, other.uid}
    store.close()


def test_an_old_store_is_brought_up_to_date_with_all_it_has(database_url: str) -> None:
    """As the first version made it, with a run's history in it."""
    engines = open_engines(database_url)
    config = _config()
    with engines.writer.begin() as connection:
        config.attributes["connection"] = connection
        command.upgrade(config, "0001")
        for statement in (
            "INSERT INTO runs (id, uid, namespace, name, sweep, objective, minimize, created, updated, lines, points, "
            "attempt, first_seq, first_step, first_time, last_seq, last_step, last_time, total_steps, total_attempt, "
            f"total_seq, revision, applied_revision) VALUES (1, 'u', 'radiology', 'old', NULL, 'dice', false, {NOW}, "
            f"{NOW}, 2, 2, 1, 1, 1, {NOW}, 2, 2, {NOW}, NULL, 0, 0, 1, 1)",
            "INSERT INTO metric_names (id, name) VALUES (1, 'dice')",
            f"INSERT INTO lines VALUES (1, 1, 1, 1, {NOW}), (1, 1, 2, 2, {NOW})",
            "INSERT INTO points VALUES (1, 1, 1, 1, 1, 0.5), (1, 1, 2, 1, 2, NULL)",
            "INSERT INTO summaries VALUES (1, 1, 2, 1, 2, 2, NULL, 0.5, 1, 0.5, 1)",
        ):
            connection.exec_driver_sql(statement)
        if not engines.is_sqlite:
            connection.exec_driver_sql("SELECT setval('runs_id_seq', 1), setval('metric_names_id_seq', 1)")
    engines.dispose()
    store = open_store(database_url, max_metrics_per_run=100)
    run = RunIdentity(uid="u", namespace="radiology", name="old", objective="dice", minimize=False)
    (outcome,) = store.ingest.write([Post(run, (a_line(2, dice=9.0), a_line(3, dice=0.7, loss=1.0)))], now=NOW + 1)
    assert (outcome.accepted, outcome.duplicates) == (1, 1)
    snapshot = store.reader.snapshot_by_name("radiology", "old")
    assert snapshot is not None
    assert [(metric.name, metric.count, metric.max) for metric in snapshot.metrics] == [
        ("dice", 3, 0.7),
        ("loss", 1, 1),
    ]
    series = store.reader.series(1, "dice")
    assert series is not None
    assert [point.value for point in series] == [0.5, None, 0.7]
    store.close()


def test_a_store_of_a_newer_version_is_refused_untouched(database_url: str) -> None:
    engines = open_engines(database_url)
    migrate(engines)
    with engines.writer.begin() as connection:
        connection.execute(text("UPDATE alembic_version SET version_num = '9999'"))
    with pytest.raises(StoreError, match=r"made by a newer Orkhaven \(revision 9999\)"):
        migrate(engines)
    with engines.writer.begin() as connection:
        assert connection.execute(text("SELECT version_num FROM alembic_version")).scalar() == "9999"
    engines.dispose()


@pytest.mark.parametrize(
    ("url", "message"),
    [
        ("mysql://host/db", "mysql is not supported"),
        ("sqlite://", "needs a file"),
        ("no url", "ORKHAVEN_HUB_DATABASE_URL"),
        ("sqlite:////proc/nowhere/hub.db", "cannot be made"),
        ("postgresql://user:secret@127.0.0.1:1/db", "cannot be opened"),
    ],
)
def test_a_url_that_cannot_be_used_is_explained_without_its_password(url: str, message: str) -> None:
    with pytest.raises(StoreError, match=message) as caught:
        open_store(url, max_metrics_per_run=1)
    assert "secret" not in str(caught.value)


def test_a_file_that_is_no_database_is_explained(tmp_path: Path) -> None:
    (tmp_path / "hub.db").write_text("not a database, but long enough to look at " * 100)
    with pytest.raises(StoreError, match="not a database"):
        open_store(f"sqlite:///{tmp_path}/hub.db", max_metrics_per_run=1)


def test_a_point_takes_few_bytes(sqlite_url: str, tmp_path: Path) -> None:
    """The limit is 45 bytes a point; curves of 20 metrics, live runs interleaved."""
    store = open_store(sqlite_url, max_metrics_per_run=100)
    runs = [identity() for _ in range(20)]
    rng = random.Random(7)
    for step in range(1, 101):
        store.ingest.write(
            [Post(run, (a_line(step, **{f"m{number}": rng.random() for number in range(20)}),)) for run in runs],
            now=NOW,
        )
    with store.engines.writer.connect() as connection:
        size = connection.exec_driver_sql("PRAGMA page_count").scalar_one() * 4096
    store.close()
    assert size / (20 * 20 * 100) < 45
