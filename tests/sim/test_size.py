"""How many bytes a finished trial takes in etcd, with what the API server notes about its fields' owners."""

from __future__ import annotations

import json
from typing import Any

from orkhaven.api import crd
from tests.sim.cluster import Body
from tests.sim.harness import Simulation
from tests.sim.world import World

UID = "0e1c9a1e-7b0f-4c2b-9d55-1f6f0b2d3c4a"
HUBS = ("objective", "metrics", "progress")
TEMPLATE: Body = {
    "params": {
        "model": {"architecture": "Unet", "encoder": "resnet34", "encoder_weights": "imagenet", "in_channels": 1},
        "optimizer": {"name": "adamw", "lr": 0.0003, "weight_decay": 0.01},
        "loss": {"name": "dice_ce", "gamma": 2.0, "weights": [0.3, 0.7]},
        "augment": {"rotation": 15, "flip": True, "noise": 0.01},
        "data": {"size": 512, "folds": 5, "fold": 0},
        "epochs": 60,
        "batch_size": 8,
        "amp": True,
    },
    "image": "ghcr.io/orkhaven/trainer:1.2.3",
    "resources": {"gpus": 1, "cpu": "4", "memory": "16Gi", "minGpuMemory": "16Gi", "sharedMemory": "8Gi"},
    "data": [{"name": "ct", "claim": "ct-data", "mountPath": "/data"}],
    "output": {"claim": "results"},
    "maxRunTime": "6h",
    "env": [{"name": "NCCL_DEBUG", "value": "WARN"}],
}
METRICS = [f"{part}/{name}" for part in ("train", "val") for name in ("loss", "dice_case", "iou", "hd95", "recall")]


SUCCEEDED: Body = {
    "outcome": "Succeeded",
    "step": 60,
    "objective": {"value": 0.7812345678, "step": 41},
    "metrics": {name: {"last": 0.123456789, "best": 0.1234567891, "bestStep": 41} for name in METRICS},
    "note": "5 checkpoints",
}
FAILED: Body = {
    "outcome": "Failed",
    "step": 12,
    "failure": {
        "type": "builtins.RuntimeError",
        "message": "the loader gave 512 rows where the plan of this epoch has 256 of them, at place 3 of fold 2",
        "location": "trainer/ctseg/training/loop.py:212 in train_step",
        "excerpt": "\n".join(['  File "/app/trainer/ctseg/training/loop.py", line 212, in train_step'] * 60),
    },
}


def owned(value: Any, schema: Body) -> Body:
    """What managedFields has to say of a value: an entry for each leaf, one for what is atomic."""
    if schema.get("x-kubernetes-map-type") == "atomic" or schema.get("x-kubernetes-list-type") == "atomic":
        return {}
    if isinstance(value, dict):
        fields = schema.get("properties", {})
        rest = schema.get("additionalProperties", {})
        return {f"f:{key}": owned(item, fields.get(key, rest)) for key, item in value.items()}
    if isinstance(value, list) and (keys := schema.get("x-kubernetes-list-map-keys")):
        names = [json.dumps({key: item[key] for key in keys}, separators=(",", ":")) for item in value]
        items = schema["items"]
        return {f"k:{name}": {".": {}, **owned(item, items)} for name, item in zip(names, value, strict=True)}
    return {}


def as_stored(experiment: Body) -> bytes:
    """As the API server writes it into etcd."""
    schema = crd.structural_schema(crd.EXPERIMENT.model)["properties"]
    body: Body = json.loads(json.dumps(experiment))
    meta, status = body["metadata"], body["status"]
    meta["uid"] = meta["ownerReferences"][0]["uid"] = UID
    labels = {f"f:{key}": {} for key in meta["labels"]}
    made = {"f:labels": {".": {}, **labels}, "f:ownerReferences": {".": {}, f'k:{{"uid":"{UID}"}}': {}}}
    hubs = {key: value for key, value in status.items() if key in HUBS}
    operators = {key: value for key, value in status.items() if key not in HUBS}
    entries = [
        (
            "orkhaven-operator",
            "Update",
            {"f:metadata": made, "f:spec": {".": {}, **owned(body["spec"], schema["spec"])}},
        ),
        ("orkhaven-operator", "Apply", {"f:status": owned(operators, schema["status"])}),
        ("orkhaven-hub", "Apply", {"f:status": owned(hubs, schema["status"])}),
    ]
    meta["managedFields"] = [
        {
            "manager": manager,
            "operation": operation,
            "apiVersion": "orkhaven.io/v1alpha1",
            "time": meta["creationTimestamp"],
            "fieldsType": "FieldsV1",
            "fieldsV1": fields,
            **({"subresource": "status"} if operation == "Apply" else {}),
        }
        for manager, operation, fields in entries
    ]
    return json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode()


def ended(record: Body, exit_code: int, attempts: int) -> Body:
    sim = Simulation()
    sim.apply_sweep(
        "covid-architectures",
        template={**TEMPLATE, "retry": {"limit": attempts - 1}},
        parameters=[{"name": "optimizer.lr", "values": [0.001]}],
        objective={"metric": "val/dice_case"},
    )

    def outcome(world: World, pod: Body) -> None:
        world.end(pod, exit_code=exit_code, message=json.dumps({"version": 1, "totalSteps": 60, **record}))

    sim.settle(outcome)
    (trial,) = sim.cluster.all("Experiment")
    assert len(trial["status"]["attempts"]) == attempts
    return trial


def test_a_trial_that_succeeded_takes_less_than_6_kib() -> None:
    trial = ended(SUCCEEDED, 0, 1)
    assert len(trial["status"]["metrics"]) == 10
    assert len(as_stored(trial)) < 6 * 1024


def test_a_trial_that_failed_thrice_with_a_long_traceback_takes_less_than_10_kib() -> None:
    trial = ended(FAILED, 1, 3)
    assert len(trial["status"]["failure"]["excerpt"]) == 2048
    assert len(as_stored(trial)) < 10 * 1024
