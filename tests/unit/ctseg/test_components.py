"""Connected lesions are those that scipy finds, in its order."""

from __future__ import annotations

import numpy as np
import pytest
import scipy.ndimage
from hypothesis import given, settings
from hypothesis.extra import numpy as arrays

from ctseg.labels.components import components


@settings(max_examples=80)
@given(arrays.arrays(bool, arrays.array_shapes(min_dims=2, max_dims=3, max_side=9)))
def test_lesions_are_scipys(mask: np.ndarray) -> None:
    expected, number = scipy.ndimage.label(mask, structure=np.ones((3,) * mask.ndim))
    found, count = components(mask)
    assert count == number
    assert np.array_equal(found, expected)


@pytest.mark.parametrize("density", [0.05, 0.3, 0.6])
def test_large_masks_too(density: float) -> None:
    mask = np.random.default_rng(0).random((6, 64, 64)) < density
    expected, number = scipy.ndimage.label(mask, structure=np.ones((3, 3, 3)))
    found, count = components(mask)
    assert count == number
    assert np.array_equal(found, expected)


def test_a_long_lesion_is_one() -> None:
    mask = np.zeros((63, 63), dtype=bool)
    mask[::2] = True
    mask[1::4, 0] = mask[3::4, -1] = True  # a line that winds through the whole picture
    assert components(mask)[1] == 1
