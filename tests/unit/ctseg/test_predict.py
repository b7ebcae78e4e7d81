"""What `ctseg predict` measures and warns of, and which models it refuses."""

from __future__ import annotations

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import pytest
import torch

from ctseg import checkpoint, config, models
from ctseg.__main__ import main
from tests.unit.ctseg.conftest import ROOT, TINY
from tests.unit.ctseg.test_readers import SHAPE, hu, save

Model = Callable[..., Path]


@pytest.fixture(scope="module")
def weights() -> dict[str, Any]:
    torch.manual_seed(0)
    params = config.parse(TINY)
    return models.build(params.model, image_size=params.data.image_size).state_dict()


@pytest.fixture
def model(weights: dict[str, Any], tmp_path: Path) -> Model:
    def make(*, pictures: bool | None, **data: object) -> Path:
        params = config.parse({**TINY, "data": {**TINY["data"], **data}}).model_dump(mode="json")
        known = {} if pictures is None else {"pictures": pictures}
        path = tmp_path / "best.pt"
        checkpoint.save(path, {"params": params, "epoch": 1, "model": weights, **known})
        return path

    return make


def grey() -> np.ndarray:
    return np.random.default_rng(0).integers(0, 256, SHAPE).astype(np.int16)


def predict(model: Path, volume: np.ndarray, *more: str) -> tuple[int, Path]:
    given, out = model.parent / "ct.nii.gz", model.parent / "out"
    save(given, volume)
    return main(["predict", str(model), str(given), "--out", str(out), *more]), out


def test_each_slice_has_its_part_of_the_lesion(
    model: Model, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    lung = np.zeros(SHAPE, np.uint8)
    lung[1:, 10:20, 10:30] = 1
    save(tmp_path / "lung.nii.gz", lung)
    path = model(pictures=False)
    code, out = predict(path, hu(), "--lung-mask", str(tmp_path / "lung.nii.gz"), "--threshold", "0.998")
    assert code == 0
    report = json.loads((out / "volume.json").read_text())
    mask = np.asarray(nibabel.as_closest_canonical(nibabel.load(out / "mask.nii.gz")).dataobj) > 0
    rows = report["slices"]
    assert 0 < report["lesion_voxels"] < mask.size
    assert [row["lesion_voxels"] for row in rows] == mask.sum(axis=(0, 1)).tolist()
    assert sum(row["lesion_ml"] for row in rows) == pytest.approx(report["lesion_ml"])
    assert [row["z_mm"] for row in rows] == [0, 5, 10, 15]
    assert rows[0]["infected_share_of_lung"] is None, "no lung there"
    inside = lung[1:].sum(axis=(1, 2))
    shares = np.array([row["infected_share_of_lung"] for row in rows[1:]])
    assert (shares @ inside) / inside.sum() == pytest.approx(report["infected_share_of_lung"])
    assert report["spacing_mm"] == pytest.approx([5.0, 0.7, 0.8])
    table = (out / "volume.txt").read_text()
    assert f"in {report['slices_with_lesion']} of 4 slices, at a probability above 0.998 (given)" in table
    assert f"{rows[3]['lesion_ml']:.2f}" in table.splitlines()[-1]
    page = (ROOT / "docs/trainer/use.md").read_text()
    documented = set(re.findall(r"^\| `(?:slices\[\]\.)?(\w+)`", page, re.MULTILINE))
    assert set(report) | set(rows[0]) <= documented, "docs/trainer/use.md explains volume.json"


@pytest.mark.parametrize(
    ("pictures", "volume", "data", "values", "warns"),
    [
        (False, hu(), {}, "HU", False),
        (None, hu(), {}, "HU", False),
        (True, grey(), {}, "grey", False),
        (True, hu(), {}, "HU", True),
        (False, grey(), {"grey_range": [-1250, 250]}, "grey", False),
    ],
    ids=["HU from HU", "nobody knows", "pictures from pictures", "pictures from HU", "grey as HU"],
)
def test_a_volume_of_another_kind_is_warned_of(
    model: Model, capsys: pytest.CaptureFixture[str], pictures: bool | None, volume: np.ndarray, data: Any, values: str,
    warns: bool,
) -> None:  # fmt: skip
    code, out = predict(model(pictures=pictures, **data), volume)
    assert code == 0
    report = json.loads((out / "volume.json").read_text())
    assert report["values"] == values
    assert bool(report["warnings"]) == warns
    assert ("WARNING: the model learnt from 8-bit pictures" in capsys.readouterr().out) == warns


def test_grey_is_refused_by_a_model_of_hounsfield_units(model: Model, capsys: pytest.CaptureFixture[str]) -> None:
    code, out = predict(model(pictures=False), grey())
    assert code == 65
    assert "is grey of 0 to 255, but the model learnt from Hounsfield units" in capsys.readouterr().err
    assert not out.exists()


def test_more_slices_than_pages_are_thinned_evenly() -> None:
    from ctseg.commands.predict import _drawn

    mask = np.ones((300, 2, 2), bool)
    mask[0] = False
    drawn = _drawn(mask)
    assert len(drawn) == len(set(drawn)) == 72
    assert max(np.diff(drawn)) - min(np.diff(drawn)) <= 1
    assert _drawn(mask[:5]) == [1, 2, 3, 4]
    assert _drawn(~mask[1:5]) == [2]


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (
            lambda state: state["params"]["model"].update(encoder="tu-test_resnet"),
            "does not fit the network of its own",
        ),
        (lambda state: state.pop("params"), "holds no model with its parameters"),
    ],
    ids=["of another network", "without parameters"],
)
def test_a_model_of_another_config_is_refused(
    model: Model, capsys: pytest.CaptureFixture[str], change: Callable[[dict[str, Any]], object], says: str
) -> None:
    path = model(pictures=False)
    state = checkpoint.load(path)
    assert state is not None
    change(state)
    checkpoint.save(path, state)
    code, out = predict(path, hu())
    assert code == 65
    assert says in capsys.readouterr().err
    assert not out.exists()
