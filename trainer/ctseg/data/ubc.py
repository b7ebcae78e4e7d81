"""Reads UBC's L3netDemoData: `OpenSourceDCMs/DCM<scan>/...s<slice>...`, `InfectionMasks/<scan>_z<slice>.png`.

Masks are 0, 127 (ground-glass) and 255 (consolidation), with rows and columns of the DICOM slice exchanged. Only some
slices of a scan have one, the others are left out.
"""

from __future__ import annotations

import re
from collections import defaultdict
from functools import partial
from pathlib import Path

import numpy as np

import orkrun
from ctseg.data.covid_semiseg import read_picture
from ctseg.data.dataset import Case, Dataset, Problem, Volume, domain_of
from ctseg.data.samples import LESION
from ctseg.data.volumes import clip_padding

_MASK = re.compile(r"(\d+)_z(\d+)\.png")
_SLICE = re.compile(r"s(\d{4})")
_VALUES = (0, 127, 255)


def is_ubc(root: Path) -> bool:
    return (root / "OpenSourceDCMs").is_dir() and (root / "InfectionMasks").is_dir()


def dataset(root: Path) -> Dataset:
    """A scan is a patient: the set says no more."""
    problems: list[Problem] = []
    pairs: dict[str, list[tuple[int, Path, Path]]] = defaultdict(list)
    for mask in sorted((root / "InfectionMasks").iterdir()):
        match = _MASK.fullmatch(mask.name)
        if match is None:
            problems.append(Problem(mask, "is not named SCAN_zSLICE.png"))
            continue
        scan, number = match[1], int(match[2])
        folder = root / "OpenSourceDCMs" / f"DCM{scan}"
        images = [path for path in folder.iterdir() if _number(path) == number] if folder.is_dir() else []
        if len(images) == 1:
            pairs[scan].append((number, images[0], mask))
        else:
            problems.append(Problem(mask, f"has {len(images)} slices s{number:04} in {folder}, one is needed"))
    cases = []
    for scan, slices in sorted(pairs.items(), key=lambda item: int(item[0])):
        files = tuple(path for _, *both in sorted(slices) for path in both)
        cases.append(Case(scan, scan, files, partial(_read, scan, sorted(slices))))
    return Dataset("ubc", root, tuple(cases), ("ubc",), True, str(root), problems=tuple(problems))


def _number(path: Path) -> int | None:
    match = _SLICE.search(path.name)
    return int(match[1]) if match else None


def _read(scan: str, slices: list[tuple[int, Path, Path]]) -> Volume:
    import pydicom

    values, masks = [], []
    spacing = [float("nan")] * 3
    for _, image, mask in slices:
        try:
            header = pydicom.dcmread(image)
            stored = header.pixel_array.astype(np.float32)
        except Exception as error:
            raise orkrun.DataError(image, f"cannot be read as DICOM (truncated or damaged): {error}") from error
        orientation = header.get("ImageOrientationPatient")
        if orientation is not None and not np.allclose([float(v) for v in orientation], [1, 0, 0, 0, 1, 0], atol=1e-3):
            raise orkrun.DataError(image, f"is not axial as the masks expect (orientation {list(orientation)})")
        hu = stored * np.float32(header.get("RescaleSlope", 1)) + np.float32(header.get("RescaleIntercept", 0))
        label = read_picture(mask).T
        if label.shape != hu.shape:
            raise orkrun.DataError(mask, f"is {label.shape} (rows, columns), its slice {image} {hu.shape}")
        strange = sorted(set(np.unique(label).tolist()) - set(_VALUES))
        if strange:
            raise orkrun.DataError(mask, f"has the values {strange[:5]}; 0, 127 and 255 are known")
        if header.get("PixelSpacing") is not None:
            spacing = [float("nan"), *(float(value) for value in header.PixelSpacing)]
        values.append(clip_padding(hu))
        masks.append(np.where(label > 0, np.uint8(LESION), np.uint8(0)))
    if len({array.shape for array in values}) > 1:
        raise orkrun.DataError(slices[0][1].parent, "holds slices of several sizes")
    volume = np.stack(values)
    return Volume(
        values=volume,
        masks=np.stack(masks)[None],
        spacing=(spacing[0], spacing[1], spacing[2]),
        grey=domain_of(volume, slices[0][1].parent) == "grey",
        slices=tuple(f"{scan}/{number}" for number, _, _ in slices),
    )
