"""Several annotators' masks become one target. numpy only; `ctseg.labels.coding` says how a label is written.

An annotator who has not labelled a slice or a pixel has no vote there; where nobody has one, the target is IGNORE.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt

from ctseg.config.labels import Rule
from ctseg.labels.coding import IGNORE, LESION, MISSING, Labels, count, vote
from ctseg.labels.staple import staple

TRUTH = "truth"
"""Who is right by construction (a phantom's own mask): judges, and is not learnt from where others are."""


def learnt_from(annotators: Sequence[str]) -> list[int]:
    """The planes that a training may see: all but the truth, which is left where there is nobody else."""
    return [i for i, name in enumerate(annotators) if name != TRUTH] or list(range(len(annotators)))


def judged_by(annotators: Sequence[str]) -> list[int]:
    """The planes that held-out slices are compared with: the truth where it is known, else everybody's."""
    return [i for i, name in enumerate(annotators) if name == TRUTH] or list(range(len(annotators)))


def fuse(
    masks: Labels,
    *,
    rule: Rule,
    rng: np.random.Generator | None = None,
    cases: Sequence[str] | None = None,
) -> Labels:
    """(n, A, H, W) labels of A annotators to (n, H, W) in the same coding; of one annotator their own, unchanged.

    union, majority and intersection: hard votes (a soft label of at least one half is one for a lesion); a tied
    majority is a lesion, since annotators overlook more than they invent. soft: the mean of the probabilities of those
    who have labelled the pixel. staple: the probability by STAPLE, estimated for each case over all its slices
    (`cases` names the case of each slice; None: all are one): a single slice has too few lesion pixels, often none, to
    tell what an annotator is worth, and the whole data set would hide that one patient was harder than another.
    random: per slice one of those who have labelled anything in it, by `rng`.

    Raises ValueError for another shape or type, for "random" without `rng`.
    """
    if masks.ndim != 4 or masks.dtype != np.uint8 or not masks.shape[1]:
        raise ValueError(f"masks are (n, A, H, W) uint8 of at least one annotator, not {masks.shape} {masks.dtype}")
    if cases is not None and len(cases) != len(masks):
        raise ValueError(f"{len(cases)} cases are named for {len(masks)} slices")
    if masks.shape[1] == 1:
        only: Labels = masks[:, 0]
        return only
    if rule == "random":
        if rng is None:
            raise ValueError("random draws an annotator per slice: it needs rng")
        return _random(masks, rng)
    if rule == "soft":
        return _soft(masks)
    if rule == "staple":
        return _staple(masks, cases)
    given = vote(masks)
    lesion = (given == 1).sum(axis=1)
    voters = (given != MISSING).sum(axis=1)
    needed = {"union": np.int64(1), "majority": voters / 2, "intersection": voters}[rule]
    fused = np.where(lesion >= needed, LESION, 0).astype(np.uint8)
    fused[voters == 0] = IGNORE
    return fused


def draw(labelled: npt.NDArray[np.bool_], rng: np.random.Generator) -> npt.NDArray[np.int64]:
    """For each slice one of those who have labelled anything in it (n, A); the first where nobody has."""
    # One number per slice, whoever has labelled it: no slice's annotator depends on another's labels.
    luck = rng.random(len(labelled))
    wanted = (luck * labelled.sum(axis=1)).astype(np.int64) + 1
    chosen: npt.NDArray[np.int64] = (np.cumsum(labelled, axis=1) >= wanted[:, None]).argmax(axis=1)
    return chosen


def _random(masks: Labels, rng: np.random.Generator) -> Labels:
    drawn: Labels = masks[np.arange(len(masks)), draw((masks != IGNORE).any(axis=(2, 3)), rng)]
    return drawn


def _soft(masks: Labels) -> Labels:
    voted = masks != IGNORE
    voters = voted.sum(axis=1)
    total = np.where(voted, masks, 0).sum(axis=1, dtype=np.float64)
    fused: Labels = np.rint(total / np.maximum(voters, 1)).astype(np.uint8)
    fused[voters == 0] = IGNORE
    return fused


def _staple(masks: Labels, cases: Sequence[str] | None) -> Labels:
    fused = np.empty((len(masks), *masks.shape[2:]), dtype=np.uint8)
    names = np.array(cases if cases is not None else [""] * len(masks))
    for case in dict.fromkeys(names.tolist()):
        index: npt.NDArray[np.intp] = np.flatnonzero(names == case)
        votes, pattern = count(masks[index])
        probability = staple(votes).probability
        label = np.where(np.isnan(probability), IGNORE, np.rint(np.nan_to_num(probability) * LESION))
        fused[index] = label.astype(np.uint8)[pattern]
    return fused
