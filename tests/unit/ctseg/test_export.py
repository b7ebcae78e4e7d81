"""A model leaves: what `ctseg export` writes is read without ctseg, and says the same."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import nibabel
import numpy as np
import onnx
import onnxruntime
import pytest
import safetensors.torch
import torch

import orkrun
from ctseg import checkpoint, config, export, inference, models
from ctseg.__main__ import main
from ctseg.report import run_folder
from tests.unit.ctseg.conftest import TINY


@pytest.fixture(scope="module")
def run(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A run's folder with a model that has learnt nothing, of two windows."""
    folder = tmp_path_factory.mktemp("run")
    data = {**TINY["data"], "windows": [[-1250, 250], [-160, 240]]}
    params = config.parse({**TINY, "model": {"architecture": "Linknet", "encoder": "tu-test_resnet"}, "data": data})
    torch.manual_seed(0)
    model = models.build(params.model, image_size=params.data.image_size, channels=2)
    state = {"params": params.model_dump(mode="json"), "epoch": 7, "pictures": False, "model": model.state_dict()}
    checkpoint.save(folder / checkpoint.BEST, state)
    return folder


@pytest.fixture
def safe(run: Path, tmp_path: Path) -> Path:
    assert main(["export", str(run), "--out", str(tmp_path / "safe"), "--format", "safetensors"]) == 0
    return tmp_path / "safe"


def without_ctseg(exported: Path, volume: Path) -> tuple[np.ndarray, dict[str, Any]]:
    """Probabilities (x, y, z) in RAS, as somebody would get them who has read config.json and use.md."""
    about = json.loads((exported / "config.json").read_text())
    values, (low, high) = about["input"]["values"], about["input"]["values"]["windows"][0]
    image = nibabel.as_closest_canonical(nibabel.load(volume))
    hu = np.clip(np.rint(image.get_fdata()), *values["clip"]).transpose(2, 1, 0)[:, ::-1, ::-1]
    assert hu.shape[1:] == (about["input"]["size"]["side"],) * 2, "nothing to resize"
    grey = np.rint(np.clip((hu - low) / (high - low), 0, 1) * 255) / 255
    session = onnxruntime.InferenceSession(exported / "model.onnx", providers=["CPUExecutionProvider"])
    answer = session.run(None, {about["input"]["name"]: grey[:, None].astype(np.float32)})[0]
    return answer[:, 0, ::-1, ::-1].transpose(2, 1, 0), about


