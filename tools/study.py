"""The noise study: what wrong training masks cost, by loss, share of wrong masks and annotators' rule. `make study`.

Each cell of the table is a `ctseg train` in a process of its own on the phantom in memory, once per seed. Training
masks are spoilt by annotators with known faults, held-out masks are true.
"""

from __future__ import annotations

import argparse
import itertools
import json
import statistics
import sys
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from tools.trainings import ROOT, Job, run_and_tell

PAGE = ROOT / "docs" / "trainer" / "noise-study.md"
METRIC = "val/dice"
TAIL = 5  # last epochs whose mean is a run's figure: the best epoch would be chosen on the held-out slices
LOSS_AT_MOST = 0.5
"""The issue's bar: with most noise the robust recipe loses at most this share of what the plain one loses."""


@dataclass(frozen=True, slots=True)
class Recipe:
    """A row of the table: parameters beside data and seed."""

    name: str
    params: Mapping[str, Any]


PLAIN = Recipe("dice_ce", {"loss": {"name": "dice_ce"}})
ROBUST = Recipe(
    "robust",
    {
        "loss": {"name": "dice_ce"},
        "ema": {"decay": 0.97},
        "teacher": {"weight": 1.0, "decay": 0.97},
    },
)
RECIPES = (
    PLAIN,
    Recipe("cross_entropy", {"loss": {"name": "cross_entropy"}}),
    Recipe("gce", {"loss": {"name": "gce"}}),
    Recipe("sce", {"loss": {"name": "sce"}}),
    Recipe("nr_dice", {"loss": {"name": "nr_dice"}}),
    Recipe("nr_dice_gce", {"loss": {"name": "nr_dice_gce"}}),
    Recipe("small losses", {"loss": {"name": "nr_dice_gce"}, "selection": {"keep": 0.7, "epochs": 10, "by": "slice"}}),
    ROBUST,
)
RULES = ("one", "majority", "soft", "staple", "random")
"""one: a single annotator; the others join three, each of whom spoils the same share on their own."""
LEVELS = (0.0, 0.2, 0.4)


@dataclass(frozen=True, slots=True)
class Size:
    """How large a training is: chosen so that plain Dice + cross-entropy on true masks gets to a good Dice."""

    patients: int
    slices: int
    pixels: int
    epochs: int
    seeds: int
    model: Mapping[str, Any]


FULL = Size(15, 8, 64, 30, 3, {"architecture": "Linknet", "encoder": "tu-test_resnet"})
QUICK = Size(3, 5, 32, 2, 1, {"architecture": "FPN", "encoder": "tu-test_efficientnet"})


@dataclass(frozen=True, slots=True)
class Cell:
    """One entry of the table."""

    recipe: Recipe
    level: float
    rule: str

    def params(self, size: Size) -> dict[str, Any]:
        phantom: dict[str, Any] = {"patients": size.patients, "slices": size.slices, "size": size.pixels}
        phantom["noise"] = self.level
        data: dict[str, Any] = {"image_size": size.pixels, "phantom": phantom}
        if self.rule != "one":
            phantom["annotators"] = ["anna=exact", "ben=exact", "cleo=exact"]
            data["annotators"] = {"rule": self.rule}
        return {
            **self.recipe.params,
            "model": dict(size.model),
            "data": data,
            "batch_size": 8,
            "epochs": size.epochs,
            "threads": 1,
            "device": "cpu",
            "checkpoint": {"every_epochs": size.epochs},
        }


def cells(levels: Sequence[float]) -> Iterator[Cell]:
    """Every recipe with one annotator at every level; at the highest the plain and the robust one with three under
    every rule. Without noise all annotators are the truth and rules do not differ: one cell stands for them.
    """
    for recipe, level in itertools.product(RECIPES, levels):
        several = recipe in (PLAIN, ROBUST) and level == max(levels)
        for rule in RULES if several else RULES[:1]:
            yield Cell(recipe, level, rule)


@dataclass(frozen=True, slots=True)
class Row:
    """What one training of a cell found."""

    cell: Cell
    dice: float


