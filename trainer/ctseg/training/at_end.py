"""The report that a training writes of itself when it has ended. It may fail, the trained model stays."""

from __future__ import annotations

import copy
import sys
import traceback
from collections.abc import Callable
from pathlib import Path

import torch

import orkrun
from ctseg import checkpoint
from ctseg.data.samples import Samples


def report(
    run: orkrun.Run,
    held_out: Samples,
    *,
    model: torch.nn.Module,
    batch_size: int,
    say: Callable[[str], None],
) -> None:
    """Into RUN/report, of the best model on the slices that were held out, unless it is there already. `model` is the
    network in training, which stays as it is: a copy takes the best weights, on the same device. Raises
    orkrun.Interrupted at SIGTERM (the checkpoint of the end is there: the next attempt makes the report) and
    orkrun.OutputError; whatever else goes wrong is told.
    """
    if not (run.output / checkpoint.BEST).exists():
        say("WARNING: no epoch has reported the objective, so there is no best model and no report")
        return
    try:
        from ctseg import inference, judge
        from ctseg.report import FOLDER, run_folder, shown

        trained = inference.load(run.output, network=_copy(model, held_out.channels))
        if run_folder.result(run.output, epoch=trained.epoch) is not None:
            # Made by an attempt that was ended before it could say so, perhaps.
            _show(run, run.output / FOLDER, step=trained.epoch)
            return
        result = judge.judge(
            run.output,
            trained,
            held_out,
            own=True,
            output=run.output / FOLDER,
            device=next(model.parameters()).device,
            batch_size=batch_size,
            between=run.check_interrupted,
        )
    except (orkrun.Interrupted, orkrun.OutputError):
        raise
    except Exception as error:  # noqa: BLE001 - hours of training must not end as failed for a picture
        traceback.print_exception(error)
        print(
            f"ctseg: WARNING: the model is trained, its report cannot be made ({type(error).__name__}: {error}); "
            f"`ctseg evaluate {run.output}` tries again",
            file=sys.stderr,
            flush=True,
        )
        return
    _show(run, run.output / FOLDER, step=trained.epoch)
    at = shown(result)
    dice = at.case.dice
    interval = f" ({dice.interval[0]:.3f} to {dice.interval[1]:.3f})" if dice.interval else ""
    say(
        f"best epoch {trained.epoch}: Dice {dice.value:.3f}{interval} per case at threshold {at.threshold.value}, "
        f"both chosen on these same slices; {run.output / FOLDER} in {result.seconds:.1f} s"
    )


def _show(run: orkrun.Run, folder: Path, *, step: int) -> None:
    """Reports what the report holds as the run's artifacts: what a person looks at first, then what it was made of.

    The composed pages have no role; the layers of the worst, median and best case do, for a viewer to lay one over the
    other.
    """
    from ctseg.report.run_folder import RESULT
    from ctseg.report.write import CARD, CURVES, LAYERS, OVERLAYS, RELIABILITY

    captions = {
        OVERLAYS: "Worst, median and best case of the held-out slices: found, false and missed.",
        CURVES: "Losses and Dice after each epoch.",
        RELIABILITY: "How often a pixel of a predicted probability is lesion.",
    }
    reported = {(line["path"], line["sha256"]) for line in run.artifacts()}
    for name, caption in captions.items():
        path = folder / name
        if path.exists() and not _reported(run, path, reported):
            run.image(f"report/{path.stem}", path, step=step, caption=caption, group="report")
    for name in (CARD, RESULT):
        path = folder / name
        if path.exists() and not _reported(run, path, reported):
            run.artifact(path, name=f"report/{name}", step=step, group="report")
    for path in sorted((folder / LAYERS).glob("*-*.png")):
        case, _, role = path.stem.rpartition("-")
        if not _reported(run, path, reported):
            run.image(f"report/{case}/{role}", path, step=step, group=f"{case} case", role=role)


def _reported(run: orkrun.Run, path: Path, reported: set[tuple[str, str]]) -> bool:
    """An attempt before has reported the same bytes."""
    return (path.resolve().relative_to(run.output.resolve()).as_posix(), orkrun.digest(path)[0]) in reported


def _copy(model: torch.nn.Module, channels: int) -> tuple[torch.nn.Module, int] | None:
    """None: it is to be built anew, which takes longer."""
    try:
        return copy.deepcopy(model), channels
    except RuntimeError:  # a module that keeps what it has computed, or the device has no memory for a second one
        return None
