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


def _range(low: float, high: float, scale: str | None = None) -> dict[str, Any]:
    return {"min": low, "max": high} | ({"scale": scale} if scale else {})


def _random(*parameters: dict[str, Any]) -> dict[str, Any]:
    return {"spec.search": {"algorithm": "Random", "maxTrials": 10}, "spec.parameters": list(parameters)}


def _stepped(low: float, high: float, scale: str | None = None, *, step: float | None = None) -> dict[str, Any]:
    return {"name": "a", "range": _range(low, high, scale) | ({} if step is None else {"step": step})}


P = "spec.parameters"
LR = {"name": "lr", "range": _range(1e-5, 1e-2, "Log")}


def _stopping(algorithm: str, **fields: Any) -> dict[str, Any]:
    return {"spec.earlyStopping": {"algorithm": algorithm, **fields}}


_EARLY = "spec.earlyStopping"

WRONG_SWEEPS = [
    Wrong(
        "other parameters from the old checkpoint",
        {"spec.rerun": [{"id": "a", "fromCheckpoint": True, "overrides": {"params": {"batch_size": 4}}}]},
        "spec.rerun[0].fromCheckpoint",
        "other params or another image are another run",
    ),
    Wrong(
        "another image from the old checkpoint",
        {"spec.rerun": [{"id": "a", "fromCheckpoint": True, "overrides": {"image": "trainer:2"}}]},
        "spec.rerun[0].fromCheckpoint",
        "other params or another image are another run",
    ),
    Wrong(
        "a rerun's id that is no label",
        {"spec.rerun": [{"id": "OOM 1"}]},
        "spec.rerun[0].id",
        "lower-case letters, digits and '-' only",
    ),
    Wrong("a rerun without id", {"spec.rerun": [{"select": {}}]}, "spec.rerun[0].id", "Required", rule=False),
    Wrong(
        "an unknown rule of early stopping",
        _stopping("Mean"),
        f"{_EARLY}.algorithm",
        'supported values: "Median", "ASHA", "Hyperband", "Patience"',
        rule=False,
    ),
    Wrong("early stopping before the first step", _stopping("ASHA", minSteps=0), f"{_EARLY}.minSteps", "", rule=False),
    Wrong(
        "a reduction to all of them",
        _stopping("ASHA", reductionFactor=1),
        f"{_EARLY}.reductionFactor",
        "should be greater than or equal to 2",
        rule=False,
    ),
    Wrong(
        "a reduction by the median",
        _stopping("Median", reductionFactor=3),
        f"{_EARLY}.reductionFactor",
        "reductionFactor is for ASHA and Hyperband only",
    ),
    Wrong(
        "Hyperband of unknown length",
        _stopping("Hyperband"),
        f"{_EARLY}.maxSteps",
        "needs maxSteps: the steps of a whole",
    ),
    Wrong(
        "ASHA with a length", _stopping("ASHA", maxSteps=27), f"{_EARLY}.maxSteps", "Hyperband, and no other algorithm"
    ),
    Wrong(
        "Hyperband of one bracket",
        _stopping("Hyperband", minSteps=10, maxSteps=29),
        f"{_EARLY}.maxSteps",
        "maxSteps has to be at least minSteps times reductionFactor",
    ),
    Wrong(
        "startup trials of ASHA",
        _stopping("ASHA", startupTrials=5),
        f"{_EARLY}.startupTrials",
        "startupTrials is for Median only",
    ),
    Wrong(
        "Patience without end", _stopping("Patience"), f"{_EARLY}.patience", "needs patience: steps without a better"
    ),
    Wrong(
        "a patient median", _stopping("Median", patience=3), f"{_EARLY}.patience", "Patience, and no other algorithm"
    ),
    Wrong(
        "a circuit breaker of one failure",
        {"spec.failurePolicy": {"stopOnCluster": {"minFailures": 1}}},
        "spec.failurePolicy.stopOnCluster.minFailures",
        "greater than or equal to 2",
        rule=False,
    ),
    Wrong(
        "a circuit breaker of none at all",
        {"spec.failurePolicy": {"stopOnCluster": {"share": 0}}},
        "spec.failurePolicy.stopOnCluster.share",
        "a share of at least 0.05, such as 0.5",
    ),
    Wrong(
        "a circuit breaker of more than all",
        {"spec.failurePolicy": {"stopOnCluster": {"share": 1.5}}},
        "spec.failurePolicy.stopOnCluster.share",
        "less than or equal to 1",
        rule=False,
    ),
    Wrong("no objective", {"spec.objective": ABSENT}, "spec.objective", "Required", rule=False),
    Wrong("an empty metric", {"spec.objective.metric": ""}, "spec.objective.metric", "at least 1 char", rule=False),
    Wrong(
        "an unknown dedupe",
        {"spec.dedupe": "Always"},
        "spec.dedupe",
        'supported values: "Reuse", "Skip", "Never"',
        rule=False,
    ),
    Wrong(
        "an unknown direction",
        {"spec.objective.direction": "Up"},
        "spec.objective.direction",
        'supported values: "Maximize", "Minimize"',
        rule=False,
    ),
    Wrong(
        "an unknown algorithm",
        {"spec.search.algorithm": "Bayes"},
        "spec.search.algorithm",
        'supported values: "Grid", "Random", "Sobol", "TPE", "GP", "CMAES", "List"',
        rule=False,
    ),
    Wrong("no parameters", {P: ABSENT}, P, "every algorithm but List needs parameters"),
    Wrong("an empty list of parameters", {P: []}, P, "every algorithm but List needs parameters"),
    Wrong("Grid over a Log range", {P: [LR]}, P, "Grid needs values, or a range of at most 1000 numbers"),
    Wrong(
        "Grid over a Log range names it", {P: [{"name": "a", "values": [1]}, LR]}, P, 'such as Sobol or TPE): ["lr"]'
    ),
    Wrong(
        "Grid over too many integers",
        {P: [{"name": "a", "range": _range(1, 1001, "Integer")}]},
        P,
        "of at most 1000 numbers",
    ),
    Wrong(
        "Random without maxTrials",
        {"spec.search.algorithm": "Random"},
        "spec.search",
        "needs search.maxTrials: how many",
    ),
    *(
        Wrong(
            f"{algorithm} without maxTrials",
            {"spec.search.algorithm": algorithm, P: [LR]},
            "spec.search",
            "needs search.maxTrials: how many",
        )
        for algorithm in ("Sobol", "TPE", "GP", "CMAES")
    ),
    Wrong(
        "CMAES over values",
        {"spec.search": {"algorithm": "CMAES", "maxTrials": 9}},
        P,
        "CMAES needs a range, and no when, in every parameter (values and conditions: algorithm TPE): "
        '["model.architecture", "batch_size"]',
    ),
    Wrong(
        "CMAES with a condition",
        {
            "spec.search": {"algorithm": "CMAES", "maxTrials": 9},
            P: [{"name": "depth", "range": _range(1, 3, "Integer")}, {**LR, "when": {"depth": [1, 2]}}],
        },
        P,
        '(values and conditions: algorithm TPE): ["lr"]',
    ),
    Wrong(
        "an order of Random",
        {"spec.search": {"algorithm": "Random", "maxTrials": 5, "order": "Shuffled"}},
        "spec.search.order",
        "order is for algorithm Grid only",
    ),
    Wrong(
        "an unknown order",
        {"spec.search.order": "Random"},
        "spec.search.order",
        'supported values: "Shuffled", "Sequential"',
        rule=False,
    ),
    Wrong(
        "constraints of List",
        {"spec.search.algorithm": "List", P: ABSENT, "spec.trials": [{"a": 1}], "spec.constraints": ["a == 1"]},
        "spec.constraints",
        "leave constraints out, and the trials that break them",
    ),
    Wrong("an empty constraint", {"spec.constraints": [""]}, "spec.constraints[0]", "at least 1 char", rule=False),
    Wrong(
        "initial points of List",
        {"spec.search.algorithm": "List", P: ABSENT, "spec.trials": [{"a": 1}], "spec.initialPoints": [{"a": 1}]},
        "spec.initialPoints",
        "leave initialPoints out, and put them first in trials",
    ),
    Wrong(
        "an initial point that is no object",
        {"spec.initialPoints": [7]},
        "spec.initialPoints[0]",
        "must be of type object",
        rule=False,
    ),
    Wrong(
        "maxTrials of 0",
        {"spec.search.maxTrials": 0},
        "spec.search.maxTrials",
        "greater than or equal to 1",
        rule=False,
    ),
    Wrong(
        "List without trials",
        {"spec.search.algorithm": "List", P: ABSENT},
        "spec.trials",
        "List needs trials: at least one object",
    ),
    Wrong(
        "List with parameters",
        {"spec.search.algorithm": "List", "spec.trials": [{"a": 1}]},
        P,
        "List takes its parameters from trials: leave parameters out",
    ),
    Wrong("trials without List", {"spec.trials": [{"a": 1}]}, "spec.trials", "set search.algorithm: List"),
    Wrong(
        "a trial that is no object",
        {"spec.search.algorithm": "List", P: ABSENT, "spec.trials": [7]},
        "spec.trials[0]",
        "must be of type object",
        rule=False,
    ),
    Wrong("values and range", {P: [{"name": "a", "values": [1], "range": _range(1, 2)}]}, f"{P}[0]", "not both"),
    Wrong("neither values nor range", {P: [{"name": "a"}]}, f"{P}[0]", "needs either values or range"),
    Wrong("empty values", {P: [{"name": "a", "values": []}]}, f"{P}[0].values", "at least 1 items", rule=False),
    Wrong(
        "min above max", _random({"name": "a", "range": _range(2, 1)}), f"{P}[0].range.max", "min has to be below max"
    ),
    Wrong(
        "min equal to max",
        _random({"name": "a", "range": _range(1, 1)}),
        f"{P}[0].range.max",
        "min has to be below max",
    ),
    Wrong("Log from 0", _random({"name": "a", "range": _range(0, 1, "Log")}), f"{P}[0].range.min", "needs min above 0"),
    Wrong(
        "Integer with a fraction",
        _random({"name": "a", "range": _range(0.5, 4, "Integer")}),
        f"{P}[0].range",
        "scale Integer needs whole numbers",
    ),
    Wrong("ends that are out of all proportion", _random(_stepped(-1e301, 1)), f"{P}[0].range", "both ends have to be"),
    Wrong("a step of 0", _random(_stepped(0, 1, step=0)), f"{P}[0].range.step", "step has to be above 0"),
    Wrong("a step below 0", _random(_stepped(0, 1, step=-0.1)), f"{P}[0].range.step", "step has to be above 0"),
    Wrong("a step wider than the range", _random(_stepped(0, 1, step=1.5)), f"{P}[0].range.step", "at most max - min"),
    Wrong("a step beyond counting", _random(_stepped(0, 1, step=1e-10)), f"{P}[0].range.step", "step is too small"),
    Wrong(
        "a step that no double shows",
        _random(_stepped(1e15, 1e15 + 10, step=0.1)),
        f"{P}[0].range.step",
        "each seen in 12 digits",
    ),
    Wrong("a step of Log", _random(_stepped(1, 8, "Log", step=1)), f"{P}[0].range.step", "scale Log takes no step"),
    Wrong(
        "a broken step of Integer",
        _random(_stepped(1, 8, "Integer", step=1.5)),
        f"{P}[0].range.step",
        "scale Integer needs a whole step",
    ),
    Wrong("Grid over too many steps", {P: [_stepped(0, 100, step=0.1)]}, P, "at most 1000 numbers"),
    Wrong(
        "an unknown scale",
        _random({"name": "a", "range": _range(1, 2, "Exp")}),
        f"{P}[0].range.scale",
        'supported values: "Linear", "Log", "Integer"',
        rule=False,
    ),
    Wrong(
        "a range of text",
        _random({"name": "a", "range": {"min": "low", "max": 1}}),
        f"{P}[0].range.min",
        "number",
        rule=False,
    ),
    Wrong(
        "a parameter name with a space",
        {P: [{"name": "learning rate", "values": [1]}]},
        f"{P}[0].name",
        "a dotted path such as optimizer.lr",
    ),
    Wrong(
        "a parameter twice",
        {P: [{"name": "a", "values": [1]}, {"name": "b", "values": [1]}, {"name": "a", "values": [2]}]},
        P,
        'every parameter may stand only once: ["a", "a"]',
    ),
    Wrong(
        "a parameter above another",
        {P: [{"name": "model.encoder", "values": [1]}, {"name": "model", "values": [2]}]},
        P,
        'cannot be a value and an object at once: remove it or what is below it: ["model"]',
    ),
    Wrong(
        "when names nothing",
        {P: [{"name": "a", "values": [1], "when": {"loss": ["focal"]}}]},
        P,
        'when may only name parameters that stand before this one: ["a"]',
    ),
    Wrong(
        "when names a later one",
        {P: [{"name": "g", "values": [1], "when": {"loss": ["focal"]}}, {"name": "loss", "values": ["focal", "dice"]}]},
        P,
        'stand before this one: ["g"]',
    ),
    Wrong(
        "when names itself",
        {P: [{"name": "a", "values": [1, 2], "when": {"a": [1]}}]},
        P,
        "when may only name parameters that stand before this one",
    ),
    Wrong(
        "parallelism below 0", {"spec.parallelism": -1}, "spec.parallelism", "greater than or equal to 0", rule=False
    ),
    Wrong(
        "failed trials below 0",
        {"spec.failurePolicy.maxFailedTrials": -1},
        "spec.failurePolicy.maxFailedTrials",
        "greater than or equal to 0",
        rule=False,
    ),
    Wrong(
        "a misspelt field", {"spec.paralellism": 3}, "spec.paralellism", 'unknown field "spec.paralellism"', rule=False
    ),
    Wrong(
        "a wrong template",
        {"spec.template.resources": {"memory": "16 GB"}},
        "spec.template.resources.memory",
        "at least 1Mi, such as 16Gi",
    ),
    Wrong(
        "a suspend inside the template",
        {"spec.template.suspend": True},
        "spec.template.suspend",
        'unknown field "spec.template.suspend"',
        rule=False,
    ),
]


