"""The report of a model: what a training writes at its end, and what `ctseg evaluate` makes of the same run."""

from __future__ import annotations

import hashlib
import io
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from PIL import Image

import orkrun
from ctseg import checkpoint, config, inference, judge
from ctseg.__main__ import main
from ctseg.data import cache
from ctseg.data.load import load
from ctseg.data.samples import Samples
from ctseg.report import plot, reference, run_folder, schema
from ctseg.report.card import card
from ctseg.training.loop import Training
from tests.unit.ctseg.conftest import ROOT, TINY

REPORT = {"result.json", "model-card.md", "curves.png", "reliability.png", "overlays.png", "cases"}
PARAMS = {**TINY, "ema": {"decay": 0.9}, "early_stopping": {"patience": 1, "min_delta": 1.0}, "epochs": 9}
"""The mean weights are judged; it stops early, after its second epoch."""


pytestmark = pytest.mark.usefixtures("one_thread")


def train(folder: Path, samples: Samples, params: dict[str, Any] = PARAMS) -> int:
    """Returns the exit code."""
    local = orkrun.local_config(params, output=folder, seed=5)
    try:
        with orkrun.run(local, environ={}) as run:
            Training(run, config.parse(run.params), samples).run()
    except SystemExit as ended:
        return int(ended.code or 0)
    return 0


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory, samples: Samples) -> Path:
    folder = tmp_path_factory.mktemp("trained") / "run"
    assert train(folder, samples) == 0
    return folder


@pytest.fixture
def copy(trained: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(trained, tmp_path / "run"))


def result_of(folder: Path) -> schema.Result:
    return schema.loads((folder / "report" / "result.json").read_bytes())


def forget_end(folder: Path) -> None:
    """As if the process had ended between the last epoch and the report."""
    shutil.rmtree(folder / "report")
    (folder / "result.json").unlink()


def test_a_training_writes_its_report_at_its_end(trained: Path) -> None:
    assert {path.name for path in (trained / "report").iterdir()} == REPORT
    result, summary = result_of(trained), json.loads((trained / "training.json").read_text())
    assert result.training is not None
    assert result.training.stopped_early == summary["stopped_early"]
    assert "stopped early after epoch 2" in str(summary["stopped_early"])
    assert (result.training.epochs, result.training.micro_batch_size, result.training.out_of_memory) == (2, 4, 0)
    assert result.training.seed == 5
    epochs = run_folder.history(trained)
    assert list(epochs) == [1, 2]
    assert result.training.seconds == pytest.approx(sum(values["epoch_seconds"] for values in epochs.values()))
    assert result.model.weights == "ema"
    assert result.model.epoch == result.training.best_epoch


def test_the_figures_at_one_half_are_those_of_the_best_epoch(trained: Path) -> None:
    result = result_of(trained)
    best = run_folder.history(trained)[result.model.epoch]
    for level, suffix in (("pooled", ""), ("slice", "_slice"), ("case", "_case")):
        for name in ("dice", "iou", "specificity"):
            figure = getattr(getattr(result.figures.fixed, level), name)
            assert figure.value == pytest.approx(best[f"val/{name}{suffix}"]), f"{name}{suffix}"


def test_the_threshold_is_chosen_on_the_held_out_slices_and_found_by_who_uses_the_model(trained: Path) -> None:
    result = result_of(trained)
    chosen = result.figures.chosen
    assert chosen is not None
    assert chosen.threshold.chosen_on_these_slices
    assert not result.figures.fixed.threshold.chosen_on_these_slices
    assert "Best epoch and threshold were chosen on these same slices" in result.note
    fixed_dice, dice = result.figures.fixed.case.dice.value, chosen.case.dice.value
    assert dice is not None
    assert fixed_dice is not None
    assert dice >= fixed_dice
    for place in (trained, trained / checkpoint.BEST):
        found = inference.threshold_of(inference.load(place))
        assert (found.value, found.rule) == (chosen.threshold.value, chosen.threshold.rule)


