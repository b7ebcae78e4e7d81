"""`ctseg export`: a model for use without ctseg."""

from __future__ import annotations

import argparse
from pathlib import Path
from typing import Any

import orkrun
from ctseg.commands import folder

_FORMATS = ("safetensors", "onnx")


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "export",
        help="write a model as safetensors and ONNX",
        description="Writes model.safetensors, model.onnx and config.json, which says what goes in and what comes out, "
        "into a new folder, all or nothing. The ONNX is compared with torch first.",
        epilog="Example: `ctseg export run --out exported --format safetensors`. Exit codes: 0 written, 64 wrong "
        "option or a package that is missing, 65 wrong model, 70 the network cannot be exported or gives other "
        "probabilities, 73 the output cannot be written.",
    )
    parser.add_argument("model", type=Path, metavar="RUN_OR_MODEL", help="a run's folder, its best.pt, or an export")
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet, or is empty")
    parser.add_argument("--format", default=",".join(_FORMATS), help="safetensors, onnx or both (default)")
    parser.add_argument("--opset", type=int, help="of ONNX; default 18")
    parser.add_argument(
        "--tolerance", type=float, metavar="X", help="largest difference of a probability from torch's; default 0.0001"
    )
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    formats = [name.strip() for name in arguments.format.split(",") if name.strip()]
    wrong = [name for name in formats if name not in _FORMATS]
    if wrong or not formats:
        raise orkrun.InvalidParams("--format", f"{wrong[0] if wrong else ''!r} is none of {', '.join(_FORMATS)}")
    if arguments.tolerance is not None and not arguments.tolerance >= 0:
        raise orkrun.InvalidParams("--tolerance", f"{arguments.tolerance} is no difference: 0 and up are")
    folder.check_free(arguments.out)

    from ctseg import export, inference

    trained = inference.load(arguments.model)
    made = export.export(
        trained,
        formats=formats,
        opset=export.OPSET if arguments.opset is None else arguments.opset,
        tolerance=export.TOLERANCE if arguments.tolerance is None else arguments.tolerance,
    )
    folder.write_all(arguments.out, made.files)
    if "onnx" in made.about:
        print(_told(made.about["onnx"]))
    print(f"{arguments.out}: {', '.join(made.files)}")
    return 0


def _told(onnx: dict[str, Any]) -> str:
    parity, sides = onnx["parity"], onnx["rows_and_columns"]
    difference = parity["max_abs_difference"]
    compared = f"compared with {parity['against']}"
    if difference is not None:
        compared += f", probabilities differ by at most {difference:.2g}"
    size = f"{sides} x {sides} pixels only ({onnx['why_fixed']})" if onnx["why_fixed"] else f"rows and columns {sides}"
    return f"model.onnx: opset {onnx['opset']}; {compared}; any number of slices, {size}"
