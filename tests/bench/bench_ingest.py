"""Points a second into the hub, and their ratio to a bare endpoint's of the same run and database: 100 points a POST, 8
clients, committed before the answer. `make bench-hub`, or `pytest tests/bench/bench_ingest.py -s -o
python_files='bench_*.py'`.
"""

from __future__ import annotations

import contextlib
import statistics
from collections.abc import Iterator
from pathlib import Path

import psycopg
import pytest

from tests.bench.hub_report import Report, What
from tests.bench.hub_served import memory, process
from tests.bench.ingest_load import Measured, Target, load
from tests.unit.hub.postgres import Server, find_programs

SECONDS = 3.0
ROUNDS = 5


@contextlib.contextmanager
def server(kind: str, database: str, folder: Path) -> Iterator[Target]:
    port_file = folder / kind
    with process("tests.bench.hub_server", kind, database, str(port_file), port_file=port_file) as (port, pid):
        yield Target(port, pid)


def compare(what: What, hub_database: str, bare_database: str, folder: Path, report: Report) -> int:
    """In turns, so that what else the machine does is in both. Returns the points that the hub took."""
    bare: list[Measured] = []
    hub: list[Measured] = []
    with server("bare", bare_database, folder) as bare_target, server("hub", hub_database, folder) as hub_target:
        bare_seq, _ = load(bare_target, 1, seconds=1)
        hub_seq, warm = load(hub_target, 1, seconds=1)
        for _ in range(ROUNDS):
            bare_seq, measured = load(bare_target, bare_seq, seconds=SECONDS)
            bare.append(measured)
            hub_seq, measured = load(hub_target, hub_seq, seconds=SECONDS)
            hub.append(measured)
        resident = memory(hub_target.pid)
    ratio = statistics.median(h.points_per_second / b.points_per_second for h, b in zip(hub, bare, strict=True))
    report.add(what, f"{said(hub)}; {ratio:.2f} of the bare endpoint")
    report.note(
        f"{what}: the bare endpoint (same server and database, nothing but inserts) {said(bare)}. Memory of the hub "
        f"{resident:.0f} MB."
    )
    assert ratio > 0.4
    return sum(one.points for one in (warm, *hub))


def said(rounds: list[Measured]) -> str:
    rates = [one.points_per_second for one in rounds]
    return (
        f"{statistics.median(rates):,.0f} points/s ({min(rates):,.0f}-{max(rates):,.0f}), "
        f"p50 {statistics.median(one.p50_ms for one in rounds):.1f} ms, "
        f"p99 {statistics.median(one.p99_ms for one in rounds):.1f} ms, "
        f"{statistics.median(one.cpu_us for one in rounds):.1f} us of CPU a point"
    )


def test_ingest_into_sqlite(tmp_path: Path, report: Report) -> None:
    compare(What.SQLITE, f"sqlite:///{tmp_path}/hub.db", f"sqlite:///{tmp_path}/bare.db", tmp_path, report)


def test_ingest_into_postgresql(tmp_path: Path, report: Report) -> None:
    programs = find_programs()
    if programs is None:
        pytest.skip("PostgreSQL is not installed (Debian: apt-get install postgresql)")
    postgres = Server(programs, durable=True)
    try:
        url = postgres.database("bench")
        points = compare(What.POSTGRESQL, url, postgres.database("bare"), tmp_path, report)
        with psycopg.connect(postgres.url) as connection:
            query = (
                "SELECT sum(pg_total_relation_size(oid)) FROM pg_class "
                "WHERE relnamespace = 'bench'::regnamespace AND relkind = 'r'"
            )
            row = connection.execute(query).fetchone()
        assert row is not None
        report.add(What.POSTGRESQL_SIZE, f"{row[0] / points:.1f} B/point")
    finally:
        postgres.stop()
