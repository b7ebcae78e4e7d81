"""What every reader of a layout gives: cases that can be decoded one at a time, and what is wrong with the folder.

A listing reads names only. Decoding is a function of one case, so that a cache, a pool of threads and `ctseg check` can
each do it in their own way.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal

import numpy as np
import numpy.typing as npt

import orkrun
from ctseg.data.samples import Uint8

PADDING_BELOW = -1024
"""HU. Lower values mark what lies outside the scanner's field of view (-2048, -3024): they are air, never data."""
HU_MAX = 3071
"""What 12 bit hold. Higher values are metal, which is white in every window."""
GREY_MAX = 255


@dataclass(frozen=True, slots=True)
class Volume:
    """Slices from the feet to the head, rows from front to back, columns from the patient's right to his left.

    `values` (Z, H, W): HU as int16 with padding clipped, or grey 0..255 where `grey`. `masks` (A, Z, H, W) as
    `Samples` codes labels. `spacing` mm between slices, rows, columns; NaN where unknown.
    """

    values: npt.NDArray[np.int16]
    masks: Uint8
    spacing: tuple[float, float, float]
    grey: bool
    slices: tuple[str, ...] = ()
    """Names of the slices; empty: their numbers."""


@dataclass(frozen=True, slots=True)
class Case:
    """One volume (or one slice, where that is all there is). `read` raises orkrun.DataError."""

    name: str
    patient: str
    files: tuple[Path, ...]
    read: Callable[[], Volume]
    published: bool = False
    """Of the data set's published test part."""
    learn_only: bool = False
    """With labels that nothing may be judged by (a model's answers): never held out."""


@dataclass(frozen=True, slots=True)
class Problem:
    """Something a listing found."""

    path: Path
    message: str


@dataclass(frozen=True, slots=True)
class Dataset:
    """A folder as its layout's reader sees it."""

    kind: str
    root: Path | None
    """None: made in memory."""
    cases: tuple[Case, ...]
    annotators: tuple[str, ...]
    patients_known: bool
    source: str
    pictures: bool = False
    """8-bit pictures that somebody has windowed: one channel, whichever windows are asked for."""
    licence: str = ""
    has_published_test: bool = False
    problems: tuple[Problem, ...] = field(default=())

    def refuse_problems(self) -> None:
        """Raises orkrun.DataError for the first problem, and where there is no case."""
        if self.problems:
            more = f" (and {len(self.problems) - 1} more; `ctseg check` lists them)" if len(self.problems) > 1 else ""
            raise orkrun.DataError(self.problems[0].path, self.problems[0].message + more)
        if not self.cases:
            raise orkrun.DataError(self.source, "holds no case")


GreyRange = tuple[float, float] | None
Domain = Literal["hu", "grey"]


def domain_of(values: npt.NDArray[np.int16], path: Path) -> Domain:
    """Decides by range whether a volume is in HU or in grey 0..255. Raises orkrun.DataError where it is neither.

    Air is in every chest CT: values in HU reach far below 0, a picture never does.
    """
    low, high = int(values.min()), int(values.max())
    if low <= -200:
        return "hu"
    if low >= 0 and high <= GREY_MAX:
        return "grey"
    raise orkrun.DataError(
        path, f"has values of {low} to {high}: neither HU (air is about -1000) nor grey of 0 to 255; rescale it to HU"
    )
