"""Builders: a Sweep, an Experiment, its Job and its pod as raw API objects, and a small world that obeys plans."""

from __future__ import annotations

import copy
import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime, timedelta
from typing import Any

from orkhaven.api.failures import LABEL_CLUSTER
from orkhaven.core.actions import (
    ApplyFinalRecord,
    CreateExperiment,
    CreateJob,
    DeleteJob,
    DeleteSweep,
    LabelExperiment,
    Plan,
    PruneExperiment,
    ReadPod,
    SuspendExperiment,
    SuspendJob,
)
from orkhaven.core.experiment import plan_experiment
from orkhaven.core.parse import ANNOTATION_PREEMPTED, parse_experiment, parse_job, parse_node, parse_pod, parse_sweep
from orkhaven.core.status import owned
from orkhaven.core.sweep import plan_sweep
from orkhaven.core.views import NOT_HEARD, Defaults, ExperimentView, Heard, NodeView, ReadState, SweepView, Why
from orkrun import contract

Body = dict[str, Any]

START = datetime(2026, 3, 1, 12, 0, 0, tzinfo=UTC)
DEFAULTS = Defaults(image="trainer:1", output_claim="results", hub_url="http://hub.test:8080")
"""Their `read_seconds` are the product's: what a plan asks for is read at once here."""

UNREADABLE = Heard(log_state=ReadState.UNREADABLE, events_state=ReadState.UNREADABLE)


def stamp(moment: datetime) -> str:
    return moment.strftime("%Y-%m-%dT%H:%M:%SZ")


def make_sweep(name: str = "s", *, parameters: Sequence[Body] = (), uid: str | None = None, **spec: Any) -> Body:
    whole: Body = {"objective": {"metric": "val/dice"}, "template": {}}
    if parameters:
        whole["parameters"] = list(parameters)
    whole.update(spec)
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": uid or f"uid-{name}",
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": stamp(START),
        },
        "spec": whole,
    }


def make_experiment(name: str = "x", *, labels: Mapping[str, str] | None = None, **spec: Any) -> Body:
    return {
        "metadata": {
            "name": name,
            "namespace": "ns",
            "uid": f"uid-{name}",
            "generation": 1,
            "resourceVersion": "1",
            "creationTimestamp": stamp(START),
            "labels": dict(labels or {}),
        },
        "spec": {"params": {}, "objective": {"metric": "val/dice"}, **spec},
    }


def make_node(
    name: str = "n1",
    *,
    gpus: int = 4,
    ready: bool = True,
    labels: Mapping[str, str] | None = None,
    devices: Mapping[str, int] | None = None,
    capacity: Mapping[str, int] | None = None,
) -> Body:
    """`devices`: further kinds of GPUs. `capacity`: where it has more than are fit for use."""
    allocatable = {key: str(count) for key, count in {"nvidia.com/gpu": gpus, **(devices or {})}.items()}
    return {
        "metadata": {
            "name": name,
            "labels": {"nvidia.com/gpu.product": "A100", "nvidia.com/gpu.memory": "40960", **(labels or {})},
        },
        "spec": {},
        "status": {
            "allocatable": allocatable,
            "capacity": {**allocatable, **{key: str(count) for key, count in (capacity or {}).items()}},
            "conditions": [{"type": "Ready", "status": "True" if ready else "Unknown", "reason": "KubeletReady"}],
        },
    }


def record(outcome: str = "Succeeded", **fields: Any) -> str:
    return json.dumps({"version": 1, "outcome": outcome, **fields})


DONE = record(
    objective={"value": 0.8, "step": 3},
    step=4,
    totalSteps=4,
    metrics={"val/dice": {"last": 0.7, "best": 0.8, "bestStep": 3}},
)


