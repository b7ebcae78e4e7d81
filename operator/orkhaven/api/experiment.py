"""Experiment: one set of parameters, trained until it ends, in one or more attempts."""

from __future__ import annotations

import re
from datetime import datetime
from enum import StrEnum
from typing import Annotated, Any, ClassVar, Literal

from pydantic import Field

from orkhaven.api.meta import (
    Condition,
    Cpu,
    DnsLabel,
    Duration,
    Memory,
    Model,
    NameRule,
    ObjectName,
    Rules,
    StatusModel,
    parse_quantity,
)
from orkhaven.api.rules import ListMap, Rule, immutable, matching

Json = Any
"""Any JSON value; kept as it is written (x-kubernetes-preserve-unknown-fields)."""

EXPERIMENT_NAME = NameRule(limit=57, why='its Jobs are named after it, with "-" and the attempt at the end')


class Direction(StrEnum):
    MAXIMIZE = "Maximize"
    MINIMIZE = "Minimize"


class Objective(Model):
    """What a run is judged by."""

    metric: Annotated[
        str,
        Field(
            description="Name of the metric that the training reports, e.g. val/dice_case.",
            min_length=1,
            max_length=128,
        ),
    ]
    direction: Annotated[Direction, Field(description="Whether the larger or the smaller value is the better one.")] = (
        Direction.MAXIMIZE
    )


class Resources(Model):
    """What a run needs of a node. All of it is requested and limited, so that a neighbour cannot take it."""

    gpus: Annotated[int, Field(description="Number of GPUs (nvidia.com/gpu). 0 trains on the CPU.", ge=0, le=64)] = 1
    gpu_models: Annotated[
        list[Annotated[str, Field(min_length=1, max_length=63)]],
        Field(
            description="GPU models that will do, as the node label nvidia.com/gpu.product says them. Empty: any.",
            max_length=16,
        ),
    ] = []
    min_gpu_memory: Annotated[
        Memory | None,
        Field(description="Memory that each GPU has to have, e.g. 16Gi (node label nvidia.com/gpu.memory, in MiB)."),
    ] = None
    cpu: Annotated[Cpu | None, Field(description="CPU cores, e.g. 4 or 500m.")] = None
    memory: Annotated[
        Memory | None,
        Field(description="Memory, e.g. 16Gi. A run that takes more is killed: reason OutOfMemoryKilled."),
    ] = None
    shared_memory: Annotated[
        Memory | None,
        Field(description="Size of /dev/shm, which data loader workers use. It counts towards memory."),
    ] = None

    rules: ClassVar[Rules] = (
        Rule(
            cel="self.gpus > 0 || !has(self.gpuModels) || self.gpuModels.size() == 0",
            message="gpuModels needs gpus of at least 1: leave it out of a run on the CPU",
            check=lambda r: r.gpus > 0 or not r.gpu_models,
            path=".gpuModels",
        ),
        Rule(
            cel="self.gpus > 0 || !has(self.minGpuMemory)",
            message="minGpuMemory needs gpus of at least 1: leave it out of a run on the CPU",
            check=lambda r: r.gpus > 0 or r.min_gpu_memory is None,
            path=".minGpuMemory",
        ),
        Rule(
            cel="!has(self.memory) || !has(self.sharedMemory) || !isQuantity(string(self.memory)) "
            "|| !isQuantity(string(self.sharedMemory)) "
            "|| quantity(string(self.sharedMemory)).compareTo(quantity(string(self.memory))) <= 0",
            message="sharedMemory counts towards memory: at most as much",
            check=lambda r: (
                r.memory is None
                or r.shared_memory is None
                or parse_quantity(r.shared_memory) <= parse_quantity(r.memory)
            ),
            path=".sharedMemory",
        ),
    )


# What a mount would hide: the run's own folders, the contract's files, the kernel's, the image's.
_TAKEN = ("/tmp", "/etc", "/usr", "/bin", "/lib", "/opt", "/var", "/var/run", "/run", "/home", "/root")
_TAKEN_TREES = ("/output", "/etc/orkhaven", "/dev", "/proc", "/sys", "/var/run/secrets", "/run/secrets")
_MOUNT_PATH = r"(/[A-Za-z0-9_-][A-Za-z0-9._-]*)+"
_SUB_PATH = r"([A-Za-z0-9_ -][A-Za-z0-9._ -]*(/[A-Za-z0-9_ -][A-Za-z0-9._ -]*)*)?"


