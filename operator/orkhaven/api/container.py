"""What a run asks of Kubernetes: resources, volumes, environment, tolerations. Narrow on purpose.

Whoever may make an Experiment makes a pod through the operator, so nothing of a pod is here that could reach the node,
another account or another namespace.
"""

from __future__ import annotations

import re
from typing import Annotated, ClassVar, Literal

from pydantic import Field

from orkhaven.api.meta import Cpu, DnsLabel, Memory, Model, ObjectName, Rules, parse_quantity
from orkhaven.api.rules import Rule, matching


class Resources(Model):
    """What a run needs of a node. All of it is requested and limited, so that a neighbour cannot take it."""

    gpus: Annotated[int, Field(description="Number of GPUs, all on one node. 0 trains on the CPU.", ge=0, le=64)] = 1
    gpu_resource: Annotated[
        str | None,
        Field(
            description="What these GPUs are: a resource of the operator's settings (chart value gpuResources), such "
            "as nvidia.com/mig-1g.10gb. Default: the first of them, usually nvidia.com/gpu.",
            min_length=1,
            max_length=253,
        ),
        matching(
            r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?/[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?",
            "the name of an extended resource, such as nvidia.com/gpu or nvidia.com/mig-1g.10gb",
        ),
    ] = None
    gpu_models: Annotated[
        list[
            Annotated[
                str,
                Field(min_length=1, max_length=64),
                matching(
                    "!?[A-Za-z0-9]([-_.A-Za-z0-9]*[A-Za-z0-9])?",
                    "a model as its node's label says it, such as NVIDIA-A100-SXM4-40GB, or, with '!' before it, one "
                    "that will not do: !Tesla-T4",
                ),
            ]
        ],
        Field(
            description="GPU models that will do, as the node label nvidia.com/gpu.product says them, and, with '!' "
            'before the name, those that will not: ["!Tesla-T4"]. Whole names, no patterns. Empty: any.',
            max_length=16,
        ),
        Rule(
            cel="self.all(m, !self.exists(o, o == '!' + m))",
            message="one model is both wanted and refused: leave out the one with '!' or the one without",
            check=lambda models: not any(f"!{model}" in models for model in models),
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
            cel="self.gpus > 0 || !has(self.gpuResource)",
            message="gpuResource needs gpus of at least 1: leave it out of a run on the CPU",
            check=lambda r: r.gpus > 0 or r.gpu_resource is None,
            path=".gpuResource",
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

NodeSelector = Annotated[
    dict[
        str,
        Annotated[
            str,
            Field(max_length=63),
            matching(f"({_LABEL_WORD})?", "the value of a label: letters, digits, '-', '_' and '.'"),
        ],
    ],
    Field(max_length=16),
    Rule(
        cel=f"self.all(k, k.matches('^{_LABEL_KEY}$'))",
        message="keys are label names such as example.com/zone or zone",
        check=lambda labels: all(re.fullmatch(_LABEL_KEY, key) for key in labels),
    ),
]
