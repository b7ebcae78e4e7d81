"""From a decoded volume to the slices a network sees: windows as channels, size or spacing. Labels by the nearest
neighbour.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

import orkrun
from ctseg import config
from ctseg.data.dataset import Case, Volume
from ctseg.data.samples import IGNORE, Uint8, window

Prepared = tuple[Uint8, Uint8, tuple[float, float, float], tuple[str, ...]]
"""Images (Z, C, S, S), masks (Z, A, S, S), spacing after resizing in mm, names of the slices."""


def prepare(case: Case, data: config.Data, *, pictures: bool) -> Prepared:
    """Raises orkrun.DataError, where grey meets windows without `data.grey_range` too."""
    volume = case.read()
    channels = _channels(volume, case, data, pictures=pictures)
    size = data.image_size
    row_mm, column_mm = volume.spacing[1:]
    if data.spacing is not None and not (np.isfinite(row_mm) and np.isfinite(column_mm)):
        raise orkrun.DataError(
            case.files[0] if case.files else case.name, "says no spacing: data.spacing cannot be reached, leave it out"
        )
    count, (rows, columns) = len(volume.values), volume.values.shape[1:]
    inner = (size, size)
    if data.spacing is not None:
        inner = (max(1, round(rows * row_mm / data.spacing)), max(1, round(columns * column_mm / data.spacing)))
    images = np.zeros((count, len(channels), size, size), np.uint8)
    masks = np.full((count, len(volume.masks), size, size), IGNORE, np.uint8)
    for z in range(count):
        for c, channel in enumerate(channels):
            _place(_resize(channel[z], inner, Image.Resampling.BILINEAR), images[z, c])
        for a, plane in enumerate(volume.masks):
            _place(_resize(plane[z], inner, Image.Resampling.NEAREST), masks[z, a])
    spacing = (volume.spacing[0], row_mm * rows / inner[0], column_mm * columns / inner[1])
    return images, masks, spacing, volume.slices or tuple(f"{case.name}/{z}" for z in range(count))


def _channels(volume: Volume, case: Case, data: config.Data, *, pictures: bool) -> list[Uint8]:
    if pictures:
        return [volume.values.astype(np.uint8)]
    values = volume.values
    if volume.grey:
        if data.grey_range is None:
            raise orkrun.DataError(
                case.files[0] if case.files else case.name,
                "is grey of 0 to 255, not HU: windows mean nothing to it. Leave it out, or say with data.grey_range "
                "which HU its black and white stand for ([-1250, 250] in COVID-19-CT-Seg's radiopaedia volumes)",
            )
        low, high = data.grey_range
        values = np.rint(values.astype(np.float32) * np.float32((high - low) / 255) + np.float32(low)).astype(np.int16)
    return [window(values, low=low, high=high) for low, high in data.windows]


def _resize(array: Uint8, shape: tuple[int, int], how: Image.Resampling) -> Uint8:
    if array.shape == shape:
        return array
    return np.asarray(Image.fromarray(np.ascontiguousarray(array)).resize(shape[::-1], how))


def _place(array: Uint8, into: Uint8) -> None:
    """Centred: what is too large is cut, what is too small keeps the border that is there."""
    source, target = [], []
    for have, want in zip(array.shape, into.shape, strict=True):
        take = min(have, want)
        source.append(slice((have - take) // 2, (have - take) // 2 + take))
        target.append(slice((want - take) // 2, (want - take) // 2 + take))
    into[tuple(target)] = array[tuple(source)]
