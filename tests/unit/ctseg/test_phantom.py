"""Generated patients: the same for the same seed, plausible, and read back as they were made."""

from __future__ import annotations

import hashlib
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest

import orkrun
from ctseg import config
from ctseg.__main__ import main
from ctseg.data.load import load
from ctseg.phantom.volume import CONSOLIDATION, GROUND_GLASS, PADDING, make_patient

SIZES = ["--patients", "3", "--slices", "6", "--size", "48", "--seed", "5"]


def digests(folder: Path) -> dict[str, str]:
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(folder.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def written(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("phantom") / "one"
    assert main(["phantom", str(out), *SIZES]) == 0
    return out


def test_the_same_seed_writes_the_same_bytes(written: Path) -> None:
    again = written.parent / "two"
    assert main(["phantom", str(again), *SIZES]) == 0
    assert digests(again) == digests(written)
    assert len(digests(written)) == 3 * (2 + 6) + 2


def test_another_seed_writes_others(written: Path) -> None:
    other = written.parent / "three"
    assert main(["phantom", str(other), *SIZES[:-1], "6"]) == 0
    same = set(digests(other).values()) & set(digests(written).values())
    assert len(same) <= 1, "at most the mask of a patient without lesion"


def test_a_patient_does_not_depend_on_the_others() -> None:
    assert np.array_equal(make_patient(4, slices=6, size=48, seed=5).hu, make_patient(4, slices=6, size=48, seed=5).hu)
    first, other = make_patient(0, slices=6, size=48, seed=5), make_patient(1, slices=6, size=48, seed=5)
    assert not np.array_equal(first.hu, other.hu)


def test_hounsfield_units_and_lesions_are_plausible() -> None:
    volumes = [make_patient(i, slices=10, size=96, seed=0) for i in range(10)]
    hu, mask = np.stack([v.hu for v in volumes]), np.stack([v.mask for v in volumes])
    assert hu.min() == PADDING
    assert 300 < hu.max() <= 3071
    assert -750 < hu[mask == GROUND_GLASS].mean() < -350
    assert -100 < hu[mask == CONSOLIDATION].mean() < 60
    share = (mask > 0).mean()
    assert 0.005 < share < 0.08
    empty_slices = (mask.max(axis=(2, 3)) == 0).mean()
    assert 0.2 < empty_slices < 0.7
    assert sum(not m.any() for m in mask) == 2, "one patient in five is healthy"
    lesion = mask > 0
    for edge in (0, -1):
        assert not lesion[:, edge].any(), "base and apex are without lung"


def test_the_folder_holds_what_is_made_in_memory(written: Path) -> None:
    phantom = config.Phantom(patients=3, slices=6, size=48, seed=5)
    windows = ((-1250.0, 250.0),)
    data = config.Data(image_size=32, windows=windows, phantom=phantom)
    made = load(data, mount=None, workers=1)
    read = load(data, mount=str(written), workers=2)
    assert np.array_equal(made.images, read.images)
    assert np.array_equal(made.masks, read.masks)
    assert (made.cases, made.names, made.patients_known) == (read.cases, read.names, True)


def test_nifti_and_dicom_show_the_same_patient(written: Path) -> None:
    nifti = nibabel.load(written / "nifti/phantom-0001_ct.nii.gz")
    assert nibabel.aff2axcodes(nifti.affine) == ("L", "P", "S")
    volume = np.asarray(nifti.dataobj)
    files = sorted((written / "dicom/phantom-0001").iterdir(), key=lambda path: pydicom.dcmread(path).InstanceNumber)
    for z, path in enumerate(files):
        image = pydicom.dcmread(path)
        hu = image.pixel_array * float(image.RescaleSlope) + float(image.RescaleIntercept)
        assert np.array_equal(hu.T, volume[:, :, z])
        assert image.PatientID == "phantom-0001"
        assert float(image.PixelSpacing[0]) == pytest.approx(nifti.header.get_zooms()[0], abs=1e-4)
        assert not any(image.get(name) for name in ("StudyDate", "SeriesDate", "ContentDate", "InstanceCreationDate"))
    assert len({pydicom.dcmread(path).SOPInstanceUID for path in written.rglob("*.dcm")}) == 18


def test_a_truncated_volume_is_refused_by_name(written: Path, tmp_path: Path) -> None:
    import shutil

    copy = tmp_path / "copy"
    shutil.copytree(written, copy)
    broken = copy / "nifti/phantom-0002_mask.nii.gz"
    broken.write_bytes(broken.read_bytes()[:-30])
    with pytest.raises(orkrun.DataError, match="cannot be read as NIfTI") as raised:
        load(config.Data(image_size=32), mount=str(copy), workers=1)
    assert raised.value.path == str(broken)
    broken.unlink()
    with pytest.raises(orkrun.DataError, match="phantom-0002_mask"):
        load(config.Data(image_size=32), mount=str(copy), workers=1)


@pytest.mark.parametrize(("option", "value"), [("--patients", "0"), ("--size", "8"), ("--slices", "0")])
def test_impossible_sizes_are_refused_by_name(
    tmp_path: Path, option: str, value: str, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["phantom", str(tmp_path / "x"), option, value]) == 64
    assert f"data.phantom{option.replace('--', '.')}" in capsys.readouterr().err
    assert not (tmp_path / "x").exists()
