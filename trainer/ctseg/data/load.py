"""From the data part of the parameters to `Samples`: finds the folder, recognises its layout, reads or generates."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import orkrun
from ctseg import config
from ctseg.data import cache, covid_semiseg, generic, phantom_folder, public_volumes, ubc
from ctseg.data.dataset import Dataset
from ctseg.data.samples import Samples


def load(
    data: config.Data,
    *,
    mount: str | None,
    workers: int,
    cache_folder: Path | None = None,
    between: Callable[[], None] = lambda: None,
) -> Samples:
    """All slices. `mount`: where the experiment's first data volume is mounted, the default root. `between` is called
    now and then and may raise. Raises orkrun.DataError.
    """
    given = data.root or mount
    if given is None:
        if data.kind not in ("auto", "phantom"):
            raise orkrun.InvalidParams("data.root", f"{data.kind} needs a folder, and the experiment has no data mount")
        dataset = phantom_folder.embedded(data.phantom)
    else:
        dataset = open_folder(Path(given), data)
    dataset.refuse_problems()
    if data.split.published and not dataset.has_published_test:
        raise orkrun.InvalidParams("data.split.published", f"{dataset.source} has no published test part")
    return cache.samples(
        dataset,
        data,
        folder=None if dataset.root is None else cache_folder,
        workers=workers,
        between=between,
    )


def open_folder(root: Path, data: config.Data) -> Dataset:
    """The folder's cases and problems, by its layout. Raises orkrun.DataError where there is no folder or layout."""
    if not root.is_dir():
        raise orkrun.DataError(root, "there is no such folder (data.root, or the experiment's first data mount)")
    kind = data.kind if data.kind != "auto" else _recognise(root, data)
    if kind == "phantom":
        return phantom_folder.dataset(root)
    if kind == "generic":
        return generic.dataset(root, ignore_label=data.ignore_label)
    if kind == "covid-semiseg":
        return covid_semiseg.dataset(root, subset=data.subset, published=data.split.published)
    known = {
        "covid-ct-seg": (public_volumes.is_covid_ct_seg, public_volumes.covid_ct_seg),
        "mosmed": (public_volumes.is_mosmed, public_volumes.mosmed),
        "ubc": (ubc.is_ubc, ubc.dataset),
    }
    recognises, dataset = known[kind]
    if not recognises(root):
        raise orkrun.DataError(root, f"is no {kind} folder; it holds {_held(root)}")
    return dataset(root)


def _recognise(root: Path, data: config.Data) -> str:
    if phantom_folder.is_phantom(root):
        return "phantom"
    if generic.is_generic(root):
        return "generic"
    if covid_semiseg.find(root, "doctor" if data.subset == "both" else data.subset):
        return "covid-semiseg"
    for kind, recognises in (
        ("covid-ct-seg", public_volumes.is_covid_ct_seg),
        ("ubc", ubc.is_ubc),
        ("mosmed", public_volumes.is_mosmed),
    ):
        if recognises(root):
            return kind
    raise orkrun.DataError(
        root,
        f"holds neither a {generic.TABLE} (one's own data), a {phantom_folder.TABLE} (ctseg phantom), a COVID-SemiSeg "
        f"layout with {data.subset} labels, nor COVID-19-CT-Seg, UBC or MosMed folders, but {_held(root)}",
    )


def _held(root: Path) -> str:
    return ", ".join(sorted(path.name for path in root.iterdir())[:8]) or "nothing"
