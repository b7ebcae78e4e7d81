"""Reads anybody's data: NIfTI volumes or DICOM series, the masks of one or more annotators, and a table `cases.csv`.

Columns of the table: `case` (a name), `patient` (cases of one patient are never split), `image` (a NIfTI file or a
folder with one DICOM series) and one `mask` or several `mask:NAME`, one for each annotator. Paths are relative to the
table. An empty cell says that this annotator has not labelled the case: it is ignored, not background.
"""

from __future__ import annotations

import csv
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import orkrun
from ctseg.data import volumes
from ctseg.data.dataset import Case, Dataset, Problem

TABLE = "cases.csv"
_MASK = "mask"


def is_generic(root: Path) -> bool:
    return (root / TABLE).is_file()


@dataclass(frozen=True, slots=True)
class Row:
    """A line of the table without a fault."""

    case: str
    patient: str
    image: Path
    masks: tuple[Path | None, ...]
    """By `Table.annotators`; None: this one has not labelled the case."""


@dataclass(frozen=True, slots=True)
class Table:
    annotators: tuple[str, ...]
    rows: tuple[Row, ...]
    problems: tuple[Problem, ...]


def dataset(root: Path, *, ignore_label: int | None) -> Dataset:
    """Raises orkrun.DataError where the table itself is wrong; what a row says wrongly is a problem of the data set."""
    table = read_table(root)
    cases = []
    for row in table.rows:
        files = [file for path in (row.image, *row.masks) if path is not None for file in _files(path)]
        read = partial(volumes.build, row.image, row.masks, ignore_label=ignore_label)
        cases.append(Case(row.case, row.patient, tuple(files), read))
    problems = (*table.problems, *_orphans(root, cases))
    return Dataset("generic", root, tuple(cases), table.annotators, True, str(root), problems=problems)


def read_table(root: Path) -> Table:
    """Raises orkrun.DataError where there is no table or a column is missing."""
    table = root / TABLE
    try:
        with open(table, newline="", encoding="utf-8-sig") as file:
            reader = csv.DictReader(file)
            columns = [name.strip() for name in reader.fieldnames or ()]
            reader.fieldnames = columns
            lines = list(reader)
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise orkrun.DataError(table, f"cannot be read as a table of cases: {error}") from error
    masks = {name: name.partition(":")[2] or _MASK for name in columns if name.partition(":")[0] == _MASK}
    lacking = [name for name in ("case", "patient", "image") if name not in columns]
    if lacking or not masks:
        raise orkrun.DataError(
            table, f"lacks the column {lacking[0] if lacking else 'mask (or mask:NAME)'}; it has {', '.join(columns)}"
        )
    rows: list[Row] = []
    problems: list[Problem] = []
    for number, line in enumerate(lines, start=2):
        found = len(problems)
        cells = {name: (value or "").strip() for name, value in line.items() if isinstance(name, str)}
        empty = [name for name in ("case", "patient", "image") if not cells[name]]
        problems += [Problem(table, f"line {number}: {name} is empty") for name in empty]
        if cells["case"] in {row.case for row in rows}:
            problems.append(Problem(table, f"line {number}: case {cells['case']} was there before"))
        image = root / cells["image"]
        chosen = [root / cells[column] if cells[column] else None for column in masks]
        missing = [path for path in (image, *chosen) if path is not None and not path.exists()]
        problems += [Problem(path, f"is not there; line {number} of {TABLE} names it") for path in missing]
        if not any(chosen):
            problems.append(Problem(table, f"line {number}: case {cells['case']} has no mask at all"))
        if len(problems) == found:
            rows.append(Row(cells["case"], cells["patient"], image, tuple(chosen)))
    return Table(tuple(masks.values()), tuple(rows), tuple(problems))


def _files(path: Path) -> list[Path]:
    return sorted(file for file in path.iterdir() if file.is_file()) if path.is_dir() else [path]


def _orphans(root: Path, cases: list[Case]) -> list[Problem]:
    """NIfTI files that no row names, where every row is fine: a forgotten one is lost without a word."""
    named = {file for case in cases for file in case.files}
    folders = {file.parent for file in named if volumes.is_nifti(file)}
    found = sorted(path for folder in folders for path in folder.iterdir() if volumes.is_nifti(path))
    return [Problem(path, f"is named by no line of {root / TABLE}") for path in found if path not in named]
