"""The table of the hub's benches: what was measured, beside its bar and beside others, of one run. Printed at the end
of the session; where ORKHAVEN_BENCH_DOCS is set it replaces the table in docs/bench-hub.md too.
"""

from __future__ import annotations

import os
import platform
from collections.abc import Sequence
from enum import StrEnum
from pathlib import Path

DOCS = Path(__file__).resolve().parents[2] / "docs" / "bench-hub.md"
BEGIN, END = "<!-- the bench writes from here -->", "<!-- to here -->"


class Who(StrEnum):
    ORKHAVEN = "Orkhaven"
    MLFLOW = "MLflow"
    OPTUNA = "Optuna Dashboard"
    AIM = "Aim"


class What(StrEnum):
    """A row of the table: what is measured. The value is its name, `BARS` has its bar."""

    BOARD = "leaderboard API, top 50, any sort, any filter"
    BOARD_NEW = "the same, a filter that was never asked before, all numbers of all metrics"
    PAGE = "sweep page, HTML"
    CURVES = "10 curves"
    PLOT = "sweep page in Chromium, first plot with data: first visit, later ones"
    BYTES = "bytes that the page loads"
    PARALLEL = "parallel coordinates of 10,000 runs, asked for to painted"
    SQLITE = "ingest into SQLite"
    POSTGRESQL = "ingest into PostgreSQL"
    SQLITE_SIZE = "store, SQLite"
    POSTGRESQL_SIZE = "store, PostgreSQL"
    MEMORY = "memory of the server after all these questions"
    VIEWERS = "200 live viewers while 8 runs report: time between two events"
    VIEWERS_BOARD = "200 live viewers: leaderboard API, asked by one more"
    VIEWERS_MEMORY = "200 live viewers: memory of the server"
    START = "from the start of the process to the first leaderboard"


BARS = {
    What.BOARD: "p95 25 ms",
    What.BOARD_NEW: "p95 25 ms",
    What.PAGE: "p95 60 ms",
    What.CURVES: "p95 15 ms",
    What.PLOT: "1.0 s",
    What.BYTES: "1 MB",
    What.PARALLEL: "0.5 s",
    What.SQLITE: "50,000 points/s, p99 50 ms, 0.4 of the bare endpoint",
    What.POSTGRESQL: "30,000 points/s, p99 50 ms, 0.4 of the bare endpoint",
    What.SQLITE_SIZE: "45 B/point",
    What.POSTGRESQL_SIZE: "130 B/point",
    What.VIEWERS: "1 s",
    What.MEMORY: "200 MB",
    What.VIEWERS_MEMORY: "200 MB",
}


def spread(milliseconds: Sequence[float]) -> str:
    """Median and 95th percentile, as seconds where that is shorter."""
    found = sorted(milliseconds)
    p50, p95 = found[len(found) // 2], found[min(len(found) - 1, int(len(found) * 0.95))]
    if p95 >= 1000:
        return f"p50 {p50 / 1000:.2f} s, p95 {p95 / 1000:.2f} s"
    return f"p50 {p50:.1f} ms, p95 {p95:.1f} ms"


class Report:
    def __init__(self, *, writes: bool = False) -> None:
        """With `writes` the page is written after each figure: a run that is cut off leaves what it measured."""
        self._writes = writes
        self._cells: dict[tuple[What, Who], str] = {}
        self._notes: list[str] = []
        self._load = os.getloadavg()[0]

    def add(self, what: What, measured: str, *, who: Who = Who.ORKHAVEN) -> None:
        self._cells[what, who] = measured
        print(f"\n{who}: {what}: {measured}")
        self._write()

    def note(self, text: str) -> None:
        """What a reader has to know to read the table."""
        self._notes.append(text)
        print(f"\n{text}")
        self._write()

    def __bool__(self) -> bool:
        return bool(self._cells)

    def table(self) -> str:
        others = [who for who in Who if any(its == who for _, its in self._cells)]
        lines = [f"| | bar | {' | '.join(others)} |", "|---|---|" + "---|" * len(others)]
        for what in What:
            cells = [self._cells.get((what, who), "") for who in others]
            if any(cells):
                lines.append(f"| {what} | {BARS.get(what, '')} | {' | '.join(cells)} |")
        return "\n".join(lines)

    def text(self) -> str:
        machine = (
            f"{os.cpu_count()} CPUs, Python {platform.python_version()}, {platform.system()}; other processes' load at "
            f"the start was {self._load:.1f}."
        )
        notes = "\n".join(f"* {note}" for note in self._notes)
        return f"{self.table()}\n\n{machine}\n\n{notes}\n"

    def _write(self) -> None:
        if not self._writes:
            return
        before, _, rest = DOCS.read_text().partition(BEGIN)
        _, _, after = rest.partition(END)
        DOCS.write_text(f"{before}{BEGIN}\n{self.text()}{END}{after}")
