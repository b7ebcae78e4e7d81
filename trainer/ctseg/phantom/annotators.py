"""Annotators with known faults: masks made from a true one, so that a claim about noisy labels has a truth to face.

Pure: the generator that is given decides everything. Works on labels as `ctseg.labels.coding` writes them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

import orkrun
from ctseg.labels.coding import HALF, IGNORE, LESION, Labels
from ctseg.labels.components import components
from ctseg.labels.fuse import TRUTH

Bool = npt.NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Style:
    """What an annotator does wrong, in every volume."""

    grow_mm: float = 0.0
    """Every outline is this far outside the true one; below 0: inside. Within slices."""
    tremor: float = 0.0
    """Probability that a lesion's outline in a slice is one pixel too wide; the same for too narrow."""
    miss: float = 0.0
    """Share of the lesions (3D) that are overlooked, rounded up, the smallest first."""
    invent: float = 0.0
    """False lesions per slice, on average: discs of 8 to 16 mm in the lungs' place."""
    gap: float = 0.0
    """Share of the slices that are not labelled, rounded up, in one run within the volume."""


STYLES: Mapping[str, Style] = {
    "exact": Style(),
    "careful": Style(tremor=0.2),
    "generous": Style(grow_mm=5.0),
    "strict": Style(grow_mm=-4.0),
    "hasty": Style(miss=0.4, tremor=0.2),
    "eager": Style(invent=0.5, tremor=0.2),
    "partial": Style(gap=0.3, tremor=0.2),
}
NOISE = ("generous", "strict", "hasty", "eager")
"""The styles that `corrupt` draws from; coarser there, see `_HARSH`."""
_HARSH: Mapping[str, Style] = {
    "careful": Style(tremor=0.2),
    "generous": Style(grow_mm=9.0),
    "strict": Style(grow_mm=-6.0),
    "hasty": Style(miss=0.7),
    "eager": Style(invent=2.0),
    "partial": Style(gap=1.0),
}
_NAME = re.compile(r"[a-z0-9][a-z0-9_-]{0,31}")


def named(annotators: Sequence[str], *, parameter: str) -> dict[str, Style]:
    """Each annotator's style: `careful`, or `anna=careful` for a name of its own. Raises orkrun.InvalidParams."""
    found: dict[str, Style] = {}
    for text in annotators:
        name, equals, style = text.strip().partition("=")
        style = style if equals else name
        if style not in STYLES:
            raise orkrun.InvalidParams(parameter, f"{style!r} is no style; there are: {', '.join(STYLES)}")
        if not _NAME.fullmatch(name) or name == TRUTH:
            raise orkrun.InvalidParams(
                parameter, f"{name!r} is no name for an annotator: small letters, digits, - and _, not {TRUTH!r}"
            )
        if name in found:
            raise orkrun.InvalidParams(parameter, f"{name!r} is there twice; name them, as in anna={style},ben={style}")
        found[name] = STYLES[style]
    return found


def generator(seed: int, patient: str, annotator: str) -> np.random.Generator:
    """What decides an annotator's faults in a patient: neither other patients nor other annotators change them."""
    return np.random.Generator(np.random.PCG64([seed, *f"{patient}\0{annotator}".encode()]))


def annotate(truth: Labels, style: Style, rng: np.random.Generator, *, pixel_mm: float) -> Labels:
    """An annotator's labels of one volume (slices, H, W), given the true ones. IGNORE in the truth stays."""
    lesion = (truth >= HALF) & (truth != IGNORE)
    if style.miss:
        lesion = _overlook(lesion, style.miss)
    if style.grow_mm:
        lesion = np.stack([_grow(plane, style.grow_mm / pixel_mm) for plane in lesion])
    if style.tremor:
        lesion = np.stack([_tremble(plane, style.tremor, rng) for plane in lesion])
    if style.invent:
        lesion = lesion | _invent(lesion.shape, style.invent, rng, pixel_mm=pixel_mm)
    labels = np.where(lesion, LESION, 0).astype(np.uint8)
    labels[truth == IGNORE] = IGNORE
    if style.gap:
        count = min(int(np.ceil(style.gap * len(labels))), len(labels))
        start = int(rng.integers(len(labels) - count + 1))
        labels[start : start + count] = IGNORE
    return labels


