"""Connected lesions: which voxels hang together."""

from __future__ import annotations

import numpy as np
import numpy.typing as npt


def components(mask: npt.NDArray[np.bool_]) -> tuple[npt.NDArray[np.int32], int]:
    """The lesions of a mask of any dimension, touching at a corner being enough: labels 1..n of that shape, and n."""
    import scipy.ndimage  # only where lesions are told apart: it costs start-up time

    numbers, count = scipy.ndimage.label(mask, structure=np.ones((3,) * mask.ndim, dtype=bool))
    return numbers, int(count)
