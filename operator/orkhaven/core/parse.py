"""API objects as views: the only place that knows where Kubernetes keeps what.

Never raises: a watch delivers whatever was stored, and one odd object must not stop the others. What is missing becomes
None, what is of the wrong type counts as missing, a spec that cannot be read becomes None with `invalid` saying why.
"""

from __future__ import annotations

import sys
from collections.abc import Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, TypeVar, cast

from orkhaven.api import GROUP, ExperimentSpec, ExperimentStatus, SweepSpec, SweepStatus
from orkhaven.api.meta import parse_quantity
from orkhaven.api.rules import problems
from orkhaven.core.devices import NVIDIA, amounts, of_a_run
from orkhaven.core.kueue.labels import ANNOTATION_HELD
from orkhaven.core.kueue.workload import Told, WorkloadView
from orkhaven.core.views import (
    ContainerState,
    ExperimentView,
    JobView,
    Key,
    Meta,
    NodeView,
    PodEvent,
    PodView,
    SweepView,
)
from orkrun import contract

GPU = NVIDIA
NODE_NAME = "metadata.name"
"""By which a node affinity's matchFields know a node."""
ANNOTATION_AVOID = f"{GROUP}/avoid"
"""On a Job: nodes that its pod may not go to, separated by commas."""
ANNOTATION_PREEMPTED = f"{GROUP}/preempted-for"
"""On a Job that gives its GPUs back: for whom, and why."""
LABEL_JOB_NAME = "batch.kubernetes.io/job-name"
CONTAINER = "trainer"
"""Name of the training container; the only one of its pod."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_SHORT = 24
"""Characters of a text that many objects have: a reason, a node, a moment, not a name or a hash."""
_PLAIN_RESOURCES = ("cpu", "memory", "ephemeral-storage", "pods")
_SPREADING = ("NoSchedule", "NoExecute")

_Spec = TypeVar("_Spec", SweepSpec, ExperimentSpec)
_Status = TypeVar("_Status", SweepStatus, ExperimentStatus)


def parse_sweep(body: Mapping[str, Any]) -> SweepView:
    """The view of a Sweep."""
    raw = _dict(body.get("spec"))
    spec, invalid = _spec(SweepSpec, body)
    status = _dict(body.get("status"))
    return SweepView(
        meta=_meta(body),
        spec=spec,
        invalid=invalid,
        raw_spec=raw,
        status=_status(SweepStatus, status),
        raw_status=status,
        created_by=_created_by(body),
    )


def parse_experiment(body: Mapping[str, Any]) -> ExperimentView:
    """The view of an Experiment."""
    meta = _meta(body)
    spec, invalid = _spec(ExperimentSpec, body)
    status = _compact(_dict(body.get("status")))
    return ExperimentView(
        meta=meta,
        spec=spec,
        invalid=invalid,
        status=_status(ExperimentStatus, status),
        raw_status=status,
        trial=_int(meta.labels.get(contract.LABEL_TRIAL)),
        created_by=_created_by(body),
    )


def parse_job(body: Mapping[str, Any]) -> JobView:
    """The view of a batch/v1 Job; one without our attempt label counts as attempt 0."""
    meta = _meta(body)
    spec, status = _dict(body.get("spec")), _dict(body.get("status"))
    conditions = _conditions(status)
    complete = conditions.get("Complete") or conditions.get("SuccessCriteriaMet")
    failed = conditions.get("Failed") or conditions.get("FailureTarget")
    ended = conditions.get("Complete") or conditions.get("Failed")
    pod_spec = _dict(_dict(spec.get("template")).get("spec"))
    resource, gpus = of_a_run(pod_spec)
    return JobView(
        meta=meta,
        attempt=_int(meta.labels.get(contract.LABEL_ATTEMPT)) or 0,
        suspended=spec.get("suspend") is True,
        avoid=_names(_annotation(body, ANNOTATION_AVOID)),
        preempted_for=_annotation(body, ANNOTATION_PREEMPTED) or "",
        meant_for=_meant_for(pod_spec),
        gpus=gpus,
        resource=sys.intern(resource),
        active=_int(status.get("active")) or 0,
        succeeded=complete is not None,
        failed_reason=None if failed is None else (_str(failed.get("reason")) or "Failed"),
        failed_message=None if failed is None else _str(failed.get("message")),
        started=_time(status.get("startTime")),
        finished=None if ended is None else (_time(ended.get("lastTransitionTime")) or meta.created),
        suspended_since=_time(conditions.get("Suspended", {}).get("lastTransitionTime")),
    )


def _meant_for(pod_spec: Mapping[str, Any]) -> str | None:
    """The node that the affinity of `core.job` prefers by its name."""
    affinity = _dict(_dict(pod_spec.get("affinity")).get("nodeAffinity"))
    for wish in _dicts(affinity.get("preferredDuringSchedulingIgnoredDuringExecution")):
        for field in _dicts(_dict(wish.get("preference")).get("matchFields")):
            values = field.get("values")
            if field.get("key") == NODE_NAME and isinstance(values, list) and len(values) == 1:
                return _str(values[0])
    return None


def parse_pod(body: Mapping[str, Any]) -> PodView:
    """The view of a Pod."""
    meta = _meta(body)
    metadata, spec, status = (_dict(body.get(part)) for part in ("metadata", "spec", "status"))
    conditions = _conditions(status)
    disruption = conditions.get("DisruptionTarget")
    scheduled = conditions.get("PodScheduled")
    unscheduled = next(
        (c for c in _dicts(status.get("conditions")) if c.get("type") == "PodScheduled" and c.get("status") == "False"),
        None,
    )
    resource, gpus = of_a_run(spec)
    removal = _time(metadata.get("deletionTimestamp"))
    if removal is not None:  # the timestamp says when the grace period is over, not when it began
        removal -= timedelta(seconds=_int(metadata.get("deletionGracePeriodSeconds")) or 0)
    return PodView(
        meta=meta,
        job_name=meta.labels.get(LABEL_JOB_NAME) or meta.labels.get("job-name") or meta.owner_name,
        phase=_str(status.get("phase")) or "Pending",
        reason=_str(status.get("reason")),
        message=_str(status.get("message")),
        node=_str(spec.get("nodeName")),
        gpus=gpus,
        resource=sys.intern(resource),
        started=_time(status.get("startTime")),
        scheduled=None if scheduled is None else _time(scheduled.get("lastTransitionTime")),
        unschedulable=None if unscheduled is None else (_str(unscheduled.get("message")) or "no node fits"),
        disruption=None if disruption is None else (_str(disruption.get("reason")) or "Unknown"),
        disruption_message=None if disruption is None else _str(disruption.get("message")),
        deletion_requested=removal,
        sandbox=_sandbox(status),
        container=_container(status),
    )


def parse_pod_event(body: Mapping[str, Any]) -> PodEvent | None:
    """A warning; None for an Event that is none."""
    if body.get("type") != "Warning":
        return None
    # Of the newer API (eventTime, series) as of the older one.
    at = (
        _time(_dict(body.get("series")).get("lastObservedTime"))
        or _time(body.get("lastTimestamp"))
        or _time(body.get("eventTime"))
        or _time(body.get("firstTimestamp"))
    )
    reason, message = _str(body.get("reason")) or "", " ".join((_str(body.get("message")) or "").split())
    return PodEvent(reason=reason, message=message, at=at)


def parse_node(body: Mapping[str, Any]) -> NodeView:
    """The view of a Node."""
    meta = _meta(body)
    spec, status = _dict(body.get("spec")), _dict(body.get("status"))
    ready = next((c for c in _dicts(status.get("conditions")) if c.get("type") == "Ready"), {})
    devices = amounts(status.get("allocatable"))
    return NodeView(
        meta=meta,
        ready=ready.get("status") == "True",
        ready_reason=_str(ready.get("reason")),
        schedulable=spec.get("unschedulable") is not True,
        gpus=devices.get(GPU, 0),
        devices=devices,
        capacity=amounts(status.get("capacity")),
        memory_mib=_mib(_dict(status.get("allocatable")).get("memory")),
        taints=tuple(
            (_str(taint.get("key")) or "", _str(taint.get("value")) or "", str(taint["effect"]))
            for taint in _dicts(spec.get("taints"))
            if taint.get("effect") in _SPREADING
        ),
    )


def parse_workload(body: Mapping[str, Any]) -> WorkloadView:
    """The view of Kueue's Workload, of v1beta2 or v1beta1, which are alike in what is read here."""
    meta = _meta(body)
    spec, status = _dict(body.get("spec")), _dict(body.get("status"))
    admission = _dict(status.get("admission"))
    told = {str(c.get("type")): _told(c) for c in _dicts(status.get("conditions"))}
    flavors = {
        resource: flavor
        for pods in _dicts(admission.get("podSetAssignments"))
        for resource, flavor in _dict(pods.get("flavors")).items()
        if resource not in _PLAIN_RESOURCES
    }
    return WorkloadView(
        meta=meta,
        version=(_str(body.get("apiVersion")) or "").rpartition("/")[2],
        active=spec.get("active") is not False,
        held=_dict(_dict(body.get("metadata")).get("annotations")).get(ANNOTATION_HELD) == "true",
        reserved=told.get("QuotaReserved"),
        admitted=told.get("Admitted"),
        evicted=told.get("Evicted"),
        cluster_queue=_str(admission.get("clusterQueue")),
        flavor=_str(flavors.get(GPU) or next(iter(flavors.values()), None)),
    )


