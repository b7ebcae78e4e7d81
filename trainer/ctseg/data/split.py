"""Which slices are held out: by patient always."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass

import orkrun


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
