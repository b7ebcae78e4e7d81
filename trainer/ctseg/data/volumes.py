"""NIfTI volumes and DICOM series as arrays in one orientation. By affine and position only: order of files and of axes
say nothing.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import orkrun
from ctseg.data.dataset import HU_MAX, PADDING_BELOW, Volume, domain_of
from ctseg.data.samples import IGNORE, LESION, Uint8

_LPS = np.diag([-1.0, -1.0, 1.0, 1.0])


@dataclass(frozen=True, slots=True)
class Grid:
    """An array (Z, H, W) in the orientation of `Volume`, and where it lies: `affine` takes its (column, row, slice) to
    mm in RAS; None where nobody says.
    """

    array: npt.NDArray[Any]
    affine: npt.NDArray[np.float64] | None
    spacing: tuple[float, float, float]


def is_nifti(path: Path) -> bool:
    return path.name.lower().endswith((".nii", ".nii.gz"))


def natural(name: str) -> list[tuple[int, int | str]]:
    """Key of an order in which 2 comes before 10."""
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def read_grid(path: Path) -> Grid:
    """A NIfTI file or a folder of one DICOM series. Raises orkrun.DataError."""
    if path.is_dir():
        return read_dicom(path)
    return read_nifti(path)


def read_nifti(path: Path) -> Grid:
    """Raises orkrun.DataError: unreadable, truncated, not three axes, NaN or Inf."""
    import nibabel  # only where a folder is read: it costs start-up time

    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        array = np.asarray(image.dataobj)
        affine = np.asarray(image.affine, np.float64)
        zooms = [float(zoom) for zoom in image.header.get_zooms()[:3]]
    except Exception as error:
        raise orkrun.DataError(path, f"cannot be read as NIfTI (truncated or damaged): {error}") from error
    if array.ndim == 4 and array.shape[3] == 1:
        array = array[..., 0]
    if array.ndim != 3:
        raise orkrun.DataError(path, f"has shape {array.shape}, a volume has three axes")
    _check_finite(array, path)
    # (x, y, z) in RAS to slices of rows: z, then from front to back, then from the patient's right to left.
    columns, rows, _ = array.shape
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = columns - 1, rows - 1
    spacing = (zooms[2], zooms[1], zooms[0])
    return Grid(array.transpose(2, 1, 0)[:, ::-1, ::-1], affine @ flip, spacing)


def read_dicom(folder: Path) -> Grid:
    """One axial series, its slices ordered by position, in HU. Raises orkrun.DataError."""
    import pydicom

    slices = []
    for path in sorted(folder.iterdir()):
        if path.is_file() and not path.name.startswith(".") and path.suffix.lower() in ("", ".dcm", ".ima"):
            try:
                header = pydicom.dcmread(path)
                pixels = header.pixel_array.astype(np.float32)
            except Exception as error:
                raise orkrun.DataError(path, f"cannot be read as DICOM (truncated or damaged): {error}") from error
            slope = np.float32(header.get("RescaleSlope", 1))
            slices.append((path, header, pixels * slope + np.float32(header.get("RescaleIntercept", 0))))
    if not slices:
        raise orkrun.DataError(folder, "holds no DICOM file")
    first = slices[0][1]
    for path, header, pixels in slices:
        if header.get("SeriesInstanceUID") != first.get("SeriesInstanceUID"):
            raise orkrun.DataError(path, f"is of another series than {slices[0][0].name}: one folder, one series")
        if pixels.shape != slices[0][2].shape or pixels.ndim != 2:
            raise orkrun.DataError(path, f"is {pixels.shape}, {slices[0][0].name} is {slices[0][2].shape}")
    try:
        row_mm, column_mm = (float(value) for value in first.PixelSpacing)
        along_row, along_column = np.array(first.ImageOrientationPatient, np.float64).reshape(2, 3)
        normal = np.cross(along_row, along_column)
        placed = sorted(
            ((float(np.dot(normal, np.array(h.ImagePositionPatient, np.float64))), h, p) for _, h, p in slices),
            key=lambda item: item[0],
        )
    except (AttributeError, TypeError, ValueError):
        # A minimal header: in order of the names, as nothing better is known.
        array = np.stack([p for path, _, p in sorted(slices, key=lambda item: natural(item[0].name))])
        return Grid(array, None, (float("nan"),) * 3)
    heights = [height for height, _, _ in placed]
    steps = np.diff(heights)
    thickness = float(np.median(steps)) if len(steps) else float(first.get("SliceThickness") or "nan")
    if len(steps) and (thickness <= 0 or np.abs(steps - thickness).max() > 0.1 * thickness):
        at = int(np.abs(steps - thickness).argmax())
        raise orkrun.DataError(
            folder,
            f"slices are {thickness:.3g} mm apart, but {steps[at]:.3g} mm after {heights[at]:.4g} mm: "
            "one is missing or doubled",
        )
    step = thickness if np.isfinite(thickness) else 1.0
    origin = np.array(placed[0][1].ImagePositionPatient, np.float64)
    lps = np.eye(4)
    lps[:3, 0], lps[:3, 1], lps[:3, 2], lps[:3, 3] = along_row * column_mm, along_column * row_mm, normal * step, origin
    array = np.stack([pixels for _, _, pixels in placed]).transpose(2, 1, 0)
    return _canonical(array, _LPS @ lps, thickness)


def _canonical(array: npt.NDArray[Any], ras: npt.NDArray[np.float64], thickness: float) -> Grid:
    import nibabel

    image = nibabel.as_closest_canonical(nibabel.Nifti1Image(array, ras))
    columns, rows, _ = image.shape
    flip = np.diag([-1.0, -1.0, 1.0, 1.0])
    flip[:2, 3] = columns - 1, rows - 1
    x, y, z = (float(zoom) for zoom in image.header.get_zooms())
    grid = np.asarray(image.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1]
    return Grid(grid, np.asarray(image.affine) @ flip, (z if np.isfinite(thickness) else float("nan"), y, x))


def _check_finite(array: npt.NDArray[Any], path: Path) -> None:
    if not np.issubdtype(array.dtype, np.number) or np.iscomplexobj(array):
        raise orkrun.DataError(path, f"holds {array.dtype}, not numbers")
    if np.issubdtype(array.dtype, np.floating):
        bad = int((~np.isfinite(array)).sum())
        if bad:
            raise orkrun.DataError(path, f"has {bad} voxels of NaN or Inf; a volume of finite numbers is needed")


def clip_padding(array: npt.NDArray[Any]) -> npt.NDArray[np.int16]:
    """HU as int16 of PADDING_BELOW..HU_MAX: padding is air, metal no more than white."""
    return np.ascontiguousarray(np.clip(np.rint(array), PADDING_BELOW, HU_MAX).astype(np.int16))


def build(
    image: Path,
    masks: Collection[Path | None],
    *,
    ignore_label: int | None = None,
    grids: tuple[Grid, list[Grid | None]] | None = None,
) -> Volume:
    """A volume with the masks of its annotators (None: this one has not labelled it).

    Every voxel above 0 is lesion, `ignore_label` is not labelled. Raises orkrun.DataError: another grid, fractions,
    neither HU nor grey.
    """
    grid, label_grids = grids or (read_grid(image), [None if mask is None else read_grid(mask) for mask in masks])
    values = clip_padding(grid.array)
    planes = []
    for path, label in zip(masks, label_grids, strict=True):
        if path is None or label is None:
            planes.append(np.full(values.shape, IGNORE, np.uint8))
            continue
        check_same_grid(grid, label, image=image, mask=path)
        planes.append(code_labels(label.array, path, ignore_label=ignore_label))
    return Volume(values=values, masks=np.stack(planes), spacing=grid.spacing, grey=domain_of(values, image) == "grey")


def code_labels(array: npt.NDArray[Any], path: Path, *, ignore_label: int | None) -> Uint8:
    """Class numbers to 0, LESION and IGNORE. Raises orkrun.DataError where a value is no whole number of 0 to 255, and
    where 255 could be meant as not labelled.
    """
    whole = np.rint(array)
    if np.issubdtype(array.dtype, np.floating) and np.abs(array - whole).max(initial=0) > 1e-3:
        raise orkrun.DataError(path, "holds fractions; a mask has whole numbers: 0 for background, 1 and up for lesion")
    if whole.min(initial=0) < 0:
        raise orkrun.DataError(path, f"has a label {whole.min():.0f}; labels are 0 and up")
    if whole.max(initial=0) > IGNORE:
        raise orkrun.DataError(
            path,
            f"has a label {whole.max():.0f}; 0 is background and 1 to 255 lesion: is it the image itself?",
        )
    if ignore_label is None and (whole == IGNORE).any() and ((whole > 0) & (whole < IGNORE)).any():
        raise orkrun.DataError(
            path,
            f"has labels of {IGNORE} beside others: data.ignore_label: {IGNORE} if that is what nobody has labelled, "
            "else another number",
        )
    coded = np.where(whole > 0, np.uint8(LESION), np.uint8(0))
    if ignore_label is not None:
        coded[whole == ignore_label] = IGNORE
    return coded


def check_same_grid(image_grid: Grid, mask_grid: Grid, *, image: Path, mask: Path) -> None:
    """Raises orkrun.DataError where the two do not show the same voxels: shape, or half a voxel apart at a corner.
    `image` may be another mask.
    """
    one, other = image_grid.array.shape, mask_grid.array.shape
    if one != other:
        raise orkrun.DataError(
            mask, f"has shape {other} (slices, rows, columns), {image} has {one}: both must be of one size"
        )
    if image_grid.affine is None or mask_grid.affine is None:
        return
    corners = np.array([[c, r, s, 1.0] for c in (0, one[2] - 1) for r in (0, one[1] - 1) for s in (0, one[0] - 1)]).T
    apart = np.linalg.norm((image_grid.affine @ corners - mask_grid.affine @ corners)[:3], axis=0).max()
    voxel = min(abs(size) for size in image_grid.spacing if np.isfinite(size))
    if apart > 0.5 * voxel:
        raise orkrun.DataError(
            mask, f"lies {apart:.3g} mm away from {image} by their affines (orientation, origin or spacing)"
        )