@dataclass
class World:
    """One Experiment with its Jobs and pods as the API server would keep them. `look` plans and carries it out."""

    experiment: Body = field(default_factory=make_experiment)
    jobs: dict[str, Body] = field(default_factory=dict)
    pods: dict[str, Body] = field(default_factory=dict)
    nodes: dict[str, Body] = field(default_factory=lambda: {"n1": make_node()})
    now: datetime = START
    defaults: Defaults = DEFAULTS
    waiting: Why | None = None
    writes: int = 0
    events: list[str] = field(default_factory=list)
    said: dict[str, Heard] = field(default_factory=dict)
    """By name of a pod: what reading it brings; those that are missing cannot be read."""
    heard: dict[str, Heard] = field(default_factory=dict)
    """What was read, by name of a pod."""
    asked: list[ReadPod] = field(default_factory=list)

    # --- time and looks ---

    def wait(self, seconds: float) -> World:
        self.now += timedelta(seconds=seconds)
        return self

    def plan(self) -> Plan:
        return plan_experiment(
            self.view(),
            jobs=[parse_job(body) for body in self.jobs.values()],
            pods=[replace(parse_pod(body), heard=self.heard.get(name, NOT_HEARD)) for name, body in self.pods.items()],
            nodes={name: parse_node(body) for name, body in self.nodes.items()},
            waiting=self.waiting,
            defaults=self.defaults,
            now=self.now,
        )

    def look(self) -> Plan:
        """One reconcile. What has to be read for it is read."""
        plan = self.plan()
        for _ in range(2):
            if any(isinstance(action, ReadPod) for action in plan.actions):
                assert plan.status is None, "nothing is written before it is read"
                self.read(plan)
                plan = self.plan()
        for action in plan.actions:
            self.carry_out(action)
        self.write(plan)
        return plan

    def settle(self) -> Body:
        """Looks until nothing changes any more. Returns the status."""
        for _ in range(12):
            before = self.writes
            self.look()
            if self.writes == before:
                return self.status
        raise AssertionError(f"does not come to rest: {self.status}")

    def read(self, plan: Plan) -> None:
        for action in plan.actions:
            assert isinstance(action, ReadPod)
            self.asked.append(action)
            said = self.said.get(action.key.name, UNREADABLE)
            heard = replace(
                said,
                log_state=UNREADABLE.log_state if said.log_state is ReadState.UNREAD else said.log_state,
                events_state=UNREADABLE.events_state if said.events_state is ReadState.UNREAD else said.events_state,
            )
            # What is not asked for is not read.
            before = self.heard.get(action.key.name, NOT_HEARD)
            self.heard[action.key.name] = Heard(
                log_state=heard.log_state if action.log else before.log_state,
                log_tail=heard.log_tail if action.log else before.log_tail,
                events_state=heard.events_state if action.events else before.events_state,
                events=heard.events if action.events else before.events,
            )

    def write(self, plan: Plan) -> None:
        if plan.status is not None and plan.status != owned(self.status):
            hubs = {key: value for key, value in self.status.items() if key in ("progress", "objective", "metrics")}
            self.experiment["status"] = json.loads(json.dumps(plan.status)) | hubs
            self.writes += 1
            self.events += [note.reason for note in plan.notes]

    def carry_out(self, action: Any) -> None:
        self.writes += 1
        match action:
            case CreateJob(body):
                name = body["metadata"]["name"]
                if name not in self.jobs:
                    made = copy.deepcopy(body)
                    made["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": stamp(self.now)}
                    self.jobs[name] = made | {"status": {}}
            case SuspendJob(key, _, suspend):
                self.jobs[key.name]["spec"]["suspend"] = suspend
            case DeleteJob(key, _):
                self.jobs.pop(key.name, None)
                for name in [name for name in self.pods if name.startswith(f"{key.name}-")]:
                    self.pods[name]["metadata"]["deletionTimestamp"] = stamp(self.now)
            case LabelExperiment(_, _, cluster):
                labels = self.experiment["metadata"].setdefault("labels", {})
                labels.pop(LABEL_CLUSTER, None)
                labels.update({} if cluster is None else {LABEL_CLUSTER: cluster})
            case ApplyFinalRecord(_, _, fields):
                self.experiment.setdefault("status", {}).update(json.loads(json.dumps(fields)))
            case _:
                raise AssertionError(action)

    # --- what Kubernetes does ---

    def release(self) -> World:
        job = self.job
        job["spec"]["suspend"] = False
        job["status"]["startTime"] = stamp(self.now)
        return self

    def start(self, *, node: str = "n1", suffix: str = "a") -> World:
        """The Job's pod is there, bound and running."""
        name = f"{self.job['metadata']['name']}-{suffix}"
        self.pods[name] = {
            "metadata": {
                "name": name,
                "namespace": "ns",
                "uid": f"uid-{name}",
                "creationTimestamp": stamp(self.now),
                "labels": {
                    **self.job["spec"]["template"]["metadata"]["labels"],
                    "batch.kubernetes.io/job-name": self.job["metadata"]["name"],
                },
            },
            "spec": {**copy.deepcopy(self.job["spec"]["template"]["spec"]), "nodeName": node},
            "status": {
                "phase": "Running",
                "startTime": stamp(self.now),
                "containerStatuses": [{"name": "trainer", "state": {"running": {"startedAt": stamp(self.now)}}}],
            },
        }
        return self

    def run(self, seconds: float = 60) -> World:
        """Created, released, started, and running for a while."""
        self.settle()
        self.release().start().settle()
        return self.wait(seconds)

    def exit(self, code: int, message: str = "", *, reason: str | None = None, job: bool = True) -> World:
        """The container ends; with `job` the Job gets its condition at once."""
        state = self.pod["status"]["containerStatuses"][0]["state"]
        started = state.get("running", {}).get("startedAt")
        self.pod["status"]["containerStatuses"][0]["state"] = {
            "terminated": {
                "exitCode": code,
                "reason": reason or ("Completed" if code == 0 else "Error"),
                "message": message,
                "startedAt": started,
                "finishedAt": stamp(self.now),
            }
        }
        self.pod["status"]["phase"] = "Failed" if code else "Succeeded"
        if job:
            self.end_job("Failed" if code else "Complete", "PodFailurePolicy" if code else None)
        return self

    def waits(self, reason: str, message: str = "") -> World:
        """The pod is bound, but its container waits."""
        self.pod["status"]["phase"] = "Pending"
        self.pod["status"]["containerStatuses"][0]["state"] = {"waiting": {"reason": reason, "message": message}}
        return self

    def end_job(self, kind: str, reason: str | None = None, message: str = "") -> World:
        condition = {"type": kind, "status": "True", "lastTransitionTime": stamp(self.now), "message": message}
        self.job["status"].setdefault("conditions", []).append(condition | ({"reason": reason} if reason else {}))
        return self

    def disrupt(self, reason: str) -> World:
        condition = {"type": "DisruptionTarget", "status": "True", "reason": reason, "message": f"because of {reason}"}
        self.pod["status"].setdefault("conditions", []).append(condition)
        return self

    def delete_pod(self, *, grace: int = 60) -> World:
        self.pod["metadata"]["deletionTimestamp"] = stamp(self.now + timedelta(seconds=grace))
        self.pod["metadata"]["deletionGracePeriodSeconds"] = grace
        return self

    def suspend(self, suspended: bool = True) -> World:
        self.experiment["spec"]["suspend"] = suspended
        self.experiment["metadata"]["generation"] += 1
        return self

    def preempt(self, message: str = "gives 1 GPU to ns/urgent (Interactive)") -> World:
        """The queue takes the GPUs of its Job back."""
        self.job["metadata"].setdefault("annotations", {})[ANNOTATION_PREEMPTED] = message
        self.job["spec"]["suspend"] = True
        return self

    def hub(self, **fields: Any) -> World:
        self.experiment.setdefault("status", {}).update(fields)
        return self

    # --- what is there ---

    @property
    def job(self) -> Body:
        return list(self.jobs.values())[-1]

    @property
    def pod(self) -> Body:
        return list(self.pods.values())[-1]

    @property
    def status(self) -> Body:
        found: Body = self.experiment.get("status", {})
        return found

    @property
    def seen(self) -> tuple[str | None, str | None]:
        return self.status.get("state"), self.status.get("reason")

    def view(self) -> ExperimentView:
        return parse_experiment(self.experiment)

    def condition(self, kind: str) -> Body:
        found: Body = next(c for c in self.status["conditions"] if c["type"] == kind)
        return found


