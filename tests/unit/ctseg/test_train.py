"""The training itself: it learns, it can be left and entered at any step, and it says why it ends."""

from __future__ import annotations

import json
import math
import os
import signal
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
import torch

import orkrun
from ctseg import checkpoint, config
from ctseg.data.samples import Samples
from ctseg.training.loop import Training
from tests.unit.ctseg.conftest import TINY, TRAINER

OBJECTIVE: orkrun.Objective = {"metric": "val/dice_case", "direction": "Maximize"}


pytestmark = pytest.mark.usefixtures("one_thread")


def tiny(**changes: Any) -> dict[str, Any]:
    params: dict[str, Any] = json.loads(json.dumps(TINY))
    for name, value in changes.items():
        config.set_dotted(params, name.replace("__", "."), value)
    return params


def train(
    folder: Path, samples: Samples, params: dict[str, Any], *, stop_after: int | None = None, seed: int = 0
) -> dict[str, Any]:
    """Trains to the end, or is interrupted after so many more steps; returns the record."""
    local = orkrun.local_config(params, output=folder, seed=seed, objective=OBJECTIVE)
    try:
        with orkrun.run(local, environ={}) as run:
            training = Training(run, config.parse(run.params), samples)
            if stop_after is not None:
                original, left = training.train_step, [stop_after]

                def step() -> None:
                    original()
                    left[0] -= 1
                    run.interrupted = left[0] <= 0

                training.train_step = step  # type: ignore[method-assign]
            training.run()
    except SystemExit as ended:
        if ended.code != 143:
            raise
    record: dict[str, Any] = json.loads((folder / "result.json").read_text())["record"]
    return record


def state(folder: Path) -> dict[str, Any]:
    loaded = checkpoint.load(folder / checkpoint.LATEST)
    assert loaded is not None
    return loaded


def series(folder: Path) -> dict[int, dict[str, float]]:
    lines = [json.loads(line) for line in (folder / "metrics-1.jsonl").read_text().splitlines()]
    return {
        line["step"]: {k: v for k, v in line["metrics"].items() if k != "epoch_seconds"} for line in lines
    }  # wall-clock time is no part of what must repeat


def assert_same(one: Any, other: Any, path: str = "") -> None:
    assert type(one) is type(other), path
    if isinstance(one, dict):
        assert one.keys() == other.keys(), path
        for key in one:
            if key not in ("seconds", "epoch_seconds"):
                assert_same(one[key], other[key], f"{path}/{key}")
    elif isinstance(one, list):
        assert len(one) == len(other), path
        for i, (a, b) in enumerate(zip(one, other, strict=True)):
            assert_same(a, b, f"{path}/{i}")
    elif isinstance(one, torch.Tensor):
        assert torch.equal(one, other), path
    else:
        assert one == other, path


@pytest.fixture(scope="module")
def through(tmp_path_factory: pytest.TempPathFactory, samples: Samples) -> Path:
    folder = tmp_path_factory.mktemp("through")
    assert train(folder, samples, tiny())["outcome"] == "Succeeded"
    return folder


@pytest.mark.parametrize("stops", [[1], [3], [4, 1, 3]], ids=["mid-epoch", "before the evaluation", "three times"])
def test_a_resumed_training_ends_bit_for_bit_as_one_that_was_never_stopped(
    tmp_path: Path, through: Path, samples: Samples, stops: list[int]
) -> None:
    for steps in stops:
        record = train(tmp_path, samples, tiny(), stop_after=steps)
        assert record["outcome"] == "Interrupted"
        assert Path(record["checkpoint"]["path"]).is_file()
    assert train(tmp_path, samples, tiny())["outcome"] == "Succeeded"
    assert_same(state(tmp_path), state(through))
    assert series(tmp_path) == series(through)


