"""Slices with what was found, missed and wrongly said, in colours that colour-blind readers tell apart (Okabe, Ito)."""

from __future__ import annotations

import io
from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
from PIL import Image, ImageDraw, ImageFont

from ctseg.data.samples import Uint8

FOUND, FALSE, MISSED = (0, 158, 115), (230, 159, 0), (204, 121, 167)
UNLABELLED = (86, 180, 233)
_SIDE = 384
_BAR = 26
Mask = npt.NDArray[np.bool_]


def page(rows: Sequence[tuple[str, Uint8, Mask, Mask | None, Mask | None]], *, heading: str = "") -> bytes:
    """A PNG: for each (title, grey, prediction, truth, valid) the slice as it is beside the slice with outlines.

    Without a truth the prediction is drawn in one colour.
    """
    font = ImageFont.load_default(15)
    canvas = Image.new("RGB", (2 * _SIDE + 6, len(rows) * (_SIDE + _BAR) + _BAR), "black")
    draw = ImageDraw.Draw(canvas)
    truths = any(truth is not None for _, _, _, truth, _ in rows)
    legend = [("found", FOUND), ("false", FALSE), ("missed", MISSED)] if truths else [("predicted", FALSE)]
    if any(valid is not None and not valid.all() for *_, valid in rows):
        legend.append(("not labelled", UNLABELLED))
    x = 6
    for text, colour in legend:
        draw.rectangle((x, 7, x + 12, 19), fill=colour)
        draw.text((x + 18, 3), text, fill="white", font=font)
        x += 40 + int(font.getlength(text))
    draw.text((x + 6, 3), heading, fill="white", font=font)
    for i, (title, grey, prediction, truth, valid) in enumerate(rows):
        top = _BAR + i * (_SIDE + _BAR)
        draw.text((6, top + 3), title, fill="white", font=font)
        plain = _large(grey, Image.Resampling.BICUBIC)
        canvas.paste(Image.fromarray(plain).convert("RGB"), (0, top + _BAR))
        coloured = _coloured(plain, prediction, truth, valid)
        canvas.paste(Image.fromarray(coloured), (_SIDE + 6, top + _BAR))
    packed = io.BytesIO()
    canvas.save(packed, "PNG")
    return packed.getvalue()


def _coloured(plain: Uint8, prediction: Mask, truth: Mask | None, valid: Mask | None) -> Uint8:
    picture = np.repeat(plain[:, :, None], 3, axis=2).astype(np.float32)
    if truth is None:
        regions = [(prediction, FALSE)]
    else:
        regions = [(prediction & truth, FOUND), (prediction & ~truth, FALSE), (~prediction & truth, MISSED)]
    if valid is not None:
        regions.append((~valid, UNLABELLED))
    for region, colour in regions:
        large = _large(region.astype(np.uint8) * 255, Image.Resampling.NEAREST) > 127
        inner = large.copy()
        for axis in (0, 1):
            for shift in (-2, 2):
                inner &= np.roll(large, shift, axis)
        # A tint that leaves the tissue readable, and a full outline.
        picture[inner] = 0.75 * picture[inner] + 0.25 * np.array(colour, np.float32)
        picture[large & ~inner] = colour
    return picture.astype(np.uint8)


def _large(array: Uint8, how: Image.Resampling) -> Uint8:
    rows, columns = array.shape
    scale = _SIDE / max(rows, columns)
    size = (max(1, round(columns * scale)), max(1, round(rows * scale)))
    result = np.zeros((_SIDE, _SIDE), np.uint8)
    result[: size[1], : size[0]] = np.asarray(Image.fromarray(np.ascontiguousarray(array)).resize(size, how))
    return result
