"""Layouts of volumes: each is found, read the right way round whatever the order of its axes, and refused by name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pydicom
import pytest
from PIL import Image

import orkrun
from ctseg import config
from ctseg.__main__ import main
from ctseg.data import volumes
from ctseg.data.load import load
from ctseg.data.samples import IGNORE, LESION, Samples
from ctseg.phantom.write import write_phantom

SHAPE = (4, 40, 36)  # slices, rows, columns


def read(root: Path, **data: object) -> Samples:
    return load(config.parse({"data": {"image_size": 32, **data}}).data, mount=str(root), workers=2)


def hu(seed: int = 0) -> np.ndarray:
    volume = np.random.default_rng(seed).integers(-900, 300, SHAPE).astype(np.int16)
    volume[:, :3] = -3024  # outside the field of view
    volume[:, 5:15, 4:12] = 40  # something that is neither left nor right, up or down
    return volume


def lesion(value: int = 1) -> np.ndarray:
    mask = np.zeros(SHAPE, np.uint8)
    mask[1:3, 5:15, 4:12] = value
    return mask


def save(path: Path, array: np.ndarray, codes: str = "LPS", *, spacing: tuple[float, ...] = (0.8, 0.7, 5.0)) -> Path:
    """Slices of rows as a NIfTI file whose axes are stored in the order and directions of `codes`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    x, y, z = spacing
    lps = nibabel.Nifti1Image(np.ascontiguousarray(array.transpose(2, 1, 0)), np.diag([-x, -y, z, 1.0]))
    change = nibabel.orientations.ornt_transform(
        nibabel.io_orientation(lps.affine), nibabel.orientations.axcodes2ornt(codes)
    )
    nibabel.save(lps.as_reoriented(change), path)
    return path


def dicom(folder: Path, array: np.ndarray, *, names: str = "{}.dcm", drop: int | None = None, first: int = 1) -> Path:
    folder.mkdir(parents=True)
    for z in range(len(array)):
        if z == drop:
            continue
        meta = pydicom.dataset.FileMetaDataset()
        meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
        meta.MediaStorageSOPClassUID, meta.MediaStorageSOPInstanceUID = "1.2.840.10008.5.1.4.1.1.2", f"1.2.{z + 1}"
        image = pydicom.Dataset()
        image.file_meta, image.SOPClassUID, image.SOPInstanceUID = meta, meta.MediaStorageSOPClassUID, f"1.2.{z + 1}"
        image.SeriesInstanceUID, image.InstanceNumber = "1.2.3", len(array) - z  # the number is no order
        image.PixelSpacing, image.ImageOrientationPatient = ["0.7", "0.8"], [1, 0, 0, 0, 1, 0]
        image.ImagePositionPatient = ["0", "0", f"{z * 5}"]
        image.SamplesPerPixel, image.PhotometricInterpretation = 1, "MONOCHROME2"
        image.Rows, image.Columns = array.shape[1:]
        image.BitsAllocated, image.BitsStored, image.HighBit, image.PixelRepresentation = 16, 16, 15, 1
        image.RescaleIntercept, image.RescaleSlope = -1024, 1
        image.PixelData = (array[z].astype(np.int32) + 1024).astype("<i2").tobytes()
        image.save_as(folder / names.format(z + first), enforce_file_format=True)
    return folder


def generic(root: Path, rows: list[str], columns: str = "case,patient,image,mask") -> Path:
    (root / "cases.csv").write_text("\n".join([columns, *rows]) + "\n")
    return root


@pytest.mark.parametrize("codes", ["LPS", "RAS", "LAS", "PLS", "ASR", "SRP"])
def test_whatever_the_order_of_axes_the_patient_lies_the_same_way(tmp_path: Path, codes: str) -> None:
    grid = volumes.read_nifti(save(tmp_path / "x.nii.gz", hu(), codes))
    assert np.array_equal(grid.array, hu())
    assert grid.spacing == pytest.approx((5.0, 0.7, 0.8))