@pytest.mark.parametrize(
    "changes",
    [
        {"data__points": {"enabled": True}, "loss": {"name": "bce"}, "consistency": {"weight": 1, "transform": "both"}},
        {
            "teacher": {"weight": 1, "ramp_up_epochs": 1, "decay": 0.9, "skip_above": 1},
            "selection": {"keep": 0.6, "epochs": 1},
            "loss": {"name": "nr_dice_gce"},
        },
    ],
    ids=["points", "teacher and selection"],
)
def test_what_needs_more_than_one_answer_resumes_bit_for_bit_too(
    tmp_path: Path, samples: Samples, changes: dict[str, Any]
) -> None:
    params = tiny(epochs=2, **changes)
    train(tmp_path / "through", samples, params)
    train(tmp_path / "stopped", samples, params, stop_after=4)
    train(tmp_path / "stopped", samples, params)
    through, stopped = state(tmp_path / "through"), state(tmp_path / "stopped")
    for part in ("model", "optimizer", "minimized"):
        assert_same(through[part], stopped[part])
    if "teacher" in changes:
        assert through["minimized"]["gate"]["mean"] > 0


def test_the_same_seed_repeats_and_another_does_not(tmp_path: Path, through: Path, samples: Samples) -> None:
    train(tmp_path / "same", samples, tiny())
    assert series(tmp_path / "same") == series(through)
    train(tmp_path / "other", samples, tiny(), seed=1)
    assert series(tmp_path / "other") != series(through)


def test_it_learns_the_slices_it_sees(tmp_path: Path, samples: Samples) -> None:
    params = tiny(epochs=12, augmentation={"flip": False, "rotate": 0, "scale": 0, "intensity": 0})
    train(tmp_path, samples, params)
    losses = [metrics["train/loss"] for metrics in series(tmp_path).values()]
    assert losses[-1] < 0.75 * losses[0]


def test_every_epoch_reports_all_metrics(through: Path) -> None:
    epochs = series(through)
    assert list(epochs) == [1, 2, 3]
    names = {"train/loss", "val/loss", "lr"}
    names |= {f"val/{name}{level}" for name in ("dice", "iou", "specificity") for level in ("", "_slice", "_case")}
    for metrics in epochs.values():
        assert names <= set(metrics)
        assert all(math.isfinite(value) for value in metrics.values())
        assert len(metrics) <= 31  # with the seconds 32, as many as a status holds


def test_the_best_model_is_kept_with_its_parameters(through: Path) -> None:
    best = checkpoint.load(through / checkpoint.BEST)
    assert best is not None
    values = {step: metrics["val/dice_case"] for step, metrics in series(through).items()}
    assert best["value"] == max(values.values()) == values[best["epoch"]]
    assert config.parse(best["params"]) == config.parse(TINY)


def test_the_split_is_written_down_by_patient(through: Path) -> None:
    split = json.loads((through / "split.json").read_text())
    train_patients, val_patients = ({name.split("/")[0] for name in split[part]} for part in ("train", "val"))
    assert len(train_patients) == 2
    assert len(val_patients) == 1
    assert not train_patients & val_patients


@pytest.mark.parametrize(
    "changes",
    [
        {"optimizer__name": "sgd", "optimizer__clip_norm": 1.0, "optimizer__schedule__name": "poly"},
        {"loss__combination": [{"name": "dice"}, {"name": "focal", "weight": 2}]},
        {"batch_size": 3, "loss__name": "focal"},
        {"batch_size": 100, "loss__name": "cross_entropy"},
    ],
    ids=["sgd", "combination", "a last batch of one", "one batch"],
)
def test_other_parameters_train_too(tmp_path: Path, samples: Samples, changes: dict[str, Any]) -> None:
    assert train(tmp_path, samples, tiny(epochs=1, **changes))["outcome"] == "Succeeded"


def failing(folder: Path, samples: Samples, params: dict[str, Any]) -> tuple[int, dict[str, Any]]:
    with pytest.raises(SystemExit) as ended, orkrun.run(orkrun.local_config(params, output=folder), environ={}) as run:
        Training(run, config.parse(run.params), samples).run()
    assert isinstance(ended.value.code, int)
    failure: dict[str, Any] = json.loads((folder / "result.json").read_text())["record"]["failure"]
    return ended.value.code, failure


def test_a_loss_that_is_not_finite_is_diverged(tmp_path: Path, samples: Samples) -> None:
    params = tiny(loss={"name": "cross_entropy", "positive_weight": 3e38})
    code, failure = failing(tmp_path, samples, params)
    assert code == 70
    assert failure["type"] == "orkrun.Diverged"
    assert failure["message"].startswith("the loss is inf at step ")
    assert failure["location"].endswith("in train_step")


