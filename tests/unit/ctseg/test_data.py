"""COVID-SemiSeg folders: both layouts, and every way in which one can be wrong, told by the file's name."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

import orkrun
from ctseg import config
from ctseg.data import split as splits
from ctseg.data.load import load
from ctseg.data.samples import LESION

Make = Callable[..., Path]


def read(root: Path, **data: object):  # type: ignore[no-untyped-def]
    parsed = config.parse({"data": {"image_size": 32, **data}}).data
    return load(parsed, mount=str(root), workers=2)


@pytest.mark.parametrize("official", [False, True])
@pytest.mark.parametrize("inside", ["", "covid-semiseg"])
def test_both_layouts_are_found_at_the_mount_or_one_below(semiseg: Make, official: bool, inside: str) -> None:
    root = semiseg(official=official)
    if inside:
        root.rename(root.parent / inside)
        root = root.parent
    samples = read(root)
    assert len(samples) == 4
    assert samples.images.shape == samples.masks.shape == (4, 1, 32, 32)
    assert 0.05 < (samples.masks / LESION).mean() < 0.15
    assert not samples.patients_known
    assert samples.cases == samples.names == ("0", "1", "2", "3")


@pytest.mark.parametrize("official", [False, True])
def test_names_of_the_pseudo_subset_carry_the_patient(semiseg: Make, official: bool) -> None:
    samples = read(semiseg(6, official=official, subset="pseudo"), subset="pseudo")
    assert samples.patients_known
    assert samples.cases == tuple(f"Data-1_case_{i:03}" for i in (0, 0, 1, 1, 2, 2))


def test_of_both_subsets_the_pseudo_slices_are_learnt_from_and_never_show_what_is_held_out(semiseg: Make) -> None:
    semiseg(6, subset="pseudo")  # the same six pictures as the doctor's, under other names, and four more of these
    root = semiseg(10)
    for i in range(6, 10):
        for folder, suffix in (("images", "jpg"), ("infection", "png")):
            (root / f"doctor/train/{folder}/{i}.{suffix}").unlink()
    pseudo = root / "pseudo"
    for i in range(4):
        for folder, suffix in (("images", "jpg"), ("soft_masks", "png")):
            source = pseudo / folder / f"Data-1_case_000_0.{suffix}"
            Image.open(source).rotate(90 * (i + 1)).save(pseudo / folder / f"Data-2_turned_{i:03}_0.{suffix}")
    samples = read(root, subset="both")
    alone = read(root)
    assert samples.learn_only is not None
    assert samples.learn_only.tolist() == [False] * 6 + [True] * 10
    assert samples.judging().names == alone.names
    settings = config.Split(folds=3, fold=1)
    split, without = splits.make(samples, settings), splits.make(alone, settings)
    assert split.val == without.val, "the doctor's slices are held out as without the others"
    assert split.train[: -split.extra] == without.train
    held_out = {samples.names[i] for i in split.val}
    copies = {f"pseudo/Data-1_case_{int(name) // 2:03}_{name}" for name in held_out}
    assert {samples.names[i] for i in split.left_out} >= copies
    assert len(split.train) + len(split.val) + len(split.left_out) == len(samples)


def truncate(path: Path) -> Path:
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    return path


def resize(path: Path) -> Path:
    Image.open(path).resize((31, 40)).save(path)
    return path


def empty(path: Path) -> Path:
    path.write_bytes(b"")
    return path


def remove(path: Path) -> Path:
    path.unlink()
    return path


@pytest.mark.parametrize(
    ("file", "damage", "named", "says"),
    [
        ("infection/2.png", truncate, "infection/2.png", "cannot be read as a picture"),
        ("images/2.jpg", truncate, "images/2.jpg", "cannot be read as a picture"),
        ("images/2.jpg", empty, "images/2.jpg", "cannot be read as a picture"),
        ("infection/2.png", resize, "infection/2.png", "is 31 x 40 pixels, its image"),
        ("infection/2.png", remove, "images/2.jpg", "has no mask 2.png"),
        ("images/2.jpg", remove, "infection/2.png", "is the mask of no image"),
    ],
    ids=["truncated mask", "truncated image", "empty image", "mask of another size", "no mask", "no image"],
)
def test_a_damaged_folder_is_refused_by_the_files_name(
    semiseg: Make, file: str, damage: Callable[[Path], Path], named: str, says: str
) -> None:
    root = semiseg()
    damage(root / "doctor/train" / file)
    with pytest.raises(orkrun.DataError) as raised:
        read(root)
    assert raised.value.path == str(root / "doctor/train" / named)
    assert says in str(raised.value)


@pytest.mark.parametrize("kind", ["auto", "phantom", "covid-semiseg"])
def test_a_missing_folder_is_refused(tmp_path: Path, kind: str) -> None:
    with pytest.raises(orkrun.DataError, match="no such folder") as raised:
        read(tmp_path / "missing", kind=kind)
    assert raised.value.path == str(tmp_path / "missing")


def test_a_folder_of_something_else_is_refused_with_what_was_looked_for(tmp_path: Path) -> None:
    (tmp_path / "holiday.txt").touch()
    with pytest.raises(orkrun.DataError, match=r"patients\.csv.*COVID-SemiSeg.*but holiday\.txt"):
        read(tmp_path)


def test_a_folder_without_masks_and_one_without_images_are_refused(semiseg: Make) -> None:
    root = semiseg(0)
    with pytest.raises(orkrun.DataError, match="holds no image"):
        read(root)
    (root / "doctor/train/infection").rmdir()
    with pytest.raises(orkrun.DataError, match="is to hold the masks of"):
        read(root)


def test_covid_semiseg_without_a_folder_is_a_wrong_parameter() -> None:
    with pytest.raises(orkrun.InvalidParams, match=r"data\.root"):
        load(config.parse({"data": {"kind": "covid-semiseg"}}).data, mount=None, workers=1)


def test_real_slices_are_read_with_their_share_of_lesion(ct_data: Path) -> None:
    doctor = read(ct_data)
    assert len(doctor) == 50
    assert 0.1 < (doctor.masks / LESION).mean() < 0.25
    pseudo = read(ct_data, subset="pseudo")
    assert len(set(pseudo.cases)) == 18, "20 series, two patients have two of them"
    assert len(pseudo) == 277
    assert len(np.unique(pseudo.masks)) > 100, "probabilities stay"
    assert pseudo.masks.max() == LESION
