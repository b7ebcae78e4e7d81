"""One synthetic patient: a chest in Hounsfield units and the mask of its lesions. Pure: seed and index decide every
voxel.

Anatomy in units of the field of view, as ellipses that vary by patient and along the body: skin and fat, muscle,
spine and ribs, two lungs, heart, airway, vessels as random walks that branch and thin out. Lesions: ground-glass (the
lung's HU raised by 200 to 400, vessels still seen) and consolidation (about -50 to 50 HU), each a union of blobs near
the pleura. Apex and base are without lung, some patients without a lesion: most real slices are empty too.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import numpy.typing as npt

Array = npt.NDArray[np.float32]
Bool = npt.NDArray[np.bool_]

AIR, PADDING, FAT, MUSCLE, LUNG, BLOOD, BONE = -1000.0, -2048, -100.0, 45.0, -860.0, 40.0, 450.0
BACKGROUND, GROUND_GLASS, CONSOLIDATION = 0, 1, 2
FIELD_OF_VIEW = 360.0  # mm
HEALTHY_EVERY = 5  # one patient in five has no lesion


@dataclass(frozen=True, slots=True)
class Volume:
    """`hu` (slices, rows, columns) int16, from the base upwards; `mask` of that shape, uint8: 0, 1 ground-glass, 2
    consolidation.
    """

    patient: str
    hu: npt.NDArray[np.int16]
    mask: npt.NDArray[np.uint8]


def patient_name(index: int) -> str:
    return f"phantom-{index:04d}"


def make_patient(index: int, *, slices: int, size: int, seed: int) -> Volume:
    """The patient `index` of the seed. The same arguments give the same voxels, whichever other patients are made."""
    rng = np.random.Generator(np.random.PCG64([seed, index]))
    y, x = _grid(size)
    shape = (slices, size, size)
    heights = (np.arange(slices, dtype=np.float32) + 0.5) / slices  # 0 base, 1 apex
    half_width, half_depth = rng.uniform(0.42, 0.47), rng.uniform(0.31, 0.37)
    hu = np.full(shape, AIR, dtype=np.float32)
    lungs = np.zeros(shape, dtype=bool)
    lung_noise = _smooth_noise(rng, shape, sigma=max(size / 80, 1.0))
    fat = rng.uniform(0.015, 0.04)
    heart_size = rng.uniform(0.11, 0.14)
    for z, height in enumerate(heights):
        taper = 1.0 - 0.25 * max(height - 0.7, 0.0) / 0.3
        width, depth = half_width * taper, half_depth * taper
        body = _ellipse(x, y, cx=0.0, cy=0.0, rx=width, ry=depth)
        hu[z][body] = FAT
        hu[z][_ellipse(x, y, cx=0.0, cy=0.0, rx=width - fat, ry=depth - fat)] = MUSCLE
        extent = _lung_extent(float(height))
        for side in (-1.0, 1.0):
            lung = _ellipse(
                x, y, cx=side * 0.47 * width, cy=-0.02, rx=0.40 * width * extent, ry=0.78 * depth * extent
            )  # fmt: skip
            lungs[z] |= lung
        _add_bones(hu[z], x, y, width=width, depth=depth, phase=float(height) * 9 + index)
        if extent > 0:
            heart = _ellipse(
                x, y, cx=0.07, cy=-0.06, rx=heart_size * (1.2 - height), ry=heart_size * 1.1 * (1.2 - height)
            )
            lungs[z] &= ~heart
            lungs[z] &= ~_ellipse(x, y, cx=0.0, cy=0.02, rx=0.055, ry=0.16)
            hu[z][heart] = BLOOD
        hu[z][_ellipse(x, y, cx=0.0, cy=-0.01, rx=0.022, ry=0.025)] = AIR  # trachea
        # Denser towards the back, where a lying patient's lung is compressed.
        base = LUNG + 90.0 * (y / depth) + 25.0 * lung_noise[z]
        hu[z][lungs[z]] = base[lungs[z]]
    vessels = _vessels(rng, lungs)
    hu[vessels] = BLOOD
    mask = np.zeros(shape, dtype=np.uint8)
    if index % HEALTHY_EVERY != 3 and lungs.any():
        _add_lesions(rng, hu, mask, lungs=lungs, vessels=vessels)
    hu += rng.normal(0.0, 18.0, shape).astype(np.float32)
    volume = np.clip(np.rint(hu), -1024, 3071).astype(np.int16)
    if index % 3 == 1:  # some scanners mark what lies outside their round field of view
        volume[:, ~_ellipse(x, y, cx=0.0, cy=0.0, rx=0.5, ry=0.5)] = PADDING
    return Volume(patient=patient_name(index), hu=volume, mask=mask)


def _grid(size: int) -> tuple[Array, Array]:
    axis = ((np.arange(size, dtype=np.float32) + np.float32(0.5)) / np.float32(size)) - np.float32(0.5)
    return axis[:, None], axis[None, :]


def _ellipse(x: Array, y: Array, *, cx: float, cy: float, rx: float, ry: float) -> Bool:
    if rx <= 0 or ry <= 0:
        return np.zeros((y.shape[0], x.shape[1]), dtype=bool)
    inside: Bool = ((x - np.float32(cx)) / np.float32(rx)) ** 2 + ((y - np.float32(cy)) / np.float32(ry)) ** 2 <= 1
    return inside


def _lung_extent(height: float) -> float:
    """Relative size of the lungs: none below the diaphragm and above the apex, widest in the lower middle."""
    if height < 0.08 or height > 0.94:
        return 0.0
    return float(min(1.0, 0.55 + 2.2 * (height - 0.08)) * min(1.0, 0.35 + 2.6 * (0.94 - height)))


def _add_bones(hu: Array, x: Array, y: Array, *, width: float, depth: float, phase: float) -> None:
    hu[_ellipse(x, y, cx=0.0, cy=0.68 * depth, rx=0.045, ry=0.045)] = BONE
    hu[_ellipse(x, y, cx=0.0, cy=0.68 * depth + 0.005, rx=0.015, ry=0.015)] = 20.0  # canal
    hu[_ellipse(x, y, cx=0.0, cy=-0.88 * depth, rx=0.04, ry=0.012)] = BONE
    for rib in range(10):
        angle = np.float32(rib * 0.628 + 0.1 * np.sin(phase + rib))
        cx, cy = 0.90 * width * np.cos(angle), 0.90 * depth * np.sin(angle)
        hu[_ellipse(x, y, cx=float(cx), cy=float(cy), rx=0.022, ry=0.011)] = BONE


def _smooth_noise(rng: np.random.Generator, shape: tuple[int, int, int], *, sigma: float) -> Array:
    """Noise of mean about 0 and deviation 1, smoothed within the slices by three box filters (nearly a Gaussian)."""
    noise = rng.standard_normal(shape, dtype=np.float32)
    radius = max(round(sigma), 1)
    for _ in range(3):
        for axis in (1, 2):
            noise = _box(noise, radius, axis)
    deviation = float(noise.std())
    return (noise / np.float32(deviation or 1.0)).astype(np.float32)


def _box(values: Array, radius: int, axis: int) -> Array:
    """Running mean over 2 radius + 1 voxels, the border repeated."""
    pad = [(0, 0)] * values.ndim
    pad[axis] = (radius + 1, radius)
    total = np.cumsum(np.pad(values, pad, mode="edge"), axis=axis, dtype=np.float64)
    length = values.shape[axis]
    upper = np.take(total, np.arange(2 * radius + 1, 2 * radius + 1 + length), axis=axis)
    lower = np.take(total, np.arange(length), axis=axis)
    return ((upper - lower) / (2 * radius + 1)).astype(np.float32)


def _vessels(rng: np.random.Generator, lungs: Bool) -> Bool:
    """Branching random walks from the hilum outwards, within the lungs, drawn per slice."""
    slices, size, _ = lungs.shape
    vessels = np.zeros_like(lungs)
    for z in range(slices):
        if not lungs[z].any():
            continue
        for side in (-1.0, 1.0):
            for _ in range(7):
                _draw_vessel(rng, vessels[z], side=side, size=size, angle=rng.uniform(-1.3, 1.3), width=0.008, depth=0)
    return vessels & lungs


def _draw_vessel(
    rng: np.random.Generator,
    target: Bool,
    *,
    side: float,
    size: int,
    angle: float,
    width: float,
    depth: int,
    start: tuple[float, float] | None = None,
) -> None:
    cx, cy = start or (side * 0.06, rng.uniform(-0.04, 0.06))
    step = 1.2 / size
    for _ in range(int(size * rng.uniform(0.08, 0.16))):
        angle += rng.normal(0.0, 0.12)
        cx += side * step * np.cos(angle)
        cy += step * np.sin(angle)
        _stamp(target, cx=cx, cy=cy, radius=width, size=size)
        width *= 0.985
        if depth < 2 and rng.random() < 0.06:
            turn = angle + rng.choice([-0.7, 0.7])
            branch = width * 0.75
            _draw_vessel(rng, target, side=side, size=size, angle=turn, width=branch, depth=depth + 1, start=(cx, cy))


def _stamp(target: Bool, *, cx: float, cy: float, radius: float, size: int) -> None:
    row, column, reach = (cy + 0.5) * size - 0.5, (cx + 0.5) * size - 0.5, radius * size
    top, left = max(int(np.floor(row - reach)), 0), max(int(np.floor(column - reach)), 0)
    bottom, right = min(int(np.ceil(row + reach)) + 1, size), min(int(np.ceil(column + reach)) + 1, size)
    if top >= bottom or left >= right:
        return
    rows = np.arange(top, bottom, dtype=np.float64)[:, None] - row
    columns = np.arange(left, right, dtype=np.float64)[None, :] - column
    target[top:bottom, left:right] |= rows**2 + columns**2 <= max(reach, 0.6) ** 2


def _add_lesions(
    rng: np.random.Generator, hu: Array, mask: npt.NDArray[np.uint8], *, lungs: Bool, vessels: Bool
) -> None:
    """Raises `hu` where a lesion is and marks it in `mask`."""
    slices, size, _ = lungs.shape
    texture = _smooth_noise(rng, lungs.shape, sigma=max(size / 40, 1.0))
    z = ((np.arange(slices, dtype=np.float32) + 0.5) / slices)[:, None, None]
    y = ((np.arange(size, dtype=np.float32) + 0.5) / size)[None, :, None]
    x = ((np.arange(size, dtype=np.float32) + 0.5) / size)[None, None, :]
    voxels = np.argwhere(lungs)
    severity = rng.uniform(0.7, 1.4)
    for _ in range(int(rng.integers(4, 10))):
        centre = _peripheral(rng, voxels, lungs.shape)
        density, core = rng.uniform(200.0, 400.0), rng.random() < 0.5
        distance = np.full(lungs.shape, np.inf, dtype=np.float32)
        for _ in range(int(rng.integers(2, 5))):
            spot = centre + rng.normal(0.0, [0.06, 0.035, 0.035])
            radius_z, radius = severity * rng.uniform(0.12, 0.26), severity * rng.uniform(0.04, 0.11)
            blob = ((z - spot[0]) / radius_z) ** 2 + ((y - spot[1]) / radius) ** 2 + ((x - spot[2]) / radius) ** 2
            distance = np.minimum(distance, blob.astype(np.float32))
        ragged = distance + np.float32(0.22) * texture
        glass = (ragged < 1.0) & lungs & (mask == BACKGROUND)
        hu[glass & ~vessels] += np.float32(density)
        mask[glass] = GROUND_GLASS
        if core:
            solid = (ragged < 0.3) & lungs
            hu[solid] = 5.0 + 15.0 * texture[solid]
            mask[solid] = CONSOLIDATION


def _peripheral(
    rng: np.random.Generator, voxels: npt.NDArray[np.intp], shape: tuple[int, ...]
) -> npt.NDArray[np.float64]:
    """Of three voxels of the lung the one farthest from the middle of its slice, as (z, y, x) in 0..1."""
    chosen: npt.NDArray[np.float64] = (voxels[rng.integers(len(voxels), size=3)] + 0.5) / np.array(shape)
    nearest: npt.NDArray[np.float64] = chosen[int(np.argmax(((chosen[:, 1:] - 0.5) ** 2).sum(axis=1)))]
    return nearest
