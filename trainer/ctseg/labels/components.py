"""Connected lesions: which voxels hang together. numpy only."""

from __future__ import annotations

import itertools

import numpy as np
import numpy.typing as npt


def components(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], int]:
    """The lesions of a mask of any dimension, touching at a corner being enough: labels 1..n of that shape, and n.

    Numbered in the order in which they begin. Each voxel starts as its own lesion; neighbours take the lower number and
    every voxel then that of its number's holder, so that even a long one is done in a few rounds.
    """
    mask = np.asarray(mask, dtype=bool)
    at = np.full(mask.shape, -1, dtype=np.int64)
    size = int(mask.sum())
    at[mask] = np.arange(size)
    pairs = []
    for step in itertools.product((-1, 0, 1), repeat=mask.ndim):
        if step <= (0,) * mask.ndim:  # each pair of neighbours once
            continue
        one = at[tuple(slice(max(-s, 0), -s if s > 0 else None) for s in step)]
        other = at[tuple(slice(max(s, 0), s if s < 0 else None) for s in step)]
        both = (one >= 0) & (other >= 0)
        pairs.append(np.stack([one[both], other[both]]))
    left, right = np.concatenate(pairs, axis=1)
    lowest = np.arange(size)
    while True:
        a, b = lowest[left], lowest[right]
        apart = a != b
        if not apart.any():
            break
        np.minimum.at(lowest, np.maximum(a, b)[apart], np.minimum(a, b)[apart])
        while not np.array_equal(lowest, lowest[lowest]):
            lowest = lowest[lowest]
    found = np.zeros(mask.shape, dtype=np.int32)
    roots, number = np.unique(lowest, return_inverse=True)
    found[mask] = number + 1
    return found, len(roots)