def table(results: Sequence[Row], size: Size, levels: Sequence[float]) -> str:
    """The page: Dice as mean +- deviation over seeds, and whether the robust recipe keeps what it promises."""
    groups: dict[tuple[str, str, float], list[float]] = {}
    for row in results:
        groups.setdefault((row.cell.recipe.name, row.cell.rule, row.cell.level), []).append(row.dice)
    lines = [
        "# What wrong masks cost",
        "",
        f"Pooled Dice of held-out slices against the true masks, mean of the last {TAIL} epochs, mean and deviation "
        f"over {size.seeds} seed{'s' * (size.seeds > 1)}; {size.patients} phantom patients of {size.slices} slices at "
        f"{size.pixels} pixels, {size.epochs} epochs of {size.model['architecture']}/{size.model['encoder']} from "
        "scratch. A share of each annotator's training masks is spoilt: much too large or small, most lesions missing, "
        "false ones. `one`: one annotator; the other rules join three. "
        f"`{ROBUST.name}` is `{json.dumps(ROBUST.params)}`. Written by `make study`.",
        "",
        "| loss | rule | " + " | ".join(f"{level:.0%} wrong" for level in levels) + " |",
        "|---|---|" + "---|" * len(levels),
    ]
    for recipe in RECIPES:
        for rule in RULES:
            entries = [groups.get((recipe.name, rule, level)) for level in levels]
            if any(entries):
                # Without noise all annotators are the truth: the one cell stands for every rule.
                entries = [
                    entry or (groups.get((recipe.name, "one", 0.0)) if not level else None)
                    for entry, level in zip(entries, levels, strict=True)
                ]
                lines.append(f"| {recipe.name} | {rule} | " + " | ".join(map(_entry, entries)) + " |")
    return "\n".join([*lines, "", *verdict(groups, max(levels))]) + "\n"


def verdict(groups: Mapping[tuple[str, str, float], Sequence[float]], worst: float) -> list[str]:
    """For people: what plain and robust lose at the highest level, by rule."""
    mean = {key: statistics.fmean(values) for key, values in groups.items()}
    clean, plain = mean.get((PLAIN.name, "one", 0.0)), mean.get((PLAIN.name, "one", worst))
    if clean is None or plain is None:
        return []
    lines = [
        f"With {worst:.0%} wrong, plain {PLAIN.name} from one annotator loses {clean - plain:.3f} of its {clean:.3f}. "
        "Others, of the same figure:",
        "",
    ]
    others = [(recipe, rule) for recipe in (PLAIN, ROBUST) for rule in RULES if (recipe, rule) != (PLAIN, "one")]
    for recipe, rule in others:
        found = mean.get((recipe.name, rule, worst))
        if found is None:
            continue
        lost = clean - found
        kept = "at most half of that" if lost <= LOSS_AT_MOST * (clean - plain) else "more than half of that"
        said = f"loses {lost:.3f}, {kept}" if lost > 0 else f"loses nothing ({-lost:+.3f})"
        lines.append(f"- {recipe.name}, `{rule}`: {said}.")
    return lines


def _entry(values: Sequence[float] | None) -> str:
    if not values:
        return "-"
    deviation = f" ± {statistics.stdev(values):.3f}" if len(values) > 1 else ""
    return f"{statistics.fmean(values):.3f}{deviation}"


def main(argv: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="study", description=__doc__)
    parser.add_argument("--quick", action="store_true", help="seconds instead of an hour: whether it works at all")
    parser.add_argument("--folder", type=Path, default=ROOT / ".cache" / "study", help="runs and results")
    parser.add_argument("--page", type=Path, help="default: docs/trainer/noise-study.md, in --quick only the terminal")
    parser.add_argument("--processes", type=int, default=2)
    parser.add_argument("--list", action="store_true", help="only say what would run")
    arguments = parser.parse_args(argv)
    size = QUICK if arguments.quick else FULL
    levels = LEVELS[::2] if arguments.quick else LEVELS
    chosen = list(cells(levels))
    if arguments.quick:
        chosen = [cell for cell in chosen if cell.recipe in (PLAIN, ROBUST) and cell.rule in ("one", "staple")]
    jobs = [
        Job(f"{cell.recipe.name} {cell.level:.0%} {cell.rule}", cell.params(size), seed)
        for seed in range(size.seeds)
        for cell in chosen
    ]
    if arguments.list:
        print("\n".join(f"{job.name} seed {job.seed}" for job in jobs))
        return 0
    found = run_and_tell(jobs, folder=arguments.folder, processes=arguments.processes, metric=METRIC)
    rows = [Row(cell, trained.last(METRIC, TAIL)) for cell, trained in zip(chosen * size.seeds, found, strict=True)]
    text = table(rows, size, levels)
    page = arguments.page or (None if arguments.quick else PAGE)
    if page:
        page.write_text(text, encoding="utf-8")
    print(text)
    return 0


if __name__ == "__main__":
    sys.exit(main())
