"""`ctseg evaluate`: the report of a run's best model."""

from __future__ import annotations

import argparse
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orkrun

if TYPE_CHECKING:
    from ctseg.data.samples import Samples


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "evaluate",
        help="report figures and pictures of a run's best model",
        description="On the slices the run held out, which chooses the run's threshold (a training has done that at "
        "its end already), or with --data on all slices of another folder.",
        epilog="Example: `ctseg evaluate run --out figures`. Exit codes: 0 written, 65 no model or wrong data, 73 the "
        "report cannot be written.",
    )
    parser.add_argument("run", type=Path, metavar="RUN_FOLDER")
    where = parser.add_mutually_exclusive_group()
    where.add_argument("--data", metavar="ROOT", help="judge on all labelled slices of this folder instead")
    where.add_argument("--root", metavar="ROOT", help="where the run's own data lies now, if it has moved")
    parser.add_argument(
        "--last", action="store_true", help="judge the model at the end of the training, which nothing was chosen for"
    )
    parser.add_argument("--tta", action="store_true", help="mean over the four flips of each slice")
    parser.add_argument(
        "--out", type=Path, help="folder of the report; default RUN_FOLDER/report, with -data, -last, -tta for these"
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    import torch

    from ctseg import device, inference, judge, report
    from ctseg.data import cache
    from ctseg.data.load import load
    from ctseg.report import run_folder

    folder: Path = arguments.run
    if not folder.is_dir():
        raise orkrun.DataError(folder, "there is no such folder; the output folder of a training is needed")
    trained = inference.load(folder, last=arguments.last)
    params, data = trained.params, trained.params.data
    torch.set_num_threads(params.threads or device.available_cpus())
    kept = None
    if arguments.data:
        split = data.split.model_copy(update={"published": False})
        # Of both subsets only the doctor's judges: a folder without the other has all that is needed.
        subset = "doctor" if data.subset == "both" else data.subset
        data = data.model_copy(update={"root": arguments.data, "kind": "auto", "split": split, "subset": subset})
        samples = load(data, mount=None, workers=params.workers).judging()
    else:
        kept = run_folder.split(folder)
        if arguments.root:
            data = data.model_copy(update={"root": arguments.root})
        # What the training has decoded is there already.
        place = cache.folder_for(data.cache, folder)
        samples = load(data, mount=None, workers=params.workers, cache_folder=place)
        samples = _held_out(samples, kept)
    wanted = (("-data", arguments.data), ("-last", arguments.last), ("-tta", arguments.tta))
    default = report.FOLDER + "".join(suffix for suffix, asked in wanted if asked)
    output = arguments.out or folder / default
    result = judge.judge(
        folder,
        trained,
        samples,
        own=kept is not None,
        output=output,
        device=torch.device("cuda" if torch.cuda.is_available() else "cpu"),
        flips=arguments.tta,
    )
    print(result.note)
    for at in (result.figures.fixed, result.figures.chosen):
        if at is None:
            continue
        print(f"At threshold {at.threshold.value}, {at.threshold.rule}:")
        for level in ("pooled", "slice", "case"):
            dice = getattr(at, level).dice
            interval = f" ({dice.interval[0]:.3f} to {dice.interval[1]:.3f})" if dice.interval else ""
            print(f"  Dice {level}: {dice.value:.3f}{interval}, n {dice.n}")
    chosen = result.figures.chosen
    if chosen is not None and chosen.threshold.left_out_dice is not None:
        print(f"Dice case, each at the threshold that all others would choose: {chosen.threshold.left_out_dice:.3f}")
    print(f"{output}: result.json, model-card.md, pictures")
    return 0


def _held_out(samples: Samples, kept: Mapping[str, Any]) -> Samples:
    """The slices that the run held out, as they were then. Raises orkrun.DataError."""
    names = {name: i for i, name in enumerate(samples.names)}
    missing = [name for name in kept["val"] if name not in names]
    if missing:
        raise orkrun.DataError(
            samples.source,
            f"lacks {len(missing)} of {len(kept['val'])} held-out slices, {missing[0]} the first; --root says where "
            "the run's data is now",
        )
    held_out = samples.take([names[name] for name in kept["val"]])
    changed = [
        name for name, now in zip(held_out.names, held_out.hashes, strict=False) if kept["hashes"].get(name) != now
    ]
    if changed:
        raise orkrun.DataError(
            samples.source,
            f"has changed since the run: {len(changed)} of {len(held_out)} held-out slices have another content, "
            f"{changed[0]} the first; --data judges them as slices of their own",
        )
    return held_out