def test_image_and_mask_may_be_stored_in_different_orders(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", hu(), "RAS")
    save(tmp_path / "a_mask.nii.gz", lesion(2), "PLS")
    samples = read(generic(tmp_path, ["a,p,a.nii.gz,a_mask.nii.gz"]))
    assert samples.masks.shape == samples.images.shape == (4, 1, 32, 32)
    assert [bool((plane == LESION).any()) for plane in samples.masks] == [False, True, True, False]
    inside = samples.masks[1, 0] == LESION
    assert np.ptp(samples.images[1, 0][inside]) < 120, "the mask covers the block that is of one value"
    assert samples.spacing[0] == pytest.approx((5.0, 0.7 * 40 / 32, 0.8 * 36 / 32))


def test_a_dicom_series_is_read_in_the_order_of_positions_as_the_same_volume(tmp_path: Path) -> None:
    dicom(tmp_path / "series", hu())
    save(tmp_path / "v.nii.gz", hu())
    save(tmp_path / "m.nii.gz", lesion())
    rows = ["d,one,series,m.nii.gz", "n,two,v.nii.gz,m.nii.gz"]
    samples = read(generic(tmp_path, rows))
    assert np.array_equal(samples.images[:4], samples.images[4:])
    assert np.array_equal(samples.masks[:4], samples.masks[4:])
    grid = volumes.read_grid(tmp_path / "series")
    assert np.array_equal(volumes.clip_padding(grid.array), volumes.clip_padding(hu()))
    assert grid.spacing == pytest.approx((5.0, 0.7, 0.8))


def test_a_series_with_a_missing_slice_is_refused(tmp_path: Path) -> None:
    folder = dicom(tmp_path / "series", np.concatenate([hu(), hu()]), drop=2)
    with pytest.raises(orkrun.DataError, match="10 mm after 5 mm: one is missing"):
        volumes.read_grid(folder)


def test_an_annotator_who_did_not_label_a_case_is_ignored_not_background(tmp_path: Path) -> None:
    for name in ("a", "b"):
        save(tmp_path / f"{name}.nii.gz", hu())
    save(tmp_path / "a1.nii.gz", lesion())
    second = lesion()
    second[0] = 9
    save(tmp_path / "a2.nii.gz", second)
    save(tmp_path / "b2.nii.gz", lesion())
    rows = ["a,p,a.nii.gz,a1.nii.gz,a2.nii.gz", "b,q,b.nii.gz,,b2.nii.gz"]
    samples = read(generic(tmp_path, rows, "case,patient,image,mask:anna,mask:boris"), ignore_label=9)
    assert samples.annotators == ("anna", "boris")
    assert samples.masks.shape == (8, 2, 32, 32)
    assert (samples.masks[4:, 0] == IGNORE).all()
    assert (samples.masks[0, 1] == IGNORE).all()
    assert set(np.unique(samples.masks[1])) == {0, LESION}
    assert samples.cases == ("p",) * 4 + ("q",) * 4


def half() -> np.ndarray:
    """1 in the first half of the slices."""
    return (np.arange(SHAPE[0]) < SHAPE[0] // 2).astype(np.uint8)[:, None, None]


def shifted(root: Path) -> None:
    image = nibabel.load(root / "m.nii.gz")
    moved = image.affine.copy()
    moved[2, 3] += 40
    nibabel.save(nibabel.Nifti1Image(np.asarray(image.dataobj), moved), root / "m.nii.gz")


def cut(root: Path) -> None:
    (root / "v.nii.gz").write_bytes((root / "v.nii.gz").read_bytes()[:-200])


def not_a_number(root: Path) -> None:
    volume = hu().astype(np.float32)
    volume[1, 2, 3] = np.nan
    save(root / "v.nii.gz", volume)


WRONG: list[tuple[Callable[[Path], object], str, str]] = [
    (shifted, "m.nii.gz", "40 mm away"),
    (cut, "v.nii.gz", "truncated or damaged"),
    (not_a_number, "v.nii.gz", "1 voxels of NaN"),
    (lambda root: save(root / "m.nii.gz", lesion()[:3]), "m.nii.gz", "has shape"),
    (lambda root: save(root / "m.nii.gz", lesion() * np.float32(0.5)), "m.nii.gz", "fractions"),
    (lambda root: save(root / "m.nii.gz", -lesion().astype(np.int16)), "m.nii.gz", "label -1"),
    (lambda root: save(root / "m.nii.gz", lesion().astype(np.int16) * 300), "m.nii.gz", "a label 300; 0 is background"),
    (lambda root: save(root / "m.nii.gz", np.maximum(lesion(), lesion(255) * half())), "m.nii.gz", "255 beside others"),
    (lambda root: save(root / "v.nii.gz", np.abs(hu())), "v.nii.gz", "neither HU"),
    (lambda root: save(root / "v.nii.gz", (hu() % 256).astype(np.uint8)), "v.nii.gz", "data.grey_range"),
    (lambda root: (root / "m.nii.gz").unlink(), "m.nii.gz", "line 2 of cases.csv names it"),
    (lambda root: save(root / "forgotten.nii.gz", hu()), "forgotten.nii.gz", "named by no line"),
    (lambda root: generic(root, ["a,p,v.nii.gz,"]), "cases.csv", "no mask at all"),
    (lambda root: generic(root, ["a,,v.nii.gz,m.nii.gz"]), "cases.csv", "line 2: patient is empty"),
    (lambda root: generic(root, [], "case,image,mask"), "cases.csv", "lacks the column patient"),
    (lambda root: generic(root, []), "", "named by no line"),
]


@pytest.mark.parametrize(("damage", "named", "says"), WRONG, ids=[says for _, _, says in WRONG])
def test_what_is_wrong_is_refused_by_the_files_name(
    tmp_path: Path, damage: Callable[[Path], object], named: str, says: str
) -> None:
    save(tmp_path / "v.nii.gz", hu())
    save(tmp_path / "m.nii.gz", lesion())
    generic(tmp_path, ["a,p,v.nii.gz,m.nii.gz"])
    assert len(read(tmp_path)) == 4
    damage(tmp_path)
    if says == "named by no line" and not named:
        with pytest.raises(orkrun.DataError, match="holds no case"):
            read(tmp_path)
        return
    with pytest.raises(orkrun.DataError) as raised:
        read(tmp_path)
    assert raised.value.path == str(tmp_path / named)
    assert says in str(raised.value)
    assert main(["check", str(tmp_path)]) == 65


def test_covid_ct_seg_has_two_intensities_and_each_volume_is_judged_by_its_own(tmp_path: Path) -> None:
    grey = np.clip((hu().astype(float) + 1250) * 255 / 1500, 0, 255).round().astype(np.uint8)
    volumes_of = {"coronacases_001": hu(), "radiopaedia_4_85506_1": grey, "radiopaedia_4_85506_2": grey}
    for name, volume in volumes_of.items():
        save(tmp_path / f"COVID-19-CT-Seg_20cases/{name}.nii.gz", volume)
        save(tmp_path / f"Infection_Mask/{name}.nii.gz", lesion())
    with pytest.raises(orkrun.DataError, match=r"is grey of 0 to 255.*data\.grey_range"):
        read(tmp_path)
    samples = read(tmp_path, grey_range=[-1250, 250])
    assert sorted(set(samples.cases)) == ["coronacases_001", "radiopaedia_4"], "one patient has two volumes"
    apart = np.abs(samples.images[:4, :, 5:].astype(int) - samples.images[4:8, :, 5:].astype(int))
    assert apart.max() <= 2, "the same patient in HU and in grey becomes the same picture, but for the padding"


def test_mosmed_pairs_studies_with_their_masks(tmp_path: Path) -> None:
    for name in ("study_0255", "study_0256", "study_0300"):
        save(tmp_path / f"studies/CT-1/{name}.nii.gz", hu(), "RAS")
    for name in ("study_0255", "study_0300"):
        save(tmp_path / f"masks/{name}_mask.nii.gz", lesion(), "LAS")
    samples = read(tmp_path)
    assert sorted(set(samples.cases)) == ["study_0255", "study_0300"]
    assert (samples.masks == LESION).any()


def test_ubc_masks_are_transposed_and_only_their_slices_are_read(tmp_path: Path) -> None:
    dicom(tmp_path / "OpenSourceDCMs/DCM1", hu(), names="a_s{:04}.dcm")
    (tmp_path / "InfectionMasks").mkdir()
    for number in (2, 3):
        picture = np.where(lesion()[number - 1] > 0, np.uint8(127 if number == 2 else 255), 0).astype(np.uint8)
        Image.fromarray(np.ascontiguousarray(picture.T)).save(tmp_path / f"InfectionMasks/1_z{number:03}.png")
    samples = read(tmp_path)
    assert samples.names == ("1/2", "1/3")
    inside = samples.masks[0, 0] == LESION
    assert 0.03 < inside.mean() < 0.1
    assert np.ptp(samples.images[0, 0][inside]) < 120
    Image.fromarray(np.full((36, 40), 90, np.uint8)).save(tmp_path / "InfectionMasks/1_z002.png")
    with pytest.raises(orkrun.DataError, match=r"has the values \[90\]"):
        read(tmp_path)


def test_windows_become_channels_and_spacing_keeps_millimetres(tmp_path: Path) -> None:
    save(tmp_path / "v.nii.gz", hu(), spacing=(0.5, 0.5, 2.0))
    save(tmp_path / "m.nii.gz", lesion(), spacing=(0.5, 0.5, 2.0))
    generic(tmp_path, ["a,p,v.nii.gz,m.nii.gz"])
    samples = read(tmp_path, windows=[[-1250, 250], [-160, 240]], spacing=1.0)
    assert samples.channels == 2
    assert samples.spacing[0, 1:] == pytest.approx((1.0, 1.0))
    known = samples.masks[1, 0] != IGNORE
    assert known.sum() == 20 * 18, "40 x 36 pixels of half a millimetre; around them nothing is labelled"


def test_annotators_of_a_phantom_are_planes_and_the_truth_is_the_last(tmp_path: Path) -> None:
    write_phantom(tmp_path, patients=2, slices=4, size=48, seed=1, annotators=("careful", "generous"))
    samples = read(tmp_path)
    assert samples.annotators == ("careful", "generous", "truth")
    assert samples.masks.shape[1] == 3
    alone = tmp_path / "alone"
    write_phantom(alone, patients=2, slices=4, size=48, seed=1)
    plain = read(alone)
    assert np.array_equal(samples.masks[:, 2], plain.masks[:, 0])
    made = load(
        config.parse({"data": {"image_size": 32, "phantom": {"patients": 2, "slices": 4, "size": 48, "seed": 1}}}).data,
        mount=None,
        workers=1,
    )
    assert made.spacing == pytest.approx(plain.spacing, rel=1e-5)
