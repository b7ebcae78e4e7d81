"""`ctseg check`: what is wrong with a data folder, before anybody trains with it."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import orkrun
from ctseg import config
from ctseg.commands import params as sources

if TYPE_CHECKING:
    from ctseg.data.check import Report


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "check",
        help="list all that is wrong with a data folder",
        description="Reads every file once. Exit code 65 where there is an error, 0 where there are none or warnings "
        "only.",
        epilog="Example: `ctseg check lungs --page check.html` writes a page with a picture of each case.",
    )
    parser.add_argument("root", type=Path, metavar="ROOT")
    sources.add_arguments(parser.add_argument_group("parameters of the training that is to use it"))
    parser.add_argument("--json", type=Path, metavar="FILE", help="write the report as JSON")
    parser.add_argument("--page", type=Path, metavar="FILE", help="write one HTML page with pictures")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    data = config.parse(sources.read(arguments.config, arguments.set)).data
    from ctseg.data.check import as_json, check
    from ctseg.data.load import open_folder

    dataset = open_folder(arguments.root, data)
    if dataset.has_published_test and not data.split.published:
        # Both parts are looked at, though a training would read the first only.
        both = data.model_copy(update={"split": data.split.model_copy(update={"published": True})})
        dataset = open_folder(arguments.root, both)
    report = check(dataset, data, thumbnails=arguments.page is not None)
    _print(report)
    if arguments.json:
        _write(arguments.json, json.dumps(as_json(report), indent=1) + "\n")
    if arguments.page:
        from ctseg.data.check_page import page

        _write(arguments.page, page(report))
    return int(orkrun.ExitCode.DATA_ERROR) if report.errors else 0


def _print(report: Report) -> None:
    for finding in sorted(report.findings, key=lambda finding: finding.level != "error"):
        print(f"{finding.level:<8} {finding.code:<15} {finding.path}: {finding.message}")
    print(f"{'case':<28} {'slices':>6} {'size':>9} {'mm':>6} {'values':>13} {'domain':<8} {'lesion':>7} {'empty':>5}")
    for row in report.cases[:40]:
        shares = [share for share in row.lesion.values() if share is not None]
        share = f"{sum(shares) / len(shares):.1%}" if shares else "-"
        mm = "?" if row.spacing[1] is None else f"{row.spacing[1]:.2f}"
        values, size = f"{row.low}..{row.high}", f"{row.rows}x{row.columns}"
        print(
            f"{row.case[-28:]:<28} {row.slices:>6} {size:>9} {mm:>6} {values:>13} {row.domain:<8} {share:>7} "
            f"{row.slices_without_lesion:>5}"
        )
    if len(report.cases) > 40:
        print(f"... and {len(report.cases) - 40} more cases; --json and --page have all")
    slices = sum(row.slices for row in report.cases)
    warnings = len(report.findings) - report.errors
    print(
        f"{report.root} ({report.kind}): {len(report.cases)} cases, {slices} slices, {report.errors} errors, "
        f"{warnings} warnings"
    )


def _write(path: Path, text: str) -> None:
    try:
        orkrun.write_atomic(path, text.encode())
    except OSError as error:
        raise orkrun.OutputError(f"{path} cannot be written: {error.strerror or error}") from error