def corrupt(
    masks: Labels, rate: float, rng: np.random.Generator, styles: Sequence[str] = NOISE, *, pixel_mm: float = 2.25
) -> Labels:
    """(n, H, W) labels of which round(rate x n) slices are spoilt, each in one of the styles, much more than an
    annotator of that style would.

    A slice without a lesion can only be given a false one ("eager") or be left unlabelled ("partial"): without these
    two styles the share is of the slices with a lesion. What is spoilt is different from what it was: a style that
    changes nothing in a slice is replaced by the next one. `pixel_mm`: a pixel's side; the default is a phantom's at
    160 pixels. The input stays as it is. Raises ValueError for a rate outside 0..1 or an unknown style.
    """
    if not 0 <= rate <= 1 or not styles or not set(styles) <= set(_HARSH):
        raise ValueError(f"a rate of 0..1 and styles of {', '.join(_HARSH)} are needed, not {rate} and {styles}")
    spoilt = masks.copy()
    filled = ((masks >= HALF) & (masks != IGNORE)).any(axis=(1, 2))
    possible = np.arange(len(masks)) if {"eager", "partial"} & set(styles) else np.flatnonzero(filled)
    for i in sorted(rng.permutation(possible)[: round(rate * len(possible))].tolist()):
        for style in rng.permutation(np.array(styles)).tolist():
            changed = annotate(masks[i : i + 1], _HARSH[style], rng, pixel_mm=pixel_mm)[0]
            if not np.array_equal(changed, masks[i]):
                spoilt[i] = changed
                break
    return spoilt


def names(annotators: Sequence[str], *, noise: float) -> tuple[str, ...]:
    """Of the embedded phantom's planes, the truth last. Without annotators and noise it is alone; with noise and no
    annotators there is one, "noisy". Raises orkrun.InvalidParams.
    """
    return (*_embedded(annotators, noise), TRUTH)


def annotate_all(
    truth: Labels, *, patient: str, annotators: Sequence[str], noise: float, seed: int, pixel_mm: float
) -> Labels:
    """(A, slices, H, W): what the embedded phantom's annotators say of one patient, in the order of `names`. Each has
    the faults of a style, and spoils `noise` of the slices too, drawn for each alone.
    """
    planes = []
    for name, style in _embedded(annotators, noise).items():
        rng = generator(seed, patient, name)
        planes.append(corrupt(annotate(truth, style, rng, pixel_mm=pixel_mm), noise, rng, pixel_mm=pixel_mm))
    return np.stack([*planes, truth])


def _embedded(annotators: Sequence[str], noise: float) -> dict[str, Style]:
    styles = named(annotators, parameter="data.phantom.annotators")
    return styles or ({"noisy": Style()} if noise else {})


# --- faults -----------------------------------------------------------------------------------------------------------


def _overlook(lesion: Bool, share: float) -> Bool:
    numbers, count = components(lesion)
    if not count:
        return lesion
    sizes = np.bincount(numbers.ravel(), minlength=count + 1)[1:]
    missed = np.argsort(sizes, kind="stable")[: int(np.ceil(share * count))] + 1
    return lesion & ~np.isin(numbers, missed)


def _grow(plane: Bool, pixels: float) -> Bool:
    """Dilated by a disc of this radius, or eroded where it is negative; by one pixel at least.

    Outside the picture there is neither: a lesion that is cut off by the border is not eroded there.
    """
    if pixels < 0:
        return ~_grow(~plane, -pixels)
    if not plane.any():
        return plane
    radius = max(pixels, 1.0)
    reach = int(radius)
    grown = plane.copy()
    height, width = plane.shape
    for down in range(-reach, reach + 1):
        for right in range(-reach, reach + 1):
            if 0 < down * down + right * right <= radius * radius and abs(down) < height and abs(right) < width:
                to = (_span(down), _span(right))
                grown[to] |= plane[_span(-down), _span(-right)]
    return grown


def _span(shift: int) -> slice:
    return slice(shift, None) if shift >= 0 else slice(None, shift)


def _tremble(plane: Bool, probability: float, rng: np.random.Generator) -> Bool:
    numbers, count = components(plane)
    drawn = plane.copy()
    for number in range(1, count + 1):
        luck = rng.random()
        one = numbers == number
        if luck < probability:
            drawn |= _grow(one, 1)
        elif luck < 2 * probability:
            smaller = _grow(one, -1)
            if smaller.any():  # trembling makes no lesion vanish
                drawn &= ~one | smaller
    return drawn


def _invent(shape: tuple[int, ...], per_slice: float, rng: np.random.Generator, *, pixel_mm: float) -> Bool:
    slices, height, width = shape
    false = np.zeros(shape, dtype=bool)
    rows, columns = np.arange(height)[:, None], np.arange(width)[None, :]
    for z in range(slices):
        # Not Poisson: at least one where one is due, so that a spoilt slice is spoilt.
        for _ in range(int(per_slice) + int(rng.random() < per_slice % 1)):
            side = rng.choice([-1.0, 1.0])
            row = height * (0.5 + rng.uniform(-0.18, 0.18))
            column = width * (0.5 + side * rng.uniform(0.12, 0.30))
            radius = max(rng.uniform(8.0, 16.0) / pixel_mm, 1.0)
            false[z] |= (rows - row) ** 2 + (columns - column) ** 2 <= radius**2
    return false
