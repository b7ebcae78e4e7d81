"""Wrong and right resources: read by pydantic in the unit tests, by a real API server in the integration tests."""

from __future__ import annotations

import copy
from dataclasses import dataclass, field
from typing import Any

API_VERSION = "orkhaven.io/v1alpha1"
ABSENT = object()


def sweep(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """A Grid sweep that is fine, with `changes` laid over it: dotted path -> value, or ABSENT."""
    body: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "Sweep",
        "metadata": {"name": "lungs"},
        "spec": {
            "objective": {"metric": "val/dice_case"},
            "parameters": [
                {"name": "model.architecture", "values": ["Unet", "FPN"]},
                {"name": "batch_size", "values": [4, 8]},
            ],
            "template": {"params": {"epochs": 3}, "data": [{"name": "ct", "claim": "ct-data"}]},
        },
    }
    return changed(body, changes or {})


def experiment(changes: dict[str, Any] | None = None) -> dict[str, Any]:
    """An experiment that is fine, with `changes` laid over it."""
    body: dict[str, Any] = {
        "apiVersion": API_VERSION,
        "kind": "Experiment",
        "metadata": {"name": "lungs-1"},
        "spec": {
            "params": {"model": {"architecture": "Unet", "encoder_weights": None}, "epochs": 3},
            "objective": {"metric": "val/dice_case", "direction": "Maximize"},
            "data": [{"name": "ct", "claim": "ct-data"}],
        },
    }
    return changed(body, changes or {})


def changed(body: dict[str, Any], changes: dict[str, Any]) -> dict[str, Any]:
    """A copy of `body` with each dotted path set (or removed); folders on the way are made."""
    body = copy.deepcopy(body)
    for path, value in changes.items():
        *folders, last = path.split(".")
        place = body
        for folder in folders:
            place = place.setdefault(folder, {})
        if value is ABSENT:
            place.pop(last, None)
        else:
            place[last] = value
    return body


@dataclass(frozen=True)
class Wrong:
    """`changes` make a good resource a wrong one; the answer blames `path` and says `message`.

    `rule`: the message is that of one of our rules, so that pydantic has to say the same.
    """

    id: str
    changes: dict[str, Any]
    path: str
    message: str
    rule: bool = True
    kind: str = "Sweep"

    def body(self) -> dict[str, Any]:
        return (sweep if self.kind == "Sweep" else experiment)(self.changes)


@dataclass(frozen=True)
class Right:
    id: str
    changes: dict[str, Any] = field(default_factory=dict)
    kind: str = "Sweep"

    def body(self) -> dict[str, Any]:
        return (sweep if self.kind == "Sweep" else experiment)(self.changes)


def ranged(low: float, high: float, scale: str | None = None) -> dict[str, Any]:
    return {"min": low, "max": high} | ({"scale": scale} if scale else {})


