"""Which slices are held out: whole patients always; where patients are unknown, whole groups of near-duplicates.

Held-out patients are spread over the range of lesion load, so that neither side has all the severe ones. The published
split of a data set is used where it is asked for by name only, and is called leaky in every record.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from itertools import pairwise
from pathlib import Path
from typing import Any

import numpy as np

import orkrun
from ctseg import config
from ctseg.data import duplicates
from ctseg.data.samples import IGNORE, LESION, Samples
from ctseg.labels.fuse import judged_by

FORMAT = 1


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of the slices to learn from and of those held out. No group is in both, unless `leaky`."""

    train: tuple[int, ...]
    val: tuple[int, ...]
    groups: tuple[str, ...] = ()
    """For each slice the name of what it is kept together with."""
    by: str = "patient"
    extra: int = 0
    """How many of `train`, its last ones, are slices that are only learnt from."""
    left_out: tuple[int, ...] = ()
    """Of those the ones that are in neither part: they show what a held-out slice shows."""
    leaky: str = ""
    """Why figures of this split are too good, for people; empty where they are not."""


def make(samples: Samples, settings: config.Split) -> Split:
    """Slices that are only learnt from change nothing about who is held out, and go where they do not give it away.
    Raises orkrun.DataError: too few patients or groups, or nothing labelled to learn from.
    """
    if samples.learn_only is None:
        return _of_judged(samples, settings)
    own, extra = (np.flatnonzero(samples.learn_only == which).tolist() for which in (False, True))
    if not own:
        raise orkrun.DataError(samples.source, "has no slice that could be held out: all are to be learnt from only")
    inner = _of_judged(samples.take(own), settings)
    val = [own[i] for i in inner.val]
    held_out, patients = set(val), {samples.cases[i] for i in val}
    alike = {
        left if right in held_out else right
        for left, right, _ in duplicates.pairs(duplicates.thumbnails(samples.images))
        if (left in held_out) != (right in held_out)
    }
    kept = [i for i in extra if i not in alike and samples.cases[i] not in patients]
    groups = {own[i]: group for i, group in enumerate(inner.groups)} | {i: samples.names[i] for i in extra}
    split = Split(
        train=tuple([own[i] for i in inner.train] + kept),
        val=tuple(val),
        groups=tuple(groups[i] for i in range(len(samples))),
        by=inner.by,
        extra=len(kept),
        left_out=tuple(sorted(set(extra) - set(kept))),
        leaky=inner.leaky,
    )
    if not split.leaky:
        assert_disjoint(split)
    return split


def _of_judged(samples: Samples, settings: config.Split) -> Split:
    if settings.published:
        return _published(samples)
    if samples.patients_known:
        groups: Sequence[str] = samples.cases
        by = "patient"
    else:
        found = duplicates.groups(duplicates.thumbnails(samples.images))
        groups = [samples.names[root] for root in found]
        by = "group of near-duplicate slices"
    held_out = hold_out(groups, lesion_load(samples), settings=settings, source=samples.source)
    split = Split(
        train=tuple(i for i, group in enumerate(groups) if group not in held_out),
        val=tuple(i for i, group in enumerate(groups) if group in held_out),
        groups=tuple(groups),
        by=by,
    )
    assert_disjoint(split)
    for part, name in ((split.train, "training"), (split.val, "validation")):
        if not any((samples.masks[i] != IGNORE).any() for i in part):
            raise orkrun.DataError(samples.source, f"no pixel of the {name} slices is labelled; another data.split")
    return split


