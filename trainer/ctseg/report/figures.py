"""Figures of held-out slices, each with an interval over cases. What could not be measured is null, never a number."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any, Literal

import numpy as np
import numpy.typing as npt

from ctseg import metrics
from ctseg.data.samples import IGNORE, LESION, Samples
from ctseg.metrics import bootstrap, calibration, lesions, surface, volume
from ctseg.metrics.threshold import Threshold
from ctseg.report import schema

TOLERANCE_MM = 3.0
TOLERANCE_PIXELS = 2.0
EMPTY = (
    "neither lesion nor prediction: Dice, IoU, NSD and lesion F1 are 1; only one of the two: 0. PPV, sensitivity, "
    "specificity, HD95 and relative volume error are left out where they are not defined"
)
RULES = schema.Rules(
    empty=EMPTY,
    lesions=lesions.RULE,
    interval=f"{bootstrap.LEVEL:.0%} percentile bootstrap over cases, {bootstrap.RESAMPLES} resamples",
    surface=f"tolerance {TOLERANCE_MM} mm where the spacing is known, else {TOLERANCE_PIXELS} pixels; "
    "each case says which in `surface_unit`",
)
Mask = npt.NDArray[np.bool_]
Between = Callable[[], None]
_OF_CASES = ("nsd", "hd95", "lesion_f1", "volume_error_ml", "volume_error_relative")


def truth(samples: Samples) -> tuple[Mask, Mask]:
    """Where there is a lesion, and where there is a label at all; (n, H, W) of slices with one plane of labels."""
    labels = samples.masks[:, 0]
    valid: Mask = labels != IGNORE
    return (labels >= LESION / 2) & valid, valid


def figures(
    probability: npt.NDArray[np.float32],
    samples: Samples,
    *,
    threshold: Threshold,
    chosen_here: bool,
    seed: int = 0,
    between: Between = lambda: None,
) -> schema.AtThreshold:
    """Of (n, H, W) probabilities and slices with one plane of labels. `chosen_here`: these very slices have chosen the
    threshold. `between` is called before each case and may raise.
    """
    target, valid = truth(samples)
    prediction = (probability > threshold.value) & valid
    counts = metrics.count(prediction, target, valid)
    names = sorted(set(samples.cases))
    drawn = bootstrap.draw(len(names), rng=np.random.default_rng(seed))
    by_case = metrics.by_case(counts, samples.cases)
    of_case = metrics.ratios(by_case)
    cases = []
    for i, name in enumerate(names):
        between()
        cases.append(
            schema.Case(
                case=name,
                pixels=schema.Pixels(**dict(zip(("tp", "fp", "fn", "tn"), by_case[i].tolist(), strict=True))),
                **{ratio: number(values[i]) for ratio, values in of_case.items()},
                **_case(prediction, target, samples, name),
            )
        )
    values = of_case | {name: _column(cases, name) for name in _OF_CASES}
    return schema.AtThreshold(
        threshold=described(threshold, here=chosen_here),
        pooled=_pooled(by_case, drawn),
        slice=_slices(counts, samples, names, drawn),
        case=schema.CaseFigures(**{name: _of_mean(column, drawn) for name, column in values.items()}),
        cases=cases,
    )


def described(threshold: Threshold, *, here: bool) -> schema.Threshold:
    """`here`: these very slices have chosen it."""
    left_out = threshold.left_out_dice if here else None
    return schema.Threshold(
        value=threshold.value, rule=threshold.rule, chosen_on_these_slices=here, left_out_dice=left_out
    )


def calibrated(
    probability: npt.NDArray[np.float32], samples: Samples, *, between: Between = lambda: None
) -> schema.Calibration:
    found = calibration.reliability(probability, *truth(samples), between=between)
    return schema.Calibration(
        ece=number(found.ece),
        bins=[
            schema.Bin(pixels=int(pixels), probability=number(mean), lesion=number(share))
            for pixels, mean, share in zip(found.pixels, found.probability, found.lesion, strict=True)
        ],
    )


def number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None


def _pooled(by_case: metrics.Counts, drawn: npt.NDArray[np.int64]) -> schema.Ratios:
    of_all = metrics.ratios(by_case.sum(0, keepdims=True))
    again = metrics.ratios(bootstrap.resampled(by_case, drawn))
    n = len(by_case)
    return schema.Ratios(
        **{name: _figure(float(of_all[name][0]), bootstrap.interval(again[name], cases=n), n) for name in metrics.NAMES}
    )


def _slices(counts: metrics.Counts, samples: Samples, names: list[str], drawn: npt.NDArray[np.int64]) -> schema.Ratios:
    """Of a mean over slices too it is cases that are drawn: the sum and the number of its slices of each."""
    ratios = np.stack([metrics.ratios(counts)[name] for name in metrics.NAMES], axis=1)
    known = np.isfinite(ratios)
    position = {name: i for i, name in enumerate(names)}
    sums = np.zeros((len(names), 2 * len(metrics.NAMES)))
    np.add.at(sums, [position[case] for case in samples.cases], np.hstack([np.nan_to_num(ratios), known]))
    of_all, again = _means(sums.sum(0, keepdims=True))[0], _means(bootstrap.resampled(sums, drawn))
    return schema.Ratios(
        **{
            name: _figure(of_all[i], bootstrap.interval(again[:, i], cases=len(names)), int(known[:, i].sum()))
            for i, name in enumerate(metrics.NAMES)
        }
    )


def _means(sums: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """Of (m, 2 k) sums and numbers the (m, k) means, NaN of none."""
    total, count = np.hsplit(sums, 2)
    mean: npt.NDArray[np.float64] = np.divide(total, count, out=np.full_like(total, np.nan), where=count > 0)
    return mean


def _case(prediction: Mask, target: Mask, samples: Samples, name: str) -> dict[str, Any]:
    index = [i for i, case in enumerate(samples.cases) if case == name]
    said, true = prediction[index], target[index]
    spacing = samples.spacing[index].astype(np.float64)
    whole = bool(np.isfinite(spacing).all() and (spacing == spacing[0]).all())
    unit: Literal["mm, in 3D", "mm, mean of slices", "pixels, mean of slices"]
    if whole:
        found = surface.compare(said, true, spacing=spacing[0].tolist(), tolerance=TOLERANCE_MM)
        nsd, hd95, unit = found.nsd, found.hd95, "mm, in 3D"
        matched = lesions.match(said, true)
        error = volume.millilitres(said, spacing[0].tolist()) - volume.millilitres(true, spacing[0].tolist())
    else:
        in_plane = bool(np.isfinite(spacing[:, 1:]).all())
        unit = "mm, mean of slices" if in_plane else "pixels, mean of slices"
        tolerance = TOLERANCE_MM if in_plane else TOLERANCE_PIXELS
        each = [
            surface.compare(p, t, spacing=spacing[i, 1:].tolist() if in_plane else (1.0, 1.0), tolerance=tolerance)
            for i, (p, t) in enumerate(zip(said, true, strict=True))
        ]
        nsd = float(np.mean([one.nsd for one in each]))
        distances = [one.hd95 for one in each if math.isfinite(one.hd95)]
        hd95 = float(np.mean(distances)) if distances else math.nan
        parts = [lesions.match(p, t) for p, t in zip(said, true, strict=True)]
        matched = lesions.Lesions(*(sum(column) for column in zip(*parts, strict=True)))
        error = math.nan
    return {
        "slices": len(index),
        "nsd": number(nsd),
        "hd95": number(hd95),
        "surface_unit": unit,
        "lesions": schema.Lesions(**matched._asdict()),
        "lesion_f1": matched.f1,
        "volume_error_ml": number(error),
        "volume_error_relative": number(volume.relative_error(float(said.sum()), float(true.sum()))),
    }


def _column(cases: list[schema.Case], name: str) -> npt.NDArray[np.float64]:
    values = [getattr(case, name) for case in cases]
    return np.array([math.nan if value is None else value for value in values], np.float64)


def _of_mean(values: npt.NDArray[np.float64], drawn: npt.NDArray[np.int64]) -> schema.Figure:
    known = values[np.isfinite(values)]
    return _figure(float(known.mean()) if known.size else math.nan, bootstrap.of_mean(values, drawn), known.size)


def _figure(value: float, interval: bootstrap.Interval | None, n: int) -> schema.Figure:
    return schema.Figure(value=number(value), interval=None if interval is None else tuple(interval), n=n)
