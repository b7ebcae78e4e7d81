"""How far annotators agree: of each pair, of all, by STAPLE, and where to look. From votes; numpy only.

A figure is None where it is not defined: no pixel that both have labelled, no lesion in either mask (Dice), or nothing
that could vary by chance (kappa).
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from ctseg.labels.coding import IGNORE, MISSING, Labels, Votes, count, total, vote
from ctseg.labels.components import components
from ctseg.labels.staple import staple

FORMAT = 1
"""Of `report`'s content."""


@dataclass(frozen=True, slots=True)
class Case:
    """One patient's labels (slices, A, H, W) by the annotators of `report`, in their order; who has none is all
    IGNORE.
    """

    name: str
    labels: Labels


def dice(votes: Votes) -> float | None:
    """Of two annotators, over what both have labelled: 2 |a and b| / (|a| + |b|)."""
    both = votes.where(1, 1)
    marked = votes.where(1, 1) + votes.where(1, 0) + both + votes.where(0, 1)
    return 2 * both / marked if marked else None


def cohen(votes: Votes) -> float | None:
    """Cohen's kappa of two annotators (Educational and Psychological Measurement 20, 1960)."""
    yes, no, first, second = votes.where(1, 1), votes.where(0, 0), votes.where(1, 0), votes.where(0, 1)
    pixels = yes + no + first + second
    if not pixels:
        return None
    seen = (yes + no) / pixels
    a, b = (yes + first) / pixels, (yes + second) / pixels
    chance = a * b + (1 - a) * (1 - b)
    return (seen - chance) / (1 - chance) if chance < 1 else None


def fleiss(votes: Votes) -> float | None:
    """Fleiss' kappa (Psychological Bulletin 76, 1971) over pixels with at least two votes, how many may differ.

    The agreement of a pixel is the share of its pairs of votes that are equal; chance is by the mean over pixels of the
    share of lesion. With as many votes everywhere it is Fleiss' formula.
    """
    lesion = (votes.given == 1).sum(axis=1).astype(np.float64)
    voters = (votes.given != MISSING).sum(axis=1).astype(np.float64)
    rated = (voters >= 2) & (votes.pixels > 0)
    if not rated.any():
        return None
    lesion, voters, pixels = lesion[rated], voters[rated], votes.pixels[rated].astype(np.float64)
    clear = voters - lesion
    equal = (lesion * (lesion - 1) + clear * (clear - 1)) / (voters * (voters - 1))
    seen = float(pixels @ equal / pixels.sum())
    share = float(pixels @ (lesion / voters) / pixels.sum())
    chance = share**2 + (1 - share) ** 2
    return (seen - chance) / (1 - chance) if chance < 1 else None


def report(cases: Iterator[Case] | Sequence[Case], annotators: Sequence[str]) -> dict[str, Any]:
    """All of it as plain values, for JSON. Cases are taken one at a time, so that any number of them fits in memory."""
    parts: list[Votes] = []
    rows: list[dict[str, Any]] = []
    for case in cases:
        votes, _ = count(case.labels)
        parts.append(votes)
        rows.append(_case(case, votes, annotators))
    if not rows:
        raise ValueError("there is no case to report on")
    pooled = total(parts)
    pairs = []
    for a, b in itertools.combinations(range(len(annotators)), 2):
        each = [part.of(a, b) for part in parts]
        both = pooled.of(a, b)
        per_case = [dice(votes) for votes in each]
        kappas = [cohen(votes) for votes in each]
        pairs.append(
            {
                "annotators": [annotators[a], annotators[b]],
                "pixels": int(both.pixels.sum()),
                "dice": dice(both),
                "dice_case": _mean(per_case),
                "cases_with_lesion": sum(value is not None for value in per_case),
                "kappa": cohen(both),
                "kappa_case": _mean(kappas),
            }
        )
    estimates = [staple(part) for part in parts]
    estimate = staple(pooled)
    return {
        "format": FORMAT,
        "annotators": [
            {
                "name": name,
                "slices_labelled": sum(row["annotators"][name]["slices_labelled"] for row in rows),
                "slices": sum(row["slices"] for row in rows),
                "gaps": sum(len(row["annotators"][name]["gaps"]) for row in rows),
                "lesions": sum(row["annotators"][name]["lesions"] for row in rows),
                "staple_sensitivity": _known(estimate.sensitivity[a]),
                "staple_specificity": _known(estimate.specificity[a]),
                "staple_sensitivity_case": _mean([_known(one.sensitivity[a]) for one in estimates]),
                "staple_specificity_case": _mean([_known(one.specificity[a]) for one in estimates]),
            }
            for a, name in enumerate(annotators)
        ],
        "pairs": pairs,
        "fleiss_kappa": fleiss(pooled),
        "fleiss_kappa_case": _mean([fleiss(part) for part in parts]),
        "cases": rows,
    }


def _case(case: Case, votes: Votes, annotators: Sequence[str]) -> dict[str, Any]:
    given = vote(case.labels)
    labelled = (case.labels != IGNORE).any(axis=(2, 3))
    marked = (given == 1).any(axis=(2, 3))
    each = {
        name: {
            "slices_labelled": int(labelled[:, a].sum()),
            "unlabelled": np.flatnonzero(~labelled[:, a]).tolist(),
            "gaps": gaps(labelled[:, a].tolist()),
            "lesions": components(given[:, a] == 1)[1],
            "slices_with_lesion": int(marked[:, a].sum()),
        }
        for a, name in enumerate(annotators)
    }
    split = []
    for z in range(len(given)):
        yes = [name for a, name in enumerate(annotators) if labelled[z, a] and marked[z, a]]
        no = [name for a, name in enumerate(annotators) if labelled[z, a] and not marked[z, a]]
        if yes and no:
            split.append({"slice": z, "lesion": yes, "none": no})
    # Who has left slices out has counted elsewhere: the number of lesions is compared over what all have labelled.
    everybody = [a for a in range(len(annotators)) if labelled[:, a].any()]
    shared = labelled[:, everybody].all(axis=1)
    counted = {annotators[a]: components(given[shared, a] == 1)[1] for a in everybody} if shared.any() else {}
    return {
        "case": case.name,
        "slices": len(given),
        "fleiss_kappa": fleiss(votes),
        "annotators": each,
        "split_slices": split,
        "lesion_counts": counted,
        "lesion_counts_differ": len(set(counted.values())) > 1,
        "labelled_by_nobody": np.flatnonzero(~labelled.any(axis=1)).tolist(),
    }


def gaps(labelled: Sequence[bool]) -> list[list[int]]:
    """Runs of unlabelled slices [first, last] within the labelled range: what lies outside it is no gap."""
    found: list[list[int]] = []
    inside = [z for z, is_labelled in enumerate(labelled) if is_labelled]
    for before, after in itertools.pairwise(inside):
        if after - before > 1:
            found.append([before + 1, after - 1])
    return found


def _mean(values: Sequence[float | None]) -> float | None:
    known = [value for value in values if value is not None]
    return math.fsum(known) / len(known) if known else None


def _known(value: float) -> float | None:
    return None if math.isnan(value) else float(value)
