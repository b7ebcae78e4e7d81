"""A control plane of a bench's own, and a sweep in it whose trials have all ended, written there instead of run."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from orkhaven.core.identity import child_name
from tests.cluster import Cluster, Mode
from tests.integration.operator_process import until

Body = dict[str, Any]
ROOT = Path(__file__).resolve().parents[2]
GROUP = "apis/orkhaven.io/v1alpha1"
AT = "2026-01-01T00:00:00Z"


@contextmanager
def control_plane(name: str, *namespaces: str, tuned: bool = False) -> Iterator[Cluster]:
    """With our CRDs; gone at the end. `tuned`: without the limits that controller-manager and scheduler set
    themselves."""
    cluster = Cluster(name, mode=Mode.CONTROL_PLANE, tuned=tuned)
    try:
        cluster.up()
        cluster.kubectl("apply", "--server-side", "-f", str(ROOT / "crds"))
        cluster.kubectl("wait", "--for=condition=Established", "crd", "--all")
        for kind in ("sweeps", "experiments"):
            # Established is not enough: for a moment more the server answers 429, "storage is (re)initializing".
            until(f"{kind} to be served", lambda path=f"/{GROUP}/{kind}": cluster.api.raw("GET", path, None)[0] == 200)
        for namespace in namespaces:
            cluster.api.call("POST", "/api/v1/namespaces", {"metadata": {"name": namespace}})
        yield cluster
    finally:
        cluster.down()


def ended_sweep(
    cluster: Cluster, namespace: str, spec: Body, *, trials: int, trial: Body, status: Callable[[int], Body]
) -> str:
    """Makes Sweep `s` over `lr` and its trials; the path of the Sweep.

    `spec`: of the Sweep, but for its parameters. `trial`: of each Experiment's spec, but for `params`. `status`: of the
    nth, but for its attempt and the times.
    """
    api, path = cluster.api, f"/{GROUP}/namespaces/{namespace}"
    body = {"apiVersion": "orkhaven.io/v1alpha1", "kind": "Sweep", "metadata": {"name": "s"}}
    parameters = [{"name": "lr", "values": list(range(trials))}]
    made = api.call("POST", f"{path}/sweeps", {**body, "spec": {**spec, "parameters": parameters}})
    owner = {
        "apiVersion": "orkhaven.io/v1alpha1", "kind": "Sweep", "name": "s",
        "uid": made["metadata"]["uid"], "controller": True,
    }  # fmt: skip

    def make(lr: int) -> None:
        name = child_name("s", params={"lr": lr}, seed=0)
        labels = {"orkhaven.io/sweep": "s", "orkhaven.io/trial": str(lr)}
        experiment = {
            "apiVersion": "orkhaven.io/v1alpha1",
            "kind": "Experiment",
            "metadata": {"name": name, "labels": labels, "ownerReferences": [owner]},
            "spec": {"params": {"lr": lr}, "objective": {"metric": "val/dice"}, **trial},
        }
        api.call("POST", f"{path}/experiments", experiment)
        said = status(lr)
        succeeded = "True" if said["state"] == "Succeeded" else "False"
        whole = {
            "attemptCount": 1, "gpuSeconds": 60, "completionTime": AT,
            "attempts": [
                {"number": 1, "job": f"{name}-1", "startTime": AT, "endTime": AT, "reason": said["reason"]}
            ],
            "conditions": [
                {"type": kind, "status": value, "reason": said["reason"], "message": "", "lastTransitionTime": AT}
                for kind, value in (("Finished", "True"), ("Succeeded", succeeded))
            ],
        }  # fmt: skip
        api.patch(f"{path}/experiments/{name}/status", {"status": {**whole, **said}})

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(make, range(trials)))
    return f"{path}/sweeps/s"