@dataclass
class SweepWorld:
    """A Sweep with its children; `look` plans and carries the plan out, the test says what becomes of children."""

    sweep: Body
    children: dict[str, Body] = field(default_factory=dict)
    now: datetime = START
    defaults: Defaults = DEFAULTS
    deleted: bool = False
    events: list[str] = field(default_factory=list)

    def plan(self) -> Plan:
        return plan_sweep(
            self.view(),
            children=[parse_experiment(body) for body in self.children.values()],
            defaults=self.defaults,
            now=self.now,
        )

    def look(self) -> Plan:
        plan = self.plan()
        for action in plan.actions:
            self.carry_out(action)
        if plan.status is not None and plan.status != self.sweep.get("status"):
            self.sweep["status"] = json.loads(json.dumps(plan.status))
            self.events += [note.reason for note in plan.notes]
        return plan

    def carry_out(self, action: Any) -> None:
        match action:
            case CreateExperiment(body):
                name = body["metadata"]["name"]
                made = copy.deepcopy(body)
                made["metadata"] |= {"uid": f"uid-{name}", "creationTimestamp": stamp(self.now), "generation": 1}
                self.children.setdefault(name, made)
            case SuspendExperiment(key, _, suspend):
                self.children[key.name]["spec"]["suspend"] = suspend
            case PruneExperiment(key, _, _, step, message):
                self.children[key.name]["spec"]["prune"] = {"step": step, "message": message, "resume": False}
            case DeleteSweep():
                self.deleted = True
            case _:
                raise AssertionError(action)

    def settle(self) -> Body:
        for _ in range(400):
            before = json.dumps([self.sweep.get("status"), len(self.children)], sort_keys=True)
            plan = self.look()
            if not plan.actions and before == json.dumps(
                [self.sweep.get("status"), len(self.children)], sort_keys=True
            ):
                return self.status
        raise AssertionError("does not come to rest")

    def end(
        self, name: str, value: float | None = None, *, reason: str = "UserException", step: int = 1, hours: float = 1
    ) -> None:
        """A child ends: with a value it succeeded, without it failed."""
        status: Body = {
            "state": "Failed" if value is None else "Succeeded",
            "reason": reason if value is None else "Completed",
            "message": f"{name} says {reason}",
            "gpuSeconds": hours * 3600,
            "completionTime": stamp(self.now),
        }
        if value is not None:
            status["objective"] = {"value": value, "step": step}
        self.children[name]["status"] = status

    def set(self, name: str, state: str) -> None:
        self.children[name].setdefault("status", {})["state"] = state

    def patch(self, **spec: Any) -> None:
        self.sweep["spec"].update(spec)
        self.sweep["metadata"]["generation"] += 1

    def by_trial(self) -> list[str]:
        label = contract.LABEL_TRIAL
        return sorted(self.children, key=lambda name: int(self.children[name]["metadata"]["labels"][label]))

    @property
    def status(self) -> Body:
        found: Body = self.sweep.get("status", {})
        return found

    def view(self) -> SweepView:
        return parse_sweep(self.sweep)


def node_views(*bodies: Body) -> list[NodeView]:
    return [parse_node(body) for body in bodies]