def test_a_threshold_of_other_weights_is_not_used(copy: Path) -> None:
    best = checkpoint.load(copy / checkpoint.BEST)
    assert best is not None
    checkpoint.save(copy / checkpoint.BEST, {**best, "epoch": 7})
    assert inference.threshold_of(inference.load(copy)).value == 0.5
    shutil.rmtree(copy / "report")
    assert inference.threshold_of(inference.load(copy)).rule == "fixed, chosen by nothing"


def test_the_report_is_reported_as_artifacts_once(trained: Path, samples: Samples, copy: Path) -> None:
    def manifest(folder: Path) -> list[dict[str, Any]]:
        return [json.loads(line) for line in (folder / "artifacts" / "manifest.jsonl").read_text().splitlines()]

    found = {line["name"]: line for line in manifest(trained)}
    layers = {
        f"report/{case}/{role}" for case in ("worst", "median", "best") for role in ("image", "mask", "prediction")
    }
    pages = {"report/overlays", "report/curves", "report/reliability", "report/model-card.md", "report/result.json"}
    assert set(found) == layers | pages
    assert found["report/overlays"]["path"] == "report/overlays.png"
    worst = found["report/worst/prediction"]
    assert (worst["group"], worst["role"], worst["kind"]) == ("worst case", "prediction", "image")
    assert Image.open(trained / worst["path"]).size == samples.images.shape[-2:][::-1]
    (copy / "result.json").unlink()  # as if it had been ended just before it was done
    assert train(copy, samples) == 0
    assert len(manifest(copy)) == len(found)


def test_a_finished_training_that_is_entered_again_makes_the_report_that_is_missing(
    copy: Path, trained: Path, samples: Samples
) -> None:
    forget_end(copy)
    assert train(copy, samples) == 0
    one, other = (result_of(folder).model_dump(exclude={"seconds"}) for folder in (copy, trained))
    assert one == other
    (copy / "result.json").unlink()
    before = (copy / "report" / "result.json").stat().st_mtime_ns
    assert train(copy, samples) == 0
    assert (copy / "report" / "result.json").stat().st_mtime_ns == before


def test_sigterm_during_the_report_is_an_interruption_and_the_next_attempt_makes_it(
    copy: Path, samples: Samples
) -> None:
    forget_end(copy)
    best = (copy / checkpoint.BEST).read_bytes()
    seen = []

    class Slow(Training):
        def say(self, text: str) -> None:
            if "goes on from" in text:
                seen.append(text)
                self.run_.interrupted = True  # as the signal's handler does

    with (
        pytest.raises(SystemExit) as ended,
        orkrun.run(orkrun.local_config(PARAMS, output=copy, seed=5), environ={}) as run,
    ):
        Slow(run, config.parse(run.params), samples).run()
    assert seen
    assert ended.value.code == 143
    assert not (copy / "report").exists()
    assert (copy / checkpoint.BEST).read_bytes() == best
    assert train(copy, samples) == 0
    assert {path.name for path in (copy / "report").iterdir()} == REPORT


