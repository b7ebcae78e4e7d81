"""`ctseg labels`: how far annotators agree, and where to look when they do not."""

from __future__ import annotations

import argparse
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import orkrun
from ctseg import config

_SHOWN = 12  # lines of a list on the terminal; the JSON has all


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "labels",
        help="report how far several annotators agree",
        description="Compares the masks that a folder's cases.csv names in columns mask:NAME, or, without one, the "
        "files <case>_mask-<annotator>.nii.gz below it: Dice and Cohen's kappa of each pair, Fleiss' kappa, STAPLE's "
        "sensitivity and specificity, slices where one sees a lesion and others none, different numbers of lesions, "
        "slices left out.",
        epilog="Example: `ctseg labels out/annotated --json out/agreement.json`. Exit codes: 0 reported, 1 a pair is "
        "below --min-dice, 64 wrong option, 65 masks missing or unreadable, 73 the report cannot be written.",
    )
    parser.add_argument("root", type=Path, metavar="FOLDER")
    parser.add_argument("--json", type=Path, metavar="FILE", help="also write everything to this file")
    parser.add_argument(
        "--truth", action="store_true", help="also compare with the truth: <case>_mask.nii.gz, or the column mask:truth"
    )
    parser.add_argument(
        "--ignore-label",
        type=int,
        metavar="N",
        help="number of what is not labelled in the masks of cases.csv (data.ignore_label)",
    )
    parser.add_argument(
        "--min-dice", type=float, metavar="X", help="exit with 1 where a pair's pooled Dice is below this (0..1)"
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    least = arguments.min_dice
    if least is not None and not 0 <= least <= 1:
        raise orkrun.InvalidParams("--min-dice", f"{least} is no Dice: 0 to 1 are")
    from ctseg.labels import agreement, folder

    ignore_label = config.parse({"data": {"ignore_label": arguments.ignore_label}}).data.ignore_label
    masks = folder.find(arguments.root, with_truth=arguments.truth, ignore_label=ignore_label)
    found = agreement.report(masks.read(), masks.annotators)
    print("\n".join(_lines(found)))
    if arguments.json:
        try:
            arguments.json.parent.mkdir(parents=True, exist_ok=True)
            orkrun.write_atomic(arguments.json, (json.dumps(found, indent=1) + "\n").encode())
        except OSError as error:
            raise orkrun.OutputError(f"{arguments.json} cannot be written: {error}") from error
    low = [pair for pair in found["pairs"] if least is not None and pair["dice"] is not None and pair["dice"] < least]
    for pair in low:
        print(f"below --min-dice {least}: {' and '.join(pair['annotators'])}, {pair['dice']:.3f}")
    return 1 if low else 0


def _lines(found: dict[str, Any]) -> list[str]:
    cases, annotators = found["cases"], found["annotators"]
    lines = [f"{len(cases)} cases, {sum(row['slices'] for row in cases)} slices, {len(annotators)} annotators", ""]
    lines += _table(
        ("annotator", "labelled", "gaps", "lesions", "STAPLE sensitivity", "specificity"),
        [
            (
                row["name"],
                f"{row['slices_labelled']}/{row['slices']}",
                str(row["gaps"]),
                str(row["lesions"]),
                _figure(row["staple_sensitivity"]),
                _figure(row["staple_specificity"], digits=4),
            )
            for row in annotators
        ],
    )
    lines.append("")
    lines += _table(
        ("pair", "Dice", "mean of cases", "Cohen's kappa", "mean of cases"),
        [
            (
                " - ".join(pair["annotators"]),
                *(_figure(pair[name]) for name in ("dice", "dice_case", "kappa", "kappa_case")),
            )
            for pair in found["pairs"]
        ],
    )
    lines.append(f"Fleiss' kappa {_figure(found['fleiss_kappa'])}, mean of cases {_figure(found['fleiss_kappa_case'])}")
    split = [
        f"{row['case']} slice {item['slice'] + 1}: {', '.join(item['lesion'])}; not {', '.join(item['none'])}"
        for row in cases
        for item in row["split_slices"]
    ]
    lines += _list("Slices where one sees a lesion and others none", split)
    counts = [
        f"{row['case']}: " + ", ".join(f"{name} {number}" for name, number in row["lesion_counts"].items())
        for row in cases
        if row["lesion_counts_differ"]
    ]
    lines += _list("Different numbers of lesions in what all have labelled", counts)
    left_out = [
        f"{row['case']}: {name} left out {_runs(one['unlabelled'])}"
        + (f", a gap at {', '.join(_run(*gap) for gap in one['gaps'])}" if one["gaps"] else "")
        for row in cases
        for name, one in row["annotators"].items()
        if one["unlabelled"]
    ]
    return lines + _list("Slices not labelled (never taken as background)", left_out)


def _table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> list[str]:
    wide = [max(len(row[i]) for row in (head, *rows)) for i in range(len(head))]
    return [
        "  ".join(cell.ljust(wide[0]) if i == 0 else cell.rjust(wide[i]) for i, cell in enumerate(row)).rstrip()
        for row in (head, *rows)
    ]


def _list(title: str, items: Sequence[str]) -> list[str]:
    more = [f"  ... and {len(items) - _SHOWN} more (--json has all)"] if len(items) > _SHOWN else []
    return ["", f"{title}: {len(items)}", *(f"  {item}" for item in items[:_SHOWN]), *more]


def _figure(value: float | None, *, digits: int = 3) -> str:
    return "-" if value is None else f"{value:.{digits}f}"


def _run(first: int, last: int) -> str:
    """For people, who count from 1."""
    return str(first + 1) if first == last else f"{first + 1}-{last + 1}"


def _runs(slices: Sequence[int]) -> str:
    runs: list[list[int]] = []
    for z in slices:
        if runs and z == runs[-1][1] + 1:
            runs[-1][1] = z
        else:
            runs.append([z, z])
    return ", ".join(_run(*run) for run in runs)
