"""The recipe of examples/covid-semiseg.yaml, cross-validated over several seeds, with its figures as a page: `make
recipe DATA=folder`. The folder is COVID-SemiSeg's, which is not part of the project: its licence forbids that.
"""

from __future__ import annotations

import argparse
import contextlib
import io
import statistics
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import yaml

from orkhaven.api import SweepSpec
from orkhaven.core.search import trial_params
from tools.trainings import ROOT, Job, Trained, run_and_tell

EXAMPLE = ROOT / "examples" / "covid-semiseg.yaml"
PAGE = ROOT / "docs" / "trainer" / "covid-semiseg.md"
CARD = ROOT / "docs" / "trainer" / "covid-semiseg-card.md"
SEEDS = 3
METRIC = "val/dice_slice"
TOLD = {"doctor": "the doctors' slices", "both": "and the pseudo-labelled ones"}
BAR = 0.70


def jobs(root: Path, *, seeds: int, processes: int, subsets: Sequence[str] = tuple(TOLD)) -> list[Job]:
    """All trials of the example that learn from one of `subsets`, under each seed."""
    spec = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["spec"]
    source = trial_params(SweepSpec.model_validate(spec), spec["template"]["params"])
    found = []
    for seed in range(seeds):
        for index in range(source.total):
            params = source.params(index)
            data = {**params["data"], "root": str(root.resolve())}
            if data["subset"] not in subsets:
                continue
            name = f"{data['subset']} fold {data['split']['fold']}"
            found.append(Job(name, {**params, "data": data, "threads": max(1, 2 // processes), "device": "cpu"}, seed))
    return found


@dataclass(frozen=True, slots=True)
class Result:
    """Mean Dice of the held-out slices of one fold, under one seed."""

    subset: str
    fold: int
    seed: int
    end: float
    """Of the end of the training, at 0.5: nothing was chosen on these slices."""
    flips: float
    """The same weights, mean over four flips, each slice at the threshold that all others of the fold would choose."""
    best: float
    """Of the best epoch, which these slices have chosen."""
    minutes: float | None
    """CPU minutes of the training, where known."""
    report: Path
    """The result.json that `flips` is from."""


FIGURES = {
    "end": "end, at 0.5",
    "flips": "end, flips, threshold of the others",
    "best": "best epoch (flatters)",
}


def judged(found: Trained, folder: Path) -> Result:
    """By `ctseg evaluate` of the last weights. Raises orkrun's errors."""
    from ctseg.__main__ import main as ctseg
    from ctseg.report import schema

    output = folder / f"{found.job.key}.flips"
    if not (output / "result.json").exists():
        with contextlib.redirect_stdout(io.StringIO()):
            code = ctseg(["evaluate", str(folder / found.job.key), "--last", "--tta", "--out", str(output)])
        if code:
            raise SystemExit(f"{found.job.name} seed {found.job.seed}: ctseg evaluate ended with {code}")
    flipped = schema.loads((output / "result.json").read_bytes()).figures.chosen
    if flipped is None or flipped.threshold.left_out_dice is None:
        raise SystemExit(f"{output} has no threshold of its own")
    data = found.job.params["data"]
    return Result(
        subset=data["subset"],
        fold=data["split"]["fold"],
        seed=found.job.seed,
        end=found.epochs[-1][METRIC],
        flips=flipped.threshold.left_out_dice,
        best=found.best(METRIC),
        minutes=None if found.cpu_seconds is None else found.cpu_seconds / 60,
        report=output / "result.json",
    )


def page(results: Sequence[Result], held_out: Mapping[int, int]) -> str:
    """`held_out`: the number of slices of each fold, by which folds are weighed: the mean is one over all slices."""
    lines = [
        "# COVID-SemiSeg by cross-validation",
        "",
        "The recipe is `examples/covid-semiseg.yaml`; `make recipe DATA=folder` trains it on the CPU and writes this "
        "page and the [model card](covid-semiseg-card.md) of the best training. "
        f"Dice of each held-out slice, mean over {sum(held_out.values())} slices of {len(held_out)} folds, then "
        "mean ± deviation over seeds. Look-alike slices are on one side of each fold. `flips`: the mean of the answers "
        "to a slice and its mirror images, each slice at the threshold that the other slices of its fold would choose.",
        "",
        f"| learnt from | {' | '.join(FIGURES.values())} | CPU minutes of a training (largest) |",
        "|---|" + "---|" * (len(FIGURES) + 1),
    ]
    groups = {subset: [one for one in results if one.subset == subset] for subset in TOLD}
    for subset, group in groups.items():
        if not group:
            continue
        cells = [_shown(_over_seeds(group, held_out, figure)) for figure in FIGURES]
        minutes = [one.minutes for one in group if one.minutes is not None]
        spent = f"{statistics.fmean(minutes):.1f} ({max(minutes):.1f})" if minutes else "-"
        lines.append(f"| {TOLD[subset]} | {' | '.join(cells)} | {spent} |")
    lines += ["", f"{FIGURES['flips'].capitalize()}, by fold (mean over seeds):", ""]
    lines += ["| learnt from | " + " | ".join(f"fold {fold}" for fold in sorted(held_out)) + " |"]
    lines += ["|---|" + "---|" * len(held_out)]
    for subset, group in groups.items():
        by_fold = [[one.flips for one in group if one.fold == fold] for fold in sorted(held_out)]
        if all(by_fold):
            lines.append(f"| {TOLD[subset]} | " + " | ".join(f"{statistics.fmean(v):.3f}" for v in by_fold) + " |")
    return "\n".join([*lines, "", *_verdict(groups, held_out)]) + "\n"


def card(results: Sequence[Result], root: Path) -> str:
    """The model card of the training with the highest `flips`, without pictures and without this machine's paths."""
    from ctseg.report import card as model_card
    from ctseg.report import schema

    best = max(results, key=lambda one: one.flips)
    report = schema.loads(best.report.read_bytes())
    source = report.data.source.replace(f"{root.resolve()}/", "COVID-SemiSeg, ")
    report = report.model_copy(update={"data": report.data.model_copy(update={"source": source})})
    head, _, rest = model_card.card(report, pictures=()).partition("\n\n")
    told = (
        f"The best of the {len(results)} trainings of [the recipe](covid-semiseg.md), by {FIGURES['flips']}: chosen by "
        "the slices that judge it, so its figures flatter. What to expect of the recipe is the mean on that page. "
        "Written by `make recipe`; the weights are not part of the project."
    )
    return "\n\n".join((head, told, rest))


def _verdict(groups: Mapping[str, Sequence[Result]], held_out: Mapping[int, int]) -> list[str]:
    found = {subset: _over_seeds(group, held_out, "flips") for subset, group in groups.items() if group}
    lines = []
    if "doctor" in found:
        reached = "reached" if statistics.fmean(found["doctor"]) >= BAR else "not reached"
        lines.append(f"The bar of {BAR:.2f} from the doctors' slices alone is {reached}.")
    if len(found) == 2:
        # The same folds and seeds: what the pseudo labels change is told by pairs.
        changes = [both - doctor for doctor, both in zip(found["doctor"], found["both"], strict=True)]
        spread = f" ± {statistics.stdev(changes):.3f}" if len(changes) > 1 else ""
        lines.append(
            f"The pseudo-labelled slices change the mean by {statistics.fmean(changes):+.3f}{spread} (by seed)."
        )
    return lines


def _over_seeds(group: Sequence[Result], held_out: Mapping[int, int], figure: str) -> list[float]:
    total = sum(held_out.values())
    seeds = sorted({one.seed for one in group})
    return [
        sum(getattr(one, figure) * held_out[one.fold] for one in group if one.seed == seed) / total for seed in seeds
    ]


def _shown(values: Sequence[float]) -> str:
    spread = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{spread}"


def folds(params: Mapping[str, Any]) -> dict[int, int]:
    """The number of held-out slices of each fold."""
    from ctseg import config
    from ctseg.data import split
    from ctseg.data.load import load

    parsed = config.parse(params)
    samples = load(parsed.data, mount=None, workers=2)
    count = parsed.data.split.folds or 1
    settings = [parsed.data.split.model_copy(update={"fold": fold}) for fold in range(count)]
    return {one.fold: len(split.make(samples, one).val) for one in settings}


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="recipe", description=__doc__)
    parser.add_argument("data", type=Path, help="the folder of COVID-SemiSeg")
    parser.add_argument("--seeds", type=int, default=SEEDS)
    parser.add_argument("--subset", choices=TOLD, help="only what learns from these slices; default: each")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "recipe", help="trainings and their logs")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--card", type=Path, default=CARD, help="the model card of the best training")
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args(argv)
    subsets = (arguments.subset,) if arguments.subset else tuple(TOLD)
    todo = jobs(arguments.data, seeds=arguments.seeds, processes=arguments.processes, subsets=subsets)
    held_out = folds(todo[0].params)
    results = run_and_tell(
        todo,
        folder=arguments.folder,
        processes=arguments.processes,
        metric=METRIC,
    )
    told = [judged(found, arguments.folder) for found in results]
    text = page(told, held_out)
    arguments.page.write_text(text, encoding="utf-8")
    arguments.card.write_text(card(told, arguments.data), encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
