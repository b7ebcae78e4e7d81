"""The recipe of examples/covid-semiseg.yaml, cross-validated over several seeds, with its figures as a page: `make
recipe DATA=folder`. The folder is COVID-SemiSeg's, which is not part of the project: its licence forbids that.
"""

from __future__ import annotations

import argparse
import statistics
import sys
from collections import defaultdict
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import yaml

from orkhaven.api import SweepSpec
from orkhaven.core.search import trial_params
from tools.trainings import ROOT, Job, Trained, run_and_tell

EXAMPLE = ROOT / "examples" / "covid-semiseg.yaml"
PAGE = ROOT / "docs" / "trainer" / "covid-semiseg.md"
SEEDS = 3
METRIC = "val/dice_slice"
TAIL = 5
"""Last epochs whose mean is a run's figure: the best epoch would be chosen on the held-out slices."""
BAR = 0.70


def jobs(root: Path, *, seeds: int, processes: int) -> list[Job]:
    """All trials of the example under each seed."""
    spec = yaml.safe_load(EXAMPLE.read_text(encoding="utf-8"))["spec"]
    source = trial_params(SweepSpec.model_validate(spec), spec["template"]["params"])
    found = []
    for seed in range(seeds):
        for index in range(source.total):
            params = source.params(index)
            data = {**params["data"], "root": str(root.resolve())}
            name = f"{data['subset']} fold {data['split']['fold']}"
            found.append(Job(name, {**params, "data": data, "threads": max(1, 2 // processes), "device": "cpu"}, seed))
    return found


def page(results: Sequence[Trained], held_out: Mapping[int, int]) -> str:
    """`held_out`: the number of slices of each fold, by which folds are weighed: the mean is one over all slices."""
    lines = [
        "# COVID-SemiSeg by cross-validation",
        "",
        "The recipe is `examples/covid-semiseg.yaml`; `make recipe DATA=folder` trains it on the CPU and writes this "
        f"page. Dice of each held-out slice, mean over {sum(held_out.values())} slices of {len(held_out)} folds, then "
        "mean ± deviation over seeds. Look-alike slices are on one side of each fold. `end` is the mean of the last "
        f"{TAIL} epochs, which nothing was chosen on; `best epoch` was chosen on the held-out slices and flatters.",
        "",
        "| learnt from | end | best epoch | CPU minutes of a training (largest) |",
        "|---|---|---|---|",
    ]
    groups: dict[str, list[Trained]] = defaultdict(list)
    for result in results:
        groups[result.job.params["data"]["subset"]].append(result)
    told = {"doctor": "the doctors' slices", "both": "and the pseudo-labelled ones"}
    for subset, group in groups.items():
        end, best = (_over_seeds(group, held_out, figure) for figure in ("end", "best"))
        minutes = [one.cpu_seconds / 60 for one in group]
        spent = f"{statistics.fmean(minutes):.1f} ({max(minutes):.1f})"
        lines.append(f"| {told[subset]} | {_shown(end)} | {_shown(best)} | {spent} |")
    lines += ["", "End, by fold (mean over seeds):", ""]
    lines += ["| learnt from | " + " | ".join(f"fold {fold}" for fold in sorted(held_out)) + " |"]
    lines += ["|---|" + "---|" * len(held_out)]
    for subset, group in groups.items():
        by_fold = [[one.last(METRIC, TAIL) for one in group if _fold(one) == fold] for fold in sorted(held_out)]
        lines.append(f"| {told[subset]} | " + " | ".join(f"{statistics.fmean(v):.3f}" for v in by_fold) + " |")
    return "\n".join([*lines, "", *_verdict(groups, held_out)]) + "\n"


def _verdict(groups: Mapping[str, Sequence[Trained]], held_out: Mapping[int, int]) -> list[str]:
    ends = {subset: _over_seeds(group, held_out, "end") for subset, group in groups.items()}
    best = max(ends, key=lambda subset: statistics.fmean(ends[subset]))
    reached = statistics.fmean(ends[best]) >= BAR
    lines = [f"The bar of {BAR:.2f} is {'reached' if reached else 'not reached'} at the end of the training."]
    if len(ends) == 2:
        # The same folds and seeds: what the pseudo labels change is told by pairs.
        changes = [both - doctor for doctor, both in zip(ends["doctor"], ends["both"], strict=True)]
        spread = f" ± {statistics.stdev(changes):.3f}" if len(changes) > 1 else ""
        lines.append(
            f"The pseudo-labelled slices change the mean by {statistics.fmean(changes):+.3f}{spread} (by seed)."
        )
    return lines


def _over_seeds(group: Sequence[Trained], held_out: Mapping[int, int], figure: str) -> list[float]:
    by_seed: dict[int, dict[int, float]] = defaultdict(dict)
    for one in group:
        by_seed[one.job.seed][_fold(one)] = one.last(METRIC, TAIL) if figure == "end" else one.best(METRIC)
    total = sum(held_out.values())
    return [sum(folds[fold] * count for fold, count in held_out.items()) / total for folds in by_seed.values()]


def _fold(one: Trained) -> int:
    return int(one.job.params["data"]["split"]["fold"])


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
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "recipe", help="trainings and their logs")
    parser.add_argument("--page", type=Path, default=PAGE)
    parser.add_argument("--processes", type=int, default=2)
    arguments = parser.parse_args(argv)
    todo = jobs(arguments.data, seeds=arguments.seeds, processes=arguments.processes)
    held_out = folds(todo[0].params)
    results = run_and_tell(
        todo,
        folder=arguments.folder,
        processes=arguments.processes,
        threads=max(1, 2 // arguments.processes),
        metric=METRIC,
    )
    text = page(results, held_out)
    arguments.page.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
