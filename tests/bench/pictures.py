"""A folder of slices of 512 pixels, as COVID-SemiSeg has, made from a phantom."""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from ctseg.phantom.volume import make_patient


def write(root: Path, count: int) -> None:
    images, masks = root / "doctor/train/images", root / "doctor/train/infection"
    images.mkdir(parents=True)
    masks.mkdir()
    patient = make_patient(0, slices=count, size=512, seed=0)
    for z in range(count):
        grey = np.clip((patient.hu[z].astype(np.float32) + 1250) * (255 / 1500), 0, 255).astype(np.uint8)
        Image.fromarray(grey).save(images / f"{z}.jpg", quality=95)
        Image.fromarray(np.where(patient.mask[z] > 0, np.uint8(255), np.uint8(0))).save(masks / f"{z}.png")
