"""A volume in, probability and mask out in the volume's own voxels. Prepared as the slices were that it learnt from."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import orkrun
from ctseg import config
from ctseg.data.dataset import Case, Volume, domain_of
from ctseg.data.prepare import prepare
from ctseg.data.samples import IGNORE, Uint8, window
from ctseg.data.volumes import Grid, clip_padding, is_nifti, read_grid
from ctseg.metrics.volume import millilitres


@dataclass(frozen=True, slots=True)
class Input:
    path: Path
    grid: Grid
    images: Uint8
    """(Z, C, S, S), what the network sees."""
    grey: bool
    """8 bit, not HU."""
    shown: Uint8
    """(Z, H, W) for people: the first window, in the volume's own pixels."""
    warnings: tuple[str, ...] = ()


def read(path: Path, data: config.Data, *, pictures: bool | None, channels: int) -> Input:
    """A NIfTI file or a folder of one DICOM series, for a model that learnt from `pictures` (None: nobody knows) in so
    many channels. Raises orkrun.DataError.
    """
    if not path.exists():
        raise orkrun.DataError(path, "there is no such file or folder")
    if not path.is_dir() and not is_nifti(path):
        raise orkrun.DataError(path, "is neither a NIfTI file (.nii, .nii.gz) nor a folder of one DICOM series")
    grid = read_grid(path)
    if grid.affine is None:
        raise orkrun.DataError(path, "says no position and spacing: what is found could not be put where it belongs")
    values = clip_padding(grid.array)
    grey = domain_of(values, path) == "grey"
    if grey and not pictures and data.grey_range is None:
        raise orkrun.DataError(
            path,
            "is grey of 0 to 255, but the model learnt from Hounsfield units: give it the volume in HU, or a model "
            "that learnt from pictures (or with data.grey_range)",
        )
    nothing = np.full((1, *values.shape), IGNORE, np.uint8)
    volume = Volume(values=values, masks=nothing, spacing=grid.spacing, grey=grey)
    case = Case(path.name, path.name, (path,), lambda: volume)
    low, high = data.windows[0]
    warnings = []
    if pictures and not grey:
        warnings.append(
            "the model learnt from 8-bit pictures, each windowed by whoever made it; this volume is in HU and is shown "
            f"to it in the window {low:g} to {high:g}, which may be another: look at the overlays"
        )
    images = prepare(case, data, pictures=grey and bool(pictures))[0][:, :channels]
    if images.shape[1] != channels:
        raise orkrun.DataError(path, f"makes {images.shape[1]} channels, the model learnt from {channels}")
    shown = values.astype(np.uint8) if grey else window(values, low=low, high=high)
    return Input(path, grid, images, grey, shown, tuple(warnings))


def report(mask: npt.NDArray[np.bool_], given: Input, lung: npt.NDArray[np.bool_] | None) -> dict[str, Any]:
    """The measured part of volume.json (its keys are explained in docs/trainer/use.md): of the whole volume, then of
    each slice from the feet to the head. Millilitres are null where the input says no spacing.
    """
    spacing = given.grid.spacing
    rows = []
    for z, found in enumerate(mask):
        inside = None if lung is None else int(lung[z].sum())
        rows.append(
            {
                "slice": z,
                "z_mm": _height(given.grid, z),
                "lesion_voxels": int(found.sum()),
                "lesion_ml": _known(millilitres(found, spacing)),
                "infected_share_of_lung": None
                if lung is None or not inside
                else float((found & lung[z]).sum() / inside),
            }
        )
    return {
        "values": "grey" if given.grey else "HU",
        "warnings": list(given.warnings),
        "spacing_mm": [_known(float(size)) for size in spacing],
        "lesion_voxels": int(mask.sum()),
        "lesion_ml": _known(millilitres(mask, spacing)),
        "slices_with_lesion": int(mask.any(axis=(1, 2)).sum()),
        "lung_ml": None if lung is None else _known(millilitres(lung, spacing)),
        "infected_share_of_lung": None if lung is None else float((mask & lung).sum() / lung.sum()),
        "slices": rows,
    }


