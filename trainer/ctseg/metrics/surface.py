"""Distances between the surfaces of two masks: NSD at a tolerance and HD95, in the unit of the spacing.

A surface is the voxels of a mask that touch one outside of it (by a face; the edge of the volume counts as outside).
With d(a, B) the distance of a surface voxel of A to the nearest surface voxel of B:

    NSD = (|{a: d(a, B) <= tolerance}| + |{b: d(b, A) <= tolerance}|) / (|A| + |B|)     (Nikolov et al. 2018)
    HD95 = max(95th percentile of d(a, B), 95th percentile of d(b, A))

Empty ones: with neither NSD is 1, with one of the two 0. HD95 is not defined (NaN) where either is empty.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Mask = npt.NDArray[np.bool_]


class Surface(NamedTuple):
    nsd: float
    hd95: float


def compare(prediction: Mask, target: Mask, *, spacing: Sequence[float], tolerance: float) -> Surface:
    """Of two masks of one shape, in 2D or 3D; `spacing` per axis. Raises ValueError for shapes that differ."""
    if prediction.shape != target.shape or prediction.ndim != len(spacing):
        raise ValueError(f"{prediction.shape}, {target.shape} and spacing of {len(spacing)} axes must fit together")
    if not prediction.any() or not target.any():
        return Surface(1.0 if prediction.any() == target.any() else 0.0, float("nan"))
    from scipy.spatial import cKDTree

    box = _box(prediction | target)  # all surfaces are inside: no distance changes
    # Trees of the surfaces: a distance transform would visit each voxel of the volume, which takes 1.2 to 12 times as
    # long on lesions of 10,000 to 140,000 surface voxels in 50 x 224 x 224.
    one, other = (np.argwhere(_border(mask[box])) * np.asarray(spacing, np.float64) for mask in (prediction, target))
    there, back = cKDTree(other).query(one)[0], cKDTree(one).query(other)[0]
    # A tolerance of a whole number of voxels must not fail by rounding.
    near = (there <= tolerance * (1 + 1e-9)).sum() + (back <= tolerance * (1 + 1e-9)).sum()
    hd95 = max(np.percentile(there, 95), np.percentile(back, 95))
    return Surface(float(near / (len(there) + len(back))), float(hd95))


def _box(mask: Mask) -> tuple[slice, ...]:
    slices = []
    for axis in range(mask.ndim):
        used = np.flatnonzero(mask.any(axis=tuple(a for a in range(mask.ndim) if a != axis)))
        slices.append(slice(int(used[0]), int(used[-1]) + 1))
    return tuple(slices)


def _border(mask: Mask) -> Mask:
    inner = np.pad(mask, 1)
    kept = mask.copy()
    middle = (slice(1, -1),) * mask.ndim
    for axis in range(mask.ndim):
        for shift in (-1, 1):
            kept &= np.roll(inner, shift, axis)[middle]
    return mask & ~kept