def test_from_generated_patients_to_a_model_that_others_run(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    volume = Path("lungs/nifti/phantom-0001_ct.nii.gz")
    settings = ("model.architecture=Linknet", "model.encoder=tu-test_resnet", "data.root=lungs", "epochs=2")
    settings += ("data.image_size=64", "batch_size=4", "threads=1", "workers=1")
    commands = [
        ["phantom", "lungs", "--patients", "3", "--slices", "4", "--size", "64"],
        ["train", "--output", "run", *(word for setting in settings for word in ("--set", setting))],
        ["evaluate", "run"],
        ["export", "run", "--out", "exported"],
        ["predict", "run", str(volume), "--out", "found"],
        ["predict", "exported", str(volume), "--out", "found-again"],
    ]
    for command in commands:
        assert not main(command), command
    stored = nibabel.load("found/probability.nii.gz")
    probability = nibabel.as_closest_canonical(stored).get_fdata(dtype=np.float32)
    answer, about = without_ctseg(Path("exported"), volume)
    assert probability.std() > 0
    best = about["network"]["epoch"]
    assert np.abs(answer - probability).max() < 1e-5
    assert about["onnx"]["parity"]["max_abs_difference"] < 1e-5
    assert about["onnx"]["rows_and_columns"] == "any multiple of 32"
    threshold = about["threshold"]["value"]
    chosen = run_folder.threshold(Path("run"), epoch=best)
    again = inference.load(Path("exported")).threshold
    assert chosen is not None
    assert again is not None
    assert (threshold, about["threshold"]["rule"]) == (chosen.value, chosen.rule) == (again.value, again.rule)
    assert np.array_equal(nibabel.load("found/mask.nii.gz").get_fdata() > 0, stored.get_fdata() > threshold)
    repeated = nibabel.load("found-again/probability.nii.gz").get_fdata(dtype=np.float32)
    assert np.array_equal(repeated, stored.get_fdata(dtype=np.float32)), "safetensors are the same weights, bit for bit"
    assert json.loads(Path("run/report/result.json").read_text())["schema"]


def test_safetensors_carry_all_that_a_model_needs(run: Path, safe: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, (2, 2, 32, 32), dtype=np.uint8)
    first = inference.load(run)
    for place in (safe, safe / "model.safetensors"):
        again = inference.load(place)
        assert (again.params, again.channels, again.epoch, again.pictures) == (first.params, 2, 7, False)
        answers = [inference.probabilities(one.model, images, batch_size=2) for one in (first, again)]
        assert np.array_equal(*answers)
    assert sorted(path.name for path in safe.iterdir()) == ["config.json", "model.safetensors"]
    with safetensors.safe_open(safe / "model.safetensors", framework="pt") as file:
        metadata = file.metadata()
    about = json.loads(metadata["ctseg"])
    assert metadata["format"] == "pt"
    assert about["params"]["model"]["encoder"] == "tu-test_resnet"
    assert about["input"]["values"]["windows"] == [[-1250, 250], [-160, 240]]
    assert about["input"]["size"]["side"] == 32
    assert about["threshold"] is None, "nothing has chosen one"


@pytest.mark.parametrize(("operator", "same"), [("Sigmoid", True), ("HardSigmoid", False), ("Identity", False)])
def test_other_probabilities_than_torchs_are_an_error(operator: str, same: bool) -> None:
    shape = ["batch", 1, "row", "column"]
    ends = [onnx.helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name in ("images", "p")]
    graph = onnx.helper.make_graph([onnx.helper.make_node(operator, ["images"], ["p"])], "one", ends[:1], ends[1:])
    opset = onnx.helper.make_opsetid("", 18)
    content = onnx.helper.make_model(graph, ir_version=9, opset_imports=[opset]).SerializeToString()
    given = [np.random.default_rng(0).random((2, 1, 3, 4), dtype=np.float32)]
    network = export.Probability(torch.nn.Identity())
    if same:
        assert 0 <= export.compare(network, content, given, tolerance=1e-6) < 1e-6
        return
    with pytest.raises(orkrun.RunError, match=r"gives other probabilities than torch, by up to 0\.") as error:
        export.compare(network, content, given, tolerance=1e-6)
    assert error.value.exit_code == 70


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["{run}", "--format", "onxx"], 64, "--format: 'onxx' is none of safetensors, onnx"),
        (["{run}", "--format", ","], 64, "--format: '' is none of"),
        (["{run}", "--format", "onnx", "--opset", "9"], 64, "--opset: 9 cannot be written: 18 to "),
        (["{run}", "--tolerance", "-1"], 64, "--tolerance: -1.0 is no difference"),
        (["{tmp}"], 65, "there is no such file"),
        (["{tmp}/notes.safetensors"], 65, "cannot be read as safetensors"),
        (["{tmp}/foreign.safetensors"], 65, "is not of `ctseg export`"),
        (["{run}", "--out", "{tmp}"], 73, "is there already and not empty"),
        (["{run}", "--out", "{tmp}/notes.safetensors/out"], 73, "is a file, not a folder"),
    ],
    ids=["format", "no format", "opset", "tolerance", "no model", "damaged", "foreign", "in use", "below a file"],
)
def test_what_is_wrong_is_said_and_nothing_is_written(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str], arguments: list[str], code: int, says: str
) -> None:
    (tmp_path / "notes.safetensors").write_bytes(b"0123456789")
    safetensors.torch.save_file({"weight": torch.zeros(2)}, tmp_path / "foreign.safetensors")
    given = [text.format(run=run, tmp=tmp_path) for text in arguments]
    assert main(["export", "--out", str(tmp_path / "out"), *given]) == code
    assert says in capsys.readouterr().err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["foreign.safetensors", "notes.safetensors"]


def test_a_missing_package_is_named(
    run: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setitem(sys.modules, "onnxscript", None)
    assert main(["export", str(run), "--out", str(tmp_path / "out")]) == 64
    assert "onnx needs onnxscript, which is not installed: pip install 'orkhaven[export]'" in capsys.readouterr().err
    assert not any(tmp_path.iterdir())
