"""What is observed: frozen values, each parsed once from an API object's body (see `parse.py`).

Holds only what a decision needs, so that ten thousand of them are small. Times are aware datetimes in UTC.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from datetime import datetime
from enum import StrEnum
from typing import Any, NamedTuple

from orkhaven.api import ExperimentSpec, ExperimentStatus, Reason, SweepSpec, SweepStatus
from orkhaven.core.devices import NVIDIA, WHOLE, GpuResource
from orkhaven.core.user_rules import UserRule


class Key(NamedTuple):
    """What a namespaced object is found by."""

    namespace: str
    name: str

    def __str__(self) -> str:
        return f"{self.namespace}/{self.name}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Meta:
    """What all views have."""

    key: Key
    uid: str
    resource_version: int
    generation: int = 0
    created: datetime
    deleting: bool = False
    labels: dict[str, str] = field(default_factory=dict)
    owner_uid: str | None = None
    """UID of the controlling owner."""
    owner_name: str | None = None


@dataclass(frozen=True, slots=True, kw_only=True)
class SweepView:
    meta: Meta
    spec: SweepSpec | None
    """None: the spec cannot be read; `invalid` says why."""
    invalid: str | None = None
    raw_spec: dict[str, Any]
    """As the user wrote it: params keep their nulls and key order."""
    status: SweepStatus
    raw_status: dict[str, Any]
    """The stored status, to compare with the desired one."""
    created_by: str = ""
    """Who made it; empty: not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ExperimentView:
    meta: Meta
    spec: ExperimentSpec | None
    invalid: str | None = None
    status: ExperimentStatus
    raw_status: dict[str, Any]
    trial: int | None = None
    """Index in its sweep's search, from the label."""
    created_by: str = ""
    """Who made it, or its sweep; empty: not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class JobView:
    meta: Meta
    attempt: int
    suspended: bool
    gpus: int
    resource: str = NVIDIA
    """What its GPUs are; empty: it asks for none."""
    avoid: tuple[str, ...] = ()
    """Nodes that its pod may not go to."""
    preempted_for: str = ""
    """For whom the queue took its GPUs back, and why; empty: it did not. Its attempt does not go on."""
    meant_for: str | None = None
    """The node that the queue had in mind when it released it; its pod may be on another."""
    active: int = 0
    """Pods that are not terminal, as the Job's status counts them."""
    succeeded: bool = False
    """Condition Complete (or SuccessCriteriaMet)."""
    failed_reason: str | None = None
    """Reason of the condition Failed (or FailureTarget): DeadlineExceeded, BackoffLimitExceeded, PodFailurePolicy."""
    failed_message: str | None = None
    started: datetime | None = None
    """When it was released last; a deadline counts from here."""
    finished: datetime | None = None
    """When it became Complete or Failed. None while FailureTarget only announces it: pods are still ending then."""
    suspended_since: datetime | None = None
    """When its pod was told to stop (condition Suspended); None: it is not suspended, or that is not said."""


@dataclass(frozen=True, slots=True, kw_only=True)
class ContainerState:
    """The training container's state, as the kubelet says it."""

    waiting_reason: str | None = None
    waiting_message: str | None = None
    started: datetime | None = None
    finished: datetime | None = None
    exit_code: int | None = None
    terminated_reason: str | None = None
    """OOMKilled, Error, Completed, ContainerStatusUnknown ..."""
    termination_message: str | None = None
    """The record of the contract as text, or, where that is missing, the last lines of the log."""


class ReadState(StrEnum):
    UNREAD = "unread"
    READ = "read"
    UNREADABLE = "unreadable"
    """It was tried. Says nothing of the run."""


@dataclass(frozen=True, slots=True, kw_only=True)
class PodEvent:
    """What a Kubernetes Event of type Warning says of a pod."""

    reason: str
    message: str
    at: datetime | None = None
    """When it was said last."""

    def __str__(self) -> str:
        return f"{self.reason}: {self.message}"


@dataclass(frozen=True, slots=True, kw_only=True)
class Heard:
    """What was read of a pod beside its status, because that leaves open what it died of (`actions.ReadPod`)."""

    log_state: ReadState = ReadState.UNREAD
    log_tail: str | None = None
    """The last 64 KiB of its container's log at most."""
    events_state: ReadState = ReadState.UNREAD
    events: tuple[PodEvent, ...] = ()
    """In the order of their times."""