def _wrong(id: str, changes: dict[str, Any], path: str, message: str, *, rule: bool = True) -> Wrong:
    return Wrong(id, changes, path, message, rule=rule, kind="Experiment")


def _data(**fields: Any) -> dict[str, Any]:
    return {"spec.data": [{"name": "ct", "claim": "ct-data"} | fields]}


def _env(**fields: Any) -> dict[str, Any]:
    return {"spec.env": [{"name": "A"} | fields]}


R = "spec.resources"
RETRY = "spec.retry"

WRONG_EXPERIMENTS = [
    Wrong(
        "too many rungs", {"spec.rungs": list(range(1, 18))}, "spec.rungs", "at most 16", rule=False, kind="Experiment"
    ),
    Wrong(
        "pruned at no step",
        {"spec.prune": {"resume": True}},
        "spec.prune.step",
        "Required",
        rule=False,
        kind="Experiment",
    ),
    _wrong(
        "nothing to change after out of memory",
        {f"{RETRY}.outOfMemory": {}},
        f"{RETRY}.outOfMemory",
        "says nothing of what to change: set memoryFactor (such as 1.5), params, or both",
    ),
    _wrong(
        "a most without a factor",
        {f"{RETRY}.outOfMemory": {"params": {"batch_size": 4}, "maxMemory": "32Gi"}},
        f"{RETRY}.outOfMemory.maxMemory",
        "maxMemory is where memoryFactor ends: set that too (such as 1.5), or leave maxMemory out",
    ),
    _wrong(
        "a factor of nothing",
        {f"{RETRY}.outOfMemory": {"memoryFactor": 1.5}},
        f"{RETRY}.outOfMemory.memoryFactor",
        "memoryFactor needs resources.memory: the limit that it raises",
    ),
    _wrong(
        "a most that is none",
        {f"{R}.memory": "16Gi", f"{RETRY}.outOfMemory": {"memoryFactor": 1.5, "maxMemory": "16384Mi"}},
        f"{RETRY}.outOfMemory.maxMemory",
        "maxMemory has to be more than resources.memory: else there is nothing to raise",
    ),
    _wrong(
        "a factor of one",
        {f"{R}.memory": "16Gi", f"{RETRY}.outOfMemory": {"memoryFactor": 1}},
        f"{RETRY}.outOfMemory.memoryFactor",
        "at least 1.1, such as 1.5",
    ),
    _wrong(
        "no parameter to change",
        {f"{RETRY}.outOfMemory": {"params": {}}},
        f"{RETRY}.outOfMemory.params",
        "at least 1",
        rule=False,
    ),
    _wrong("a stall after no time", {"spec.stallTimeout": "0s"}, "spec.stallTimeout", "a length of time above 0"),
    _wrong("params that are no object", {"spec.params": [1]}, "spec.params", "must be of type object", rule=False),
    _wrong("a seed below 0", {"spec.seed": -1}, "spec.seed", "greater than or equal to 0", rule=False),
    _wrong("gpus as a fraction", {f"{R}.gpus": 0.5}, f"{R}.gpus", "must be of type integer", rule=False),
    _wrong("too many gpus", {f"{R}.gpus": 65}, f"{R}.gpus", "less than or equal to 64", rule=False),
    _wrong("memory in another unit", {f"{R}.memory": "16GB"}, f"{R}.memory", "at least 1Mi, such as 16Gi"),
    _wrong("memory in thousandths", {f"{R}.memory": "16m"}, f"{R}.memory", "at least 1Mi, such as 16Gi"),
    _wrong("no cpu at all", {f"{R}.cpu": 0}, f"{R}.cpu", "CPU cores above 0, such as 4 or 500m"),
    _wrong("a negative cpu", {f"{R}.cpu": "-1"}, f"{R}.cpu", "CPU cores above 0, such as 4 or 500m"),
    _wrong(
        "more shared memory than memory",
        {R: {"memory": "1Gi", "sharedMemory": "2048Mi"}},
        f"{R}.sharedMemory",
        "sharedMemory counts towards memory: at most as much",
    ),
    _wrong(
        "GPU models without a GPU",
        {R: {"gpus": 0, "gpuModels": ["NVIDIA-A100-SXM4-40GB"]}},
        f"{R}.gpuModels",
        "gpuModels needs gpus of at least 1",
    ),
    _wrong(
        "GPU memory without a GPU",
        {R: {"gpus": 0, "minGpuMemory": "16Gi"}},
        f"{R}.minGpuMemory",
        "minGpuMemory needs gpus of at least 1",
    ),
    _wrong("data without a claim", {"spec.data": [{"name": "ct"}]}, "spec.data[0].claim", "Required", rule=False),
    _wrong(
        "a data name that cannot be", _data(name="CT"), "spec.data[0].name", "lower-case letters, digits and '-' only"
    ),
    _wrong("a claim that cannot be", _data(claim="CT_Data"), "spec.data[0].claim", "the name of an object: lower-case"),
    _wrong(
        "data named twice",
        {"spec.data": [{"name": "ct", "claim": "a"}, {"name": "ct", "claim": "a", "mountPath": "/b"}]},
        "spec.data",
        "two volumes of one name",
    ),
    _wrong(
        "a variable named twice",
        {"spec.env": [{"name": "A", "value": "x"}] * 2},
        "spec.env[1]",
        "Duplicate",
        rule=False,
    ),
    _wrong(
        "two volumes at one path",
        {"spec.data": [{"name": "a", "claim": "a"}, {"name": "b", "claim": "b"}]},
        "spec.data",
        "two volumes at one mountPath: give each its own",
    ),
    _wrong("a relative path", _data(mountPath="data"), "spec.data[0].mountPath", "an absolute path such as /data/ct"),
    _wrong("a path that climbs", _data(mountPath="/data/../etc"), "spec.data[0].mountPath", "without '..'"),
    _wrong("a mount at /", _data(mountPath="/"), "spec.data[0].mountPath", "an absolute path such as /data/ct"),
    _wrong("a mount at /tmp", _data(mountPath="/tmp"), "spec.data[0].mountPath", "choose a folder of its own"),
    _wrong("a mount over the output", _data(mountPath="/output"), "spec.data[0].mountPath", "such as /data/ct"),
    _wrong("a mount in the output", _data(mountPath="/output/x"), "spec.data[0].mountPath", "such as /data/ct"),
    _wrong(
        "a mount over the contract's file",
        _data(mountPath="/etc/orkhaven"),
        "spec.data[0].mountPath",
        "would hide what the container needs",
    ),
    _wrong("a subPath that climbs", _data(subPath="../x"), "spec.data[0].subPath", "a folder below the volume's root"),
    _wrong("no claim for the output", {"spec.output": {}}, "spec.output.claim", "Required", rule=False),
    _wrong(
        "a run time of nothing", {"spec.maxRunTime": "0h"}, "spec.maxRunTime", "above 0, such as 90s, 30m, 6h or 1d12h"
    ),
    _wrong("a run time in words", {"spec.maxRunTime": "6 hours"}, "spec.maxRunTime", "such as 90s, 30m, 6h or 1d12h"),
    _wrong("a run time that is empty", {"spec.maxRunTime": ""}, "spec.maxRunTime", "such as 90s, 30m, 6h or 1d12h"),
    _wrong("retries below 0", {"spec.retry.limit": -1}, "spec.retry.limit", "greater than or equal to 0", rule=False),
    _wrong("a variable without a value", _env(), "spec.env[0]", "needs either value or secretKeyRef"),
    _wrong(
        "a variable with two values",
        _env(value="x", secretKeyRef={"name": "s", "key": "k"}),
        "spec.env[0]",
        "needs either value or secretKeyRef, not both",
    ),
    _wrong("a variable of ours", _env(name="ORKHAVEN_URL", value="x"), "spec.env[0].name", "are the operator's own"),
    _wrong("a variable with a dash", _env(name="A-B", value="x"), "spec.env[0].name", "such as OMP_NUM_THREADS"),
    _wrong(
        "a Secret that cannot be",
        _env(secretKeyRef={"name": "My Secret", "key": "k"}),
        "spec.env[0].secretKeyRef.name",
        "the name of an object: lower-case",
    ),
    _wrong(
        "a Secret's key that cannot be",
        _env(secretKeyRef={"name": "s", "key": "a/b"}),
        "spec.env[0].secretKeyRef.key",
        "a key of a Secret: letters",
    ),
    _wrong(
        "a node label that cannot be",
        {"spec.nodeSelector": {"gpu type": "a100"}},
        "spec.nodeSelector",
        "keys are label names such as example.com/zone",
    ),
    _wrong(
        "a node label's value that cannot be",
        {"spec.nodeSelector": {"zone": "a b"}},
        "spec.nodeSelector[zone]",
        "the value of a label",
    ),
    _wrong(
        "Exists with a value",
        {"spec.tolerations": [{"key": "a", "operator": "Exists", "value": "b"}]},
        "spec.tolerations[0].value",
        "operator Exists takes no value: leave value out, or use operator Equal",
    ),
    _wrong(
        "Equal without a key",
        {"spec.tolerations": [{"operator": "Equal", "value": "b"}]},
        "spec.tolerations[0].key",
        "operator Equal needs a key",
    ),
    _wrong(
        "seconds without NoExecute",
        {"spec.tolerations": [{"key": "a", "operator": "Exists", "tolerationSeconds": 5}]},
        "spec.tolerations[0].tolerationSeconds",
        "tolerationSeconds needs effect NoExecute",
    ),
    _wrong("an empty image", {"spec.image": ""}, "spec.image", "at least 1 char", rule=False),
    _wrong(
        "an image with a space",
        {"spec.image": "my trainer:1"},
        "spec.image",
        "an image such as registry.example/trainer:1",
    ),
]

