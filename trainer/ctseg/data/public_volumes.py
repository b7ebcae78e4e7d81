"""Reads public sets of NIfTI volumes whose masks have the name of their volume: COVID-19-CT-Seg and MosMed.

COVID-19-CT-Seg (Zenodo 3757476): ten volumes of coronacases.org in HU, ten of radiopaedia.org in grey of 0 to 255
(windowed to [-1250, 250] before). Which is which is decided by the range of each volume, never by its name.
MosMedData: `studies/CT-1/study_0255.nii.gz` with `masks/study_0255_mask.nii.gz`, their axes in an order of their own:
the affine says which.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from ctseg.data import volumes
from ctseg.data.dataset import Case, Dataset, Problem

_IMAGES = "COVID-19-CT-Seg_20cases"
_MASKS = "Infection_Mask"


def is_covid_ct_seg(root: Path) -> bool:
    return (root / _IMAGES).is_dir() and (root / _MASKS).is_dir()


def is_mosmed(root: Path) -> bool:
    return (root / "studies").is_dir() and (root / "masks").is_dir()


def covid_ct_seg(root: Path) -> Dataset:
    """A patient of radiopaedia.org may have several volumes: radiopaedia_14_85914_0, radiopaedia_14_85914_3."""
    images = {_stem(path): path for path in _niftis(root / _IMAGES)}
    masks = {_stem(path): path for path in _niftis(root / _MASKS)}
    return _dataset(
        "covid-ct-seg",
        root,
        images,
        masks,
        licence="see zenodo.org/records/3757476",
        all_have_masks=True,
    )


def mosmed(root: Path) -> Dataset:
    """Only the studies that have a mask: 50 of 1,110 do, and that the others have none is no problem."""
    images = {_stem(path): path for path in sorted((root / "studies").rglob("*.nii*")) if volumes.is_nifti(path)}
    masks = {_stem(path).removesuffix("_mask"): path for path in _niftis(root / "masks")}
    return _dataset("mosmed", root, images, masks, licence="CC BY-NC-ND 3.0 (MosMedData)", all_have_masks=False)


def _dataset(
    kind: str, root: Path, images: dict[str, Path], masks: dict[str, Path], *, licence: str, all_have_masks: bool
) -> Dataset:
    problems = [Problem(path, "is the mask of no volume") for name, path in masks.items() if name not in images]
    if all_have_masks:
        problems += [Problem(path, "has no mask of its name") for name, path in images.items() if name not in masks]
    cases = tuple(
        Case(
            name,
            _patient(name),
            (images[name], masks[name]),
            partial(volumes.build, images[name], [masks[name]]),
        )
        for name in sorted(images.keys() & masks.keys(), key=volumes.natural)
    )
    return Dataset(kind, root, cases, (kind,), True, str(root), licence=licence, problems=tuple(problems))


def _patient(name: str) -> str:
    parts = name.split("_")
    return "_".join(parts[:2]) if parts[0] == "radiopaedia" else name


def _niftis(folder: Path) -> list[Path]:
    return sorted(path for path in folder.iterdir() if volumes.is_nifti(path))


def _stem(path: Path) -> str:
    return path.name.removesuffix(".gz").removesuffix(".nii")
