"""A volume in, probability and mask out in the volume's own voxels. Prepared as the slices were that it learnt from."""

from __future__ import annotations

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
from ctseg.data.samples import IGNORE, Uint8
from ctseg.data.volumes import Grid, clip_padding, is_nifti, read_grid


@dataclass(frozen=True, slots=True)
class Input:
    path: Path
    grid: Grid
    images: Uint8
    """(Z, C, S, S), what the network sees."""


def read(path: Path, data: config.Data) -> Input:
    """A NIfTI file or a folder of one DICOM series. Raises orkrun.DataError."""
    if not path.exists():
        raise orkrun.DataError(path, "there is no such file or folder")
    if not path.is_dir() and not is_nifti(path):
        raise orkrun.DataError(path, "is neither a NIfTI file (.nii, .nii.gz) nor a folder of one DICOM series")
    grid = read_grid(path)
    if grid.affine is None:
        raise orkrun.DataError(path, "says no position and spacing: what is found could not be put where it belongs")
    values = clip_padding(grid.array)
    grey = domain_of(values, path) == "grey"
    nothing = np.full((1, *values.shape), IGNORE, np.uint8)
    volume = Volume(values=values, masks=nothing, spacing=grid.spacing, grey=grey)
    case = Case(path.name, path.name, (path,), lambda: volume)
    return Input(path, grid, prepare(case, data, pictures=False)[0])


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
