"""Of `ctseg check`: the split that a training would make of a folder, and slices that show the same place on both of
its sides, or of the published one.
"""

from __future__ import annotations

import tempfile
from collections import Counter
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any, Literal, NamedTuple

import numpy as np
from PIL import Image

import orkrun
from ctseg import config
from ctseg.data import duplicates
from ctseg.data import split as splits
from ctseg.data.dataset import Case, Dataset, Volume
from ctseg.data.prepare import prepare
from ctseg.data.samples import Samples, Uint8

if TYPE_CHECKING:
    from ctseg.data.check import Report

THUMB = 160  # pixels of a picture's side
_MOST_PAIRS = 200  # listed one by one; all are counted
_MOST_PICTURES = 24

Kind = Literal["across the split", "across the published training and test parts", "of two patients", "kept together"]


class Duplicate(NamedTuple):
    one: str
    other: str
    ncc: float
    kind: Kind


@dataclass(slots=True)
class Seen:
    """All slices as a training sees them: its split depends on them. On disk, so that any number fits."""

    _images: Any = field(default_factory=tempfile.TemporaryFile)
    _masks: Any = field(default_factory=tempfile.TemporaryFile)
    _shapes: tuple[tuple[int, ...], tuple[int, ...]] = ((), ())
    _rows: list[dict[str, Any]] = field(default_factory=list)

    def add(self, case: Case, volume: Volume, dataset: Dataset, data: config.Data) -> None:
        changes: dict[str, Any] = {}
        # What a training refuses is told by the check; the slices are looked at all the same.
        if volume.grey and not dataset.pictures and data.grey_range is None:
            changes["grey_range"] = data.windows[0]
        if not np.isfinite(volume.spacing[1:]).all():
            changes["spacing"] = None
        known = replace(case, read=lambda: volume)
        images, masks, _, names = prepare(known, data.model_copy(update=changes), pictures=dataset.pictures)
        try:
            for file, array in zip(self._files(), (images, masks), strict=True):
                file.write(array.tobytes())
                file.flush()
        except OSError as error:
            raise orkrun.OutputError(
                f"{tempfile.gettempdir()} has no room for the decoded slices ({error.strerror or error}); TMPDIR names "
                "another folder"
            ) from error
        self._shapes = (images.shape[1:], masks.shape[1:])
        row = {"cases": case.patient, "published": case.published, "learn_only": case.learn_only}
        self._rows += [{**row, "names": name} for name in names]

    def samples(self, dataset: Dataset) -> Samples | None:
        """None where there is no slice."""
        if not self._rows:
            return None
        images, masks = (self._map(file, shape) for file, shape in zip(self._files(), self._shapes, strict=True))
        cases, names, published, learn_only = (
            [row[name] for row in self._rows] for name in ("cases", "names", "published", "learn_only")
        )
        return Samples(
            images=images,
            masks=masks,
            cases=tuple(cases),
            names=tuple(names),
            annotators=dataset.annotators,
            patients_known=dataset.patients_known,
            source=str(dataset.root or dataset.source),
            spacing=np.full((len(names), 3), np.nan, np.float32),
            published=np.array(published) if any(published) else None,
            learn_only=np.array(learn_only) if any(learn_only) else None,
        )

    def _files(self) -> tuple[Any, Any]:
        return self._images, self._masks

    def _map(self, file: Any, shape: tuple[int, ...]) -> Uint8:
        return np.memmap(file, np.uint8, "r", shape=(len(self._rows), *shape))


def check_split(
    report: Report, dataset: Dataset, settings: config.Split, samples: Samples, *, thumbnails: bool
) -> None:
    """Looks at all pairs of slices, whether patients are known or not. `thumbnails`: keeps pictures of the first."""
    side: dict[int, str] = {}
    own = list(range(len(samples)))
    if samples.published is not None and not settings.published:
        # A training reads the published training part alone, and splits that.
        side = {int(i): "test" for i in np.flatnonzero(samples.published)}
        own = [i for i in own if i not in side]
    try:
        split = splits.make(samples.take(own) if side else samples, settings)
    except orkrun.DataError as error:
        report.add("error", "split", error.path, str(error).removeprefix(f"{error.path}: "))
    else:
        for part in ("train", "val", "left_out"):
            side |= {own[i]: part for i in getattr(split, part)}
        report.split = {
            "by": split.by,
            "train": len(split.train),
            "val": len(split.val),
            "left_out": len(split.left_out),
            "test": list(side.values()).count("test"),
            "leaky": split.leaky,
        }
    found: Counter[Kind] = Counter()
    for i, j, ncc in duplicates.pairs(duplicates.thumbnails(samples.images)):
        kind = _kind(side.get(i, ""), side.get(j, ""), samples, i, j)
        if kind is None:
            continue
        one, other = samples.names[i], samples.names[j]
        report.duplicates.append(Duplicate(one, other, ncc, kind))
        if thumbnails and len(report.pairs) < _MOST_PICTURES:
            both = np.concatenate([_small(samples.images[k, 0]) for k in (i, j)], axis=1)
            report.pairs.append((f"{one} and {other}, {ncc:.3f}, {kind}", np.repeat(both[..., None], 3, axis=2)))
        found[kind] += 1
        if kind != "kept together" and found[kind] <= _MOST_PAIRS:
            # Patients of a phantom are made one by one: ends of lungs look alike there, and leak nothing.
            leaks = kind == "across the split" and dataset.kind != "phantom"
            level: Literal["error", "warning"] = "error" if leaks else "warning"
            report.add(level, "near-duplicate", one, f"and {other} correlate at {ncc:.3f}, {kind}")
    for kind, count in found.items():
        if kind == "kept together":
            pairs = "pair of slices looks" if count == 1 else "pairs of slices look"
            message = f"{count} {pairs} alike; patients are unknown: the split keeps them on one side"
            report.add("warning", "near-duplicate", report.root, message)
        elif count > _MOST_PAIRS:
            report.add("warning", "near-duplicate", report.root, f"{count} pairs {kind}, {_MOST_PAIRS} are listed")


def _small(image: Uint8) -> Uint8:
    return np.asarray(Image.fromarray(image).resize((THUMB, THUMB), Image.Resampling.BILINEAR))


def _kind(one: str, other: str, samples: Samples, i: int, j: int) -> Kind | None:
    """What is to be said of two slices that look alike; None: nothing."""
    if "left_out" in (one, other):
        return None
    if {one, other} == {"train", "val"}:
        return "across the split"
    if (one == "test") != (other == "test"):
        return "across the published training and test parts"
    if not samples.patients_known:
        return "kept together"
    return "of two patients" if samples.cases[i] != samples.cases[j] else None
