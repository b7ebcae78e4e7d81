"""Slices ready to learn from, all in memory, and which of them are held out. No torch: numpy only."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import orkrun


@dataclass(frozen=True, slots=True)
class Samples:
    """n slices. `images` (n, H, W) uint8, black to white; `masks` (n, H, W) bool; `cases` names each slice's
    patient.
    """

    images: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.bool_]
    cases: tuple[str, ...]
    names: tuple[str, ...]
    patients_known: bool
    """False: nobody knows which slices are of one patient, each is a case of its own."""
    source: str
    """For people: what was read from where."""

    def __len__(self) -> int:
        return len(self.cases)

    def take(self, index: Sequence[int]) -> Samples:
        chosen = list(index)
        return Samples(
            images=self.images[chosen],
            masks=self.masks[chosen],
            cases=tuple(self.cases[i] for i in chosen),
            names=tuple(self.names[i] for i in chosen),
            patients_known=self.patients_known,
            source=self.source,
        )


@dataclass(frozen=True, slots=True)
class Split:
    """Indices of the slices to learn from and of those held out; no case is in both."""

    train: tuple[int, ...]
    val: tuple[int, ...]


def split_by_case(cases: Sequence[str], *, val_fraction: float, seed: int, source: str) -> Split:
    """Holds out whole cases: ceil(fraction x cases), at least one, never all.

    Ordered by a hash of seed and name, so that the split depends neither on the order of files nor on how many other
    cases there are: a new patient moves no old one by more than the size of the held-out part. Raises orkrun.DataError
    where there is but one case.
    """
    names = set(cases)
    if len(names) < 2:
        raise orkrun.DataError(source, f"{len(names)} case(s): at least 2 are needed to hold one out for validation")
    ordered = sorted(names, key=lambda name: hashlib.sha256(f"{seed}:{name}".encode()).digest())
    held_out = set(ordered[: min(math.ceil(val_fraction * len(ordered)), len(ordered) - 1)])
    return Split(
        train=tuple(i for i, case in enumerate(cases) if case not in held_out),
        val=tuple(i for i, case in enumerate(cases) if case in held_out),
    )


def window(hu: npt.NDArray[np.int16], *, low: float, high: float) -> npt.NDArray[np.uint8]:
    """Hounsfield units to 0..255: `low` and below black, `high` and above white (padding of -2048 or -3024 is
    black).
    """
    scaled = (hu.astype(np.float32) - np.float32(low)) * np.float32(255.0 / (high - low))
    grey: npt.NDArray[np.uint8] = np.clip(np.rint(scaled), 0, 255).astype(np.uint8)
    return grey