def hold_out(groups: Sequence[str], load: Sequence[float], *, settings: config.Split, source: str) -> set[str]:
    """Names of the groups to hold out. Does not depend on the order of slices.

    Groups are ranked by their mean lesion load (of slices, 0..1). With k folds each run of k neighbours in rank gives
    one to each fold, by a hash of seed and name; without, the ranks are cut into as many runs as groups are to be held
    out (ceil of the fraction, never all) and each gives one.
    """
    loads: dict[str, list[float]] = defaultdict(list)
    for group, value in zip(groups, load, strict=True):
        loads[group].append(value)
    needed = settings.folds or 2
    if len(loads) < needed:
        raise orkrun.DataError(
            source,
            f"{len(loads)} case(s) that can be told apart: at least {needed} are needed to hold one out for validation",
        )

    def luck(name: str) -> bytes:
        return hashlib.sha256(f"{settings.seed}:{name}".encode()).digest()

    ranked = sorted(loads, key=lambda name: (math.fsum(sorted(loads[name])) / len(loads[name]), luck(name)))
    if settings.folds is not None:
        folds = settings.folds
        chosen = set()
        for start in range(0, len(ranked), folds):
            stratum = sorted(ranked[start : start + folds], key=luck)
            if len(stratum) < folds:
                # A last stratum that is not full goes to folds drawn by the seed, not always to the first ones.
                turn = int.from_bytes(luck("")[:4], "big") + start
                chosen |= {name for i, name in enumerate(stratum) if (i + turn) % folds == settings.fold}
            elif settings.fold < len(stratum):
                chosen.add(stratum[settings.fold])
        return chosen
    count = min(math.ceil(settings.val_fraction * len(ranked)), len(ranked) - 1)
    edges = [round(i * len(ranked) / count) for i in range(count + 1)]
    return {min(ranked[a:b], key=luck) for a, b in pairwise(edges)}


def lesion_load(samples: Samples) -> list[float]:
    """For each slice the share of lesion among what is labelled, over all who judge it (a phantom's truth, so that no
    noise moves a patient to the other side); 0 where nothing is.
    """
    load = []
    judges = judged_by(samples.annotators)
    for planes in samples.masks:
        plane = planes[judges]
        labelled = plane != IGNORE
        count = int(labelled.sum())
        load.append(float(plane[labelled].sum(dtype=np.int64)) / (LESION * count) if count else 0.0)
    return load


def assert_disjoint(split: Split) -> None:
    """Raises AssertionError: a patient or group on both sides would make every figure worthless."""
    train, val = ({split.groups[i] for i in part} for part in (split.train, split.val))
    if train & val or set(split.train) & set(split.val):
        raise AssertionError(f"{sorted(train & val)[:3]} would be on both sides of the split")


def _published(samples: Samples) -> Split:
    if samples.published is None or samples.published.all():
        raise orkrun.DataError(samples.source, "has no published split: data.split.published is to be left out")
    train = tuple(int(i) for i in np.flatnonzero(~samples.published))
    val = tuple(int(i) for i in np.flatnonzero(samples.published))
    shared = 0
    if not samples.patients_known:
        on_test = samples.published
        shared = sum(
            bool(on_test[i] != on_test[j]) for i, j, _ in duplicates.pairs(duplicates.thumbnails(samples.images))
        )
    reason = f"the published split: patients are not kept apart ({shared} near-duplicate pairs across it)"
    return Split(train, val, samples.cases, by="published part", leaky=reason)


def record(samples: Samples, split: Split, settings: config.Split) -> dict[str, Any]:
    """What split.json holds: names, groups and content hashes of both sides."""

    def part(index: tuple[int, ...]) -> dict[str, str]:
        return {samples.names[i]: samples.hashes[i] if samples.hashes else "" for i in index}

    return {
        "format": FORMAT,
        "source": samples.source,
        "by": split.by,
        "leaky": split.leaky,
        "settings": settings.model_dump(mode="json"),
        "train": [samples.names[i] for i in split.train],
        "extra": split.extra,
        "val": [samples.names[i] for i in split.val],
        "left_out": [samples.names[i] for i in split.left_out],
        "groups": {samples.names[i]: split.groups[i] for i in range(len(samples))},
        "hashes": part(split.train + split.val),
    }


def keep(path: Path, samples: Samples, split: Split, settings: config.Split) -> None:
    """Writes split.json, or compares with the one a former attempt wrote: figures of two attempts belong to one run.
    Raises orkrun.DataError where the data has changed since.
    """
    content = record(samples, split, settings)
    try:
        before = json.loads(path.read_bytes())
    except (OSError, ValueError):
        before = None
    if isinstance(before, dict) and before.get("format") == FORMAT:
        for part in ("train", "val", "hashes"):
            if before.get(part) != content[part]:
                raise orkrun.DataError(
                    samples.source,
                    f"has changed since this run began ({path} has other {part}); a new output folder starts anew",
                )
        return
    orkrun.write_atomic(path, json.dumps(content, indent=1).encode())
