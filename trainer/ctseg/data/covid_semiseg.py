"""Reads COVID-SemiSeg folders (Fan et al., IEEE TMI 39(8) 2020): slices as JPG, masks as PNG of the same name.

Two layouts are known: the official one (`TrainingSet/LungInfection-Train/Doctor-label/{Imgs,GT}`) and a plain one
(`doctor/train/{images,infection}`). Every file is checked; what is wrong is an `orkrun.DataError` that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

import orkrun
from ctseg.data.samples import LESION, Samples, Uint8

_LAYOUTS: dict[str, tuple[tuple[str, str], ...]] = {
    "doctor": (
        ("doctor/train/images", "doctor/train/infection"),
        ("TrainingSet/LungInfection-Train/Doctor-label/Imgs", "TrainingSet/LungInfection-Train/Doctor-label/GT"),
    ),
    "pseudo": (
        ("pseudo/images", "pseudo/soft_masks"),
        (
            "TrainingSet/LungInfection-Train/Pseudo-label/Imgs",
            "TrainingSet/LungInfection-Train/Pseudo-label/GT",
        ),
    ),
}
_PREFIXES = ("", "covid-semiseg", "COVID-SemiSeg", "Dataset", "COVID-SemiSeg/Dataset")
_SUFFIXES = {".jpg", ".jpeg", ".png"}
_SLICE_NUMBER = re.compile(r"_\d+$")


def find(root: Path, subset: Literal["doctor", "pseudo"]) -> tuple[Path, Path] | None:
    """The folders of images and of masks under `root`; None where this is no COVID-SemiSeg folder."""
    for prefix in _PREFIXES:
        for images, masks in _LAYOUTS[subset]:
            if (root / prefix / images).is_dir():
                return root / prefix / images, root / prefix / masks
    return None


def read(root: Path, *, subset: Literal["doctor", "pseudo"], image_size: int, workers: int) -> Samples:
    """All slices of the subset, resized to a square. Raises orkrun.DataError.

    The pseudo subset's file names carry the patient (Data-1_coronacases_org_001_15.jpg); the doctor subset's do not.
    """
    if not root.is_dir():
        raise orkrun.DataError(root, "there is no such folder; it is to be a COVID-SemiSeg folder")
    found = find(root, subset)
    if found is None:
        expected = ", ".join(images for images, _ in _LAYOUTS[subset])
        raise orkrun.DataError(root, f"no COVID-SemiSeg images here; looked for {expected}")
    images, masks = found
    if not masks.is_dir():
        raise orkrun.DataError(masks, f"there is no such folder; it is to hold the masks of {images}")
    pairs = _pairs(images, masks)
    with ThreadPoolExecutor(workers) as pool:
        slices = list(pool.map(lambda pair: _read_pair(*pair, image_size=image_size), pairs))
    names = tuple(image.stem for image, _ in pairs)
    known = subset == "pseudo"
    return Samples(
        images=np.stack([image for image, _ in slices]),
        masks=np.stack([mask for _, mask in slices]),
        annotators=(subset,),
        spacing=np.full((len(names), 3), np.nan, np.float32),
        cases=tuple(_SLICE_NUMBER.sub("", name) for name in names) if known else names,
        names=names,
        patients_known=known,
        source=str(images),
    )


def _pairs(images: Path, masks: Path) -> list[tuple[Path, Path]]:
    by_name = {path.stem: path for path in _pictures(images)}
    masks_by_name = {path.stem: path for path in _pictures(masks)}
    if not by_name:
        raise orkrun.DataError(images, f"holds no image ({', '.join(sorted(_SUFFIXES))})")
    for name, path in sorted(by_name.items()):
        if name not in masks_by_name:
            raise orkrun.DataError(path, f"has no mask {name}.png in {masks}")
    for name, path in sorted(masks_by_name.items()):
        if name not in by_name:
            raise orkrun.DataError(path, f"is the mask of no image in {images}")
    return [(by_name[name], masks_by_name[name]) for name in sorted(by_name, key=_natural)]


def _pictures(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."))


def _natural(name: str) -> list[tuple[int, int | str]]:
    return [(0, int(part)) if part.isdigit() else (1, part) for part in re.split(r"(\d+)", name)]


def _read_pair(image: Path, mask: Path, *, image_size: int) -> tuple[Uint8, Uint8]:
    """(1, H, W) each. Masks of the pseudo subset are probabilities and stay so: 0..255 becomes 0..LESION."""
    picture, label = _read(image), _read(mask)
    if picture.size != label.size:
        raise orkrun.DataError(
            mask,
            f"is {label.width} x {label.height} pixels, its image {image} is {picture.width} x {picture.height}: "
            "both must be of one size",
        )
    size = (image_size, image_size)
    grey = np.asarray(picture.resize(size, Image.Resampling.BILINEAR))
    lesion = np.asarray(label.resize(size, Image.Resampling.NEAREST)).astype(np.float32)
    return grey[None], np.rint(lesion * np.float32(LESION / 255)).astype(np.uint8)[None]


def _read(path: Path) -> Image.Image:
    try:
        with Image.open(path) as picture:
            picture.load()
            return picture.convert("L")
    except Exception as error:
        raise orkrun.DataError(path, f"cannot be read as a picture: {error}") from error
