"""The parts of the training loop: memory that ends, precision, EMA, early stopping, checkpoints, divergence."""

from __future__ import annotations

import io
import json
import zipfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest
import torch

import orkrun
from ctseg import checkpoint, config
from ctseg.config import EarlyStopping
from ctseg.data.samples import Samples
from ctseg.objective import Objective
from ctseg.ranks import ALONE, Ranks
from ctseg.training import compiling, loop, memory, stopping
from ctseg.training.display import Display
from ctseg.training.loop import Training
from ctseg.training.precision import Precision
from ctseg.training.state import Progress
from ctseg.training.step import Stepper
from tests.unit.ctseg.test_train import assert_same, failing, series, state, tiny, train

pytestmark = pytest.mark.usefixtures("one_thread")


# --- batches in parts -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("count", "micro", "sizes"),
    [(8, 8, [8]), (8, 3, [3, 3, 2]), (9, 4, [3, 3, 3]), (3, 2, [2, 1]), (2, 16, [2]), (5, 1, [1] * 5)],
    ids=str,
)
def test_parts_cover_the_batch_evenly(count: int, micro: int, sizes: list[int]) -> None:
    parts = memory.parts(count, micro)
    assert [part.stop - part.start for part in parts] == sizes
    assert [i for part in parts for i in range(count)[part]] == list(range(count))


class Plain(torch.nn.Module):
    """Without batch normalisation or dropout. Raises as a GPU does above `holds` slices, after it has counted them."""

    def __init__(self, *, holds: int = 1000) -> None:
        super().__init__()
        self.layers = torch.nn.Sequential(
            torch.nn.Conv2d(1, 4, 3, padding=1), torch.nn.ReLU(), torch.nn.Conv2d(4, 1, 1)
        )
        self.register_buffer("seen", torch.zeros((), dtype=torch.int64))
        self.holds = holds

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        self.seen += len(images)
        if len(images) > self.holds:
            raise torch.OutOfMemoryError(f"CUDA out of memory. Tried to allocate {len(images)}.00 GiB\nmore lines")
        logits: torch.Tensor = self.layers(images)
        return logits


def one_step(
    micro: int,
    *,
    count: int = 8,
    holds: int = 1000,
    precision: str = "fp32",
    ranks: Ranks = ALONE,
    **params: Any,
) -> tuple[Plain, Progress, float, list[str]]:
    """Gradients of one batch of 8, of which one slice has no label."""
    torch.manual_seed(3)
    model = Plain(holds=holds)
    parsed = config.parse({"loss": {"name": "dice_ce", "over": "slice"}, "precision": precision, **params})
    optimizer = torch.optim.SGD(model.parameters(), lr=0.1)
    minimized = Objective(parsed, model)
    said: list[str] = []
    progress = Progress(micro_batch=micro)
    forward = compiling.compiled(model, said.append) if parsed.compile else model
    stepper = Stepper(model, forward, minimized, Precision(parsed, torch.device("cpu")), optimizer, ranks=ranks)
    images = torch.rand(count, 1, 16, 16, generator=torch.Generator().manual_seed(0))
    valid = torch.ones_like(images)
    valid[5:6] = 0
    found = stepper.gradients(
        (images, (images > 0.6).float(), valid),
        progress=progress,
        seed=0,
        epoch=0.0,
        generator=torch.Generator().manual_seed(1),
        clip_norm=None,
        say=said.append,
    )
    return model, progress, found.loss, said


def gradient(model: torch.nn.Module) -> torch.Tensor:
    return torch.cat([p.grad.flatten() for p in model.parameters() if p.grad is not None])


@pytest.mark.parametrize("micro", [1, 2, 3, 4])
def test_a_batch_in_parts_has_the_gradient_of_the_whole_one(micro: int) -> None:
    whole, _, loss, _ = one_step(8)
    parts, _, loss_of_parts, _ = one_step(micro)
    assert loss_of_parts == pytest.approx(loss, rel=1e-6)
    torch.testing.assert_close(gradient(parts), gradient(whole), rtol=1e-5, atol=1e-7)


