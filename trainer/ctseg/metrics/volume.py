"""Volumes and their error.

error = predicted - true        relative error = (predicted - true) / true, not defined (NaN) without a lesion
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt


def millilitres(mask: npt.NDArray[np.bool_], spacing: Sequence[float]) -> float:
    """Of a mask with `spacing` in mm per axis of a volume; NaN where one is unknown."""
    return float(mask.sum()) * float(np.prod(np.asarray(spacing, np.float64))) / 1000


def relative_error(predicted: float, true: float) -> float:
    """Of two volumes in any one unit."""
    return (predicted - true) / true if true > 0 else float("nan")
