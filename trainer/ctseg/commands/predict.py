"""`ctseg predict`: finds lesions in one volume."""

from __future__ import annotations

import argparse
import json
from pathlib import Path
from typing import Any

import orkrun
from ctseg.commands import folder

_SCHEMA = 2  # of volume.json
_ROWS = 6  # slices on a page: more and it is no longer read at a glance
_PAGES = 12


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

    import numpy as np

    from ctseg import inference, predict
    from ctseg.data.volumes import check_same_grid, read_grid

    trained = inference.load(arguments.model)
    chosen = inference.threshold_of(trained)
    threshold, rule = chosen.value, chosen.rule
    if given_threshold is not None:
        threshold, rule = given_threshold, "given"
    data = trained.params.data
    given = predict.read(arguments.input, data, pictures=trained.pictures, channels=trained.channels)
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
    report: dict[str, Any] = {
        "schema": _SCHEMA,
        "input": str(arguments.input),
        "model": str(trained.path),
        "epoch": trained.epoch,
        "threshold": threshold,
        "threshold_rule": rule,
        "tta": arguments.tta,
        **predict.report(mask, given, lung),
    }
    drawn = _drawn(mask)
    text = predict.text(report)
    if len(drawn) < report["slices_with_lesion"]:
        text += f"the overlays show {len(drawn)} slices, evenly chosen of those with a lesion\n"
    files = {
        "mask.nii.gz": predict.nifti(mask.astype(np.uint8), given),
        "probability.nii.gz": predict.nifti(probability, given),
        "volume.json": (json.dumps(report, indent=1, allow_nan=False) + "\n").encode(),
        "volume.txt": (text + predict.table(report)).encode(),
        **_pages(given.shown, mask, report, drawn, name=arguments.input.name),
    }
    folder.write_all(out, files)
    print(text, end="")
    print(f"{out}: {', '.join(files)}")
    return 0


def _drawn(mask: Any) -> list[int]:
    """The slices with a lesion from the feet up, evenly thinned where they are many; where there is none, the middle
    one.
    """
    found = [z for z in range(len(mask)) if mask[z].any()] or [len(mask) // 2]
    step = max(1.0, len(found) / (_PAGES * _ROWS))
    return [found[int(i * step)] for i in range(int(len(found) / step))]


def _pages(shown: Any, mask: Any, report: dict[str, Any], drawn: list[int], *, name: str) -> dict[str, bytes]:
    from ctseg.report.overlay import page

    heading = f"{name}, probability above {report['threshold']:g}. Patient's right on the left. Not for diagnosis"
    rows = []
    for z in drawn:
        about = report["slices"][z]
        title = f"slice {z + 1} of {len(mask)}"
        title += "" if about["z_mm"] is None else f", z {about['z_mm']:g} mm"
        title += "" if about["lesion_ml"] is None else f", {about['lesion_ml']:.2f} ml"
        rows.append((title, shown[z], mask[z], None, None))
    return {
        f"overlay-{start // _ROWS + 1:02d}.png": page(rows[start : start + _ROWS], heading=heading)
        for start in range(0, len(rows), _ROWS)
    }