NAMES = [
    Wrong("a sweep's name too long", {"metadata.name": "a" * 47}, "metadata.name", "at most 46 characters"),
    Wrong("a sweep's name with a dot", {"metadata.name": "a.b"}, "metadata.name", "lower-case letters, digits and '-'"),
    _wrong("an experiment's name too long", {"metadata.name": "a" * 58}, "metadata.name", "at most 57 characters"),
]

RIGHT = [
    Right("the least"),
    Right("a name of 46 characters", {"metadata.name": "a" * 46}),
    Right("any JSON as a value", {P: [{"name": "a", "values": [None, True, 1, 2.5, "x", [1, [2]], {"b": None}]}]}),
    Right("Grid over integers", {P: [{"name": "a", "range": _range(1, 1000, "Integer")}]}),
    Right("an Integer range of one number", {P: [{"name": "a", "range": _range(3, 3, "Integer")}]}),
    Right("Grid over steps", {P: [_stepped(0, 99.95, step=0.1)]}),
    Right("a step that is the whole range", _random(_stepped(-1, 1, "Integer", step=2))),
    Right("a step that is the whole range but for rounding", _random(_stepped(0.2, 0.3, step=0.1))),
    Right("a step beside one number", _random(_stepped(3, 3, "Integer", step=2))),
    Right("Random over ranges", _random(LR, {"name": "m", "range": _range(0, 1)}, {"name": "n", "values": [1]})),
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
    Right("ASHA", _stopping("ASHA", minSteps=5, reductionFactor=4)),
    Right("Hyperband of two brackets", _stopping("Hyperband", minSteps=10, maxSteps=30)),
    Right("Median", _stopping("Median", startupTrials=2)),
    Right("Patience", _stopping("Patience", patience=10, minSteps=20)),
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
    Right("an empty variable", _env(value=""), kind="Experiment"),
    Right("a secret", _env(secretKeyRef={"name": "wandb", "key": "api.key"}), kind="Experiment"),
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