def drawn(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {"spec.search": {"algorithm": "Random", "maxTrials": 10}, "spec.parameters": list(parameters)}


def stepped(low: float, high: float, scale: str | None = None, *, step: float | None = None) -> dict[str, Any]:
    return {"name": "a", "range": ranged(low, high, scale) | ({} if step is None else {"step": step})}


P = "spec.parameters"
LR = {"name": "lr", "range": ranged(1e-5, 1e-2, "Log")}


def stopping(algorithm: str, **fields: Any) -> dict[str, Any]:
    return {"spec.earlyStopping": {"algorithm": algorithm, **fields}}


EARLY = "spec.earlyStopping"


def wrong(id: str, changes: dict[str, Any], path: str, message: str, *, rule: bool = True) -> Wrong:
    return Wrong(id, changes, path, message, rule=rule, kind="Experiment")


def data(**fields: Any) -> dict[str, Any]:
    return {"spec.data": [{"name": "ct", "claim": "ct-data"} | fields]}


def env(**fields: Any) -> dict[str, Any]:
    return {"spec.env": [{"name": "A"} | fields]}


R = "spec.resources"
RETRY = "spec.retry"

NAMES = [
    Wrong("a sweep's name too long", {"metadata.name": "a" * 47}, "metadata.name", "at most 46 characters"),
    Wrong("a sweep's name with a dot", {"metadata.name": "a.b"}, "metadata.name", "lower-case letters, digits and '-'"),
    wrong("an experiment's name too long", {"metadata.name": "a" * 58}, "metadata.name", "at most 57 characters"),
]

RIGHT = [
    Right("the least"),
    Right("a name of 46 characters", {"metadata.name": "a" * 46}),
    Right("any JSON as a value", {P: [{"name": "a", "values": [None, True, 1, 2.5, "x", [1, [2]], {"b": None}]}]}),
    Right("Grid over integers", {P: [{"name": "a", "range": ranged(1, 1000, "Integer")}]}),
    Right("an Integer range of one number", {P: [{"name": "a", "range": ranged(3, 3, "Integer")}]}),
    Right("Grid over steps", {P: [stepped(0, 99.95, step=0.1)]}),
    Right("a step that is the whole range", drawn(stepped(-1, 1, "Integer", step=2))),
    Right("a step that is the whole range but for rounding", drawn(stepped(0.2, 0.3, step=0.1))),
    Right("a step beside one number", drawn(stepped(3, 3, "Integer", step=2))),
    Right("Random over ranges", drawn(LR, {"name": "m", "range": ranged(0, 1)}, {"name": "n", "values": [1]})),
    Right(
        "when after what it names",
        {
            P: [
                {"name": "loss.n", "values": ["focal"]},
                {"name": "loss.g", "values": [1], "when": {"loss.n": ["focal"]}},
            ]
        },
    ),
    Right(
        "when of two",
        {
            P: [
                {"name": "a", "values": [1]},
                {"name": "b", "values": [None]},
                {"name": "c", "values": [1], "when": {"b": [None], "a": [1]}},
            ]
        },
    ),
    Right("names that share a beginning", {P: [{"name": "a", "values": [1]}, {"name": "ab", "values": [1]}]}),
    Right(
        "List of trials",
        {"spec.search.algorithm": "List", P: ABSENT, "spec.trials": [{"a.b": 1}, {"a": {"b": None}}, {}]},
    ),
    Right(
        "reruns of every kind",
        {
            "spec.rerun": [
                {"id": "all"},
                {"id": "scratch", "select": {"clusters": ["c3f2a1"]}, "fromCheckpoint": False},
                {
                    "id": "oom",
                    "select": {"reasons": ["OutOfMemoryKilled"], "params": {"batch_size": [16, None]}},
                    "overrides": {"resources": {"memory": "32Gi", "gpus": 0}, "env": [{"name": "A", "value": ""}]},
                    "fromCheckpoint": True,
                },
                {"id": "fix", "overrides": {"image": "trainer:2", "params": {"batch_size": 4}}},
            ]
        },
    ),
    Right("Sobol over ranges", {"spec.search": {"algorithm": "Sobol", "maxTrials": 10}, P: [LR]}),
    Right("TPE over everything", {"spec.search": {"algorithm": "TPE", "maxTrials": 10}}),
    Right("CMAES over ranges", {"spec.search": {"algorithm": "CMAES", "maxTrials": 10}, P: [{**LR, "when": {}}]}),
    Right("GP over ranges", {"spec.search": {"algorithm": "GP", "maxTrials": 10}, P: [LR]}),
    Right("a Grid in sequence", {"spec.search.order": "Sequential"}),
    Right("constraints", {"spec.constraints": ['model.architecture != "FPN" || batch_size <= 4'] * 32}),
    Right("initial points", {"spec.initialPoints": [{"batch_size": 8}, {"model.architecture": "FPN"}, {}]}),
    Right("nothing at once", {"spec.parallelism": 0}),
    Right("identical runs again", {"spec.dedupe": "Never"}),
    Right("ASHA", stopping("ASHA", minSteps=5, reductionFactor=4)),
    Right("Hyperband of two brackets", stopping("Hyperband", minSteps=10, maxSteps=30)),
    Right("Median", stopping("Median", startupTrials=2)),
    Right("Patience", stopping("Patience", patience=10, minSteps=20)),
    Right(
        "a pruned experiment",
        {"spec.rungs": [1, 3, 9], "spec.prune": {"step": 3, "message": "enough", "resume": True}},
        kind="Experiment",
    ),
    Right("an experiment", kind="Experiment"),
    Right(
        "not twice, and gone after an hour",
        {"spec.dedupe": "Skip", "spec.ttlSecondsAfterFinished": 3600},
        kind="Experiment",
    ),
    Right("on the CPU", {"spec.resources": {"gpus": 0, "cpu": 2, "memory": "1.5Gi"}}, kind="Experiment"),
    Right("cpu in thousandths", {"spec.resources": {"cpu": "500m", "memory": 1073741824}}, kind="Experiment"),
    Right("an empty variable", env(value=""), kind="Experiment"),
    Right("a secret", env(secretKeyRef={"name": "wandb", "key": "api.key"}), kind="Experiment"),
    Right(
        "one volume in another",
        {
            "spec.data": [
                {"name": "a", "claim": "a", "mountPath": "/data"},
                {"name": "b", "claim": "a", "mountPath": "/data/b", "subPath": "b/c"},
            ]
        },
        kind="Experiment",
    ),
    Right("every taint", {"spec.tolerations": [{"operator": "Exists"}]}, kind="Experiment"),
    Right("a day and a half", {"spec.maxRunTime": "1d12h"}, kind="Experiment"),
    Right("a node label with a prefix", {"spec.nodeSelector": {"nvidia.com/gpu.product": "A100"}}, kind="Experiment"),
    Right("an image by digest", {"spec.image": "r.example:5000/a/b@sha256:" + "0" * 64}, kind="Experiment"),
    Right("no objective", {"spec.objective": ABSENT}, kind="Experiment"),
    Right(
        "more memory, and a smaller batch",
        {
            f"{R}.memory": "16Gi",
            f"{RETRY}": {
                "limit": 3,
                "outOfMemory": {"memoryFactor": 1.5, "maxMemory": "64Gi", "params": {"batch_size": 4, "model.x": None}},
            },
        },
        kind="Experiment",
    ),
    Right("a smaller batch alone", {f"{RETRY}.outOfMemory.params": {"batch_size": 4}}, kind="Experiment"),
    Right("a stall after an hour", {"spec.stallTimeout": "1h"}, kind="Experiment"),
    Right(
        "a circuit breaker",
        {
            "spec.failurePolicy": {
                "maxFailedTrials": 40,
                "stopOnCluster": {"minFailures": 5, "share": 0.5, "since": "2026-09-01T12:00:00Z"},
            }
        },
    ),
    Right("a circuit breaker as usual", {"spec.failurePolicy": {"stopOnCluster": {}}}),
]
