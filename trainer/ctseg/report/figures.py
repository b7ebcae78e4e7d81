"""Figures of held-out slices, each with an interval over cases. What could not be measured is null, never a number."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import numpy.typing as npt

from ctseg import metrics
from ctseg.data.samples import IGNORE, LESION, Samples
from ctseg.metrics import bootstrap, calibration, lesions, surface, volume
from ctseg.metrics.threshold import Threshold

TOLERANCE_MM = 3.0
TOLERANCE_PIXELS = 2.0
EMPTY = (
    "neither lesion nor prediction: Dice, IoU, NSD and lesion F1 are 1; only one of the two: 0. PPV, sensitivity, "
    "specificity, HD95 and relative volume error are left out where they are not defined"
)
Mask = npt.NDArray[np.bool_]


def figures(
    probability: npt.NDArray[np.float32], samples: Samples, *, threshold: Threshold, seed: int = 0
) -> dict[str, Any]:
    """Of (n, H, W) probabilities and slices with one plane of labels."""
    labels = samples.masks[:, 0]
    valid = labels != IGNORE
    target = (labels >= LESION / 2) & valid
    prediction = (probability > threshold.value) & valid
    counts = metrics.count(prediction, target, valid)
    names = sorted(set(samples.cases))
    by_case = metrics.by_case(counts, samples.cases)
    drawn = bootstrap.draw(len(names), rng=np.random.default_rng(seed))
    of_case = metrics.ratios(by_case)
    rows = [{"case": name, **_case(prediction, target, samples, name)} for name in names]
    for i, row in enumerate(rows):
        row |= {"pixels": dict(zip(("tp", "fp", "fn", "tn"), by_case[i].tolist(), strict=True))}
        row |= {name: _number(values[i]) for name, values in of_case.items()}
    result: dict[str, Any] = {"pooled": {}, "slice": {}, "case": {}}
    of_slice = metrics.ratios(counts)
    for name in metrics.NAMES:
        pooled = float(metrics.ratios(counts.sum(0, keepdims=True))[name][0])
        interval = bootstrap.of_pooled(by_case, drawn, lambda sums, name=name: metrics.ratios(sums)[name])  # type: ignore[misc]
        result["pooled"][name] = _figure(pooled, interval, len(names))
        # Of a mean over slices too it is cases that are drawn: sum and number of each.
        known = np.isfinite(of_slice[name])
        sums = np.zeros((len(names), 2))
        np.add.at(
            sums, [names.index(case) for case in samples.cases], np.stack([np.nan_to_num(of_slice[name]), known], 1)
        )
        mean = float(sums[:, 0].sum() / sums[:, 1].sum()) if known.any() else math.nan
        interval = bootstrap.of_pooled(sums, drawn, _mean)  # type: ignore[arg-type]
        result["slice"][name] = _figure(mean, interval, int(known.sum()))
        result["case"][name] = _mean_figure(of_case[name], drawn)
    for name in ("nsd", "hd95", "lesion_f1", "volume_error_ml", "volume_error_relative"):
        values = np.array([math.nan if row[name] is None else row[name] for row in rows], np.float64)
        result["case"][name] = _mean_figure(values, drawn)
    bins = calibration.reliability(probability[valid], target[valid])
    result["calibration"] = {
        "ece": _number(bins.ece),
        "bins": [
            {"pixels": int(n), "probability": _number(p), "lesion": _number(share)}
            for n, p, share in zip(bins.pixels, bins.probability, bins.lesion, strict=True)
        ],
    }
    result["cases"] = rows
    result["rules"] = {
        "empty": EMPTY,
        "lesions": lesions.RULE,
        "interval": f"{bootstrap.LEVEL:.0%} percentile bootstrap over cases, {bootstrap.RESAMPLES} resamples",
        "surface": f"tolerance {TOLERANCE_MM} mm where the spacing is known, else {TOLERANCE_PIXELS} pixels; "
        "each case says which in `surface_unit`",
    }
    return result


def _case(prediction: Mask, target: Mask, samples: Samples, name: str) -> dict[str, Any]:
    index = [i for i, case in enumerate(samples.cases) if case == name]
    said, true = prediction[index], target[index]
    spacing = samples.spacing[index].astype(np.float64)
    whole = bool(np.isfinite(spacing).all() and (spacing == spacing[0]).all())
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
        "nsd": _number(nsd),
        "hd95": _number(hd95),
        "surface_unit": unit,
        "lesions": matched._asdict(),
        "lesion_f1": matched.f1,
        "volume_error_ml": _number(error),
        "volume_error_relative": _number(volume.relative_error(float(said.sum()), float(true.sum()))),
    }


def _mean(sums: npt.NDArray[Any]) -> npt.NDArray[np.float64]:
    mean: npt.NDArray[np.float64] = np.divide(
        sums[:, 0], sums[:, 1], out=np.full(len(sums), np.nan), where=sums[:, 1] > 0
    )
    return mean


def _mean_figure(values: npt.NDArray[np.float64], drawn: npt.NDArray[np.int64]) -> dict[str, Any]:
    known = values[np.isfinite(values)]
    return _figure(float(known.mean()) if known.size else math.nan, bootstrap.of_mean(values, drawn), known.size)


def _figure(value: float, interval: bootstrap.Interval | None, number: int) -> dict[str, Any]:
    return {"value": _number(value), "interval": None if interval is None else list(interval), "n": number}


def _number(value: float) -> float | None:
    return float(value) if math.isfinite(value) else None