def test_without_memory_the_same_step_is_done_again_in_halves() -> None:
    model, progress, loss, said = one_step(8, holds=2)
    expected, _, expected_loss, _ = one_step(2)
    assert (progress.micro_batch, progress.out_of_memory) == (2, 2)
    assert loss == expected_loss
    assert torch.equal(gradient(model), gradient(expected))
    assert int(model.seen) == 8, "statistics of the failed passes are taken back"
    assert said[0].startswith("WARNING: no memory left on the device for 8 slices at once, goes on with 4: CUDA out")


def test_one_slice_that_is_too_much_is_out_of_memory_and_nothing_else() -> None:
    with pytest.raises(torch.OutOfMemoryError, match="one slice at a time is too much"):
        one_step(8, holds=0)


def holding(training: Training, slices: int) -> None:
    """From now on the network fails as on a full GPU above so many slices."""

    def check(_: torch.nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        if len(inputs[0]) > slices:
            raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    training.model.register_forward_pre_hook(check)


def trained(
    folder: Path, samples: Samples, params: dict[str, Any], *, prepare: Callable[[Training], None] = lambda _: None
) -> tuple[int, Training]:
    """Trains to the end whatever it is. Returns the exit code."""
    holder: list[Training] = []
    try:
        objective: orkrun.Objective = {"metric": "val/dice_case", "direction": "Maximize"}
        with orkrun.run(orkrun.local_config(params, output=folder, objective=objective), environ={}) as run:
            holder.append(Training(run, config.parse(run.params), samples))
            prepare(holder[0])
            holder[0].run()
    except SystemExit as ended:
        return int(ended.code or 0), holder[0]
    return 0, holder[0]


def test_a_run_short_of_memory_says_so_in_its_metrics_and_keeps_it_over_a_resume(
    tmp_path: Path, samples: Samples
) -> None:
    def interrupted(training: Training) -> None:
        holding(training, 2)
        original = training.train_step

        def step() -> None:
            original()
            training.run_.interrupted = training.progress.step == 4

        training.train_step = step  # type: ignore[method-assign]

    code, _ = trained(tmp_path, samples, tiny(epochs=2), prepare=interrupted)
    assert code == 143
    assert state(tmp_path)["progress"]["micro_batch"] == 2
    code, training = trained(tmp_path, samples, tiny(epochs=2), prepare=lambda t: holding(t, 2))
    assert code == 0
    assert training.progress.out_of_memory == 1, "it did not have to fail again"
    assert [metrics["micro_batch_size"] for metrics in series(tmp_path).values()] == [2, 2]
    summary = json.loads((tmp_path / loop.SUMMARY).read_text())
    assert (summary["micro_batch_size"], summary["out_of_memory"], summary["batch_size"]) == (2, 1, 4)


def test_a_run_without_memory_for_one_slice_dies_of_that(tmp_path: Path, samples: Samples) -> None:
    code, _ = trained(tmp_path, samples, tiny(), prepare=lambda t: holding(t, 0))
    assert code == 70
    failure = json.loads((tmp_path / "result.json").read_text())["record"]["failure"]
    assert failure["type"] == "torch.OutOfMemoryError"


# --- precision, EMA, compile ------------------------------------------------------------------------------------------


def test_auto_is_single_precision_on_a_cpu() -> None:
    chosen = Precision(config.parse({}), torch.device("cpu"))
    assert chosen.name == "fp32"
    assert not chosen.scaler.is_enabled()


def test_bf16_computes_in_bf16_and_keeps_weights_and_gradients_in_fp32() -> None:
    model, _, loss, _ = one_step(8, precision="bf16")
    exact, _, exact_loss, _ = one_step(8)
    assert loss != exact_loss
    assert loss == pytest.approx(exact_loss, rel=0.02)
    assert gradient(model).dtype == torch.float32
    torch.testing.assert_close(gradient(model), gradient(exact), rtol=0.1, atol=0.01)


def test_fp16_gradients_are_as_large_as_without_its_scale() -> None:
    model, _, _, _ = one_step(8, precision="fp16")
    exact, _, _, _ = one_step(8)
    torch.testing.assert_close(gradient(model), gradient(exact), rtol=0.05, atol=0.01)


EVERYTHING: dict[str, Any] = {
    "ema": {"decay": 0.9},
    "micro_batch_size": 2,
    "optimizer": {"clip_norm": 1.0, "encoder_lr_factor": 0.5, "schedule": {"name": "plateau", "patience": 1}},
    "consistency": {"weight": 0.1, "transform": "both"},
    "teacher": {"weight": 1.0, "decay": 0.9},
    "selection": {"keep": 0.75, "epochs": 1},
    "early_stopping": {"patience": 50},
}


@pytest.mark.parametrize(
    ("params", "stops", "slices"),
    # Half precision is emulated on a CPU: two steps of a slice or two are enough to see whether the scaler goes on.
    [(EVERYTHING, (2, 2), range(15)), ({"precision": "fp16"}, (1,), (0, 5, 10))],
    ids=["every part on", "fp16"],
)
def test_a_resumed_training_ends_bit_for_bit_the_same(
    tmp_path: Path, samples: Samples, params: dict[str, Any], stops: tuple[int, ...], slices: Sequence[int]
) -> None:
    params, samples = tiny(epochs=2, **params), samples.take(slices)
    train(tmp_path / "through", samples, params)
    for steps in stops:
        assert train(tmp_path / "resumed", samples, params, stop_after=steps)["outcome"] == "Interrupted"
    assert train(tmp_path / "resumed", samples, params)["outcome"] == "Succeeded"
    assert_same(state(tmp_path / "resumed"), state(tmp_path / "through"))
    assert series(tmp_path / "resumed") == series(tmp_path / "through")
    assert_same(checkpoint.load(tmp_path / "resumed/best.pt"), checkpoint.load(tmp_path / "through/best.pt"))


def test_what_is_judged_and_kept_is_the_mean_of_the_weights(tmp_path: Path, samples: Samples) -> None:
    train(tmp_path, samples, tiny(epochs=1, ema={"decay": 0.5, "warmup": False}))
    best, last = checkpoint.load(tmp_path / checkpoint.BEST), state(tmp_path)
    assert best is not None
    assert best["weights"] == "ema"
    assert_same(best["model"], last["ema"])
    name = next(iter(last["model"]))
    assert not torch.equal(last["model"][name], last["ema"][name])
    metrics = series(tmp_path)[1]
    assert "val_raw/dice_case" in metrics
    assert len(metrics) <= 31  # with the seconds 32, as many as a status holds


def test_a_compiler_that_fails_costs_a_line_and_not_the_run(monkeypatch: pytest.MonkeyPatch) -> None:
    def broken(model: torch.nn.Module) -> Callable[[torch.Tensor], torch.Tensor]:
        def run(_: torch.Tensor) -> torch.Tensor:
            raise RuntimeError("no C++ compiler\nand more")

        return run

    monkeypatch.setattr(torch, "compile", broken)
    model, said = Plain(), []
    forward = compiling.compiled(model, said.append)
    images = torch.rand(2, 1, 8, 8)
    assert torch.equal(forward(images), model(images))
    assert torch.equal(forward(images), model(images))
    assert said == ["WARNING: the compiled model fails, it goes on as it is: RuntimeError: no C++ compiler"]


def test_a_compiled_backward_that_fails_costs_a_line_and_the_step_is_the_models_own(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    class Breaks(torch.autograd.Function):
        @staticmethod
        def forward(_: Any, logits: torch.Tensor) -> torch.Tensor:
            return logits.clone()

        @staticmethod
        def backward(_: Any, gradient: torch.Tensor) -> torch.Tensor:  # type: ignore[override]
            raise AssertionError("expected size 512==512, stride 9==1 at dim=1")

    monkeypatch.setattr(torch, "compile", lambda model: lambda images: Breaks.apply(model(images)))
    plain, _, loss, _ = one_step(8)
    model, progress, loss_after_all, said = one_step(8, compile=True)
    assert loss_after_all == loss
    assert torch.equal(gradient(model), gradient(plain))
    assert int(model.seen) == 8, "statistics of the failed pass are taken back"
    assert progress.out_of_memory == 0
    expected = "AssertionError: expected size 512==512, stride 9==1 at dim=1"
    assert said == [f"WARNING: the compiled model fails, it goes on as it is: {expected}"]


# --- early stopping ---------------------------------------------------------------------------------------------------


def stops_after(values: list[float | None], *, minimize: bool = False, **settings: Any) -> tuple[int | None, str]:
    progress, chosen = Progress(), EarlyStopping.model_validate(settings)
    for epoch, value in enumerate(values, start=1):
        progress.epochs = epoch
        reason = stopping.watch(chosen, progress, value, minimize=minimize, metric="val/x")
        if reason:
            return epoch, reason
    return None, ""


@pytest.mark.parametrize(
    ("values", "settings", "epoch"),
    [
        ([0.5, 0.4, 0.4, 0.4], {"patience": 2}, 3),
        ([0.5, 0.4, 0.6, 0.5, 0.5], {"patience": 2}, 5),
        ([0.5, 0.4, 0.4, 0.4], {}, None),
        ([0.5, 0.505, 0.51, 0.52], {"patience": 2, "min_delta": 0.1}, 3),
        ([0.5, 0.4, 0.4, 0.4, 0.4], {"patience": 1, "min_epochs": 4}, 4),
        ([None, None], {"patience": 2}, 2),
        ([0.5, 0.4, 0.3], {"patience": 1, "minimize": True}, None),
    ],
    ids=["no better", "better again", "off", "not better enough", "not before", "never reported", "smaller is better"],
)
def test_patience(values: list[float | None], settings: dict[str, Any], epoch: int | None) -> None:
    assert stops_after(values, **settings)[0] == epoch


def test_a_training_that_gets_no_better_ends_and_says_why(tmp_path: Path, samples: Samples) -> None:
    params = tiny(epochs=9, early_stopping={"patience": 1, "min_delta": 1.0})
    record = train(tmp_path, samples, params)
    assert record["outcome"] == "Succeeded"
    assert list(series(tmp_path)) == [1, 2]
    said = json.loads((tmp_path / loop.SUMMARY).read_text())["stopped_early"]
    assert said.startswith("stopped early after epoch 2: val/dice_case got no better than")
    assert state(tmp_path)["progress"]["stopped"] == record["note"] == said


# --- checkpoints ------------------------------------------------------------------------------------------------------


def damage(path: Path) -> None:
    """One bit of a tensor: the archive itself can be read."""
    with zipfile.ZipFile(path) as archive:
        largest = max(archive.infolist(), key=lambda item: item.file_size)
    content = bytearray(path.read_bytes())
    content[largest.header_offset + 500] ^= 1
    path.write_bytes(content)


def test_as_many_checkpoints_stay_as_were_asked_for(tmp_path: Path) -> None:
    for step in range(5):
        checkpoint.save_latest(tmp_path, {"step": step}, keep=3)
    held = {path.name: (checkpoint.load(path) or {})["step"] for path in tmp_path.iterdir()}
    assert held == {"checkpoint.pt": 4, "checkpoint.1.pt": 3, "checkpoint.2.pt": 2}


def test_a_damaged_newest_one_falls_back_to_the_one_before(
    tmp_path: Path, samples: Samples, capsys: pytest.CaptureFixture[str]
) -> None:
    params = tiny(epochs=3)
    train(tmp_path / "through", samples, params)
    train(tmp_path / "damaged", samples, params, stop_after=7)
    damage(tmp_path / "damaged" / checkpoint.LATEST)
    assert train(tmp_path / "damaged", samples, params)["outcome"] == "Succeeded"
    said = capsys.readouterr().out
    assert "WARNING: " in said
    assert "checkpoint.pt: is damaged" in said
    assert "goes on from " in said
    assert "checkpoint.1.pt: epoch 2, step 6" in said
    assert_same(state(tmp_path / "damaged"), state(tmp_path / "through"))


def test_the_best_is_not_replaced_by_a_worse_one_after_a_resume(tmp_path: Path, samples: Samples) -> None:
    train(tmp_path, samples, tiny(epochs=3), stop_after=3)
    saved = state(tmp_path)
    saved["progress"] |= {"best": 2.0, "best_epoch": 1}
    checkpoint.save(tmp_path / checkpoint.LATEST, saved)
    (tmp_path / checkpoint.BEST).unlink(missing_ok=True)
    train(tmp_path, samples, tiny(epochs=3))
    assert not (tmp_path / checkpoint.BEST).exists()
    assert state(tmp_path)["progress"]["best"] == 2.0


def given_to_another(tmp_path: Path, samples: Samples) -> Path:
    """The folder of another run, with the checkpoint of one that is over."""
    train(tmp_path / "one", samples, tiny(epochs=1))
    (tmp_path / "two").mkdir()
    (tmp_path / "one" / checkpoint.LATEST).rename(tmp_path / "two" / checkpoint.LATEST)
    return tmp_path / "two"


def test_a_checkpoint_of_another_config_is_refused_by_the_parameters_that_differ(
    tmp_path: Path, samples: Samples
) -> None:
    folder = given_to_another(tmp_path, samples)
    code, failure = failing(folder, samples, tiny(epochs=1, optimizer__lr=0.5, batch_size=3))
    assert code == 78
    assert failure["type"] == "orkrun.ConfigError"
    assert "batch_size 4 there, 3 here; optimizer.lr 0.002 there, 0.5 here. Use" in failure["message"]


def test_another_run_may_go_on_for_more_epochs(tmp_path: Path, samples: Samples) -> None:
    folder = given_to_another(tmp_path, samples)
    assert train(folder, samples, tiny(epochs=2))["outcome"] == "Succeeded"
    assert list(series(folder)) == [2]


def test_a_checkpoint_of_other_slices_is_refused(tmp_path: Path, samples: Samples) -> None:
    train(tmp_path, samples, tiny(epochs=2), stop_after=1)
    (tmp_path / "split.json").unlink()  # which would say it first
    code, failure = failing(tmp_path, samples.take(range(1, len(samples))), tiny(epochs=2))
    assert code == 65
    assert "learnt from 10 slices, now there are" in failure["message"]


# --- divergence, display ----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("poison", "says"),
    [("loss", "the loss is nan at step 0"), ("gradient", "the gradient's norm is nan at step 0")],
)
def test_what_is_not_finite_is_told_with_its_slices_and_the_parameters_before(
    tmp_path: Path, samples: Samples, poison: str, says: str
) -> None:
    def prepare(training: Training) -> None:
        first = next(training.model.parameters())
        if poison == "gradient":
            first.register_hook(lambda grad: grad * float("nan"))
        else:
            training.model.register_forward_hook(lambda _, __, out: out * float("nan"))

    code, training = trained(tmp_path, samples, tiny(), prepare=prepare)
    assert code == 70
    failure = json.loads((tmp_path / "result.json").read_text())["record"]["failure"]
    assert failure["type"] == "orkrun.Diverged"
    assert failure["message"].startswith(says)
    assert str(tmp_path / loop.DIVERGED) in failure["message"]
    kept = torch.load(tmp_path / loop.DIVERGED, weights_only=True)
    assert len(kept["slices"]) == 4
    assert set(kept["slices"]) <= set(training.names)
    assert kept["slices"][0] in failure["message"]
    assert all(torch.isfinite(value).all() for value in kept["model"].values())


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


def test_a_terminal_sees_the_steps_and_a_log_only_lines() -> None:
    for stream, expected in ((Terminal(), "\repoch 1 ["), (io.StringIO(), "done\n")):
        display = Display(stream)
        display.step(5, 10, epoch=1, loss=0.5, rate=12.0)
        display.line("done")
        assert stream.getvalue().startswith(expected)
        assert stream.getvalue().endswith("done\n")
