"""Views for tests of the engine, with only what the engine looks at."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

from orkhaven.core.parse import parse_experiment, parse_job, parse_pod, parse_sweep
from orkhaven.core.views import ExperimentView, JobView, PodView, SweepView

NOW = datetime(2026, 1, 1, tzinfo=UTC)


def meta(
    name: str, *, uid: str | None = None, version: int = 1, owner: tuple[str, str] | None = None, **more: Any
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "name": name,
        "namespace": "ns",
        "uid": uid or f"uid-{name}",
        "resourceVersion": str(version),
        "generation": 1,
        "creationTimestamp": "2026-01-01T00:00:00Z",
        **more,
    }
    if owner is not None:
        made["ownerReferences"] = [{"name": owner[0], "uid": owner[1], "controller": True}]
    return made


def sweep(name: str = "s", **kwargs: Any) -> SweepView:
    return parse_sweep({"metadata": meta(name, **kwargs), "spec": {"objective": {"metric": "m"}}})


def experiment(name: str = "e", *, status: dict[str, Any] | None = None, **kwargs: Any) -> ExperimentView:
    return parse_experiment({"metadata": meta(name, **kwargs), "spec": {"params": {}}, "status": status or {}})


def job(name: str = "e-1", **kwargs: Any) -> JobView:
    return parse_job({"metadata": meta(name, **kwargs), "spec": {"suspend": True}})


def pod(
    name: str, *, of: str | None = "e", labels: dict[str, str] | None = None, created: str | None = None, **kwargs: Any
) -> PodView:
    labels = ({"orkhaven.io/experiment": of} if of else {}) | (labels or {})
    kwargs |= {"creationTimestamp": created} if created else {}
    return parse_pod({"metadata": meta(name, labels=labels, **kwargs), "spec": {}, "status": {"phase": "Running"}})
