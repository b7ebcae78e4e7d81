"""A model is judged and used: evaluate and predict on generated patients."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path

import nibabel
import numpy as np
import pytest
import torch

from ctseg import checkpoint, config, models
from ctseg.__main__ import main
from ctseg.data import split
from ctseg.data.load import load
from tests.unit.ctseg.conftest import TINY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a model that has learnt nothing: whose probabilities are neither 0 nor 1."""
    folder = tmp_path_factory.mktemp("run")
    params = config.parse(TINY)
    torch.manual_seed(0)
    model = models.build(params.model, image_size=params.data.image_size)
    state = {"params": params.model_dump(mode="json"), "epoch": 1, "value": 0.0, "model": model.state_dict()}
    checkpoint.save(folder / checkpoint.BEST, state)
    samples = load(params.data, mount=None, workers=1)
    split.keep(folder / "split.json", samples, split.make(samples, params.data.split), params.data.split)
    return folder


@pytest.fixture(scope="module")
def phantom(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("phantom")
    assert main(["phantom", str(folder), "--patients", "2", "--slices", "4", "--size", "48"]) == 0
    return folder


def test_a_report_has_figures_of_what_was_held_out(run: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(run), "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    held_out = json.loads((run / "split.json").read_text())["val"]
    cases = result["figures"]["fixed"]["cases"]
    assert result["data"]["slices"] == len(held_out)
    assert [row["case"] for row in cases] == sorted({name.split("/")[0] for name in held_out})
    assert sum(row["slices"] for row in cases) == len(held_out)
    assert (tmp_path / "overlays.png").read_bytes().startswith(b"\x89PNG")
    assert "Not for diagnosis" in (tmp_path / "model-card.md").read_text()


def test_another_folder_is_judged_whole(run: Path, phantom: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(run), "--data", str(phantom), "--out", str(tmp_path)]) == 0
    result = json.loads((tmp_path / "result.json").read_text())
    assert len(result["figures"]["fixed"]["cases"]) == 2
    assert len(result["figures"]["fixed"]["case"]["dice"]["interval"]) == 2
    assert result["part"] == "other"


def test_a_model_that_learnt_from_both_subsets_is_judged_on_a_folder_of_the_doctors_alone(
    run: Path, semiseg: Callable[..., Path], tmp_path: Path
) -> None:
    folder = tmp_path / "run"
    shutil.copytree(run, folder)
    state = torch.load(folder / checkpoint.BEST, weights_only=True)
    state["params"]["data"]["subset"] = "both"
    checkpoint.save(folder / checkpoint.BEST, state)
    out = tmp_path / "out"
    assert main(["evaluate", str(folder), "--data", str(semiseg(3)), "--out", str(out)]) == 0
    assert json.loads((out / "result.json").read_text())["data"]["slices"] == 3


def predicted(run: Path, given: Path, out: Path, *more: str) -> nibabel.Nifti1Image:
    assert main(["predict", str(run), str(given), "--out", str(out), *more]) == 0
    return nibabel.load(out / "probability.nii.gz")


def test_a_nifti_and_its_dicom_and_its_turned_copy_give_the_same_where_the_patient_is(
    run: Path, phantom: Path, tmp_path: Path
) -> None:
    path = phantom / "nifti/phantom-0000_ct.nii.gz"
    image = nibabel.load(path)
    one = predicted(run, path, tmp_path / "one", "--tta")
    assert np.array_equal(one.affine, image.affine)
    assert one.shape == image.shape
    turned = image.as_reoriented(np.array([[1, -1], [2, 1], [0, -1]]))
    nibabel.save(turned, tmp_path / "turned.nii.gz")
    other = predicted(run, tmp_path / "turned.nii.gz", tmp_path / "other", "--tta")
    assert np.array_equal(other.affine, turned.affine)
    dicom = predicted(run, phantom / "dicom/phantom-0000", tmp_path / "dicom", "--tta")
    upright = nibabel.as_closest_canonical(one).get_fdata()
    assert upright.std() > 0
    for answer in (other, dicom):
        canonical = nibabel.as_closest_canonical(answer)
        assert np.allclose(canonical.get_fdata(), upright, atol=1e-6)
        assert np.allclose(canonical.affine[:3, :3], nibabel.as_closest_canonical(one).affine[:3, :3], atol=1e-4)


def test_volume_and_infected_share_are_those_of_the_mask(run: Path, phantom: Path, tmp_path: Path) -> None:
    path = phantom / "nifti/phantom-0000_ct.nii.gz"
    lung = phantom / "nifti/phantom-0000_mask.nii.gz"
    predicted(run, path, tmp_path / "out", "--lung-mask", str(lung))
    report = json.loads((tmp_path / "out/volume.json").read_text())
    mask = nibabel.load(tmp_path / "out/mask.nii.gz")
    found, inside = np.asarray(mask.dataobj) > 0, np.asarray(nibabel.load(lung).dataobj) > 0
    assert report["lesion_ml"] == pytest.approx(found.sum() * np.prod(mask.header.get_zooms()) / 1000, rel=1e-5)
    assert report["infected_share_of_lung"] == pytest.approx((found & inside).sum() / inside.sum())


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{run}", "{phantom}/none.nii"], 65, "there is no such file"),
        (["{run}", "{phantom}/patients.csv"], 65, "neither a NIfTI"),
        (["{phantom}", "{phantom}/nifti/phantom-0000_ct.nii.gz"], 65, "there is no such file"),
        (["{run}", "{phantom}/nifti/phantom-0000_ct.nii.gz", "--threshold", "2"], 64, "no probability"),
        (["{run}", "{phantom}/nifti/phantom-0000_ct.nii.gz", "--out", "{phantom}"], 73, "not empty"),
    ],
    ids=["no input", "no volume", "no model", "threshold", "output in use"],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    run: Path,
    phantom: Path,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    arguments: list[str],
    code: int,
    says: str,
) -> None:
    given = [text.format(run=run, phantom=phantom) for text in arguments]
    out = tmp_path / "out"
    assert main(["predict", "--out", str(out), *given]) == code
    assert says in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
