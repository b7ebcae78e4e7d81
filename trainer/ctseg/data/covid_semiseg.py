"""Reads COVID-SemiSeg folders (Fan et al., IEEE TMI 39(8) 2020): slices as JPG, masks as PNG of the same name.

Two layouts are known: the official one (`TrainingSet/LungInfection-Train/Doctor-label/{Imgs,GT}`) and a plain one
(`doctor/train/{images,infection}`). Every file is checked; what is wrong is an `orkrun.DataError` that names it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable
from functools import partial
from pathlib import Path
from typing import Literal

import numpy as np
from PIL import Image

import orkrun
from ctseg.data.dataset import Case, Dataset, Problem, Volume
from ctseg.data.samples import LESION, Uint8
from ctseg.data.volumes import natural

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
_TEST = (
    ("doctor/test/images", "doctor/test/infection"),
    ("TestingSet/LungInfection-Test/Imgs", "TestingSet/LungInfection-Test/GT"),
)
_PREFIXES = ("", "covid-semiseg", "COVID-SemiSeg", "Dataset", "COVID-SemiSeg/Dataset")
_SUFFIXES = {".jpg", ".jpeg", ".png"}
Subset = Literal["doctor", "pseudo", "both"]
_PATIENT = re.compile(r"(.*pneumonia-\d+)_.*|(.*)_\d+")
"""radiopaedia's names go on with study and series after the case: two series of one case are of one patient."""


def find(root: Path, subset: str) -> tuple[Path, Path] | None:
    """The folders of images and of masks under `root`; None where the subset is not there."""
    for prefix in _PREFIXES:
        for images, masks in _LAYOUTS[subset]:
            if (root / prefix / images).is_dir():
                return root / prefix / images, root / prefix / masks
    return None


def dataset(root: Path, *, subset: Subset, published: bool = False) -> Dataset:
    """The slices of the subset, with `published` those of the published test part too. Raises orkrun.DataError where
    there is no such folder.

    The pseudo subset's file names carry the patient (Data-1_coronacases_org_001_15.jpg); the doctor subset's do not.
    Of both, the pseudo slices are only learnt from: their labels are a model's.
    """
    parts: list[tuple[tuple[Path, Path], str, bool]] = []  # folders, prefix of names, whether it is pseudo
    for name in ("doctor", "pseudo") if subset == "both" else (subset,):
        found = find(root, name)
        if found is None:
            expected = ", ".join(images for images, _ in _LAYOUTS[name])
            raise orkrun.DataError(root, f"no COVID-SemiSeg images here; looked for {expected}")
        parts.append((found, "pseudo/" if subset == "both" and name == "pseudo" else "", name == "pseudo"))
    test = None if subset == "pseudo" else _find_test(root)
    if published and test:
        parts.append((test, "test/", False))
    cases: list[Case] = []
    problems: list[Problem] = []
    for (images, masks), prefix, pseudo in parts:
        for image, mask in _pairs(images, masks, problems):
            name = prefix + image.stem
            cases.append(
                Case(
                    name=name,
                    patient=prefix + _patient(image.stem) if pseudo else name,
                    files=(image, mask),
                    read=partial(_read_pair, image, mask, name),
                    published=prefix == "test/",
                    learn_only=pseudo and subset == "both",
                )
            )
    return Dataset(
        kind="covid-semiseg",
        root=root,
        cases=tuple(cases),
        annotators=(subset,),
        patients_known=subset == "pseudo",
        source=" and ".join(str(images) for (images, _), prefix, _ in parts if prefix != "test/"),
        pictures=True,
        licence="non-commercial use only (COVID-SemiSeg)",
        has_published_test=test is not None,
        problems=tuple(problems),
    )


def _patient(name: str) -> str:
    match = _PATIENT.fullmatch(name)
    return name if match is None else match[1] or match[2]


def _find_test(root: Path) -> tuple[Path, Path] | None:
    for prefix in _PREFIXES:
        for images, masks in _TEST:
            if (root / prefix / images).is_dir() and (root / prefix / masks).is_dir():
                return root / prefix / images, root / prefix / masks
    return None


def _pairs(images: Path, masks: Path, problems: list[Problem]) -> list[tuple[Path, Path]]:
    if not masks.is_dir():
        problems.append(Problem(masks, f"there is no such folder; it is to hold the masks of {images}"))
        return []
    by_name = {path.stem: path for path in _pictures(images)}
    masks_by_name = {path.stem: path for path in _pictures(masks)}
    if not by_name:
        problems.append(Problem(images, f"holds no image ({', '.join(sorted(_SUFFIXES))})"))
    for name, path in sorted(by_name.items()):
        if name not in masks_by_name:
            problems.append(Problem(path, f"has no mask {name}.png in {masks}"))
    for name, path in sorted(masks_by_name.items()):
        if name not in by_name:
            problems.append(Problem(path, f"is the mask of no image in {images}"))
    return [(by_name[name], masks_by_name[name]) for name in sorted(by_name.keys() & masks_by_name.keys(), key=natural)]


def _pictures(folder: Path) -> Iterable[Path]:
    return (path for path in folder.iterdir() if path.suffix.lower() in _SUFFIXES and not path.name.startswith("."))


def _read_pair(image: Path, mask: Path, name: str) -> Volume:
    """Masks of the pseudo subset are probabilities and stay so: 0..255 becomes 0..LESION."""
    picture, label = read_picture(image), read_picture(mask)
    if picture.shape != label.shape:
        raise orkrun.DataError(
            mask,
            f"is {label.shape[1]} x {label.shape[0]} pixels, its image {image} is "
            f"{picture.shape[1]} x {picture.shape[0]}: both must be of one size",
        )
    coded = np.rint(label.astype(np.float32) * np.float32(LESION / 255)).astype(np.uint8)
    unknown = (float("nan"),) * 3
    values = picture.astype(np.int16)[None]
    return Volume(values=values, masks=coded[None, None], spacing=unknown, grey=True, slices=(name,))


def read_picture(path: Path) -> Uint8:
    """(H, W) of 8 bit. Raises orkrun.DataError."""
    try:
        with Image.open(path) as picture:
            picture.load()
            return np.asarray(picture.convert("L"))
    except Exception as error:
        raise orkrun.DataError(path, f"cannot be read as a picture: {error}") from error
