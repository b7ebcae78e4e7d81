"""A trace: which runs were asked for, when and by whom. As CSV, one line each."""

from __future__ import annotations

import csv
import math
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TextIO

from orkhaven.api import Priority

COLUMNS = ("submitted_s", "namespace", "user", "gpus", "duration_s", "priority", "gpu_model")
OPTIONAL = {"gpu_model"}
MOST_ERRORS = 10
"""Said at once: who exports a trace wrongly has made the same mistake in every line."""
MOST_GPUS = 64


class TraceError(ValueError):
    """A file cannot be read. The text says which line and column, and what would be right."""


@dataclass(frozen=True, slots=True, kw_only=True)
class TraceRun:
    submitted: float
    """Seconds since the trace began."""
    namespace: str
    user: str
    gpus: int
    duration: float
    """Seconds that it takes undisturbed."""
    priority: Priority
    gpu_model: str = ""
    """Empty: any."""


def read_trace(lines: Iterable[str], *, name: str) -> list[TraceRun]:
    """The runs in the order of their submission. `name` is the file's, for errors."""
    reader = csv.DictReader(lines)
    columns = [column.strip() for column in reader.fieldnames or ()]
    reader.fieldnames = columns
    missing = [column for column in COLUMNS if column not in columns and column not in OPTIONAL]
    if missing:
        raise TraceError(f"{name}, line 1: no column {', '.join(missing)}; expected {','.join(COLUMNS)}")
    runs: list[TraceRun] = []
    errors: list[str] = []
    for row in reader:
        try:
            runs.append(_run(row))
        except TraceError as error:
            errors.append(f"{name}, line {reader.line_num}, {error}")
            if len(errors) == MOST_ERRORS:
                errors.append("...")
                break
    if errors:
        raise TraceError("\n".join(errors))
    if not runs:
        raise TraceError(f"{name}: has no runs")
    return sorted(runs, key=lambda run: run.submitted)


def write_trace(runs: Iterable[TraceRun], to: TextIO) -> None:
    writer = csv.writer(to, lineterminator="\n")
    writer.writerow(COLUMNS)
    for run in runs:
        writer.writerow(
            (
                f"{run.submitted:.0f}",
                run.namespace,
                run.user,
                run.gpus,
                f"{run.duration:.0f}",
                run.priority.value,
                run.gpu_model,
            )
        )


def _run(row: Mapping[str, str | None]) -> TraceRun:
    cells = {column: (row.get(column) or "").strip() for column in COLUMNS}
    for column in ("namespace", "user"):
        if not cells[column]:
            raise TraceError(f"column {column}: is empty")
    if cells["priority"] not in set(Priority):
        raise TraceError(f'column priority: "{cells["priority"]}" is not one of {", ".join(Priority)}')
    gpus = _number(cells, "gpus", least=1)
    if gpus != int(gpus) or gpus > MOST_GPUS:
        raise TraceError(f'column gpus: "{cells["gpus"]}" is not a whole number from 1 to {MOST_GPUS}')
    return TraceRun(
        submitted=_number(cells, "submitted_s", least=0),
        namespace=cells["namespace"],
        user=cells["user"],
        gpus=int(gpus),
        duration=_number(cells, "duration_s", least=1),
        priority=Priority(cells["priority"]),
        gpu_model=cells["gpu_model"],
    )


def _number(cells: Mapping[str, str], column: str, *, least: float) -> float:
    text = cells[column]
    try:
        value = float(text)
    except ValueError:
        value = math.nan
    if not (math.isfinite(value) and value >= least):
        raise TraceError(f'column {column}: "{text}" is not a number of at least {least:g}')
    return value