class DataVolume(Model):
    """A claim with training data."""

    name: Annotated[DnsLabel, Field(description="Name of the data set in the run's config.")]
    claim: Annotated[ObjectName, Field(description="Name of the PersistentVolumeClaim in this namespace.")]
    sub_path: Annotated[
        str,
        Field(description="Folder inside the volume. Default: all of it.", max_length=256),
        matching(_SUB_PATH, "a folder below the volume's root, such as covid/2024: no '/' at the start, no '..'"),
    ] = ""
    mount_path: Annotated[
        str,
        Field(description="Where the container sees it.", min_length=1, max_length=256),
        matching(_MOUNT_PATH, "an absolute path such as /data/ct, without '..' and without '/' at the end"),
        Rule(
            cel=f"!(self in {list(_TAKEN)}) && !{list(_TAKEN_TREES)}.exists(t, self == t || self.startsWith(t + '/'))",
            message="would hide what the container needs: choose a folder of its own, such as /data/ct "
            f"(not {', '.join((*_TAKEN, *_TAKEN_TREES))})",
            check=lambda path: (
                path not in _TAKEN and not any(path == tree or path.startswith(tree + "/") for tree in _TAKEN_TREES)
            ),
        ),
    ] = "/data"
    read_only: Annotated[bool, Field(description="Mount it read-only.")] = True


class Output(Model):
    """Where checkpoints, logs and results stay."""

    claim: Annotated[ObjectName, Field(description="Name of the PersistentVolumeClaim in this namespace.")]


class Retry(Model):
    """How often a failed run is tried again. Which causes are retried is fixed: see docs/reference/causes."""

    limit: Annotated[
        int,
        Field(
            description="Further attempts after the first for causes that may pass. Preempted and lost nodes are free.",
            ge=0,
            le=100,
        ),
    ] = 2


class SecretKeyRef(Model):
    """One key of a Secret."""

    name: Annotated[ObjectName, Field(description="Name of the Secret in this namespace.")]
    key: Annotated[
        str,
        Field(description="Key inside the Secret.", min_length=1, max_length=253),
        matching(r"[-._a-zA-Z0-9]+", "a key of a Secret: letters, digits, '-', '_' and '.'"),
    ]


class EnvVar(Model):
    """An environment variable: a value, or a reference to a Secret's key."""

    name: Annotated[
        str,
        Field(description="Name of the variable.", min_length=1, max_length=128),
        matching(
            "[A-Za-z_][A-Za-z0-9_]*", "letters, digits and '_', not starting with a digit, such as OMP_NUM_THREADS"
        ),
        Rule(
            cel="!self.startsWith('ORKHAVEN_')",
            message="names that start with ORKHAVEN_ are the operator's own: choose another",
            check=lambda name: not name.startswith("ORKHAVEN_"),
        ),
    ]
    value: Annotated[str | None, Field(description="Its value.", max_length=4096)] = None
    secret_key_ref: Annotated[SecretKeyRef | None, Field(description="Where the value is kept instead.")] = None

    rules: ClassVar[Rules] = (
        Rule(
            cel="has(self.value) != has(self.secretKeyRef)",
            message="needs either value or secretKeyRef, not both (an empty variable: value: '')",
            check=lambda env: (env.value is None) != (env.secret_key_ref is None),
        ),
    )


class Toleration(Model):
    """As in a Pod (core/v1 Toleration)."""

    key: Annotated[str | None, Field(description="Taint key; empty with Exists matches all.", max_length=316)] = None
    operator: Annotated[Literal["Exists", "Equal"], Field(description="How key and value are compared.")] = "Equal"
    value: Annotated[str | None, Field(description="Taint value, for Equal.", max_length=63)] = None
    effect: Annotated[
        Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None, Field(description="Taint effect; unset: all.")
    ] = None
    toleration_seconds: Annotated[
        int | None, Field(description="Seconds that a NoExecute taint is borne; unset: for good.", ge=0, le=2**31 - 1)
    ] = None

    rules: ClassVar[Rules] = (
        Rule(
            cel="self.operator != 'Exists' || !has(self.value) || self.value == ''",
            message="operator Exists takes no value: leave value out, or use operator Equal",
            check=lambda t: t.operator != "Exists" or not t.value,
            path=".value",
        ),
        Rule(
            cel="self.operator == 'Exists' || (has(self.key) && self.key != '')",
            message="operator Equal needs a key; operator Exists without one accepts every taint",
            check=lambda t: t.operator == "Exists" or bool(t.key),
            path=".key",
        ),
        Rule(
            cel="!has(self.tolerationSeconds) || (has(self.effect) && self.effect == 'NoExecute')",
            message="tolerationSeconds needs effect NoExecute",
            check=lambda t: t.toleration_seconds is None or t.effect == "NoExecute",
            path=".tolerationSeconds",
        ),
    )


_LABEL_WORD = "[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?"
_LABEL_KEY = f"([a-z0-9]([-a-z0-9.]*[a-z0-9])?/)?{_LABEL_WORD}"


