"""A cluster that is shared: nodes, pods, and runs of two namespaces that wait for GPUs and hold them."""

from __future__ import annotations

from typing import Any

from tests.cli_world import API_VERSION, T0, Body, attempt

A100, T4 = "NVIDIA-A100-SXM4-40GB", "Tesla-T4"


def node(name: str, gpus: int, *, model: str = A100, memory: int = 40_960, **changed: Any) -> Body:
    ready = changed.pop("ready", True)
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {"nvidia.com/gpu.product": model, "nvidia.com/gpu.memory": str(memory)}},
        "spec": {"unschedulable": changed.pop("cordoned", False)},
        "status": {
            "allocatable": {"cpu": "64", "nvidia.com/gpu": str(changed.pop("healthy", gpus))},
            "capacity": {"cpu": "64", "nvidia.com/gpu": str(gpus)},
            "conditions": [{"type": "Ready", "status": "True" if ready else "False"}],
        },
    }


def pod(name: str, *, on: str | None, gpus: int = 1, labels: Body | None = None, **changed: Any) -> Body:
    meta = {"name": name, "namespace": changed.pop("namespace", "radiology"), "labels": labels or {}}
    container = {"resources": {"limits": {"nvidia.com/gpu": str(gpus)}}}
    spec = {"containers": [container], **({"nodeName": on} if on else {}), **changed.pop("spec", {})}
    status = {"phase": changed.pop("phase", "Running"), "startTime": T0}
    return {"apiVersion": "v1", "kind": "Pod", "metadata": {**meta, **changed}, "spec": spec, "status": status}


def run(
    name: str,
    *,
    namespace: str = "radiology",
    user: str = "",
    gpus: int = 1,
    on: str | None = None,
    state: str = "Queued",
    reason: str = "WaitingForGpus",
    message: str = "",
    created: str = T0,
    sweep: str | None = None,
    spec: Body | None = None,
    **status: Any,
) -> Body:
    """An Experiment that waits; with a node it runs there."""
    if on:
        state, reason = "Running", "Training"
        status.setdefault("attempts", [attempt(1, node=on)])
    annotations = {"orkhaven.io/created-by": user} if user else {}
    labels = {"orkhaven.io/sweep": sweep, "orkhaven.io/trial": "3"} if sweep else {}
    return {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": {
            "name": name, "namespace": namespace, "labels": labels, "annotations": annotations,
            "creationTimestamp": created,
        },
        "spec": {"params": {}, "resources": {"gpus": gpus}, **(spec or {})},
        "status": {"state": state, "reason": reason, "message": message, **status},
    }  # fmt: skip


def shared() -> list[Body]:
    """4 GPUs on two nodes: runs hold 2 and 1, a notebook 1; 4 runs wait, one is suspended, one has ended."""
    return [
        node("gpu-1", 3),
        node("gpu-2", 1, model=T4, memory=15_360, cordoned=True),
        node("plain", 0),
        run("big", user="ada@example.com", gpus=2, on="gpu-1"),
        run("far", namespace="oncology", user="bo", on="gpu-2", spec={"priority": "Preemptible"}),
        pod("big-1-x", on="gpu-1", gpus=2, labels={"orkhaven.io/experiment": "big"}),
        pod("far-1-x", on="gpu-2", namespace="oncology", labels={"orkhaven.io/experiment": "far"}),
        pod("notebook", on="gpu-1", namespace="oncology"),
        pod("done", on="gpu-1", phase="Succeeded"),
        run("second", message="position 2 in radiology; needs 1 GPU; 0 free", created="2026-09-01T08:00:00Z"),
        run("first", message="position 1 in radiology; needs 2 GPUs; 0 free", gpus=2, user="ada@example.com"),
        run("urgent", message="waits for its turn", spec={"priority": "Interactive"}, sweep="covid"),
        run("elsewhere", namespace="oncology", reason="NoFittingNode", message="no node has 8 GPUs", gpus=8),
        run("held", state="Suspended", reason="Suspended", spec={"suspend": True}),
        run("over", state="Succeeded", reason="Completed"),
    ]
