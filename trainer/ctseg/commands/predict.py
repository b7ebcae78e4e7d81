"""`ctseg predict`: finds lesions in one volume."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import orkrun
from ctseg.commands import folder

_PAGES = 6  # slices on a page: more and it is no longer read at a glance


def add(commands: Any) -> None:
    parser = commands.add_parser(
        "predict",
        help="segment a DICOM series or a NIfTI",
        description="Writes mask.nii.gz and probability.nii.gz in the input's own grid, volume.json and volume.txt, "
        "and overlay pages. Not for diagnosis.",
        epilog="Example: `ctseg predict run ct.nii.gz --out found`. Exit codes: 0 written, 64 wrong option, 65 wrong "
        "input or model, 73 the output cannot be written.",
    )
    parser.add_argument("model", type=Path, metavar="RUN_OR_MODEL", help="a run's folder, its best.pt, or an export")
    parser.add_argument("input", type=Path, metavar="INPUT", help="a NIfTI file or the folder of one DICOM series")
    parser.add_argument("--out", type=Path, required=True, help="a folder that is not there yet, or is empty")
    parser.add_argument("--lung-mask", type=Path, metavar="FILE", help="NIfTI of the same grid, above 0 in the lung")
    parser.add_argument(
        "--threshold",
        type=float,
        help="probability above which a voxel is lesion; default the one that the run's held-out slices have chosen, "
        "0.5 where there is none",
    )
    parser.add_argument("--tta", action="store_true", help="mean over the four flips of each slice")
    parser.set_defaults(command=run)


def run(arguments: argparse.Namespace) -> int:
    given_threshold = arguments.threshold
    if given_threshold is not None and not 0 < given_threshold < 1:
        raise orkrun.InvalidParams("--threshold", f"{given_threshold} is no probability between 0 and 1")
    out: Path = arguments.out
    folder.check_free(out)

    from ctseg import inference, predict
    from ctseg.data.volumes import check_same_grid, read_grid
    from ctseg.metrics.volume import millilitres

    trained = inference.load(arguments.model)
    chosen = inference.threshold_of(trained)
    threshold, rule = chosen.value, chosen.rule
    if given_threshold is not None:
        threshold, rule = given_threshold, "given"
    data = trained.params.data
    given = predict.read(arguments.input, data)
    if given.images.shape[1] != trained.channels:
        raise orkrun.DataError(
            arguments.model, f"learnt from pictures of {trained.channels} channel, not from HU windows: give it those"
        )
    lung = None
    if arguments.lung_mask is not None:
        lung_grid = read_grid(arguments.lung_mask)
        check_same_grid(given.grid, lung_grid, image=arguments.input, mask=arguments.lung_mask)
        lung = lung_grid.array > 0
        if not lung.any():
            raise orkrun.DataError(arguments.lung_mask, "marks no voxel as lung")
    small = inference.probabilities(
        trained.model, given.images, batch_size=trained.params.batch_size, flips=arguments.tta
    )
    probability = predict.restore(small, given, data)
    mask = probability > threshold
    spacing = given.grid.spacing
    report: dict[str, Any] = {
        "schema": 1,
        "input": str(arguments.input),
        "model": str(trained.path),
        "threshold": threshold,
        "threshold_rule": rule,
        "tta": arguments.tta,
        "lesion_ml": _number(millilitres(mask, spacing)),
        "lesion_voxels": int(mask.sum()),
        "lung_ml": None,
        "infected_share_of_lung": None,
    }
    if lung is not None:
        report["lung_ml"] = _number(millilitres(lung, spacing))
        report["infected_share_of_lung"] = float((mask & lung).sum() / lung.sum())
    import numpy as np

    files = {
        "mask.nii.gz": predict.nifti(mask.astype(np.uint8), given),
        "probability.nii.gz": predict.nifti(probability, given),
        "volume.json": (json.dumps(report, indent=1, allow_nan=False) + "\n").encode(),
        "volume.txt": _text(report).encode(),
        **_pages(given.images, small > threshold),
    }
    folder.write_all(out, files)
    print(_text(report), end="")
    print(f"{out}: {', '.join(files)}")
    return 0


def _pages(images: Any, mask: Any) -> dict[str, bytes]:
    """All slices with a lesion, from the feet up; where there is none, the middle one."""
    from ctseg.report.overlay import page

    chosen = [z for z in range(len(mask)) if mask[z].any()] or [len(mask) // 2]
    return {
        f"overlay-{start // _PAGES + 1:02d}.png": page(
            [
                (f"slice {z + 1} of {len(mask)}", images[z, 0], mask[z], None, None)
                for z in chosen[start : start + _PAGES]
            ]
        )
        for start in range(0, len(chosen), _PAGES)
    }


def _text(report: dict[str, Any]) -> str:
    volume = report["lesion_ml"]
    lines = [f"lesion: {'volume unknown (no spacing)' if volume is None else f'{volume:.1f} ml'}"]
    if report["infected_share_of_lung"] is not None:
        lines.append(f"infected share of the lung: {report['infected_share_of_lung']:.1%}")
    return "\n".join([*lines, "not for diagnosis"]) + "\n"


def _number(value: float) -> float | None:
    return value if value == value else None
