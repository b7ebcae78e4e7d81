"""Builders: a run of a trace, nodes, and a trace that is quick to replay."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import timedelta
from random import Random

from orkhaven.api import Priority
from orkhaven.core.views import NodeView
from orkhaven.simulate import FairShare, Shape, TraceRun, make_trace, read_nodes

SHAPE = Shape(days=1, gpus=32, namespaces=4, users=3)


def make_nodes(count: int, gpus: int = 8, *, model: str = "A100") -> list[NodeView]:
    return read_nodes(f"[{{count: {count}, gpus: {gpus}, model: {model}, memory: 80Gi}}]", name="nodes.yaml")


def make_run(
    submitted: float = 0,
    *,
    gpus: int = 1,
    duration: float = 3600,
    priority: Priority = Priority.STANDARD,
    namespace: str = "radiology",
    user: str = "ana",
    gpu_model: str = "",
) -> TraceRun:
    return TraceRun(
        submitted=submitted,
        namespace=namespace,
        user=user,
        gpus=gpus,
        duration=duration,
        priority=priority,
        gpu_model=gpu_model,
    )


def small_trace(seed: int = 1) -> list[TraceRun]:
    return make_trace(SHAPE, Random(seed))


def fair(weights: Mapping[str, float] = {}) -> FairShare:
    return FairShare(weights=weights, half_life=timedelta(days=2), min_run=timedelta(minutes=5))
