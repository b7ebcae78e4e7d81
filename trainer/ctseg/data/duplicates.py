"""Slices that show the same place of the same patient: neighbours of one volume correlate at 0.99, slices of different
patients at 0.6.
"""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import numpy.typing as npt
from PIL import Image

from ctseg.data.samples import Uint8

THRESHOLD = 0.95
_SIDE = 64
_BLOCK = 1024


def thumbnails(images: Uint8) -> npt.NDArray[np.float32]:
    """(n, C, H, W) to (n, 64 * 64): the first channel, small, of mean 0 and length 1 (0 where it is flat)."""
    small = np.empty((len(images), _SIDE * _SIDE), np.float32)
    for i, image in enumerate(images):
        small[i] = np.asarray(Image.fromarray(image[0]).resize((_SIDE, _SIDE), Image.Resampling.BOX)).ravel()
    small -= small.mean(axis=1, keepdims=True)
    length = np.linalg.norm(small, axis=1, keepdims=True)
    unit: npt.NDArray[np.float32] = np.divide(small, length, out=np.zeros_like(small), where=length > 0)
    return unit


def pairs(thumbs: npt.NDArray[np.float32], threshold: float = THRESHOLD) -> Iterator[tuple[int, int, float]]:
    """All i < j whose normalised cross-correlation is above the threshold, with it."""
    for start in range(0, len(thumbs), _BLOCK):
        ncc = thumbs[start : start + _BLOCK] @ thumbs[start:].T
        for i, j in np.argwhere(np.triu(ncc > threshold, 1)):
            yield start + int(i), start + int(j), float(ncc[i, j])


def groups(thumbs: npt.NDArray[np.float32], threshold: float = THRESHOLD) -> list[int]:
    """For each slice the smallest index of those it is joined to by a chain of near-duplicates."""
    parent = list(range(len(thumbs)))

    def root(i: int) -> int:
        while parent[i] != i:
            parent[i] = parent[parent[i]]
            i = parent[i]
        return i

    for i, j, _ in pairs(thumbs, threshold):
        a, b = root(i), root(j)
        parent[max(a, b)] = min(a, b)
    return [root(i) for i in range(len(parent))]