def _told(condition: Mapping[str, Any]) -> Told:
    return Told(
        holds=condition.get("status") == "True",
        reason=_str(condition.get("reason")) or "",
        message=" ".join((_str(condition.get("message")) or "").split()),
        since=_time(condition.get("lastTransitionTime")),
    )


def _spec(model: type[_Spec], body: Mapping[str, Any]) -> tuple[_Spec | None, str | None]:
    raw = body.get("spec")
    if not isinstance(raw, Mapping):
        return None, "spec: is missing"
    try:
        return model.model_validate(raw), None
    except ValueError as error:  # pydantic's ValidationError is one
        return None, "; ".join(problems(cast(Any, error), root="spec")[:5])


def _status(model: type[_Status], raw: Mapping[str, Any]) -> _Status:
    """As much of a stored status as can be read: a newer version may have written words that this one does not know."""
    known = dict(raw)
    while True:
        try:
            return model.model_validate(known)
        except ValueError as error:
            bad = {entry["loc"][0] for entry in cast(Any, error).errors() if entry["loc"]}
            kept = {key: value for key, value in known.items() if key not in bad}
            if len(kept) == len(known):
                return model()
            known = kept


def parse_meta(body: Mapping[str, Any]) -> Meta:
    """The metadata of any object."""
    return _meta(body)


