"""STAPLE (Warfield, Zou, Wells: IEEE TMI 23(7), 2004): the likely truth, and how good each annotator is, from votes.

Own code, since the usual ones have no way to say that an annotator has not labelled a pixel, and a missing vote is no
vote for background. It runs over the patterns of votes instead of the pixels: at most 3 ** A of them, whatever the size
of the volume. Where no vote is missing it is what SimpleITK's filter does; a test compares the two.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ctseg.labels.coding import MISSING, Votes

_START = 0.99999  # sensitivity and specificity at the start, as in ITK
_TOLERANCE = 1e-8  # of both, between two rounds
_ROUNDS = 500  # it converges in tens; where hardly anything is labelled the optimum is flat
_DIGITS = 11  # two annotators with equal votes stay equal: rounding would decide between them, by their order
_TINY = 1e-300  # logarithm of nothing


@dataclass(frozen=True, slots=True)
class Staple:
    """The estimate. NaN: an annotator without a vote, or nothing to be sensitive (or specific) to."""

    probability: npt.NDArray[np.float64]
    """(patterns,): of a lesion; NaN where nobody has voted."""
    sensitivity: npt.NDArray[np.float64]
    """(annotators,)"""
    specificity: npt.NDArray[np.float64]
    """(annotators,)"""


def staple(votes: Votes) -> Staple:
    """Expectation maximisation. The prior is the share of lesion among all votes, the same for every pixel."""
    given, pixels = votes.given, votes.pixels.astype(np.float64)
    voted = given != MISSING
    heard = voted.any(axis=1)
    lesion = (given == 1).astype(np.float64)
    clear = (given == 0).astype(np.float64)
    votes_total = pixels @ voted.sum(axis=1)
    annotators = votes.annotators
    unknown = np.full(annotators, np.nan)
    if votes_total == 0:
        return Staple(np.full(len(pixels), np.nan), unknown, unknown.copy())
    prior = float(pixels @ lesion.sum(axis=1) / votes_total)
    if prior in (0.0, 1.0):  # all votes are the same: there is nothing to estimate
        seen = pixels @ voted > 0
        one = np.where(seen, 1.0, np.nan)
        return Staple(
            np.where(heard, prior, np.nan), one if prior == 1 else unknown, one.copy() if prior == 0 else unknown
        )
    sensitivity = np.full(annotators, _START)
    specificity = np.full(annotators, _START)
    probability = np.zeros(len(pixels))
    for _ in range(_ROUNDS):
        is_lesion = np.log(prior) + lesion @ _log(sensitivity) + clear @ _log(1 - sensitivity)
        is_clear = np.log1p(-prior) + lesion @ _log(1 - specificity) + clear @ _log(specificity)
        probability = 1 / (1 + np.exp(np.clip(is_clear - is_lesion, -700, 700)))
        truly, falsely = pixels * probability, pixels * (1 - probability)
        new_sensitivity = _ratio(truly @ lesion, truly @ voted)
        new_specificity = _ratio(falsely @ clear, falsely @ voted)
        change = max(
            float(np.nanmax(np.abs(new_sensitivity - sensitivity), initial=0)),
            float(np.nanmax(np.abs(new_specificity - specificity), initial=0)),
        )
        sensitivity, specificity = new_sensitivity, new_specificity
        if change < _TOLERANCE:
            break
    return Staple(np.where(heard, probability, np.nan), sensitivity, specificity)


def _log(values: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of an annotator who has never voted, any number: no pattern holds a vote of theirs."""
    return np.log(np.maximum(np.nan_to_num(values, nan=0.5), _TINY))


def _ratio(part: npt.NDArray[np.float64], whole: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    with np.errstate(invalid="ignore", divide="ignore"):
        ratio: npt.NDArray[np.float64] = np.where(whole > 0, part / whole, np.nan)
    return np.minimum(np.round(ratio, _DIGITS), 1.0)
