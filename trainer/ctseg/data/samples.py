"""Slices ready to learn from, with the labels of each annotator kept apart. No torch: numpy only."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field, replace

import numpy as np
import numpy.typing as npt

Uint8 = npt.NDArray[np.uint8]

LESION = 254
"""A pixel that is lesion for certain. 0..254 is the probability of lesion times 254."""
IGNORE = 255
"""Not labelled. Never background: neither learnt from nor counted."""


@dataclass(frozen=True, slots=True)
class Samples:
    """n slices of H x W pixels in C channels, labelled by A annotators.

    `images` (n, C, H, W) uint8, one channel for each HU window, black to white. `masks` (n, A, H, W) uint8, one plane
    for each annotator, coded as LESION and IGNORE say; an annotator's plane of a slice he did not label is all IGNORE.
    Either may be a read-only memory map. `cases` names each slice's patient, `names` the slice.
    """

    images: Uint8
    masks: Uint8
    cases: tuple[str, ...]
    names: tuple[str, ...]
    annotators: tuple[str, ...]
    patients_known: bool
    """False: nobody knows which slices are of one patient, each is a case of its own."""
    source: str
    """For people: what was read from where."""
    spacing: npt.NDArray[np.float32]
    """(n, 3) mm between slices, rows and columns as they are here (after resizing); NaN where unknown."""
    published: npt.NDArray[np.bool_] | None = None
    """(n,) True: the slice is of the data set's published test part. None: it has none."""
    learn_only: npt.NDArray[np.bool_] | None = None
    """(n,) True: the slice's labels are good enough to learn from, not to judge by. None: there is no such slice."""
    pictures: bool = False
    """8-bit pictures that somebody has windowed, not HU in windows of ours."""
    licence: str = ""
    """For people: under which terms its source gave the data; empty where nobody said."""
    hashes: tuple[str, ...] = field(default=())
    """Hex of each slice's content (pixels and labels), for the record of a split; empty: compute them when needed."""

    def __post_init__(self) -> None:
        n = len(self.cases)
        if not (
            self.images.ndim == self.masks.ndim == 4
            and self.images.dtype == self.masks.dtype == np.uint8
            and self.images.shape[2:] == self.masks.shape[2:]
            and self.masks.shape[1] == len(self.annotators) > 0
            and n == len(self.images) == len(self.masks) == len(self.names) == len(self.spacing)
        ):
            raise ValueError(
                f"images {self.images.dtype} {self.images.shape}, masks {self.masks.dtype} {self.masks.shape}, "
                f"{n} cases, {len(self.names)} names, {len(self.annotators)} annotators do not fit together"
            )

    def __len__(self) -> int:
        return len(self.cases)

    @property
    def channels(self) -> int:
        return int(self.images.shape[1])

    def labels(self, index: Iterable[int]) -> Samples:
        """These slices for what looks at labels alone: black, and their pixels take no memory."""
        chosen = list(index)
        shape = (len(chosen), *self.images.shape[1:])
        black: Uint8 = np.broadcast_to(np.uint8(0), shape)
        return replace(
            self,
            images=black,
            masks=self.masks[chosen],
            cases=tuple(self.cases[i] for i in chosen),
            names=tuple(self.names[i] for i in chosen),
            spacing=self.spacing[chosen],
            published=None,
            learn_only=None,
            hashes=(),
        )

    def judging(self) -> Samples:
        """Without the slices that are only learnt from."""
        return self if self.learn_only is None else self.take(np.flatnonzero(~self.learn_only).tolist())

    def take(self, index: Iterable[int]) -> Samples:
        """These slices in this order. A run of neighbours is a view, anything else is copied."""
        chosen = list(index)
        run = chosen == list(range(chosen[0], chosen[0] + len(chosen))) if chosen else False
        at: slice | list[int] = slice(chosen[0], chosen[0] + len(chosen)) if run else chosen
        return replace(
            self,
            images=self.images[at],
            masks=self.masks[at],
            cases=tuple(self.cases[i] for i in chosen),
            names=tuple(self.names[i] for i in chosen),
            spacing=self.spacing[at],
            published=None if self.published is None else self.published[at],
            learn_only=None if self.learn_only is None else self.learn_only[at],
            hashes=tuple(self.hashes[i] for i in chosen) if self.hashes else (),
        )


def window(hu: npt.NDArray[np.int16], *, low: float, high: float) -> Uint8:
    """Hounsfield units to 0..255: `low` and below black, `high` and above white (padding of -2048 or -3024 is
    black).
    """
    scaled = (hu.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    grey: Uint8 = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return grey
