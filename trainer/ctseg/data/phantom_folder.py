"""Reads a folder that `ctseg phantom` has written, or makes the same patients in memory. Split by patient either
way.
"""

from __future__ import annotations

import csv
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image

import orkrun
from ctseg import config
from ctseg.data.samples import LESION, Samples, window
from ctseg.phantom.volume import Volume, make_patient

TABLE = "patients.csv"


def is_phantom(root: Path) -> bool:
    return (root / TABLE).is_file()


def generate(phantom: config.Phantom, *, image_size: int, windows: config.Windows) -> Samples:
    """The embedded patients, made in memory: nothing is read and nothing is written."""
    volumes = [
        make_patient(index, slices=phantom.slices, size=phantom.size, seed=phantom.seed)
        for index in range(phantom.patients)
    ]
    return _samples(volumes, image_size=image_size, windows=windows, source="embedded phantom")


def read(root: Path, *, image_size: int, windows: config.Windows, workers: int) -> Samples:
    """A folder of `ctseg phantom` (its NIfTI part). Raises orkrun.DataError that names the file."""
    table = root / TABLE
    try:
        with open(table, newline="", encoding="utf-8") as file:
            patients = [row["patient"] for row in csv.DictReader(file)]
    except OSError as error:
        raise orkrun.DataError(
            table, f"cannot be read: {error.strerror}; `ctseg phantom` writes such a folder"
        ) from error
    except (KeyError, ValueError, csv.Error) as error:
        raise orkrun.DataError(table, f"is no table of patients (column {error})") from error
    with ThreadPoolExecutor(workers) as pool:
        volumes = list(pool.map(lambda patient: _read_patient(root / "nifti", patient), patients))
    return _samples(volumes, image_size=image_size, windows=windows, source=str(root))


def _read_patient(folder: Path, patient: str) -> Volume:
    ct, mask = _read_nifti(folder / f"{patient}_ct.nii.gz"), _read_nifti(folder / f"{patient}_mask.nii.gz")
    if ct.shape != mask.shape:
        raise orkrun.DataError(
            folder / f"{patient}_mask.nii.gz",
            f"has shape {mask.shape}, the volume {ct.shape}: both must be of one size",
        )
    return Volume(patient=patient, hu=ct, mask=mask.astype(np.uint8))


def _read_nifti(path: Path) -> npt.NDArray[np.int16]:
    import nibabel  # only where a folder is read: it costs start-up time

    try:
        image = nibabel.as_closest_canonical(nibabel.load(path))
        # (x, y, z) in RAS to slices of rows: z, then from front to back, then from the patient's right to left.
        array = np.asarray(image.dataobj).transpose(2, 1, 0)[:, ::-1, ::-1]
    except Exception as error:
        raise orkrun.DataError(path, f"cannot be read as NIfTI: {error}") from error
    if array.ndim != 3 or not np.isfinite(array).all():
        raise orkrun.DataError(path, f"is no volume of finite numbers (shape {array.shape})")
    return np.ascontiguousarray(array.astype(np.int16))


def _samples(volumes: list[Volume], *, image_size: int, windows: config.Windows, source: str) -> Samples:
    images, masks, cases, names = [], [], [], []
    for volume in volumes:
        grey = [window(volume.hu, low=low, high=high) for low, high in windows]
        for z in range(len(volume.hu)):
            images.append(np.stack([_resize(channel[z], image_size, Image.Resampling.BILINEAR) for channel in grey]))
            lesion = _resize(volume.mask[z], image_size, Image.Resampling.NEAREST) > 0
            masks.append(np.where(lesion, LESION, 0).astype(np.uint8)[None])
            cases.append(volume.patient)
            names.append(f"{volume.patient}/{z}")
    if not images:
        raise orkrun.DataError(source, "holds no patient")
    return Samples(
        images=np.stack(images),
        masks=np.stack(masks),
        annotators=("truth",),
        spacing=np.full((len(names), 3), np.nan, np.float32),
        cases=tuple(cases),
        names=tuple(names),
        patients_known=True,
        source=source,
    )


def _resize(array: npt.NDArray[np.uint8], size: int, how: Image.Resampling) -> npt.NDArray[np.uint8]:
    if array.shape == (size, size):
        return array
    return np.asarray(Image.fromarray(array).resize((size, size), how))