class RunTemplate(Model):
    """What a Sweep's trials share, and what an Experiment is made of."""

    params: Annotated[
        dict[str, Json],
        Field(
            description="Parameters of the training, nested as its program wants them. With image, command, data and "
            "seed they are the run's identity. A null is kept by kubectl create and kubectl apply --server-side; plain "
            "kubectl apply leaves it out before it sends."
        ),
    ] = {}
    seed: Annotated[
        int,
        Field(
            description="Seed of the training: the same parameters under another seed are another run.",
            ge=0,
            le=2**31 - 1,
        ),
    ] = 0
    image: Annotated[
        str | None,
        Field(
            description="Container image. Default: the trainer of the operator's settings.",
            min_length=1,
            max_length=512,
        ),
        matching("[a-zA-Z0-9][a-zA-Z0-9._:/@-]*", "an image such as registry.example/trainer:1, without spaces"),
    ] = None
    command: Annotated[
        list[Annotated[str, Field(max_length=4096)]],
        Field(description="Command and arguments instead of the image's own.", max_length=64),
    ] = []
    resources: Annotated[Resources, Field(description="What the run needs of a node.")] = Resources()
    data: Annotated[list[DataVolume], Field(description="Volumes with training data.", max_length=8)] = []
    output: Annotated[
        Output | None, Field(description="Volume for checkpoints and results. Default: the operator's settings.")
    ] = None
    max_run_time: Annotated[
        Duration | None, Field(description="Longest an attempt may run, e.g. 6h. After it: reason Timeout.")
    ] = None
    retry: Annotated[Retry, Field(description="How often a failed run is tried again.")] = Retry()
    env: Annotated[
        list[EnvVar], Field(description="Further environment variables.", max_length=64), ListMap("name")
    ] = []
    node_selector: Annotated[
        dict[
            str,
            Annotated[
                str,
                Field(max_length=63),
                matching(f"({_LABEL_WORD})?", "the value of a label: letters, digits, '-', '_' and '.'"),
            ],
        ],
        Field(description="Labels that the node must have.", max_length=16),
        Rule(
            cel=f"self.all(k, k.matches('^{_LABEL_KEY}$'))",
            message="keys are label names such as example.com/zone or zone",
            check=lambda labels: all(re.fullmatch(_LABEL_KEY, key) for key in labels),
        ),
    ] = {}
    tolerations: Annotated[list[Toleration], Field(description="Taints that the run accepts.", max_length=16)] = []

    rules: ClassVar[Rules] = (
        # data is no list map: the equality of these ignores order, and the order is part of the run's identity.
        Rule(
            cel="!has(self.data) || self.data.all(d, self.data.exists_one(e, e.name == d.name))",
            message="two volumes of one name: the run finds its data by it",
            check=lambda t: len({d.name for d in t.data}) == len(t.data),
            path=".data",
        ),
        Rule(
            cel="!has(self.data) || self.data.all(d, self.data.exists_one(e, e.mountPath == d.mountPath))",
            message="two volumes at one mountPath: give each its own, such as /data/ct and /data/masks",
            check=lambda t: len({d.mount_path for d in t.data}) == len(t.data),
            path=".data",
        ),
    )


class ExperimentSpec(RunTemplate):
    """One run: its parameters, its container, what it needs and what it is judged by."""

    objective: Annotated[
        Objective | None,
        Field(description="What the run is judged by. A run that ends without it failed: reason MetricMissing."),
    ] = None
    suspend: Annotated[
        bool, Field(description="Save a checkpoint, give the GPU back, keep the place; false goes on from there.")
    ] = False

    rules: ClassVar[Rules] = (
        *(
            immutable(field, "it is part of what the run is; make a new Experiment")
            for field in ("params", "seed", "image", "command", "data", "objective", "output")
        ),
    )


class State(StrEnum):
    QUEUED = "Queued"
    STARTING = "Starting"
    RUNNING = "Running"
    SUSPENDED = "Suspended"
    SUCCEEDED = "Succeeded"
    FAILED = "Failed"


TERMINAL_STATES = frozenset({State.SUCCEEDED, State.FAILED})


class Progress(StatusModel):
    """How far a run is."""

    step: Annotated[int, Field(description="Steps (epochs) done.")]
    total_steps: Annotated[int | None, Field(description="Steps in all.")] = None
    eta: Annotated[datetime | None, Field(description="When the run will be done at its present pace.")] = None


class ObjectiveStatus(StatusModel):
    """The best value of the objective so far."""

    value: Annotated[float, Field(description="Best value of the objective so far.")]
    step: Annotated[int, Field(description="Step that reached it.")]


