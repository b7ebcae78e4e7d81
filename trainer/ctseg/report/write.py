"""Writes the report of a model: pictures, a card, and the result last: with it all is there."""

from __future__ import annotations

import io
import sys
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

import numpy as np
import numpy.typing as npt
from PIL import Image

import orkrun
from ctseg.data.samples import Samples
from ctseg.labels.fuse import learnt_from
from ctseg.metrics import threshold as thresholds
from ctseg.report import plot, schema
from ctseg.report.card import card
from ctseg.report.figures import RULES, calibrated, described, figures, truth
from ctseg.report.overlay import page
from ctseg.report.run_folder import RESULT

CURVES, RELIABILITY, OVERLAYS, CARD = "curves.png", "reliability.png", "overlays.png", "model-card.md"
LAYERS = "cases"
"""Folder: of the worst, median and best case the slice, the mask and the prediction, one grey PNG each."""
Between = Callable[[], None]
Probability = npt.NDArray[np.float32]


@dataclass(frozen=True, slots=True, kw_only=True)
class About:
    """What a report says that is not in the slices."""

    model: schema.Model
    params: dict[str, Any]
    annotators: tuple[str, ...]
    """Whose masks there were, before they were joined."""
    digest: str
    of_run: int = 0
    """How many of the slices the run knows."""
    tta: bool = False
    split: schema.Split | None = None
    """The run's own; None: it had no part in these slices."""
    training: schema.Training | None = None
    history: Mapping[int, Mapping[str, float]] | None = None
    """Metrics of each epoch, for the curves."""
    threshold: thresholds.Threshold | None = None
    """Chosen before, elsewhere. None with a split: these slices choose it."""


def write(
    output: Path,
    *,
    probability: Probability,
    samples: Samples,
    about: About,
    started: float,
    between: Between = lambda: None,
) -> schema.Result:
    """`probability` (n, H, W) of `samples`, whose labels are joined to one plane. `started`: by time.monotonic(), when
    the report was begun. `between` is called now and then and may raise. Raises orkrun.OutputError.
    """
    chosen, here = about.threshold, False
    if chosen is None and about.split is not None:
        chosen, here = thresholds.choose(probability, *truth(samples), cases=samples.cases, between=between), True
    fixed = figures(probability, samples, threshold=thresholds.UNCHOSEN, chosen_here=False, between=between)
    at_chosen = None
    if chosen is not None and chosen.value == fixed.threshold.value:
        at_chosen = fixed.model_copy(update={"threshold": described(chosen, here=here)})
    elif chosen is not None:
        at_chosen = figures(probability, samples, threshold=chosen, chosen_here=here, between=between)
    result = schema.Result(
        part="other" if about.split is None else "validation",
        note=_note(about, here=here),
        tta=about.tta,
        model=about.model,
        data=schema.Data(
            source=samples.source,
            licence=samples.licence,
            annotators=list(about.annotators),
            learnt_from=[about.annotators[i] for i in learnt_from(about.annotators)],
            annotators_rule=about.params["data"]["annotators"]["rule"],
            judged_by=samples.annotators[0],
            slices=len(samples),
            cases=len(set(samples.cases)),
            of_run=about.of_run,
            digest=about.digest,
            hashes=dict(zip(samples.names, samples.hashes, strict=True)) if samples.hashes else {},
        ),
        split=about.split,
        training=about.training,
        figures=schema.Figures(fixed=fixed, chosen=at_chosen),
        calibration=calibrated(probability, samples, between=between),
        rules=RULES,
        seconds=time.monotonic() - started,
        params=about.params,
        versions=_versions(),
    )
    files = {OVERLAYS: overlays(probability, samples, result), RELIABILITY: plot.reliability(result.calibration)}
    if about.history and about.training is not None:
        best, objective = about.training.best_epoch, about.training.objective
        files[CURVES] = plot.curves(about.history, best_epoch=best, objective=objective)
    files[CARD] = card(result, pictures=tuple(files)).encode()
    files |= layers(probability, samples, result)
    files[RESULT] = schema.dumps(result)
    between()
    try:
        output.mkdir(parents=True, exist_ok=True)
        (output / RESULT).unlink(missing_ok=True)  # never beside the pictures of another one
        (output / LAYERS).mkdir(exist_ok=True)
        for name, content in files.items():
            orkrun.write_atomic(output / name, content)
    except OSError as error:
        raise orkrun.OutputError(f"{output} cannot be written: {error.strerror or error}") from error
    return result


