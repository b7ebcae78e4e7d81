"""A namespace as the command line and the Python client meet it: a sweep under way, a finished one, runs in each state.

The bodies are what operator and hub would have written. Used with a fake API server and with a real one.
"""

from __future__ import annotations

import copy
from typing import Any

from orkhaven.core.identity import param_hash
from orkrun import contract

Body = dict[str, Any]

NAMESPACE = "radiology"
API_VERSION = "orkhaven.io/v1alpha1"
OBJECTIVE = {"metric": "val/dice", "direction": "Maximize"}
T0 = "2026-09-01T10:00:00Z"


def condition(kind: str, status: str, reason: str, message: str = "") -> Body:
    made = {"type": kind, "status": status, "reason": reason, "lastTransitionTime": T0}
    return {**made, "message": message} if message else made


def trial(
    name: str,
    *,
    sweep: str | None = "covid",
    index: int = 0,
    params: Body | None = None,
    state: str = "Succeeded",
    reason: str = "Completed",
    message: str = "",
    value: float | None = None,
    step: int = 10,
    metrics: dict[str, float] | None = None,
    **status: Any,
) -> Body:
    """An Experiment; with a value it has reported it."""
    params = params or {"model": {"architecture": "Unet"}, "optimizer": {"lr": 0.001}, "epochs": 10}
    labels = {contract.LABEL_PARAM_HASH: param_hash(params)[:16]}
    if sweep:
        labels |= {contract.LABEL_SWEEP: sweep, contract.LABEL_TRIAL: str(index)}
    ended = state in ("Succeeded", "Failed", "Pruned")
    told: Body = {
        "state": state,
        "reason": reason,
        "message": message,
        "conditions": [
            condition("Accepted", "True", "Accepted"),
            condition("Finished", "True" if ended else "False", reason if ended else "NotFinished"),
            condition(
                "Succeeded", "True" if state == "Succeeded" else "False" if ended else "Unknown", reason, message
            ),
        ],
        "paramHash": param_hash(params),
        **status,
    }
    if ended:
        told["completionTime"] = "2026-09-01T11:00:00Z"
    if value is not None:
        told["objective"] = {"value": value, "step": step}
        told["progress"] = {"step": 10, "totalSteps": 10}
        shown = {"val/dice": value, **(metrics or {})}
        told["metrics"] = {key: {"last": one, "best": one, "bestStep": step} for key, one in shown.items()}
    return {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": {"name": name, "namespace": NAMESPACE, "labels": labels},
        "spec": {"params": params, "objective": OBJECTIVE, "resources": {"gpus": 1, "memory": "16Gi"}},
        "status": told,
    }


def attempt(number: int, **fields: Any) -> Body:
    made = {"number": number, "job": f"job-{number}", "pod": f"pod-{number}", "node": "gpu-node-1", "startTime": T0}
    return {**made, "gpuModel": "NVIDIA-A100-SXM4-40GB", **fields}


def params(architecture: str, lr: float, loss: str = "dice") -> Body:
    return {"model": {"architecture": architecture}, "optimizer": {"lr": lr}, "loss": {"name": loss}, "epochs": 10}


