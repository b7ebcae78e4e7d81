"""Settings, from the environment: each with unit, default and reason where it is defined.

Every name is ORKHAVEN_ and the field's name in capitals. Owns no decisions; `core.views.Defaults` is filled from here.
The hub's settings live in `hub/settings.py`.
"""

from __future__ import annotations

import os
import socket
import uuid
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import BaseModel, ConfigDict, Field, field_validator, model_validator
from pydantic.alias_generators import to_camel
from pydantic_settings import BaseSettings, NoDecode, SettingsConfigDict

from orkhaven.api import Priority

ENV_PREFIX = "ORKHAVEN_"
SERVICE_ACCOUNT_NAMESPACE = Path("/var/run/secrets/kubernetes.io/serviceaccount/namespace")


class LogFormat(StrEnum):
    JSON = "json"
    TEXT = "text"


class LogSettings(BaseSettings):
    """What operator and hub share."""

    model_config = SettingsConfigDict(env_prefix=ENV_PREFIX, frozen=True, extra="ignore", env_ignore_empty=True)

    log_level: Annotated[
        Literal["DEBUG", "INFO", "WARNING", "ERROR"], Field(description="What is logged. DEBUG adds every plan.")
    ] = "INFO"
    log_format: Annotated[
        LogFormat, Field(description="json: one object a line, for collectors; text: for a terminal.")
    ] = LogFormat.JSON


def _own_namespace() -> str:
    """The namespace of this pod, or `default` outside a cluster."""
    try:
        return SERVICE_ACCOUNT_NAMESPACE.read_text().strip() or "default"
    except OSError:
        return "default"


def _own_identity() -> str:
    """Unlike any other process's, so that an expired lease is never mistaken for one's own."""
    return f"{socket.gethostname()}_{uuid.uuid4().hex[:8]}"


class GpuResourceSetting(BaseModel):
    """A kind of GPUs: the name of its extended resource, and how nodes say what theirs are."""

    model_config = ConfigDict(frozen=True, extra="forbid", alias_generator=to_camel, populate_by_name=True)

    name: Annotated[str, Field(pattern=r"^[a-z0-9][-a-z0-9.]*/[A-Za-z0-9][-_.A-Za-z0-9]*$")]
    model_label: Annotated[
        str, Field(description="Node label of the model. Default: the name and .product (GPU feature discovery).")
    ] = ""
    memory_label: Annotated[
        str, Field(description="Node label of a GPU's memory in MiB, a whole number. Default: the name and .memory.")
    ] = ""

    @model_validator(mode="before")
    @classmethod
    def _name_alone(cls, value: Any) -> Any:
        return {"name": value} if isinstance(value, str) else value


