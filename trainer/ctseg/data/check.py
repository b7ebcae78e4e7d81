"""Looks at a whole data folder and lists all that is wrong with it: `ctseg check`. Never stops at the first problem."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

import numpy as np
from PIL import Image

import orkrun
from ctseg import config
from ctseg.data import covid_semiseg, volumes
from ctseg.data.check_split import THUMB, Duplicate, Seen, check_split
from ctseg.data.dataset import Case, Dataset, Volume
from ctseg.data.samples import IGNORE, LESION, Uint8, window

FORMAT = 2

Level = Literal["error", "warning"]


@dataclass(frozen=True, slots=True)
class Finding:
    """`error`: a training would refuse it or learn something wrong; `warning`: to be looked at."""

    level: Level
    code: str
    """What kind of thing, in one word or two: unreadable, orphan, near-duplicate, ..."""
    path: str
    message: str


@dataclass(frozen=True, slots=True)
class CaseRow:
    case: str
    patient: str
    slices: int
    rows: int
    columns: int
    spacing: tuple[float | None, ...]
    low: int
    high: int
    domain: str
    lesion: dict[str, float | None]
    """By annotator: share of lesion among the pixels he labelled; None where he labelled none."""
    slices_without_lesion: int
    slices_unlabelled: int


@dataclass(slots=True)
class Report:
    kind: str
    root: str
    findings: list[Finding] = field(default_factory=list)
    cases: list[CaseRow] = field(default_factory=list)
    pictures: list[tuple[str, Uint8]] = field(default_factory=list)
    """Name and (H, W, 3) of the slice with most lesion of each case, its outline in red."""
    duplicates: list[Duplicate] = field(default_factory=list)
    pairs: list[tuple[str, Uint8]] = field(default_factory=list)
    """Of the first of them both slices side by side."""
    split: dict[str, Any] | None = None
    """Slices of each part of the split that a training would make; None where it can make none."""

    @property
    def errors(self) -> int:
        return sum(finding.level == "error" for finding in self.findings)

    def add(self, level: Level, code: str, path: object, message: str) -> None:
        self.findings.append(Finding(level, code, str(path), message))


def check(dataset: Dataset, data: config.Data, *, thumbnails: bool = False) -> Report:
    """Reads every file of the data set once."""
    report = Report(dataset.kind, str(dataset.root or dataset.source))
    for problem in dataset.problems:
        report.add("error", "orphan", problem.path, problem.message)
    seen = Seen()
    domains: Counter[str] = Counter()
    for case in dataset.cases:
        try:
            volume = case.read()
        except orkrun.DataError as error:
            report.add("error", "unreadable", error.path, str(error).removeprefix(f"{error.path}: "))
            for path, message in _further(case, error.path):
                report.add("error", "unreadable", path, message)
            continue
        row = _row(case, volume, dataset)
        domains[row.domain] += 1
        report.cases.append(row)
        _check_case(report, case, volume, row, dataset, data)
        try:
            seen.add(case, volume, dataset, data)
        except orkrun.DataError as error:
            report.add("error", "unreadable", error.path, str(error).removeprefix(f"{error.path}: "))
        if thumbnails:
            report.pictures.append((case.name, _picture(volume, _grey(volume, data))))
    _check_whole(report, dataset, data, domains)
    samples = seen.samples(dataset)
    if samples is not None:
        check_split(report, dataset, data.split, samples, thumbnails=thumbnails)
    return report


def as_json(report: Report) -> dict[str, Any]:
    """What --json writes."""
    return {
        "format": FORMAT,
        "kind": report.kind,
        "root": report.root,
        "errors": report.errors,
        "warnings": len(report.findings) - report.errors,
        "findings": [{"level": f.level, "code": f.code, "path": f.path, "message": f.message} for f in report.findings],
        "cases": [{name: getattr(row, name) for name in CaseRow.__slots__} for row in report.cases],
        "split": report.split,
        "duplicates": [{**pair._asdict(), "ncc": round(pair.ncc, 4)} for pair in report.duplicates],
    }


def _further(case: Case, known: str) -> Iterator[tuple[Path, str]]:
    """What else is wrong with the files of a case whose reading has failed."""
    for path in case.files:
        if str(path) == known:
            continue
        try:
            if volumes.is_nifti(path):
                volumes.read_nifti(path)
            elif path.suffix.lower() in (".png", ".jpg", ".jpeg"):
                covid_semiseg.read_picture(path)
        except orkrun.DataError as error:
            yield path, str(error).removeprefix(f"{error.path}: ")


def _row(case: Case, volume: Volume, dataset: Dataset) -> CaseRow:
    slices, rows, columns = volume.values.shape
    labelled = volume.masks != IGNORE
    lesion = (volume.masks > 0) & labelled
    shares: dict[str, float | None] = {}
    for a, name in enumerate(dataset.annotators):
        count = int(labelled[a].sum())
        load = int(volume.masks[a][labelled[a]].sum(dtype=np.int64)) / (LESION * count) if count else None
        shares[name] = None if load is None else round(load, 5)
    seen = labelled.any(axis=(0, 2, 3))
    return CaseRow(
        case=case.name,
        patient=case.patient,
        slices=slices,
        rows=rows,
        columns=columns,
        spacing=tuple(round(float(mm), 4) if np.isfinite(mm) else None for mm in volume.spacing),
        low=int(volume.values.min()),
        high=int(volume.values.max()),
        domain="picture" if dataset.pictures else ("grey" if volume.grey else "HU"),
        lesion=shares,
        slices_without_lesion=int((seen & ~lesion.any(axis=(0, 2, 3))).sum()),
        slices_unlabelled=int((~seen).sum()),
    )


def _check_case(report: Report, case: Case, volume: Volume, row: CaseRow, dataset: Dataset, data: config.Data) -> None:
    path = case.files[0] if case.files else case.name
    if row.domain == "grey" and data.grey_range is None:
        report.add("error", "range", path, "is grey of 0 to 255, not HU; data.grey_range says which HU they stand for")
    if row.domain == "HU" and row.high < 100:
        report.add("warning", "range", path, f"has no value above {row.high} HU: neither bone nor contrast")
    if row.low == row.high:
        report.add("error", "range", path, f"is {row.low} everywhere")
    if row.slices_unlabelled:
        report.add("warning", "unlabelled", path, f"{row.slices_unlabelled} of {row.slices} slices labelled by nobody")
    for mask, share in row.lesion.items():
        if share is not None and share > 0.6:
            report.add("warning", "labels", path, f"{share:.0%} of it is lesion by {mask}: is the mask inverted?")
    between = int(((volume.masks > 0) & (volume.masks < LESION)).sum())
    if between and not (dataset.pictures and data.subset == "pseudo"):
        where = case.files[-1] if case.files else case.name
        report.add("warning", "labels", where, f"{between} pixels are neither background nor lesion (edges of a JPG?)")
    if data.spacing is not None and None in row.spacing[1:]:
        report.add("error", "spacing", path, "says no spacing: data.spacing cannot be reached")


def _check_whole(report: Report, dataset: Dataset, data: config.Data, domains: Counter[str]) -> None:
    if not dataset.cases and not dataset.problems:
        report.add("error", "empty", report.root, "holds no case")
    if len([domain for domain in domains if domains[domain]]) > 1:
        told = ", ".join(f"{count} in {domain}" for domain, count in sorted(domains.items()))
        level: Level = "warning" if data.grey_range is not None else "error"
        report.add(level, "mixture", report.root, f"volumes are of different intensity: {told}")
    if report.cases and not any(share for row in report.cases for share in row.lesion.values()):
        report.add("error", "labels", report.root, "no mask has a lesion")
    steps = {row.spacing[0] for row in report.cases if row.spacing[0] is not None}
    if steps and max(steps) > 3 * min(steps):
        report.add("warning", "spacing", report.root, f"slices are {min(steps):.3g} to {max(steps):.3g} mm apart")


def _grey(volume: Volume, data: config.Data) -> Uint8:
    if volume.grey:
        return volume.values.astype(np.uint8)
    low, high = data.windows[0]
    return window(volume.values, low=low, high=high)


def _picture(volume: Volume, grey: Uint8) -> Uint8:
    lesion = ((volume.masks > LESION // 2) & (volume.masks != IGNORE)).any(axis=0)
    z = int(lesion.sum(axis=(1, 2)).argmax()) if lesion.any() else len(grey) // 2
    small = _resize(grey[z], THUMB, Image.Resampling.BILINEAR)
    mask = _resize(lesion[z].astype(np.uint8), THUMB, Image.Resampling.NEAREST).astype(bool)
    inner = mask.copy()
    inner[1:-1, 1:-1] &= mask[:-2, 1:-1] & mask[2:, 1:-1] & mask[1:-1, :-2] & mask[1:-1, 2:]
    picture = np.repeat(small[..., None], 3, axis=2)
    picture[mask & ~inner] = (255, 60, 40)
    return picture


def _resize(array: Uint8, size: int, how: Image.Resampling) -> Uint8:
    return np.asarray(Image.fromarray(np.ascontiguousarray(array)).resize((size, size), how))
