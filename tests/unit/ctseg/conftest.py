"""Tiny trainings, folders of tiny pictures, and `ctseg` run as the process a pod would run."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from ctseg import config
from ctseg.data.load import load
from ctseg.data.samples import Samples
from orkrun import contract

ROOT = Path(__file__).resolve().parents[3]
TRAINER = ROOT / "trainer"

TINY: dict[str, Any] = {
    "model": {"architecture": "FPN", "encoder": "tu-test_efficientnet"},
    "data": {"image_size": 32, "phantom": {"patients": 3, "slices": 5, "size": 48}},
    "batch_size": 4,
    "epochs": 3,
    "threads": 1,
}
"""10 slices to learn from in 3 steps an epoch, 5 held out; FPN has dropout, whose luck a resume must repeat."""


@dataclass
class Pod:
    """Runs `ctseg` as the operator's container would."""

    folder: Path
    config: dict[str, Any]

    @property
    def output(self) -> Path:
        return Path(self.config["output"])

    def record(self) -> dict[str, Any]:
        parsed: dict[str, Any] = json.loads((self.folder / "termination-log").read_bytes())
        return parsed

    def reported(self) -> list[dict[str, Any]]:
        paths = sorted(self.output.glob("metrics-*.jsonl"))
        return [json.loads(line) for path in paths for line in path.read_text().splitlines()]

    def start(self, *arguments: str) -> subprocess.Popen[str]:
        (self.folder / "config.json").write_text(json.dumps(self.config))
        environ = {
            "PATH": os.environ["PATH"],
            "PYTHONPATH": str(TRAINER),
            "HOME": "/nonexistent",
            "HF_HUB_OFFLINE": "1",
            contract.ENV_CONFIG: str(self.folder / "config.json"),
            contract.ENV_TERMINATION_LOG: str(self.folder / "termination-log"),
        }
        return subprocess.Popen(
            [sys.executable, "-m", "ctseg", *(arguments or ("train",))],
            env=environ,
            cwd=self.folder,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: str) -> tuple[int, str, str]:
        process = self.start(*arguments)
        out, errors = process.communicate(timeout=240)
        return process.returncode, out, errors


@pytest.fixture
def pod(tmp_path: Path) -> Pod:
    return Pod(
        tmp_path,
        {
            "version": 1,
            "namespace": "n",
            "experiment": "x",
            "uid": "u",
            "paramHash": "p",
            "runHash": "r",
            "params": json.loads(json.dumps(TINY)),
            "data": [],
            "objective": {"metric": "val/dice_case", "direction": "Maximize"},
            "seed": 1,
            "attempt": 1,
            "output": str(tmp_path / "output"),
        },
    )


@pytest.fixture
def semiseg(tmp_path: Path) -> Callable[..., Path]:
    """Makes a COVID-SemiSeg folder of n tiny slices, in either layout."""

    def make(count: int = 4, *, official: bool = False, subset: str = "doctor") -> Path:
        root = tmp_path / "semiseg"
        if official:
            base = root / "TrainingSet" / "LungInfection-Train" / f"{subset.capitalize()}-label"
            images, masks = base / "Imgs", base / "GT"
        elif subset == "doctor":
            images, masks = root / "doctor/train/images", root / "doctor/train/infection"
        else:
            images, masks = root / "pseudo/images", root / "pseudo/soft_masks"
        images.mkdir(parents=True)
        masks.mkdir(parents=True)
        rng = np.random.default_rng(0)
        for i in range(count):
            name = str(i) if subset == "doctor" else f"Data-1_case_{i // 2:03}_{i}"
            Image.fromarray(rng.integers(0, 256, (40, 30), dtype=np.uint8)).save(images / f"{name}.jpg")
            mask = np.zeros((40, 30), np.uint8)
            mask[10:20, 5:15] = 255
            Image.fromarray(mask).save(masks / f"{name}.png")
        return root

    return make


@pytest.fixture
def ct_data() -> Path:
    """Real slices, where somebody has put them beside the repository; never part of it."""
    folder = Path(os.environ.get("ORKHAVEN_CT_DATA", ROOT.parent / "shared" / "ct-data"))
    if not folder.is_dir():
        pytest.skip(f"no real CT slices at {folder} (ORKHAVEN_CT_DATA names another folder)")
    return folder


@pytest.fixture(scope="module")
def one_thread() -> Iterator[None]:
    """A training sets torch's threads; the next module finds them as they were."""
    import torch  # here: most tests of the data and the parameters need none of it

    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="module")
def samples() -> Samples:
    return load(config.parse(TINY).data, mount=None, workers=1)
