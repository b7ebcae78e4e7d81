"""`ctseg check`: everything that is wrong in one go, on the terminal, as JSON and as a page."""

from __future__ import annotations

import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from ctseg import config
from ctseg.__main__ import main
from ctseg.commands import params
from ctseg.data import split
from ctseg.data.load import load
from tests.unit.ctseg.conftest import TRAINER
from tests.unit.ctseg.test_readers import generic, hu, lesion, save

Make = Callable[..., Path]


def report(root: Path, tmp_path: Path, *arguments: str) -> tuple[int, dict[str, Any]]:
    code = main(["check", str(root), "--json", str(tmp_path / "report.json"), *arguments])
    parsed: dict[str, Any] = json.loads((tmp_path / "report.json").read_text())
    return code, parsed


def codes(parsed: dict[str, Any], level: str = "error") -> list[tuple[str, str]]:
    return [(f["code"], Path(f["path"]).name) for f in parsed["findings"] if f["level"] == level]


def test_all_problems_are_listed_at_once(tmp_path: Path) -> None:
    root = tmp_path / "data"
    for name in "abcd":
        save(root / f"{name}.nii.gz", hu(ord(name)))
        save(root / f"{name}_mask.nii.gz", lesion())
    for name in ("a", "a_mask"):
        path = root / f"{name}.nii.gz"
        path.write_bytes(path.read_bytes()[:-100])
    save(root / "b_mask.nii.gz", lesion()[:2])
    save(root / "orphan.nii.gz", hu())
    generic(root, [f"{name},{name},{name}.nii.gz,{name}_mask.nii.gz" for name in "abcde"])
    code, parsed = report(root, tmp_path)
    assert code == 65
    assert sorted(codes(parsed)) == [
        ("orphan", "e.nii.gz"),
        ("orphan", "e_mask.nii.gz"),
        ("orphan", "orphan.nii.gz"),
        ("unreadable", "a.nii.gz"),
        ("unreadable", "a_mask.nii.gz"),
        ("unreadable", "b_mask.nii.gz"),
    ]
    assert [row["case"] for row in parsed["cases"]] == ["c", "d"]
    assert parsed["cases"][0]["slices_without_lesion"] == 2
    assert parsed["cases"][0]["low"] == -1024, "padding is no value"


def test_near_duplicates_across_the_published_parts_are_found(semiseg: Make, tmp_path: Path) -> None:
    root = semiseg(6, official=True)
    test = root / "TestingSet/LungInfection-Test"
    (test / "Imgs").mkdir(parents=True)
    (test / "GT").mkdir()
    train = root / "TrainingSet/LungInfection-Train/Doctor-label"
    rng = np.random.default_rng(9)
    for name, seed in (("93", 5), ("91", 2), ("7", None)):
        picture = rng.integers(0, 256, (40, 30), dtype=np.uint8)
        if seed is not None:  # the neighbour of a training slice
            known = np.asarray(Image.open(train / f"Imgs/{seed}.jpg")).astype(int)
            picture = np.clip(known + rng.integers(-10, 11, known.shape), 0, 255).astype(np.uint8)
        Image.fromarray(picture).save(test / f"Imgs/{name}.jpg", quality=95)
        Image.fromarray(np.zeros((40, 30), np.uint8)).save(test / f"GT/{name}.png")
    code, parsed = report(root, tmp_path)
    assert code == 0, "a training does not use this split unless it is asked for"
    assert {(pair["one"], pair["other"]) for pair in parsed["duplicates"]} == {("2", "test/91"), ("5", "test/93")}
    assert all(pair["ncc"] > 0.95 for pair in parsed["duplicates"])
    assert {pair["kind"] for pair in parsed["duplicates"]} == {"across the published training and test parts"}
    assert (parsed["split"]["train"] + parsed["split"]["val"], parsed["split"]["test"]) == (6, 3)
    code, parsed = report(root, tmp_path, "--set", "data.split.published=true")
    assert code == 65
    assert [finding["code"] for finding in parsed["findings"] if finding["level"] == "error"] == ["near-duplicate"] * 2