def covid() -> list[Body]:
    """A sweep under way: 3 trials succeeded, 2 failed of one cause, one runs, one waits; and its trials."""
    trials = [
        trial("covid-0a1b2c3d4e", index=0, params=params("Unet", 1e-3), value=0.742, metrics={"val/loss": 0.31}),
        trial("covid-1b2c3d4e5f", index=1, params=params("FPN", 1e-3), value=0.781, metrics={"val/loss": 0.28}),
        trial("covid-2c3d4e5f6a", index=2, params=params("Unet", 1e-4), value=0.655, metrics={"val/loss": 0.44}),
        *[
            trial(
                f"covid-{name}",
                index=index,
                params=params("PSPNet", 1e-3, loss),
                state="Failed",
                reason="InvalidParams",
                message="loss.gamma: -2.0 is below 0",
                failure={
                    "reason": "InvalidParams",
                    "message": "loss.gamma: -2.0 is below 0",
                    "excerpt": "Traceback (most recent call last):\norkrun.InvalidParams: loss.gamma: -2.0 is below 0",
                    "location": "ctseg/config/__init__.py:122 in parse",
                    "suggestion": "Correct the parameter and submit a new sweep.",
                },
                attempts=[
                    attempt(
                        1, endTime="2026-09-01T10:00:07Z", exitCode=64, reason="InvalidParams",
                        message="loss.gamma: -2.0 is below 0", gpuSeconds=7.0,
                    )
                ],
                attemptCount=1,
            )
            for index, (name, loss) in enumerate([("3d4e5f6a7b", "focal"), ("4e5f6a7b8c", "dice_ce")], 3)
        ],
        trial(
            "covid-5f6a7b8c9d", index=5, params=params("Linknet", 1e-3), state="Running", reason="Training", value=0.41,
            step=4, attempts=[attempt(1)], attemptCount=1,
        ),
        trial(
            "covid-6a7b8c9d0e", index=6, params=params("Linknet", 1e-4), state="Queued", reason="WaitingForGpus",
            message="waits for 1 GPU: 0 of 4 are free",
        ),
    ]  # fmt: skip
    best = sorted(
        (t for t in trials if t["status"]["state"] == "Succeeded"), key=lambda t: -t["status"]["objective"]["value"]
    )
    board = [
        {
            "experiment": one["metadata"]["name"],
            "value": one["status"]["objective"]["value"],
            "step": one["status"]["objective"]["step"],
            "params": {
                "model.architecture": one["spec"]["params"]["model"]["architecture"],
                "optimizer.lr": one["spec"]["params"]["optimizer"]["lr"],
            },
        }
        for one in best
    ]
    sweep = {
        "apiVersion": API_VERSION,
        "kind": "Sweep",
        "metadata": {"name": "covid", "namespace": NAMESPACE, "labels": {"team": "ct"}},
        "spec": {
            "objective": OBJECTIVE,
            "search": {"algorithm": "Grid"},
            "parameters": [
                {"name": "model.architecture", "values": ["Unet", "FPN", "PSPNet", "Linknet"]},
                {"name": "optimizer.lr", "values": [1e-3, 1e-4]},
                {"name": "loss.name", "values": ["dice", "focal", "dice_ce"]},
            ],
            "parallelism": 2,
            "template": {"params": {"epochs": 10}, "resources": {"gpus": 1, "memory": "16Gi"}},
        },
        "status": {
            "state": "Running",
            "progress": "5/24",
            "conditions": [
                condition("Accepted", "True", "Accepted"),
                condition("Running", "True", "Running"),
                condition("Finished", "False", "NotFinished"),
                condition("Succeeded", "Unknown", "NotFinished"),
            ],
            "trials": {
                "total": 24,
                "created": 7,
                "queued": 1,
                "running": 1,
                "suspended": 0,
                "succeeded": 3,
                "failed": 2,
            },
            "best": board[0],
            "leaderboard": board,
            "failureClusters": [
                {
                    "reason": "InvalidParams",
                    "count": 2,
                    "message": "loss.gamma: -2.0 is below 0",
                    "samples": ["covid-3d4e5f6a7b", "covid-4e5f6a7b8c"],
                    "suggestion": "Correct the parameter and submit a new sweep.",
                    "id": "c3f2a1b0",
                    "signature": "InvalidParams: loss.gamma: # is below #",
                    "where": "losses/focal.py:12 in __init__",
                    "correlates": [
                        {
                            "what": "loss.gamma",
                            "value": "=-2",
                            "failed": 2,
                            "failedOf": 2,
                            "succeeded": 0,
                            "succeededOf": 3,
                            "text": "loss.gamma=-2 in 2/2, 0/3 of the successful",
                        }
                    ],
                    "nodes": [{"name": "gpu-1", "count": 2}],
                    "firstSeen": T0,
                    "lastSeen": T0,
                }
            ],
            "gpuHours": {"total": 4.25, "succeeded": 3.5, "failed": 0.25, "running": 0.5},
            "startTime": T0,
        },
    }
    return [sweep, *trials]


def finished(name: str, *, failed: int = 0) -> Body:
    """A sweep that has ended."""
    succeeded = condition("Succeeded", "True", "Completed", f"{4 - failed} of 4 trials succeeded")
    return {
        "apiVersion": API_VERSION,
        "kind": "Sweep",
        "metadata": {"name": name, "namespace": NAMESPACE},
        "spec": {"objective": OBJECTIVE, "parameters": [{"name": "batch_size", "values": [1, 2, 3, 4]}]},
        "status": {
            "state": "Succeeded",
            "progress": "4/4",
            "conditions": [condition("Finished", "True", "Completed"), succeeded],
            "trials": {"total": 4, "created": 4, "succeeded": 4 - failed, "failed": failed},
            "startTime": T0,
            "completionTime": "2026-09-01T12:30:00Z",
        },
    }


def event(about: Body, reason: str, message: str, *, kind: str = "Normal", count: int = 1) -> Body:
    meta = about["metadata"]
    return {
        "apiVersion": "v1",
        "kind": "Event",
        "metadata": {"name": f"{meta['name']}.{reason.lower()}", "namespace": meta["namespace"]},
        "involvedObject": {
            "apiVersion": API_VERSION, "kind": about["kind"], "name": meta["name"], "namespace": meta["namespace"],
            "uid": meta.get("uid", ""),
        },
        "type": kind,
        "reason": reason,
        "message": message,
        "count": count,
        "firstTimestamp": T0,
        "lastTimestamp": T0,
    }  # fmt: skip


def moved(bodies: list[Body], namespace: str) -> list[Body]:
    """The same in another namespace."""
    made = copy.deepcopy(bodies)
    for body in made:
        body["metadata"]["namespace"] = namespace
    return made


def put(api: Any, body: Body) -> Body:
    """Makes it in a real API server, status included. `api`: tests.cluster's."""
    meta = body["metadata"]
    path = f"/apis/{API_VERSION}/namespaces/{meta['namespace']}/{body['kind'].lower()}s"
    made = api.call("POST", path, {key: value for key, value in body.items() if key != "status"})
    if "status" in body:
        made = api.call(
            "PATCH", f"{path}/{meta['name']}/status", {"status": body["status"]}, content="application/merge-patch+json"
        )
    return dict(made)
