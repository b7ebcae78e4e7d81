"""Lists as flat rows, for files: what the API and the pages' exports have in common. Pure."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from orkhaven.hub.query.rows import SweepRow

OWNER_LABEL = "orkhaven.io/owner"
"""Kubernetes keeps no author of an object; whoever wants to be found writes this label on the Sweep."""
SWEEP_COLUMNS = (
    "name", "state", "objective", "direction", "best", "bestExperiment", "total", "succeeded", "failed", "pruned",
    "skipped", "running", "queued", "gpuHours", "owner", "created",
)  # fmt: skip
EXPERIMENT_COLUMNS = "sweep,trial,state,reason,objective,objectiveStep,step,attempts,node,gpu,created,started,ended"
FAILURE_COLUMNS = (
    "reason",
    "count",
    "message",
    "suggestion",
    "samples",
    "id",
    "signature",
    "where",
    "correlates",
    "nodes",
    "firstSeen",
    "lastSeen",
)


def sweep_line(row: SweepRow) -> dict[str, Any]:
    trials, best = row.status.get("trials") or {}, row.status.get("best") or {}
    return {
        **{key: trials.get(key) for key in ("total", "succeeded", "failed", "pruned", "skipped", "running", "queued")},
        "name": row.name,
        "state": row.state,
        "objective": row.objective.metric,
        "direction": row.objective.direction,
        "best": best.get("value"),
        "bestExperiment": best.get("experiment"),
        "gpuHours": (row.status.get("gpuHours") or {}).get("total"),
        "owner": row.labels.get(OWNER_LABEL),
        "created": row.created,
    }


def failure_lines(row: SweepRow) -> list[dict[str, Any]]:
    """A line per cause, the most frequent first."""
    found = []
    for one in row.status.get("failureClusters") or ():
        line: dict[str, Any] = {key: one.get(key) or None for key in FAILURE_COLUMNS}
        common = "; ".join(str(each.get("text")) for each in one.get("correlates") or ()) or None
        nodes = " ".join(f"{each.get('name')}={each.get('count')}" for each in one.get("nodes") or ()) or None
        found.append({**line, "samples": " ".join(one.get("samples") or ()), "correlates": common, "nodes": nodes})
    return found


def same(keys: Sequence[str]) -> list[tuple[str, str]]:
    """Columns (key, label) whose label is their key."""
    return [(key, key) for key in keys]
