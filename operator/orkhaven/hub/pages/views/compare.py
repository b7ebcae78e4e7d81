"""Runs side by side, a line per parameter, setting or metric; lines that say the same everywhere are left out."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orkhaven.hub.pages.text import NONE, hours, number, parameter, span
from orkhaven.hub.pages.views.experiments import ExperimentView
from orkhaven.hub.query.rows import flatten
from orkhaven.hub.storage.read import MetricSummary

_SETTINGS = ("image", "command", "seed", "resources", "data", "env", "maxRunTime", "nodeSelector", "tolerations")


@dataclass(frozen=True, slots=True)
class Line:
    label: str
    cells: tuple[str, ...]
    differs: bool


@dataclass(frozen=True, slots=True)
class Section:
    title: str
    lines: tuple[Line, ...]
    same: int
    """Lines that were left out."""


@dataclass(frozen=True, slots=True)
class CompareView:
    runs: tuple[ExperimentView, ...]
    sections: tuple[Section, ...]


def compare_view(
    runs: Sequence[ExperimentView],
    bodies: Sequence[Mapping[str, Any]],
    summaries: Sequence[Sequence[MetricSummary]],
    *,
    everything: bool,
) -> CompareView:
    """`everything`: also what is the same in all of them."""
    params = [dict(one.params) for one in runs]
    settings = [_settings(body.get("spec") or {}) for body in bodies]
    metrics = [{one.name: one for one in of_run} for of_run in summaries]
    results = (
        _line("state", [one.state for one in runs]),
        _line("reason", [one.reason or NONE for one in runs]),
        _line("objective", [number(one.value) for one in runs]),
        _line("at step", [number(one.value_step) for one in runs]),
        _line("took", [span(one.seconds) for one in runs]),
        _line("GPU-hours", [hours(one.gpu_hours) for one in runs]),
        _line("attempts", [str(one.attempt_count) for one in runs]),
        _line("node", [one.attempts[0].node or NONE if one.attempts else NONE for one in runs]),
        _line("GPU", [one.attempts[0].gpu or NONE if one.attempts else NONE for one in runs]),
    )
    made = (
        ("Result", results),
        ("Parameters", _lines(params)),
        ("Settings", _lines(settings)),
        ("Metrics, last / min / max", _metric_lines(metrics)),
    )
    sections = []
    for title, lines in made:
        kept = tuple(line for line in lines if everything or line.differs)
        sections.append(Section(title, kept, len(lines) - len(kept)))
    return CompareView(tuple(runs), tuple(sections))


def _settings(spec: Mapping[str, Any]) -> dict[str, Any]:
    flat = flatten({key: spec[key] for key in _SETTINGS if spec.get(key) not in (None, [], {})})
    return {**flat, "image": spec.get("image") or "the operator's default"}


def _lines(columns: Sequence[Mapping[str, Any]]) -> tuple[Line, ...]:
    names = sorted({name for column in columns for name in column})
    return tuple(
        _line(name, [parameter(column[name]) if name in column else NONE for column in columns]) for name in names
    )


def _metric_lines(columns: Sequence[Mapping[str, MetricSummary]]) -> tuple[Line, ...]:
    names = sorted({name for column in columns for name in column})
    return tuple(_line(name, [_metric(column.get(name)) for column in columns]) for name in names)


def _metric(summary: MetricSummary | None) -> str:
    if summary is None:
        return NONE
    last = "NaN" if summary.last is None else number(summary.last)
    return f"{last} / {number(summary.min)} / {number(summary.max)}"


def _line(label: str, cells: Sequence[str]) -> Line:
    return Line(label, tuple(cells), len(set(cells)) > 1)