def text(report: Mapping[str, Any]) -> str:
    """volume.txt, of all that volume.json holds."""
    lines = [f"WARNING: {warning}" for warning in report["warnings"]]
    volume, count = report["lesion_ml"], len(report["slices"])
    lines.append(
        f"lesion: {'volume unknown (no spacing)' if volume is None else f'{volume:.1f} ml'} in "
        f"{report['slices_with_lesion']} of {count} slices, at a probability above {report['threshold']:g} "
        f"({report['threshold_rule']})"
    )
    if report["infected_share_of_lung"] is not None:
        lines.append(f"infected share of the lung: {report['infected_share_of_lung']:.1%}")
    return "\n".join([*lines, "not for diagnosis"]) + "\n"


def table(report: Mapping[str, Any]) -> str:
    """Of the slices with a lesion, from the feet to the head, counted from 1."""
    lines = [f"{'slice':>5} {'z mm':>8} {'ml':>8} {'of lung':>8}"]
    for row in report["slices"]:
        if row["lesion_voxels"]:
            cells = [_cell(row[name], form) for name, form in _COLUMNS]
            lines.append(f"{row['slice'] + 1:>5} " + " ".join(f"{cell:>8}" for cell in cells))
    return "\n".join(lines) + "\n" if len(lines) > 1 else ""


_COLUMNS = (("z_mm", ".1f"), ("lesion_ml", ".2f"), ("infected_share_of_lung", ".1%"))


def _cell(value: float | None, form: str) -> str:
    return "-" if value is None else format(value, form)


def _height(grid: Grid, z: int) -> float | None:
    """Of the middle of a slice, in mm of the scanner."""
    if grid.affine is None:
        return None
    _, rows, columns = grid.array.shape
    return round(float((grid.affine @ np.array([(columns - 1) / 2, (rows - 1) / 2, z, 1.0]))[2]), 3)


def _known(value: float) -> float | None:
    return value if value == value else None


def restore(probability: npt.NDArray[np.float32], given: Input, data: config.Data) -> npt.NDArray[np.float32]:
    """(Z, S, S) to the volume's rows and columns; 0 where `data.spacing` had cut something off."""
    count, rows, columns = given.grid.array.shape
    size = data.image_size
    inner = (size, size)
    if data.spacing is not None:
        _, row_mm, column_mm = given.grid.spacing
        inner = (max(1, round(rows * row_mm / data.spacing)), max(1, round(columns * column_mm / data.spacing)))
    result = np.zeros((count, rows, columns), np.float32)
    for z in range(count):
        plane = np.zeros(inner, np.float32)
        source, target = [], []
        for have, want in zip(inner, (size, size), strict=True):
            take = min(have, want)
            target.append(slice((have - take) // 2, (have - take) // 2 + take))
            source.append(slice((want - take) // 2, (want - take) // 2 + take))
        plane[tuple(target)] = probability[z][tuple(source)]
        result[z] = np.asarray(Image.fromarray(plane).resize((columns, rows), Image.Resampling.BILINEAR))
    return np.clip(result, 0, 1)


def nifti(array: npt.NDArray[Any], given: Input) -> bytes:
    """A gzipped NIfTI: of a NIfTI the same axes and affine to the last bit, of a DICOM series axes as read."""
    import gzip

    import nibabel
    from nibabel import orientations

    turned = array[:, ::-1, ::-1].transpose(2, 1, 0)  # (x, y, z) in RAS, undoing the reader
    if given.path.is_dir():
        columns, rows, _ = turned.shape
        flip = np.diag([-1.0, -1.0, 1.0, 1.0])
        flip[:2, 3] = columns - 1, rows - 1
        image = nibabel.Nifti1Image(np.ascontiguousarray(turned), given.grid.affine @ flip)
    else:
        own = nibabel.load(given.path)
        back = orientations.ornt_transform(
            orientations.axcodes2ornt(("R", "A", "S")), orientations.io_orientation(own.affine)
        )
        image = nibabel.Nifti1Image(
            np.ascontiguousarray(orientations.apply_orientation(turned, back)).reshape(own.shape), own.affine
        )
        image.header.set_qform(own.affine, int(own.header["qform_code"]))
        image.header.set_sform(own.affine, int(own.header["sform_code"]) or 2)
    image.header.set_xyzt_units("mm")
    return gzip.compress(image.to_bytes(), 6, mtime=0)
