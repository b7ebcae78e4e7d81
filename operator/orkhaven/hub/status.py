"""What a run's status says: progress, objective and at most 32 metrics, out of a snapshot of the store. Pure."""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

from orkhaven.api.meta import shown
from orkhaven.hub.lines import MAX_TIME
from orkhaven.hub.storage.read import MetricSummary, RunSnapshot
from orkhaven.hub.storage.rungs import RungValue
from orkrun import contract

MAX_METRICS = 32


def objective_of(run: RunSnapshot) -> contract.Objective | None:
    if run.objective is None:
        return None
    return {"metric": run.objective, "direction": "Minimize" if run.minimize else "Maximize"}


def status_of(run: RunSnapshot) -> dict[str, Any]:
    """`status` as the hub owns it. Only finite numbers: JSON has no others."""
    objective = objective_of(run)
    status: dict[str, Any] = {"progress": _progress(run)}
    by_name = {metric.name: metric for metric in run.metrics}
    if objective is not None and (metric := by_name.get(objective["metric"])) is not None:
        best = metric.best(minimize=objective["direction"] == "Minimize")
        if best is not None:
            status["objective"] = {"value": shown(best[0]), "step": best[1]}
            if run.rungs:
                status["objective"]["rungs"] = [_rung(rung) for rung in run.rungs]
    first = [run.objective] if run.objective in by_name else []
    names = (first + sorted(name for name in by_name if name != run.objective))[:MAX_METRICS]
    status["metrics"] = {name: _metric(by_name[name], objective) for name in names if name is not None}
    return status


def _rung(rung: RungValue) -> dict[str, float | int]:
    return {"step": rung.step} | ({} if rung.value is None else {"value": shown(rung.value)})


def _metric(metric: MetricSummary, objective: contract.Objective | None) -> dict[str, float | int]:
    summary: dict[str, float | int] = {}
    if metric.last is not None and math.isfinite(metric.last):
        summary["last"] = shown(metric.last)
    best = metric.best(minimize=contract.is_minimized(metric.name, objective))
    if best is not None:
        summary["best"], summary["bestStep"] = shown(best[0]), best[1]
    return summary


def _progress(run: RunSnapshot) -> dict[str, Any]:
    progress: dict[str, Any] = {"step": run.step}
    pace = pace_of(run)
    if pace is not None:
        progress["secondsPerStep"] = pace
    if run.total_steps is not None:
        progress["totalSteps"] = run.total_steps
        eta = eta_of(run)
        if eta is not None:
            progress["eta"] = eta.strftime("%Y-%m-%dT%H:%M:%SZ")
    return progress


def eta_of(run: RunSnapshot) -> datetime | None:
    """When the last step is done at the present attempt's mean pace. None before the second step, after the last one,
    and where the trainer's clock went backwards. Depends on reports only, so that it stands still while nothing is
    reported.
    """
    steps, seconds = run.step - run.first_step, run.time - run.first_time
    if run.total_steps is None or run.step >= run.total_steps or steps <= 0 or seconds <= 0:
        return None
    end = run.time + (run.total_steps - run.step) * seconds / steps
    return datetime.fromtimestamp(end, UTC) if end <= MAX_TIME else None


def pace_of(run: RunSnapshot) -> float | None:
    """Mean seconds that a step of the present attempt took, to two digits, so that it seldom changes. None before the
    second step, and where the trainer's clock went backwards."""
    steps, seconds = run.step - run.first_step, run.time - run.first_time
    return float(f"{seconds / steps:.2g}") if steps > 0 and seconds > 0 else None


def digest_of(status: Mapping[str, Any]) -> str:
    """SHA-256 of the canonical JSON of what would be written."""
    return hashlib.sha256(json.dumps(status, sort_keys=True, separators=(",", ":")).encode()).hexdigest()
