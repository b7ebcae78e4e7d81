"""Masks of several annotators in a folder: `<case>_mask-<annotator>.nii.gz`, anywhere below it. At their own size."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

import orkrun
from ctseg.data.samples import IGNORE, LESION
from ctseg.data.volumes import Grid, read_nifti
from ctseg.labels.agreement import Case
from ctseg.labels.fuse import TRUTH

_MASK = re.compile(r"(?P<case>.+)_mask(?:-(?P<annotator>[^.]+))?\.nii(?:\.gz)?")


@dataclass(frozen=True, slots=True)
class Masks:
    """Which files there are: `files` by case and annotator."""

    annotators: tuple[str, ...]
    files: dict[str, dict[str, Path]]

    def read(self) -> Iterator[Case]:
        """The cases in the order of their names. Raises orkrun.DataError that names the file."""
        for name, files in self.files.items():
            grids = {annotator: read_nifti(path) for annotator, path in files.items()}
            first = next(iter(files))
            planes = []
            for annotator in self.annotators:
                if annotator in grids:
                    _check_same_place(grids[annotator], files[annotator], grids[first], files[first])
                    planes.append(_coded(grids[annotator], files[annotator]))
                else:
                    planes.append(np.full(grids[first].array.shape, IGNORE, dtype=np.uint8))
            yield Case(name, np.stack(planes, axis=1))


def find(root: Path, *, with_truth: bool = False) -> Masks:
    """The masks below `root`; `with_truth` also takes `<case>_mask.nii.gz` as the annotator "truth".

    Raises orkrun.DataError: no folder, no mask, fewer than two annotators, two files for one mask.
    """
    if not root.is_dir():
        raise orkrun.DataError(root, "there is no such folder")
    files: dict[str, dict[str, Path]] = {}
    for path in sorted(root.rglob("*_mask*.nii*")):
        match = _MASK.fullmatch(path.name)
        if match is None or not path.is_file():
            continue
        annotator = match["annotator"] or TRUTH
        if annotator == TRUTH and not with_truth:
            continue
        other = files.setdefault(match["case"], {}).setdefault(annotator, path)
        if other != path:
            raise orkrun.DataError(path, f"is {annotator}'s mask of {match['case']}, and so is {other}: one of the two")
    annotators = sorted({annotator for each in files.values() for annotator in each})
    if len(annotators) < 2:
        held = f"only {annotators[0]}'s" if annotators else "none"
        raise orkrun.DataError(
            root,
            f"masks of at least two annotators are to be compared, as <case>_mask-<annotator>.nii.gz; found {held}",
        )
    return Masks(tuple(annotators), dict(sorted(files.items())))


def _check_same_place(grid: Grid, path: Path, other: Grid, other_path: Path) -> None:
    if grid.array.shape != other.array.shape:
        raise orkrun.DataError(path, f"has shape {grid.array.shape}, {other_path.name} has {other.array.shape}")
    if grid.affine is not None and other.affine is not None and not np.allclose(grid.affine, other.affine, atol=1e-2):
        raise orkrun.DataError(path, f"lies elsewhere than {other_path.name}: their affines differ")


def _coded(grid: Grid, path: Path) -> np.ndarray[tuple[int, ...], np.dtype[np.uint8]]:
    values = np.unique(grid.array)
    if values[0] < 0 or values[-1] > IGNORE or (values != np.rint(values)).any():
        raise orkrun.DataError(
            path,
            f"holds values from {values[0]:g} to {values[-1]:g}; a mask has 0 for background, 1 or other small whole "
            f"numbers for lesions and {IGNORE} for not labelled",
        )
    labels = np.where(grid.array == IGNORE, IGNORE, np.where(grid.array > 0, LESION, 0))
    return labels.astype(np.uint8)
