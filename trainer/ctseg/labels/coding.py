"""Labels as votes, and votes counted by pattern. numpy only. How a label is written in a byte is said in
`ctseg.data.samples`.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

from ctseg.data.samples import IGNORE, LESION

__all__ = ["HALF", "IGNORE", "LESION", "MISSING", "Labels", "Votes", "count", "total", "vote"]

HALF = 127  # from here on a soft label is a vote for a lesion
MISSING = 2  # in `Votes.given`
_FEW = 10  # annotators: 59049 patterns at most

Labels = npt.NDArray[np.uint8]


def vote(masks: Labels) -> npt.NDArray[np.int8]:
    """Each label as 0 (background), 1 (lesion: a probability of at least one half) or MISSING (IGNORE)."""
    given = (masks >= HALF).astype(np.int8)
    given[masks == IGNORE] = MISSING
    return given


@dataclass(frozen=True, slots=True)
class Votes:
    """All pixels by what the annotators said of them. Few patterns stand for any number of pixels, and add up."""

    given: npt.NDArray[np.int8]
    """(patterns, annotators): 0, 1 or MISSING. No pattern twice; one that nobody voted in may be among them."""
    pixels: npt.NDArray[np.int64]
    """(patterns,): how many pixels have it."""

    @property
    def annotators(self) -> int:
        return int(self.given.shape[1])

    def of(self, *annotators: int) -> Votes:
        """Of these annotators alone, where each of them has voted."""
        chosen = self.given[:, annotators]
        both = (chosen != MISSING).all(axis=1)
        return Votes(chosen[both], self.pixels[both])

    def where(self, *values: int | None) -> int:
        """Pixels of which the annotators said just this; None: whatever."""
        same = np.ones(len(self.pixels), dtype=bool)
        for annotator, value in enumerate(values):
            if value is not None:
                same &= self.given[:, annotator] == value
        return int(self.pixels[same].sum())


def count(masks: Labels) -> tuple[Votes, npt.NDArray[np.intp]]:
    """Of (n, A, H, W) labels the votes, and the pattern of each pixel, (n, H, W)."""
    slices, annotators, height, width = masks.shape
    if annotators > 30:
        raise ValueError(f"{annotators} annotators: at most 30 can be told apart")
    given = vote(masks)
    code = np.zeros((slices, height, width), dtype=np.int64)
    for annotator in range(annotators):
        code = code * 3 + given[:, annotator]
    if annotators <= _FEW:  # without sorting all pixels
        often = np.bincount(code.ravel(), minlength=3**annotators)
        codes = np.flatnonzero(often)
        pixels = often[codes]
        pattern = np.searchsorted(codes, np.arange(3**annotators))[code]
    else:
        codes, pattern, pixels = np.unique(code, return_inverse=True, return_counts=True)
    powers = 3 ** np.arange(annotators - 1, -1, -1, dtype=np.int64)
    return (
        Votes(((codes[:, None] // powers) % 3).astype(np.int8), pixels.astype(np.int64)),
        pattern.reshape(code.shape),
    )


def total(parts: list[Votes]) -> Votes:
    """The votes of several cases together. All are of the same annotators; at least one is given."""
    given, pattern = np.unique(np.concatenate([part.given for part in parts]), axis=0, return_inverse=True)
    pixels = np.zeros(len(given), dtype=np.int64)
    np.add.at(pixels, pattern.reshape(-1), np.concatenate([part.pixels for part in parts]))
    return Votes(given, pixels)