def _meta(body: Mapping[str, Any]) -> Meta:
    raw = _dict(body.get("metadata"))
    owner = next((ref for ref in _dicts(raw.get("ownerReferences")) if ref.get("controller") is True), {})
    return Meta(
        key=Key(_str(raw.get("namespace")) or "", _str(raw.get("name")) or ""),
        uid=_str(raw.get("uid")) or "",
        resource_version=_int(raw.get("resourceVersion")) or 0,
        generation=_int(raw.get("generation")) or 0,
        created=_time(raw.get("creationTimestamp")) or _EPOCH,
        deleting=raw.get("deletionTimestamp") is not None,
        labels={str(key): value for key, value in _dict(raw.get("labels")).items() if isinstance(value, str)},
        owner_uid=_str(owner.get("uid")),
        owner_name=_str(owner.get("name")),
    )


def _annotation(body: Mapping[str, Any], name: str) -> str | None:
    return _str(_dict(_dict(body.get("metadata")).get("annotations")).get(name))


def _created_by(body: Mapping[str, Any]) -> str:
    # One text for all runs of a user: ten thousand of them name the same few.
    return sys.intern((_annotation(body, contract.ANNOTATION_CREATED_BY) or "").strip())


def _container(status: Mapping[str, Any]) -> ContainerState:
    statuses = _dicts(status.get("containerStatuses"))
    ours = next((entry for entry in statuses if entry.get("name") == CONTAINER), statuses[0] if statuses else {})
    state = _dict(ours.get("state"))
    waiting, running, ended = (_dict(state.get(name)) for name in ("waiting", "running", "terminated"))
    return ContainerState(
        waiting_reason=_str(waiting.get("reason")),
        waiting_message=_str(waiting.get("message")),
        started=_time(running.get("startedAt")) or _time(ended.get("startedAt")),
        finished=_time(ended.get("finishedAt")),
        exit_code=_int(ended.get("exitCode")),
        terminated_reason=_str(ended.get("reason")),
        termination_message=_str(ended.get("message")),
    )


def _conditions(status: Mapping[str, Any]) -> dict[str, Mapping[str, Any]]:
    """The conditions that hold, by type."""
    return {str(c.get("type")): c for c in _dicts(status.get("conditions")) if c.get("status") == "True"}


def _compact(value: Any) -> Any:
    """The same with each key and each short text in memory once: those of ten thousand Experiments are mostly alike."""
    if isinstance(value, dict):
        return {sys.intern(key): _compact(item) for key, item in value.items()}
    if isinstance(value, list):
        return [_compact(item) for item in value]
    return sys.intern(value) if type(value) is str and len(value) <= _SHORT else value


def _dict(value: Any) -> dict[str, Any]:
    return dict(value) if isinstance(value, Mapping) else {}


def _dicts(value: Any) -> list[dict[str, Any]]:
    return [dict(item) for item in value if isinstance(item, Mapping)] if isinstance(value, list | tuple) else []


def _str(value: Any) -> str | None:
    return value if isinstance(value, str) and value else None


def _sandbox(status: Mapping[str, Any]) -> bool | None:
    found = (c.get("status") for c in _dicts(status.get("conditions")) if c.get("type") == "PodReadyToStartContainers")
    return {"True": True, "False": False}.get(str(next(found, None)))


def _names(value: Any) -> tuple[str, ...]:
    return tuple(name for part in (_str(value) or "").split(",") if (name := part.strip()))


def _mib(value: Any) -> int | None:
    try:
        return int(parse_quantity(str(value)) // 2**20) if value is not None else None
    except ValueError:
        return None


def _int(value: Any) -> int | None:
    if isinstance(value, bool):
        return None
    if isinstance(value, int):
        return value
    try:
        return int(value) if isinstance(value, str) else None
    except ValueError:
        return None


def _time(value: Any) -> datetime | None:
    if not isinstance(value, str):
        return None
    try:
        moment = datetime.fromisoformat(value)
    except ValueError:
        return None
    # A zero time ("0001-01-01T00:00:00Z") is how Go says "none".
    return None if moment.year <= 1 else moment.replace(tzinfo=moment.tzinfo or UTC).astimezone(UTC)
