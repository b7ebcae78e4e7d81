"""Writes the report of a model: result.json, overlays.png, model-card.md. The result last: with it all is there."""

from __future__ import annotations

import json
import sys
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt

import orkrun
from ctseg.data.samples import IGNORE, LESION, Samples
from ctseg.metrics.threshold import Threshold
from ctseg.report.figures import figures
from ctseg.report.overlay import page

FOLDER = "report"
SCHEMA = 1


def write(
    output: Path,
    *,
    probability: npt.NDArray[np.float32],
    samples: Samples,
    threshold: Threshold,
    params: dict[str, Any],
    about: dict[str, Any],
) -> dict[str, Any]:
    """`probability` (n, H, W) of `samples`, whose labels are joined to one plane. `about`: what else is known of the
    run (parameters, seconds, leaky, ...), kept as it is. Returns the result. Raises orkrun.OutputError.
    """
    result: dict[str, Any] = {
        "schema": SCHEMA,
        "source": samples.source,
        "licence": samples.licence,
        "slices": len(samples),
        "threshold": {"value": threshold.value, "rule": threshold.rule},
        "figures": figures(probability, samples, threshold=threshold),
        "hashes": dict(zip(samples.names, samples.hashes, strict=True)) if samples.hashes else {},
        "params": params,
        "versions": _versions(),
        **about,
    }
    try:
        output.mkdir(parents=True, exist_ok=True)
        orkrun.write_atomic(output / "overlays.png", _overlays(probability, samples, threshold, result))
        orkrun.write_atomic(output / "model-card.md", card(result).encode())
        orkrun.write_atomic(output / "result.json", (json.dumps(result, indent=1, allow_nan=False) + "\n").encode())
    except OSError as error:
        raise orkrun.OutputError(f"{output} cannot be written: {error.strerror or error}") from error
    return result


def _overlays(
    probability: npt.NDArray[np.float32], samples: Samples, threshold: Threshold, result: dict[str, Any]
) -> bytes:
    """Of the worst, the median and the best case the slice with most lesion, or most prediction."""
    cases = sorted(result["figures"]["cases"], key=lambda row: row["dice"])
    chosen = {"worst": cases[0], "median": cases[len(cases) // 2], "best": cases[-1]}
    rows = []
    drawn: set[str] = set()
    for what, case in chosen.items():
        if case["case"] in drawn:
            continue
        drawn.add(case["case"])
        index = [i for i, name in enumerate(samples.cases) if name == case["case"]]

        def load(i: int) -> tuple[int, int]:
            labels = samples.masks[i, 0]
            true = (labels >= LESION / 2) & (labels != IGNORE)
            return int(true.sum()), int((probability[i] > threshold.value).sum())

        at = max(index, key=load)
        labels = samples.masks[at, 0]
        valid = labels != IGNORE
        rows.append(
            (
                f"{what} case: {case['case']}, Dice {case['dice']:.2f}, slice {samples.names[at]}",
                samples.images[at, 0],
                (probability[at] > threshold.value) & valid,
                (labels >= LESION / 2) & valid,
                valid,
            )
        )
    return page(rows)


def card(result: dict[str, Any]) -> str:
    """The model card, in Markdown."""
    found = result["figures"]
    leaky = result.get("leaky")
    lines = ["# Model card", "", "**Not for diagnosis.** No medical device; for research on segmentation of CT.", ""]
    if leaky:
        lines += [f"**Every figure below is too good: {leaky}.**", ""]
    model = result["params"].get("model", {})
    lines += [
        f"- Network: {model.get('architecture')} over {model.get('encoder')}",
        f"- Judged on: {result['source']}, {result['slices']} slices of {len(found['cases'])} cases"
        + (f", split by {result['split_by']}" if result.get("split_by") else ""),
        f"- Licence of the data: {result['licence'] or 'not said by its source; ask before you share the model'}",
        f"- Threshold: {result['threshold']['value']} ({result['threshold']['rule']})",
        f"- Interval: {found['rules']['interval']}",
        f"- Empty cases: {found['rules']['empty']}",
        "",
        "| figure | pooled | per slice | per case |",
        "|---|---|---|---|",
    ]
    for name in found["case"]:
        cells = [_cell(found[level].get(name)) for level in ("pooled", "slice", "case")]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    ece = found["calibration"]["ece"]
    lines += [
        "",
        f"ECE over all pixels: {'-' if ece is None else f'{ece:.4f}'} (most pixels are easy background).",
        "",
        "## Limits",
        "",
        "- Two observers who outline infections on CT agree with a Dice of about 0.70 (Bartoli et al. 2022: "
        "0.70 +- 0.08 between and 0.72 +- 0.09 within observers). More than that on labels of one annotator is "
        "fitting the annotator.",
        "- Other scanners, reconstructions and diseases than those of the data were not tried.",
    ]
    if result.get("split_by"):  # held out by the run itself, which looked at them after each epoch
        lines += ["- The best epoch was chosen on these very slices: the figures flatter a little."]
    if result["hashes"]:
        lines += ["", "## Slices by content", "", "See `hashes` in result.json."]
    return "\n".join(lines) + "\n"


def _cell(figure: dict[str, Any] | None) -> str:
    if figure is None or figure["value"] is None:
        return "-"
    interval = figure["interval"]
    return f"{figure['value']:.3f}" + (f" ({interval[0]:.3f} to {interval[1]:.3f})" if interval else "")


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in ("orkhaven", "torch", "timm", "segmentation-models-pytorch", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
