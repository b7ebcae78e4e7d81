"""Writes phantom patients as NIfTI (volume and mask), DICOM (volume) and a table. Byte-identical for the same
arguments.

No date, no random UID, no time stamp in a gzip header: two machines with the same versions make the same files.
"""

from __future__ import annotations

import csv
import gzip
import io
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

from ctseg.labels.coding import LESION
from ctseg.phantom.annotators import annotate, generator, named
from ctseg.phantom.volume import CONSOLIDATION, FIELD_OF_VIEW, GROUND_GLASS, Volume, make_patient

VOLUME_HEIGHT = 300.0  # mm, base to apex
_UID_ROOT = "1.2.826.0.1.3680043.8.498."  # pydicom's own root, free for anybody to use
_INTERCEPT = -1024
COLUMNS = (
    "patient",
    "slices",
    "rows",
    "columns",
    "pixel_mm",
    "slice_mm",
    "ground_glass_voxels",
    "consolidation_voxels",
    "slices_without_lesion",
)


def write_phantom(
    out: Path, *, patients: int, slices: int, size: int, seed: int, annotators: Sequence[str] = ()
) -> list[dict[str, Any]]:
    """Writes `out`/{nifti,dicom,patients.csv,phantom.json}; returns the table. Raises OSError.

    The true mask of a patient is `<patient>_mask.nii.gz`, that of each annotator `<patient>_mask-<annotator>.nii.gz`
    with 1 for a lesion and 255 for not labelled. Without annotators not a byte is different. Raises
    orkrun.InvalidParams for an unknown style.
    """
    styles = named(annotators, parameter="--annotators")
    (out / "nifti").mkdir(parents=True, exist_ok=True)
    spacing = (FIELD_OF_VIEW / size, VOLUME_HEIGHT / slices)
    rows: list[dict[str, Any]] = []
    for index in range(patients):
        volume = make_patient(index, slices=slices, size=size, seed=seed)
        _write_nifti(out / "nifti" / f"{volume.patient}_ct.nii.gz", volume.hu, spacing)
        _write_nifti(out / "nifti" / f"{volume.patient}_mask.nii.gz", volume.mask, spacing)
        truth = np.where(volume.mask > 0, LESION, 0).astype(np.uint8)
        for name, style in styles.items():
            labels = annotate(truth, style, generator(seed, volume.patient, name), pixel_mm=spacing[0])
            coded = np.where(labels == LESION, 1, labels).astype(np.uint8)
            _write_nifti(out / "nifti" / f"{volume.patient}_mask-{name}.nii.gz", coded, spacing)
        _write_dicom(out / "dicom" / volume.patient, volume, spacing, seed)
        rows.append(_row(volume, spacing))
    # The table last: a folder with it is complete.
    description: dict[str, Any] = {"format": 1, "patients": patients, "slices": slices, "size": size, "seed": seed}
    if annotators:
        description["annotators"] = list(annotators)
    (out / "phantom.json").write_text(json.dumps(description, indent=1) + "\n", encoding="utf-8")
    with open(out / "patients.csv", "w", newline="", encoding="utf-8") as file:
        writer = csv.DictWriter(file, COLUMNS, lineterminator="\n")
        writer.writeheader()
        writer.writerows(rows)
    return rows


def _row(volume: Volume, spacing: tuple[float, float]) -> dict[str, Any]:
    slices, rows, columns = volume.hu.shape
    return {
        "patient": volume.patient,
        "slices": slices,
        "rows": rows,
        "columns": columns,
        "pixel_mm": round(spacing[0], 4),
        "slice_mm": round(spacing[1], 4),
        "ground_glass_voxels": int((volume.mask == GROUND_GLASS).sum()),
        "consolidation_voxels": int((volume.mask == CONSOLIDATION).sum()),
        "slices_without_lesion": int((volume.mask.max(axis=(1, 2)) == 0).sum()),
    }


def _write_nifti(path: Path, array: npt.NDArray[Any], spacing: tuple[float, float]) -> None:
    import nibabel

    pixel, thickness = spacing
    # Slices of rows, (z, y, x) with y to the back and x to the patient's left (LPS), as NIfTI's (x, y, z) in LAS-like
    # axes:
    # the affine says so, readers go by it.
    image = nibabel.Nifti1Image(
        np.ascontiguousarray(array.transpose(2, 1, 0)), np.diag([-pixel, -pixel, thickness, 1.0])
    )
    image.header.set_xyzt_units("mm")
    packed = io.BytesIO()
    with gzip.GzipFile(filename="", mode="wb", fileobj=packed, mtime=0, compresslevel=6) as file:
        file.write(image.to_bytes())
    path.write_bytes(packed.getvalue())


def _write_dicom(folder: Path, volume: Volume, spacing: tuple[float, float], seed: int) -> None:
    import pydicom
    from pydicom.dataset import FileMetaDataset
    from pydicom.uid import CTImageStorage, ExplicitVRLittleEndian, generate_uid

    folder.mkdir(parents=True, exist_ok=True)
    pixel, thickness = spacing
    slices, rows, columns = volume.hu.shape

    def uid(*parts: object) -> Any:
        sources = ["ctseg-phantom", str(seed), str(volume.hu.shape), volume.patient, *map(str, parts)]
        return generate_uid(prefix=_UID_ROOT, entropy_srcs=sources)

    for z in range(slices):
        meta = FileMetaDataset()
        meta.MediaStorageSOPClassUID = CTImageStorage
        meta.MediaStorageSOPInstanceUID = uid("slice", z)
        meta.TransferSyntaxUID = ExplicitVRLittleEndian
        meta.ImplementationClassUID = _UID_ROOT + "1"
        image = pydicom.Dataset()
        image.file_meta = meta
        image.SOPClassUID, image.SOPInstanceUID = CTImageStorage, meta.MediaStorageSOPInstanceUID
        image.StudyInstanceUID, image.SeriesInstanceUID = uid("study"), uid("series")
        image.FrameOfReferenceUID = uid("frame")
        image.PatientName = image.PatientID = volume.patient
        image.PatientBirthDate = image.PatientSex = image.StudyDate = image.StudyTime = ""
        image.ReferringPhysicianName = image.StudyID = image.AccessionNumber = ""
        image.Modality, image.Manufacturer, image.SeriesNumber = "CT", "ctseg phantom", 1
        image.ImageType = ["DERIVED", "SECONDARY", "AXIAL"]
        image.InstanceNumber = z + 1
        image.PixelSpacing = [f"{pixel:.6f}", f"{pixel:.6f}"]
        image.SliceThickness = f"{thickness:.6f}"
        image.ImageOrientationPatient = [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = ["0", "0", f"{z * thickness:.6f}"]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = rows, columns
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.RescaleIntercept, image.RescaleSlope, image.RescaleType = _INTERCEPT, 1, "HU"
        image.PixelData = (volume.hu[z].astype(np.int32) - _INTERCEPT).astype("<i2").tobytes()
        image.save_as(folder / f"{z + 1:04d}.dcm", enforce_file_format=True)