def test_where_patients_are_unknown_slices_that_look_alike_are_told_and_kept_together(
    semiseg: Make, tmp_path: Path
) -> None:
    root = semiseg(6)
    rng = np.random.default_rng(9)
    known = np.asarray(Image.open(root / "doctor/train/images/1.jpg")).astype(int)
    near = np.clip(known + rng.integers(-10, 11, known.shape), 0, 255).astype(np.uint8)
    Image.fromarray(near).save(root / "doctor/train/images/4.jpg", quality=95)
    code, parsed = report(root, tmp_path)
    assert code == 0
    assert [(pair["one"], pair["other"], pair["kind"]) for pair in parsed["duplicates"]] == [
        ("1", "4", "kept together")
    ]
    assert [f["message"] for f in parsed["findings"] if f["code"] == "near-duplicate"] == [
        "1 pair of slices looks alike; patients are unknown: the split keeps them on one side"
    ]
    assert parsed["split"]["by"] == "group of near-duplicate slices"


def test_the_split_that_is_looked_at_is_the_trainings_own(tmp_path: Path) -> None:
    root = tmp_path / "lungs"
    assert main(["phantom", str(root), "--patients", "6", "--slices", "4", "--size", "48"]) == 0
    settings = ("data.image_size=32", "data.split.seed=3", "data.split.val_fraction=0.4")
    words = [word for setting in settings for word in ("--set", setting)]
    _, parsed = report(root, tmp_path, *words)
    data = config.parse(params.read(None, settings)).data
    samples = load(data.model_copy(update={"root": str(root)}), mount=None, workers=1)
    made = split.make(samples, data.split)
    assert (parsed["split"]["train"], parsed["split"]["val"]) == (len(made.train), len(made.val))
    held_out = {samples.names[i] for i in made.val}
    for pair in parsed["duplicates"]:
        across = (pair["one"] in held_out) != (pair["other"] in held_out)
        assert (pair["kind"] == "across the split") == across


def test_a_clean_folder_is_fine_and_its_page_needs_nothing_else(tmp_path: Path, capsys: Any) -> None:
    root = tmp_path / "<b>lungs"
    assert main(["phantom", str(root), "--patients", "3", "--slices", "5", "--size", "64"]) == 0
    page = tmp_path / "check.html"
    assert main(["check", str(root), "--page", str(page)]) == 0
    assert "3 cases, 15 slices, 0 errors" in capsys.readouterr().out
    html = page.read_text()
    assert html.count("<figure>") == 3, "one of each case"
    assert "<b>lungs" not in html
    assert "http" not in html


def test_one_patient_under_two_names_is_an_error_across_the_split(tmp_path: Path) -> None:
    for name in "ab":
        save(tmp_path / f"{name}.nii.gz", hu())
        save(tmp_path / f"{name}_mask.nii.gz", lesion())
    generic(tmp_path, [f"{name},{name},{name}.nii.gz,{name}_mask.nii.gz" for name in "ab"])
    code, parsed = report(tmp_path, tmp_path)
    assert code == 65
    assert {code for code, _ in codes(parsed)} == {"near-duplicate"}


def test_masks_without_a_lesion_and_a_single_case_are_errors(tmp_path: Path) -> None:
    save(tmp_path / "a.nii.gz", hu())
    save(tmp_path / "m.nii.gz", lesion(0))
    code, parsed = report(generic(tmp_path, ["a,p,a.nii.gz,m.nii.gz"]), tmp_path)
    assert code == 65
    assert {code for code, _ in codes(parsed)} == {"labels", "split"}


def test_it_needs_no_torch(tmp_path: Path) -> None:
    code = (
        "import sys, ctseg.commands.check, ctseg.data.check, ctseg.data.load; "
        "sys.exit(any(n in sys.modules for n in ('torch', 'scipy')))"
    )
    assert subprocess.run([sys.executable, "-c", code], env={"PYTHONPATH": str(TRAINER)}, check=False).returncode == 0


def test_real_slices_have_no_error(ct_data: Path, tmp_path: Path) -> None:
    code, parsed = report(ct_data, tmp_path)
    assert (code, len(parsed["cases"])) == (0, 50)
    code, parsed = report(ct_data, tmp_path, "--set", "data.subset=pseudo")
    assert sum(row["slices"] for row in parsed["cases"]) == 277
    assert len({row["patient"] for row in parsed["cases"]}) == 18
    assert code == 0, "two series of one patient correlate; they are one patient"