NOT_HEARD = Heard()


@dataclass(frozen=True, slots=True, kw_only=True)
class PodView:
    meta: Meta
    job_name: str | None
    phase: str
    """Pending, Running, Succeeded, Failed or Unknown."""
    reason: str | None = None
    """Evicted, NodeLost, DeadlineExceeded, UnexpectedAdmissionError ..."""
    message: str | None = None
    node: str | None = None
    gpus: int = 0
    resource: str = NVIDIA
    """What its GPUs are; empty: it asks for none."""
    started: datetime | None = None
    """When a kubelet took it; from then on it holds its GPUs."""
    scheduled: datetime | None = None
    unschedulable: str | None = None
    """The scheduler's message while it finds no place."""
    disruption: str | None = None
    """Reason of the condition DisruptionTarget: EvictionByEvictionAPI, PreemptionByScheduler, DeletionByTaintManager,
    TerminationByKubelet, DeletionByPodGC."""
    disruption_message: str | None = None
    deletion_requested: datetime | None = None
    """When somebody asked for its deletion: what ended before that, ended by itself."""
    sandbox: bool | None = None
    """Whether its volumes and its network are there (condition PodReadyToStartContainers); None: not said."""
    container: ContainerState = ContainerState()
    heard: Heard = NOT_HEARD
    """Put in by the store: no body says it."""


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeView:
    """A node. Cluster-scoped: `meta.key.namespace` is empty. What its GPUs are its labels say, for each kind by others:
    see `queue.needs.model_on`."""

    meta: Meta
    ready: bool
    ready_reason: str | None = None
    schedulable: bool
    gpus: int
    """Allocatable nvidia.com/gpu."""
    devices: Mapping[str, int] = field(default_factory=dict)
    """Allocatable devices of every kind, by resource name; those that are 0 are left out."""
    capacity: Mapping[str, int] = field(default_factory=dict)
    """Devices that it has, fit for use or not: more than `devices` while one is broken or its plugin is away."""
    memory_mib: int | None = None
    """Allocatable memory."""
    taints: tuple[tuple[str, str, str], ...] = ()
    """(key, value, effect) of those with NoSchedule or NoExecute."""


@dataclass(frozen=True, slots=True)
class Why:
    """Why a run waits: the word for status.reason and the sentence for status.message."""

    reason: Reason
    message: str

    def __str__(self) -> str:
        return self.message


@dataclass(frozen=True, slots=True, kw_only=True)
class Defaults:
    """What the operator's settings fill in where a spec is silent."""

    image: str
    image_pull_policy: str = "IfNotPresent"
    output_claim: str | None = None
    hub_url: str | None = None
    termination_grace_seconds: int = 60
    image_pull_timeout_seconds: int = 300
    """How long an image pull may fail before the attempt counts as failed."""
    start_timeout_seconds: int = 1800
    """How long a pod may be on its node without its container."""
    read_seconds: int = 10
    """How long the end of an attempt may wait for its pod's log and Events, where they are needed; 0: never read."""
    stall_seconds: int = 1800
    """Least silence of a run that has reported steps before it counts as stalled; 0: never, unless the run says so."""
    retry_base_seconds: float = 10
    retry_max_seconds: float = 600
    twin_patience_seconds: int = 600
    """How long a run waits for an identical one that holds no GPU."""
    job_retention_seconds: int = 60
    """How long the Jobs of a run that has ended well are kept."""
    failed_job_retention_seconds: int = 600
    lookahead: int = 2
    """Experiments of a sweep that are created beyond `parallelism`, so that a freed GPU never waits for the API."""
    kueue_priority_classes: Mapping[str, str] = field(default_factory=dict)
    """Kueue's WorkloadPriorityClass by spec.priority."""
    gpu_resources: tuple[GpuResource, ...] = (WHOLE,)
    """Kinds of GPUs that a run may ask for; the first where it names none."""
    failure_rules: tuple[UserRule, ...] = ()
    """The users' own rules for causes, those of the run's namespace first."""
