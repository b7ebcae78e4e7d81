"""Masks of several annotators in a folder, at their own size: those that a `cases.csv` names, or, without one, files
`<case>_mask-<annotator>.nii.gz` anywhere below it. The values and places of masks are read as a training reads them.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import orkrun
from ctseg.data import generic, volumes
from ctseg.data.samples import IGNORE
from ctseg.labels.agreement import Case
from ctseg.labels.fuse import TRUTH

_MASK = re.compile(r"(?P<case>.+)_mask(?:-(?P<annotator>[^.]+))?\.nii(?:\.gz)?")


@dataclass(frozen=True, slots=True)
class Masks:
    """Which files there are: `files` by case and annotator."""

    annotators: tuple[str, ...]
    files: dict[str, dict[str, Path]]
    ignore_label: int | None
    """The number of what is not labelled, in all of them."""

    def read(self) -> Iterator[Case]:
        """The cases one by one. Raises orkrun.DataError that names the file."""
        for name, files in self.files.items():
            grids = {annotator: volumes.read_grid(path) for annotator, path in files.items()}
            first = next(iter(files))
            planes = []
            for annotator in self.annotators:
                if annotator in grids:
                    grid, path = grids[annotator], files[annotator]
                    volumes.check_same_grid(grids[first], grid, image=files[first], mask=path)
                    planes.append(volumes.code_labels(grid.array, path, ignore_label=self.ignore_label))
                else:
                    planes.append(np.full(grids[first].array.shape, IGNORE, dtype=np.uint8))
            yield Case(name, np.stack(planes, axis=1))


def find(root: Path, *, with_truth: bool = False, ignore_label: int | None = None) -> Masks:
    """The masks of a folder; `with_truth` also takes the annotator "truth": the column `mask:truth`, or
    `<case>_mask.nii.gz`. `ignore_label` is that of the table's masks; in the others 255 is not labelled.

    Raises orkrun.DataError: no folder, no mask, fewer than two annotators, two files for one mask, a wrong table.
    """
    if not root.is_dir():
        raise orkrun.DataError(root, "there is no such folder")
    of_table = generic.is_generic(root)
    files = _of_table(root) if of_table else _by_name(root)
    if not with_truth:
        files = {case: {who: path for who, path in each.items() if who != TRUTH} for case, each in files.items()}
    files = {case: each for case, each in files.items() if each}
    annotators = sorted({annotator for each in files.values() for annotator in each})
    if len(annotators) < 2:
        held = f"only {annotators[0]}'s" if annotators else "none"
        wanted = "in columns mask:NAME" if of_table else "as <case>_mask-<annotator>.nii.gz"
        place = root / generic.TABLE if of_table else root
        raise orkrun.DataError(place, f"masks of at least two annotators are to be compared, {wanted}; found {held}")
    return Masks(tuple(annotators), files, ignore_label if of_table else IGNORE)


def _of_table(root: Path) -> dict[str, dict[str, Path]]:
    table = generic.read_table(root)
    if table.problems:
        raise orkrun.DataError(table.problems[0].path, f"{table.problems[0].message} (`ctseg check` lists all)")
    return {
        row.case: {who: path for who, path in zip(table.annotators, row.masks, strict=True) if path is not None}
        for row in table.rows
    }


def _by_name(root: Path) -> dict[str, dict[str, Path]]:
    files: dict[str, dict[str, Path]] = {}
    for path in sorted(root.rglob("*_mask*.nii*")):
        match = _MASK.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        annotator = match["annotator"] or TRUTH
        other = files.setdefault(match["case"], {}).setdefault(annotator, path)
        if other != path:
            raise orkrun.DataError(path, f"is {annotator}'s mask of {match['case']}, and so is {other}: one of the two")
    return dict(sorted(files.items()))
