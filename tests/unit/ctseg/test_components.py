"""Which voxels are one lesion."""

from __future__ import annotations

import numpy as np
import pytest

from ctseg.labels.components import components


@pytest.mark.parametrize(
    ("voxels", "lesions"),
    [
        ([], 0),
        ([(0, 0, 0)], 1),
        ([(0, 0, 0), (1, 1, 1)], 1),
        ([(0, 0, 0), (0, 0, 2)], 2),
        ([(0, 0, 0), (2, 2, 2), (1, 1, 1)], 1),
    ],
    ids=["none", "one voxel", "touching at a corner", "apart", "joined by a third"],
)
def test_lesions_hang_together_at_corners(voxels: list[tuple[int, int, int]], lesions: int) -> None:
    mask = np.zeros((3, 3, 3), dtype=bool)
    for voxel in voxels:
        mask[voxel] = True
    numbers, count = components(mask)
    assert count == lesions
    assert np.array_equal(numbers > 0, mask)
    assert numbers.max() == count