def test_a_report_that_fails_leaves_the_training_a_success(
    copy: Path, samples: Samples, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_end(copy)
    monkeypatch.setattr(plot, "curves", lambda *_, **__: 1 / 0)
    assert train(copy, samples) == 0
    assert json.loads((copy / "result.json").read_text())["record"]["outcome"] == "Succeeded"
    errors = capsys.readouterr().err
    assert "its report cannot be made (ZeroDivisionError" in errors
    assert f"`ctseg evaluate {copy}` tries again" in errors


def test_a_report_that_cannot_be_written_is_an_output_error(copy: Path, samples: Samples) -> None:
    forget_end(copy)
    (copy / "report").write_text("in the way")
    assert train(copy, samples) == 73
    assert "report cannot be written" in (copy / "result.json").read_text()


def test_an_objective_that_no_epoch_has_reported_leaves_no_model_to_report(
    copy: Path, samples: Samples, capsys: pytest.CaptureFixture[str]
) -> None:
    forget_end(copy)
    (copy / checkpoint.BEST).unlink()
    assert train(copy, samples) == 0
    assert "no best model and no report" in capsys.readouterr().out


def test_the_end_of_the_training_is_judged_as_its_last_epoch_was(copy: Path, tmp_path: Path) -> None:
    assert main(["evaluate", str(copy), "--last", "--out", str(tmp_path)]) == 0
    result = schema.Result.model_validate_json((tmp_path / "result.json").read_bytes())
    history = run_folder.history(copy)
    last = history[max(history)]
    assert result.model.selected == "last"
    assert result.model.epoch == max(history)
    assert result.figures.fixed.case.dice.value == pytest.approx(last["val/dice_case"], abs=1e-6)
    assert "nothing was chosen for the figures at 0.5" in result.note


def test_evaluate_makes_the_same_report_again(copy: Path, trained: Path, capsys: pytest.CaptureFixture[str]) -> None:
    shutil.rmtree(copy / "report")
    assert main(["evaluate", str(copy)]) == 0
    one, other = (result_of(folder).model_dump(exclude={"seconds"}) for folder in (copy, trained))
    assert one == other
    said = capsys.readouterr().out
    assert "At threshold 0.5, fixed, chosen by nothing:" in said
    assert "chosen on these same slices" in said


def test_other_data_is_judged_at_the_threshold_of_the_run_and_chooses_nothing(copy: Path, tmp_path: Path) -> None:
    other = str(tmp_path / "other")
    assert main(["phantom", other, "--patients", "2", "--slices", "4", "--size", "48", "--seed", "9"]) == 0
    assert main(["evaluate", str(copy), "--data", other]) == 0
    found = schema.loads((copy / "report-data" / "result.json").read_bytes())
    own = result_of(copy).figures.chosen
    assert found.figures.chosen is not None
    assert own is not None
    assert found.figures.chosen.threshold.value == own.threshold.value
    assert not found.figures.chosen.threshold.chosen_on_these_slices
    assert (found.part, found.split, found.data.of_run) == ("other", None, 0)
    assert "had no part in these slices" in found.note


def test_predict_takes_the_threshold_of_the_run_unless_one_is_given(copy: Path, tmp_path: Path) -> None:
    path = copy / "report" / "result.json"
    content = json.loads(path.read_text())
    content["figures"]["chosen"]["threshold"] |= {"value": 0.35, "rule": "by this test"}
    path.write_text(json.dumps(content))
    assert main(["phantom", str(tmp_path / "p"), "--patients", "2", "--slices", "1", "--size", "32"]) == 0
    given = str(tmp_path / "p" / "nifti" / "phantom-0000_ct.nii.gz")
    for more, expected in ((), (0.35, "by this test")), (("--threshold", "0.6"), (0.6, "given")):
        out = tmp_path / f"out{len(more)}"
        assert main(["predict", str(copy), given, "--out", str(out), *more]) == 0
        report = json.loads((out / "volume.json").read_text())
        assert (report["threshold"], report["threshold_rule"]) == expected


def test_slices_that_the_run_has_learnt_from_are_told_where_they_come_as_other_data(
    trained: Path, samples: Samples, tmp_path: Path
) -> None:
    result = judge.judge(
        trained, inference.load(trained), samples, own=False, output=tmp_path / "out", device=torch.device("cpu")
    )
    assert result.data.of_run == len(samples)
    assert "15 of these slices are the run's own" in result.note


def test_a_run_is_judged_from_its_cache_and_not_on_data_that_has_changed(
    semiseg: Callable[..., Path], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    root, run = semiseg(8), tmp_path / "run"
    params = {**TINY, "data": {"image_size": 32, "root": str(root)}, "epochs": 1, "workers": 1}
    with orkrun.run(orkrun.local_config(params, output=run), environ={}) as entered:
        parsed = config.parse(entered.params)
        place = cache.folder_for(parsed.data.cache, run)
        Training(entered, parsed, load(parsed.data, mount=None, workers=1, cache_folder=place)).run()
    capsys.readouterr()
    (built,) = [path for path in (tmp_path / ".ctseg-cache").iterdir() if path.is_dir()]
    before = (built / "images.npy").stat().st_mtime_ns
    assert main(["evaluate", str(run), "--tta"]) == 0
    assert (built / "images.npy").stat().st_mtime_ns == before
    assert schema.loads((run / "report-tta" / "result.json").read_bytes()).tta
    moved = root.rename(tmp_path / "moved")
    assert main(["evaluate", str(run), "--root", str(moved)]) == 0
    held_out = run_folder.split(run)["val"][0]
    (path,) = moved.glob(f"**/{held_out.split('/')[-1]}.png")
    Image.fromarray(np.zeros((40, 30), np.uint8)).save(path)
    assert main(["evaluate", str(run), "--root", str(moved)]) == 65
    assert "1 of 2 held-out slices have another content" in capsys.readouterr().err
    path.unlink()
    next(moved.glob(f"**/{path.stem}.jpg")).unlink()
    assert main(["evaluate", str(run), "--root", str(moved)]) == 65
    assert "lacks 1 of 2 held-out slices" in capsys.readouterr().err


def test_the_digest_can_be_made_of_split_json_by_anybody(trained: Path) -> None:
    split = json.loads((trained / "split.json").read_text())
    lines = [f"{part}\t{name}\t{split['hashes'][name]}\n" for part in ("train", "val") for name in split[part]]
    assert result_of(trained).data.digest == hashlib.sha256("".join(sorted(lines)).encode()).hexdigest()


def test_the_card_says_what_a_user_has_to_know(trained: Path) -> None:
    text, result = (trained / "report" / "model-card.md").read_text(), result_of(trained)
    assert result.figures.chosen is not None
    says = ["Not for diagnosis", "running mean (EMA)", "by patient; learnt from 10 slices in 2 groups, held out 5 in 1"]
    says += [result.data.digest, "seed of weights, order and augmentation: 5", "stopped early after epoch 2"]
    says += [
        "Licence: generated",
        "Begun from: random weights",
        f"Threshold: {result.figures.chosen.threshold.value} (",
    ]
    says += ["Best epoch and threshold were chosen on these same slices", "## Limits", "loss: name dice_ce"]
    for one in says:
        assert one in text, one
    for name in REPORT - {"result.json", "model-card.md", "cases"}:
        assert f"({name})" in text


def test_a_network_that_cannot_be_copied_is_built_anew(copy: Path, trained: Path, samples: Samples) -> None:
    forget_end(copy)

    class Keeps(Training):
        def evaluate(self) -> dict[str, float]:
            raise AssertionError("the training is over")

        def say(self, text: str) -> None:
            super().say(text)
            if "goes on from" in text:
                self.model.kept = next(self.model.parameters()) * 1.0  # of a graph: no deep copy

    local = orkrun.local_config(PARAMS, output=copy, seed=5)
    with orkrun.run(local, environ={}) as run:
        Keeps(run, config.parse(run.params), samples).run()
    one, other = (result_of(folder).model_dump(exclude={"seconds"}) for folder in (copy, trained))
    assert one == other


def test_the_card_says_how_several_masks_became_one(trained: Path) -> None:
    result = result_of(trained)
    data = {"annotators": ["a", "b", "truth"], "learnt_from": ["a", "b"], "annotators_rule": "staple"}
    several = result.model_copy(update={"data": result.data.model_copy(update=data)})
    text = card(several, pictures=())
    assert "learnt from: a, b, of several masks of a slice what STAPLE makes of them" in text
    assert "Judged on: 5 slices of 1 cases, against truth" in text


def test_a_leaky_split_and_foreign_weights_are_on_the_card(copy: Path) -> None:
    path = copy / "split.json"
    path.write_text(json.dumps({**json.loads(path.read_text()), "leaky": "the published split"}))
    best = checkpoint.load(copy / checkpoint.BEST)
    assert best is not None
    best["params"]["model"]["weights"] = "/weights/resnet.pt"
    checkpoint.save(copy / checkpoint.BEST, best)
    assert main(["evaluate", str(copy)]) == 0
    text = (copy / "report" / "model-card.md").read_text()
    assert "**Every figure below is too good: the published split.**" in text
    assert "Begun from: /weights/resnet.pt. Its licence is not known here" in text


def test_pictures_are_pictures(trained: Path) -> None:
    for name in REPORT - {"result.json", "model-card.md", "cases"}:
        with Image.open(trained / "report" / name) as picture:
            assert picture.format == "PNG"
            assert len(set(picture.convert("L").resize((40, 30)).tobytes())) > 3, name


@pytest.mark.parametrize("epochs", [1, 3, 400])
def test_curves_mark_the_best_epoch_however_many_there_are(epochs: int) -> None:
    history = {e: {"train/loss": 1 / e, "val/loss": 2 / e, "val/dice": 1 - 1 / e} for e in range(1, epochs + 1)}
    history[epochs] |= {"val/loss": float("nan")}  # is left out
    drawn = plot.curves(history, best_epoch=epochs, objective="val/dice")
    other = plot.curves(history, best_epoch=max(epochs - 1, 0), objective="val/dice")
    assert drawn != other
    with Image.open(io.BytesIO(drawn)) as picture:
        assert picture.size == (1180, 480)


def test_what_two_attempts_did_twice_is_as_the_later_one_says(tmp_path: Path) -> None:
    for attempt, steps in ((1, {1: 0.1, 2: 0.2}), (2, {2: 0.3}), (10, {3: 0.4})):
        lines = [
            {"attempt": attempt, "seq": seq, "step": step, "time": 0, "metrics": {"val/dice": value}}
            for seq, (step, value) in enumerate(steps.items())
        ]
        (tmp_path / f"metrics-{attempt}.jsonl").write_text("".join(json.dumps(line) + "\n" for line in lines))
    assert run_folder.history(tmp_path) == {step: {"val/dice": v} for step, v in ((1, 0.1), (2, 0.3), (3, 0.4))}


def test_memory_that_ends_while_judging_halves_the_batch(samples: Samples) -> None:
    class Full(torch.nn.Module):
        def __init__(self) -> None:
            super().__init__()
            self.weight = torch.nn.Parameter(torch.zeros(1))
            self.sizes: list[int] = []

        def forward(self, images: torch.Tensor) -> torch.Tensor:
            self.sizes.append(len(images))
            if len(images) > 2:
                raise torch.OutOfMemoryError("no memory left")
            return images[:, :1] + self.weight

    model = Full()
    found = inference.probabilities(model, samples.images[:5], batch_size=5)
    assert model.sizes == [5, 2, 2, 1]
    assert np.allclose(found, 1 / (1 + np.exp(samples.images[:5, 0] / -255.0)), atol=1e-6)
    assert model.training


@pytest.mark.parametrize(
    "change", [{"schema": 1}, {"surprise": 1}, {"part": "training"}, {"figures": None}], ids=lambda c: next(iter(c))
)
def test_a_result_of_another_form_is_refused(trained: Path, change: dict[str, Any]) -> None:
    content = json.loads((trained / "report" / "result.json").read_text())
    with pytest.raises(ValueError, match=r"schema 2|surprise|part|figures"):
        schema.loads(json.dumps({**content, **change}).encode())


def test_the_schema_in_the_documentation_is_up_to_date_and_explains_itself() -> None:
    file = ROOT / "docs" / "reference" / "result.schema.json"
    assert file.read_text(encoding="utf-8") == reference.json_schema(), "run `make generate`"
    parts = json.loads(file.read_text())["$defs"]
    for name in ("Ratios", "CaseFigures", "Calibration", "Threshold", "Training", "Data"):
        described = [field for field in parts[name]["properties"].values() if "description" in field]
        assert len(described) >= len(parts[name]["properties"]) // 2, name
