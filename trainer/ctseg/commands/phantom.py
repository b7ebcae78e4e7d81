"""`ctseg phantom`: generated chest-CT volumes with masks, as files."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

from ctseg import config
from ctseg.commands import folder

_SIZES = ("patients", "slices", "size", "seed")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "phantom",
        help="write generated chest-CT volumes with masks, as NIfTI and DICOM",
        epilog="Example: `ctseg phantom out/phantom --patients 4 --slices 4 --size 64 --annotators careful,hasty`",
    )
    parser.add_argument("out", type=Path, metavar="OUT")
    defaults = config.Phantom()
    for name in _SIZES:
        text = "pixels of a side" if name == "size" else f"default {getattr(defaults, name)}"
        parser.add_argument(f"--{name}", type=int, default=getattr(defaults, name), help=text)
    parser.add_argument(
        "--annotators",
        metavar="STYLE,NAME=STYLE,...",
        default="",
        help="also a mask by each of these, faulty in its way: exact, careful, generous (too large), strict (too "
        "small), hasty (misses small lesions), eager (false lesions), partial (leaves slices out)",
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    from ctseg.phantom.write import write_phantom

    sizes = config.parse({"data": {"phantom": {name: getattr(arguments, name) for name in _SIZES}}}).data.phantom
    with folder.or_nothing(arguments.out):
        rows = write_phantom(
            arguments.out,
            patients=sizes.patients,
            slices=sizes.slices,
            size=sizes.size,
            seed=sizes.seed,
            annotators=[name for name in arguments.annotators.split(",") if name],
        )
    healthy = sum(row["slices_without_lesion"] == row["slices"] for row in rows)
    print(f"{arguments.out}: {len(rows)} patients, {healthy} without a lesion; see patients.csv")
    return 0
