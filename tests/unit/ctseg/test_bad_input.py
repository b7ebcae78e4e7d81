"""What a user does wrong, or his machine: each command says what and where, by the exit code that fits, and leaves
nothing half-written.
"""

from __future__ import annotations

import resource
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch

from ctseg import checkpoint, config, models
from ctseg.__main__ import main
from tests.unit.ctseg.conftest import TINY
from tests.unit.ctseg.test_readers import generic, hu, lesion, save

FPN = "--set model.architecture=FPN --set model.encoder=tu-test_efficientnet --set threads=1 --set workers=1"
SMALL = "--set data.image_size=32 --set data.phantom.size=48 --set data.phantom.slices=2 --set data.phantom.patients=3"


@pytest.fixture(scope="module")
def best(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    torch.manual_seed(0)
    params = config.parse(TINY)
    model = models.build(params.model, image_size=params.data.image_size)
    path = tmp_path_factory.mktemp("best") / checkpoint.BEST
    checkpoint.save(path, {"params": params.model_dump(mode="json"), "epoch": 1, "model": model.state_dict()})
    return path.read_bytes()


@pytest.fixture
def here(best: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder to be in, with a model, a volume, data of two annotators and a file that is no folder."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "best.pt").write_bytes(best)
    (tmp_path / "file").touch()
    save(tmp_path / "ct.nii.gz", np.tile(hu(), (1, 6, 6)))
    for name in "ab":
        save(tmp_path / f"data/{name}.nii.gz", hu(ord(name)))
        for who in ("anna", "ben"):
            save(tmp_path / f"data/{name}_mask-{who}.nii.gz", lesion())
    rows = [f"{name},{name},{name}.nii.gz,{name}_mask-anna.nii.gz,{name}_mask-ben.nii.gz" for name in "ab"]
    generic(tmp_path / "data", rows, "case,patient,image,mask:anna,mask:ben")
    return tmp_path


def code_of(command: str) -> int:
    """A training ends the process itself."""
    try:
        return main(command.split())
    except SystemExit as end:
        return int(str(end.code))


def contents(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


@contextmanager
def little_space(monkeypatch: pytest.MonkeyPatch, size: int) -> Iterator[None]:
    """No file can be larger than `size` bytes: what is written there is then not whole."""
    monkeypatch.setattr(sys, "dont_write_bytecode", True)  # a module that is imported meanwhile would be cut off too
    before = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, before[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, before)


WRITING = {
    "predict": "predict best.pt ct.nii.gz --out {place}",
    "export": "export best.pt --format safetensors --out {place}",
    "check": "check data --page {place}",
    "check-json": "check data --json {place}",
    "labels": "labels data --json {place}",
    "phantom": "phantom {place} --patients 2 --slices 2 --size 48",
    "train": f"train --output {{place}} --set epochs=1 {SMALL} {FPN}",
}


@pytest.mark.parametrize("command", WRITING.values(), ids=WRITING)
def test_an_output_below_a_file_is_told(here: Path, command: str, capfd: pytest.CaptureFixture[str]) -> None:
    before = contents(here)
    assert code_of(command.format(place="file/out")) == 73
    assert "file/out cannot be written: " in capfd.readouterr().err
    assert contents(here) == before


@pytest.mark.parametrize("command", WRITING.values(), ids=WRITING)
def test_without_space_nothing_is_left_half_written(
    here: Path, monkeypatch: pytest.MonkeyPatch, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    before = contents(here)
    with little_space(monkeypatch, 8_000 if command.startswith(("predict", "export", "train")) else 1_000):
        assert code_of(command.format(place="out")) == 73
    errors = capfd.readouterr().err
    assert "File too large" in errors
    assert "Traceback" not in errors
    left = [name for name in contents(here) if name not in before and not name.startswith(("out/", ".ctseg-cache"))]
    assert left in ([], ["out"])
    assert not [path for path in (here / "out").rglob("*") if ".tmp" in path.name or path.suffix == ".pt"]


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a GPU")
def test_a_gpu_that_is_not_there_is_told(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    assert code_of(f"train --output out --set device=cuda {SMALL} {FPN}") == 64
    assert "device: cuda is asked for, but torch sees no GPU here; auto takes what is there" in capfd.readouterr().err
    assert not list(here.glob("out/*.pt"))


@pytest.mark.parametrize("command", ["train --output out", "check data"])
def test_an_unknown_parameter_is_told_with_the_nearest(
    here: Path, command: str, capfd: pytest.CaptureFixture[str]
) -> None:
    assert code_of(f"{command} --set optimiser.lr=1") == 64
    assert "optimiser: there is no such parameter; did you mean optimizer?" in capfd.readouterr().err


@pytest.mark.parametrize(
    ("unlabelled", "says"),
    [("a", "slices is labelled; another data.split"), ("b", "slices is labelled; another data.split")],
)
def test_a_part_of_the_split_without_a_label_is_told(
    here: Path, unlabelled: str, says: str, capfd: pytest.CaptureFixture[str]
) -> None:
    for who in ("anna", "ben"):
        save(here / f"data/{unlabelled}_mask-{who}.nii.gz", np.full_like(lesion(), 9))
    settings = f"--set data.root=data --set data.ignore_label=9 --set data.image_size=32 {FPN}"
    assert code_of(f"train --output out {settings}") == 65
    assert says in capfd.readouterr().err
    assert not list(here.glob("out/*.pt"))


def test_a_single_patient_leaves_nothing_to_learn_from(here: Path, capfd: pytest.CaptureFixture[str]) -> None:
    table = here / "data/cases.csv"
    table.write_text(table.read_text().replace("b,b,", "b,a,"))
    assert code_of(f"train --output out --set data.root=data --set data.image_size=32 {FPN}") == 65
    assert "1 case(s) that can be told apart: at least 2 are needed" in capfd.readouterr().err
