"""Reads a folder that `ctseg phantom` has written, or makes the same patients in memory."""

from __future__ import annotations

import csv
from functools import partial
from pathlib import Path

import numpy as np

import orkrun
from ctseg import config
from ctseg.data import volumes
from ctseg.data.dataset import Case, Dataset, Problem, Volume
from ctseg.data.samples import IGNORE, LESION
from ctseg.labels.fuse import TRUTH
from ctseg.phantom import annotators
from ctseg.phantom.volume import FIELD_OF_VIEW, make_patient, patient_name
from ctseg.phantom.write import VOLUME_HEIGHT

TABLE = "patients.csv"
LICENCE = "generated: shows no patient, anybody may use it"


def is_phantom(root: Path) -> bool:
    return (root / TABLE).is_file()


def embedded(phantom: config.Phantom) -> Dataset:
    """The embedded patients, made in memory: nothing is read and nothing is written."""
    cases = [
        Case(name, name, (), partial(_make, index, phantom))
        for index, name in ((index, patient_name(index)) for index in range(phantom.patients))
    ]
    names = annotators.names(phantom.annotators, noise=phantom.noise)
    return Dataset(
        "phantom", None, tuple(cases), names, patients_known=True, source="embedded phantom", licence=LICENCE
    )


def _make(index: int, phantom: config.Phantom) -> Volume:
    made = make_patient(index, slices=phantom.slices, size=phantom.size, seed=phantom.seed)
    masks = annotators.annotate_all(
        np.where(made.mask > 0, np.uint8(LESION), np.uint8(0)),
        patient=made.patient,
        annotators=phantom.annotators,
        noise=phantom.noise,
        seed=phantom.seed,
        pixel_mm=FIELD_OF_VIEW / phantom.size,
    )
    pixel = FIELD_OF_VIEW / phantom.size
    spacing = (VOLUME_HEIGHT / phantom.slices, pixel, pixel)
    return Volume(values=volumes.clip_padding(made.hu), masks=masks, spacing=spacing, grey=False)


def dataset(root: Path) -> Dataset:
    """A folder of `ctseg phantom` (its NIfTI part). Annotators' masks are PATIENT_mask-NAME.nii.gz; the truth is
    the last plane, as in memory. Raises orkrun.DataError for a table that is none.
    """
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
    folder = root / "nifti"
    names: set[str] = set()
    for patient in patients:
        prefix = f"{patient}_mask-"
        names |= {path.name.removeprefix(prefix).split(".")[0] for path in folder.glob(f"{prefix}*.nii.gz")}
    planes = (*sorted(names), TRUTH)
    cases, problems = [], []
    for patient in patients:
        image, truth = folder / f"{patient}_ct.nii.gz", folder / f"{patient}_mask.nii.gz"
        theirs = [folder / f"{patient}_mask-{name}.nii.gz" for name in planes[:-1]]
        present = [*(mask if mask.is_file() else None for mask in theirs), truth]
        missing = [path for path in (image, truth) if not path.is_file()]
        problems += [Problem(path, f"is not there; {TABLE} names its patient") for path in missing]
        files = tuple(path for path in (image, *present) if path is not None)
        if not missing:
            cases.append(Case(patient, patient, files, partial(volumes.build, image, present, ignore_label=IGNORE)))
    return Dataset("phantom", root, tuple(cases), planes, True, str(root), licence=LICENCE, problems=tuple(problems))