class MetricStatus(StatusModel):
    """Summary of one metric. What JSON cannot say is left out: a NaN last value is absent here, and in the hub."""

    last: Annotated[float | None, Field(description="Latest finite value.")] = None
    best: Annotated[float | None, Field(description="Best finite value.")] = None
    best_step: Annotated[int | None, Field(description="Step of the best value.")] = None


class Attempt(StatusModel):
    """One Job of a run."""

    number: Annotated[int, Field(description="Counts from 1.", ge=1)]
    job: Annotated[str, Field(description="Name of its Job.", max_length=63)]
    pod: Annotated[str | None, Field(description="Name of its pod.", max_length=253)] = None
    node: Annotated[str | None, Field(description="Node it ran on.", max_length=253)] = None
    gpu_model: Annotated[str | None, Field(description="GPU model of that node.", max_length=253)] = None
    start_time: Annotated[datetime | None, Field(description="When its container started.")] = None
    end_time: Annotated[datetime | None, Field(description="When it ended.")] = None
    exit_code: Annotated[int | None, Field(description="Exit code of its container.")] = None
    reason: Annotated[str | None, Field(description="How it ended: Completed, or the cause.", max_length=64)] = None
    message: Annotated[str | None, Field(description="The cause in a sentence.", max_length=1024)] = None
    gpu_seconds: Annotated[float | None, Field(description="GPUs times seconds that its pod held them.")] = None


class FailureStatus(StatusModel):
    """What a run died of."""

    reason: Annotated[str, Field(description="The cause.", max_length=64)]
    message: Annotated[str, Field(description="What went wrong, in a sentence.", max_length=1024)]
    excerpt: Annotated[str | None, Field(description="The last lines it said.", max_length=4096)] = None
    location: Annotated[str | None, Field(description="Where in the code.", max_length=512)] = None
    suggestion: Annotated[str, Field(description="What a person would do about it.", max_length=1024)] = ""


class CheckpointStatus(StatusModel):
    """The latest checkpoint."""

    step: Annotated[int, Field(description="Step it was saved after.")]
    path: Annotated[str, Field(description="Path on the output volume.", max_length=1024)]


class ExperimentStatus(StatusModel):
    """What became of it. `progress`, `objective` and `metrics` are the hub's, everything else the operator's."""

    observed_generation: Annotated[int | None, Field(description="Generation of the spec that was looked at.")] = None
    conditions: Annotated[
        list[Condition],
        Field(description="Accepted, Running, Suspended, Finished, Succeeded.", max_length=16),
        ListMap("type"),
    ] = []
    state: Annotated[State | None, Field(description="One word, derived from the conditions.")] = None
    reason: Annotated[str | None, Field(description="Why it is in that state.", max_length=64)] = None
    message: Annotated[str | None, Field(description="The same in a sentence.", max_length=2048)] = None
    param_hash: Annotated[str | None, Field(description="SHA-256 of the parameters alone.", max_length=64)] = None
    run_hash: Annotated[
        str | None, Field(description="SHA-256 of parameters, seed, image, command and data.", max_length=64)
    ] = None
    progress: Annotated[Progress | None, Field(description="How far it is.")] = None
    objective: Annotated[ObjectiveStatus | None, Field(description="Best value so far.")] = None
    metrics: Annotated[
        dict[str, MetricStatus] | None, Field(description="Summary of at most 32 metrics.", max_length=32)
    ] = None
    attempts: Annotated[list[Attempt], Field(description="The last 10.", max_length=10), ListMap("number")] = []
    attempt_count: Annotated[int, Field(description="Attempts in all.")] = 0
    retries_used: Annotated[int, Field(description="Attempts that counted against retry.limit.")] = 0
    retry_at: Annotated[datetime | None, Field(description="When the next attempt is due.")] = None
    failure: Annotated[FailureStatus | None, Field(description="What it died of.")] = None
    checkpoint: Annotated[CheckpointStatus | None, Field(description="Where the next attempt goes on.")] = None
    gpu_seconds: Annotated[float, Field(description="GPUs times seconds held, over all attempts.")] = 0
    start_time: Annotated[datetime | None, Field(description="When the first attempt started.")] = None
    completion_time: Annotated[datetime | None, Field(description="When it ended for good.")] = None


class Experiment(Model):
    """One set of parameters, trained until it ends. Usually made by a Sweep, but it stands on its own."""

    rules: ClassVar[Rules] = (EXPERIMENT_NAME,)

    spec: Annotated[
        ExperimentSpec,
        Field(
            description="What to run. What the run is (params, seed, image, command, data, objective, output) never "
            "changes; how it is run (resources, env, nodeSelector, tolerations, maxRunTime, retry) may be edited and "
            "holds from the next attempt on; suspend holds at once."
        ),
    ]
    status: Annotated[ExperimentStatus | None, Field(description="What became of it.")] = None