class OperatorSettings(LogSettings):
    """The operator's settings."""

    # --- what it looks after ---------------------------------------------------------------------------------------
    namespaces: Annotated[
        tuple[str, ...],
        NoDecode,
        Field(description="Namespaces, separated by commas. Empty: all, which needs a ClusterRole."),
    ] = ()
    resync_seconds: Annotated[
        float,
        Field(
            description="Seconds between full lists. A list finds what the watch missed (a DELETE in a gap has no "
            "event) and has everything looked at again. 10,000 Experiments cost about a second of CPU.",
            gt=0,
        ),
    ] = 300

    foreign_gpu_seconds: Annotated[
        float,
        Field(description="Seconds between looks at GPUs that pods of others hold, while runs wait for GPUs.", gt=0),
    ] = 15

    # --- who gets the GPUs -----------------------------------------------------------------------------------------
    usage_half_life_seconds: Annotated[
        float,
        Field(
            description="Seconds after which a GPU-hour that a namespace or a user has had counts half as much for "
            "whose turn it is. Longer: a month of much use is remembered; shorter: whoever waits has his turn sooner.",
            ge=60,
            le=10 * 366 * 86400,
        ),
    ] = 2 * 86400
    min_run_seconds: Annotated[
        float,
        Field(
            description="Seconds that a run is left alone before it may have to give its GPUs to another one: enough "
            "to start and to save something. A Preemptible run gives them to an Interactive one at once.",
            ge=0,
        ),
    ] = 300
    gpu_resources: Annotated[
        tuple[GpuResourceSetting, ...],
        Field(
            description="Kinds of GPUs that runs may ask for (spec.resources.gpuResource), a JSON list of names of "
            "extended resources or of {name, modelLabel, memoryLabel}; the first is that of runs that name none. A "
            "MIG slice and a whole GPU are different kinds.",
            min_length=1,
            max_length=32,
        ),
    ] = (GpuResourceSetting(name="nvidia.com/gpu"),)

    # --- what a run gets where its spec is silent ------------------------------------------------------------------
    trainer_image: Annotated[str, Field(description="Image of runs that name none.", min_length=1)] = (
        "ghcr.io/orkhaven/trainer:latest"
    )
    image_pull_policy: Annotated[
        Literal["Always", "IfNotPresent", "Never"], Field(description="imagePullPolicy of training containers.")
    ] = "IfNotPresent"
    output_claim: Annotated[
        str | None,
        Field(
            description="PersistentVolumeClaim for results of runs that name none. It has to exist in their namespace."
        ),
    ] = None
    hub_url: Annotated[
        str | None,
        Field(description="Base URL of the hub as training pods reach it. Unset: metrics stay on the output volume."),
    ] = None
    termination_grace_seconds: Annotated[
        int, Field(description="Seconds between SIGTERM and SIGKILL of a run: time for a checkpoint.", ge=0)
    ] = 60
    image_pull_timeout_seconds: Annotated[
        int, Field(description="Seconds that an image may fail to be pulled before the attempt counts as failed.", ge=0)
    ] = 300
    start_timeout_seconds: Annotated[
        int,
        Field(
            description="Seconds that a pod may be on its node without its container: longer, and the attempt ends as "
            "VolumeTimeout, or ImagePull where the image is not there yet. More than the largest image takes.",
            ge=60,
        ),
    ] = 1800
    stall_seconds: Annotated[
        int,
        Field(
            description="Seconds of silence of a running attempt, neither a report nor a line of its log, before it "
            "ends as Stalled; ten steps at its own pace where that is more. For runs without a stallTimeout that have "
            "reported steps. 0: only those with a stallTimeout.",
            ge=0,
        ),
    ] = 1800
    read_seconds: Annotated[
        int,
        Field(
            description="Seconds that the end of an attempt may wait until the end of its log and its pod's Events are "
            "read, where its termination message leaves the cause open. 0: they are never read.",
            ge=0,
            le=120,
        ),
    ] = 10
    retry_base_seconds: Annotated[
        float, Field(description="Seconds before the first retry of a failed run; doubles with each further one.", ge=0)
    ] = 10
    retry_max_seconds: Annotated[
        float, Field(description="Longest wait before a retry of a run, in seconds.", ge=0)
    ] = 600
    failure_rules: Annotated[
        tuple[Any, ...],
        Field(
            description="Rules for causes of failure of your own, a JSON list of {name, pattern, reason, action, "
            "suggestion}: docs/causes. Tried before the words that are known, after what the cluster says. One that is "
            "wrong is left out, and said in the log."
        ),
    ] = ()
    failure_rules_seconds: Annotated[
        float,
        Field(
            description="Seconds between looks at the rules of namespaces (ConfigMaps with the label "
            "orkhaven.io/failure-rules=true).",
            gt=0,
        ),
    ] = 30
    lookahead: Annotated[
        int,
        Field(
            description="Experiments that a sweep has beyond its parallelism, so that a freed GPU need not wait.",
            ge=0,
            le=100,
        ),
    ] = 2

    twin_patience_seconds: Annotated[
        int,
        Field(
            description="Seconds that a run waits for an identical one that holds no GPU, before it goes its own way. "
            "Longer than the longest wait before a retry: until then the other one is likely to go on.",
            ge=0,
        ),
    ] = 600

    # --- Kueue -----------------------------------------------------------------------------------------------------
    kueue: Annotated[
        bool,
        Field(
            description="Whether runs with a spec.queueName wait for Kueue, and its Workloads are read. Where Kueue is "
            "not installed that costs two requests every 30 s."
        ),
    ] = True
    kueue_priority_classes: Annotated[
        dict[Priority, str],
        Field(
            description='WorkloadPriorityClass for each spec.priority, as JSON: {"Interactive": "urgent"}. A priority '
            "that is not named has none: Kueue does not take up a Job whose class is missing."
        ),
    ] = {}

    # --- what is left of a run that has ended ----------------------------------------------------------------------
    job_retention_seconds: Annotated[
        int,
        Field(
            description="Seconds after a run's end until its Jobs, and with them its pods, are deleted. Its record is "
            "in its status by then; the hub reads the rest of their logs meanwhile. "
            "Longer keeps `kubectl logs` longer, and a Job and a pod for each run in etcd.",
            ge=0,
        ),
    ] = 60
    failed_job_retention_seconds: Annotated[
        int,
        Field(
            description="The same for a run that failed, where it is longer: time to look at its pod.",
            ge=0,
        ),
    ] = 600

    # --- how it works ----------------------------------------------------------------------------------------------
    workers: Annotated[
        int,
        Field(
            description="Objects looked at side by side. They wait for the API server, not the CPU; more only helps "
            "where it is far away.",
            ge=1,
            le=64,
        ),
    ] = 8
    sweep_interval_seconds: Annotated[
        float,
        Field(
            description="Shortest time between two looks at one sweep: its children change together, and each look "
            "reads all of them. The first change after a pause is looked at at once.",
            ge=0,
        ),
    ] = 1.0
    queue_interval_seconds: Annotated[
        float, Field(description="Shortest time between two decisions about who gets the GPUs.", ge=0)
    ] = 0.2
    backoff_base_seconds: Annotated[
        float, Field(description="Seconds before an object that failed is looked at again; doubles, with jitter.", gt=0)
    ] = 0.5
    backoff_max_seconds: Annotated[float, Field(description="Longest such wait, in seconds.", gt=0)] = 60

    usage_config_map: Annotated[
        str,
        Field(
            description="Name of the ConfigMap, in the Lease's namespace, that keeps what deleted Experiments have "
            "used of the GPUs. It has to be there: the chart makes it."
        ),
    ] = "orkhaven-usage"

    # --- one leader ------------------------------------------------------------------------------------------------
    lease_name: Annotated[str, Field(description="Name of the Lease; operators with the same one take turns.")] = (
        "orkhaven-operator"
    )
    lease_namespace: Annotated[str, Field(description="Its namespace. Default: this pod's, else `default`.")] = Field(
        default_factory=_own_namespace
    )
    lease_identity: Annotated[
        str,
        Field(
            description="Who holds it. Set it to the pod's name (downward API): a container that is started "
            "again in the same pod goes on at once. Default: host name and a random part, which has to wait "
            "until the lease runs out.",
        ),
    ] = Field(default_factory=_own_identity)
    lease_duration_seconds: Annotated[
        int,
        Field(
            description="Seconds after which others may take a lease that is not renewed: the pause after a crash.",
            ge=3,
        ),
    ] = 12
    lease_renew_seconds: Annotated[
        float,
        Field(
            description="Seconds without a successful renewal after which the holder itself stops writing. Below the "
            "duration, so that nobody else writes yet.",
            gt=0,
        ),
    ] = 8
    lease_retry_seconds: Annotated[float, Field(description="Seconds between attempts to get or renew it.", gt=0)] = 2

    # --- how it is looked at ---------------------------------------------------------------------------------------
    http_host: Annotated[str, Field(description="Address of /healthz, /readyz and /metrics.")] = "0.0.0.0"
    http_port: Annotated[
        int, Field(description="Port of /healthz, /readyz and /metrics; 0 takes a free one.", ge=0)
    ] = 8080

    @field_validator("namespaces", mode="before")
    @classmethod
    def _split(cls, value: Any) -> Any:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @field_validator("gpu_resources")
    @classmethod
    def _each_once(cls, value: tuple[GpuResourceSetting, ...]) -> tuple[GpuResourceSetting, ...]:
        names = [one.name for one in value]
        if len(set(names)) < len(names):
            raise ValueError(f"ORKHAVEN_GPU_RESOURCES names one kind twice: {', '.join(names)}")
        return value

    @model_validator(mode="after")
    def _lease_times(self) -> Self:
        if not self.lease_retry_seconds < self.lease_renew_seconds < self.lease_duration_seconds:
            raise ValueError(
                "ORKHAVEN_LEASE_RETRY_SECONDS < ORKHAVEN_LEASE_RENEW_SECONDS < ORKHAVEN_LEASE_DURATION_SECONDS has to "
                f"hold, got {self.lease_retry_seconds}, {self.lease_renew_seconds}, {self.lease_duration_seconds}"
            )
        return self


def kubeconfig_path() -> str | None:
    """The kubeconfig that KUBECONFIG names; None: the pod's service account, else ~/.kube/config."""
    return os.environ.get("KUBECONFIG") or None