def shown(result: schema.Result) -> schema.AtThreshold:
    """The figures that a model is used with: at its own threshold, where it has one."""
    return result.figures.chosen or result.figures.fixed


def _note(about: About, *, here: bool) -> str:
    parts = ["Not for diagnosis."]
    if about.split is None and about.of_run:
        parts.append(f"{about.of_run} of these slices are the run's own, learnt from or held out: the figures flatter.")
    elif about.split is None:
        parts.append("The run had no part in these slices: neither weights nor threshold were chosen on them.")
    elif about.model.selected == "last":
        parts.append("The weights are of the training's end: nothing was chosen for the figures at 0.5.")
    else:
        what = "Best epoch and threshold were" if here else "The best epoch was"
        parts.append(f"{what} chosen on these same slices: the figures flatter, those at 0.5 a little less.")
    if about.split is not None and about.split.leaky:
        parts.append(f"Every figure is too good: {about.split.leaky}.")
    return " ".join(parts)


def overlays(probability: Probability, samples: Samples, result: schema.Result) -> bytes:
    """Of the worst, the median and the best case the slice with most lesion, or most prediction."""
    at = shown(result)
    target, valid = truth(samples)
    rows = []
    drawn: set[str] = set()
    for what, case, best in _chosen(probability, samples, at, target):
        if case.case in drawn:
            continue
        drawn.add(case.case)
        rows.append(
            (
                f"{what} case: {case.case}, Dice {case.dice:.2f}, slice {samples.names[best]}",
                samples.images[best, 0],
                (probability[best] > at.threshold.value) & valid[best],
                target[best],
                valid[best],
            )
        )
    return page(rows)


def layers(probability: Probability, samples: Samples, result: schema.Result) -> dict[str, bytes]:
    """The same slices, each layer by itself: masks are 0 and 255, what is not labelled is in neither."""
    at = shown(result)
    target, valid = truth(samples)
    files: dict[str, bytes] = {}
    for what, _, best in _chosen(probability, samples, at, target):
        planes = {
            "image": samples.images[best, 0],
            "mask": (target[best] & valid[best]).astype(np.uint8) * 255,
            "prediction": ((probability[best] > at.threshold.value) & valid[best]).astype(np.uint8) * 255,
        }
        for role, plane in planes.items():
            packed = io.BytesIO()
            Image.fromarray(plane).save(packed, "PNG")
            files[f"{LAYERS}/{what}-{role}.png"] = packed.getvalue()
    return files


def _chosen(
    probability: Probability, samples: Samples, at: schema.AtThreshold, target: npt.NDArray[np.bool_]
) -> list[tuple[str, Any, int]]:
    """(worst, median or best; the case's row; index of its slice)."""
    cases = sorted(at.cases, key=lambda row: row.dice if row.dice is not None else 1.0)
    found = []
    for what, case in (("worst", cases[0]), ("median", cases[len(cases) // 2]), ("best", cases[-1])):
        index = [i for i, name in enumerate(samples.cases) if name == case.case]

        def load(i: int) -> tuple[int, int]:
            return int(target[i].sum()), int((probability[i] > at.threshold.value).sum())

        found.append((what, case, max(index, key=load)))
    return found


def _versions() -> dict[str, str]:
    found = {"python": sys.version.split()[0]}
    for name in ("orkhaven", "torch", "timm", "segmentation-models-pytorch", "numpy"):
        try:
            found[name] = version(name)
        except PackageNotFoundError:
            continue
    return found