def test_one_slice_at_a_time_trains_a_network_that_pools_to_one_value(tmp_path: Path, samples: Samples) -> None:
    record = train(tmp_path, samples, tiny(batch_size=1, epochs=1, model__architecture="DeepLabV3"))
    assert record["outcome"] == "Succeeded"
    assert state(tmp_path)["progress"]["step"] > 1


def test_a_damaged_checkpoint_is_told_by_name(tmp_path: Path, samples: Samples) -> None:
    (tmp_path / checkpoint.LATEST).write_bytes(b"PK\x03\x04 nothing")
    code, failure = failing(tmp_path, samples, tiny())
    assert code == 65
    assert failure["message"].startswith(str(tmp_path / checkpoint.LATEST))


def test_a_checkpoint_that_would_run_code_is_refused(tmp_path: Path, samples: Samples) -> None:
    marker = tmp_path / "ran"

    class Evil:
        def __reduce__(self) -> Any:
            return Path.touch, (marker,)

    torch.save({"format": 1, "model": Evil()}, tmp_path / checkpoint.LATEST)
    code, _ = failing(tmp_path, samples, tiny())
    assert code == 65
    assert not marker.exists()


def test_a_pod_is_interrupted_mid_way_and_its_next_attempt_finishes(pod: Any, through: Path) -> None:
    pod.config |= {"seed": 0, "params": tiny()}
    process = pod.start()
    for line in process.stdout:
        if line.startswith("epoch 1/"):
            process.send_signal(signal.SIGTERM)
            break
    process.communicate(timeout=120)
    assert process.returncode == 143
    record = pod.record()
    assert record["outcome"] == "Interrupted"
    assert record["checkpoint"]["step"] in (1, 2)
    pod.config["attempt"] = 2
    code, _, errors = pod.run()
    assert code == 0, errors
    record = pod.record()
    assert record["outcome"] == "Succeeded"
    assert (record["step"], record["totalSteps"]) == (3, 3)
    assert_same(state(pod.output), state(through))
    assert [line["step"] for line in pod.reported()] == [1, 2, 3]
    assert {line["attempt"] for line in pod.reported()} == {1, 2}


@pytest.mark.parametrize(
    ("params", "code", "kind", "says"),
    [
        ({"batch_size": 0}, 64, "orkrun.InvalidParams", "batch_size: 0"),
        ({"batch_size": "NaN"}, 64, "orkrun.InvalidParams", "batch_size: 'NaN'"),
        ({"optimizer": {"lr": float("nan")}}, 64, "orkrun.InvalidParams", "optimizer.lr: nan"),
        ({"model": {"encoder": "resnet43"}}, 64, "orkrun.InvalidParams", "model.encoder: 'resnet43' is unknown"),
        ({"data": {"root": "/missing"}}, 65, "orkrun.DataError", "/missing: there is no such folder"),
    ],
    ids=str,
)
def test_what_is_wrong_comes_out_of_a_pod_by_exit_code_and_name(
    pod: Any, params: dict[str, Any], code: int, kind: str, says: str
) -> None:
    pod.config["params"] = params
    returned, _, errors = pod.run()
    assert returned == code, errors
    assert pod.record()["failure"]["type"] == kind
    assert pod.record()["failure"]["message"].startswith(says)
    assert says in errors


def test_without_a_config_the_way_to_a_local_run_is_told(pod: Any) -> None:
    process = pod.start()
    (pod.folder / "config.json").unlink()
    _, errors = process.communicate(timeout=60)
    assert process.returncode == 78
    assert "start the run with parameters of its own" in errors


def test_the_first_process_of_a_container_hears_sigterm_before_the_training_does() -> None:
    if subprocess.run(["unshare", "--pid", "--fork", "true"], capture_output=True, check=False).returncode:
        pytest.skip("a PID namespace cannot be made here; root can")
    script = "import ctseg.__main__, os, signal; os.kill(os.getpid(), signal.SIGTERM); print('went on')"
    command = ["unshare", "--pid", "--fork", sys.executable, "-c", script]
    done = subprocess.run(command, env={**os.environ, "PYTHONPATH": str(TRAINER)}, capture_output=True, check=False)
    assert (done.returncode, done.stdout) == (143, b""), done.stderr
