"""A pod to look around in where a run has failed: what spec.debug asks for, and its end.

It is a Job of its own, beside the attempts: with none of their labels it is never counted, no log of it is kept, and
nothing in it can report for the run. It ends by its own deadline, and Kubernetes removes what is left of it not before
spec.debug.until: so as long as it is wanted it is there, and none is made twice.
"""

from __future__ import annotations

import shlex
from collections.abc import Mapping
from dataclasses import replace
from datetime import datetime
from typing import Any

from orkhaven.api import ExperimentSpec
from orkhaven.api.container import Resources
from orkhaven.api.experiment import Debug
from orkhaven.core.actions import CreateJob, DeleteJob, Note, Plan
from orkhaven.core.job import HOSTNAME, OUTPUT_MOUNT, build_job
from orkhaven.core.views import Defaults, ExperimentView, JobView
from orkrun import contract

LONGEST = 24 * 3600.0
"""Seconds. Somebody who has forgotten it holds memory of a node."""
SHORTEST = 10.0
"""Seconds. What is wanted for less is over before its pod runs."""
OUTPUT = "/tmp/output"
"""Where a run that is started in the shell writes: what the real one has written stays as it is."""
ENV_COMMAND = "ORKHAVEN_COMMAND"
"""What the run was started with; empty: the image's own entry point."""
_SLEEP = ["/bin/sh", "-c", "trap 'exit 0' TERM INT; while :; do sleep 5 & wait $!; done"]


def is_debug(job: JobView) -> bool:
    return contract.LABEL_DEBUG in job.meta.labels


def debug_name(experiment: str) -> str:
    return f"{experiment}-debug"


def plan_debug(exp: ExperimentView, *, job: JobView | None, defaults: Defaults, now: datetime) -> Plan:
    """`job`: the one that is there. The status is not its business."""
    asked = exp.spec.debug if exp.spec is not None else None
    left = (asked.until - now).total_seconds() if asked is not None else 0.0
    if exp.meta.deleting or (job is not None and job.meta.deleting):
        return Plan()
    if left <= (SHORTEST if job is None else 0):
        return Plan(actions=(DeleteJob(job.meta.key, job.meta.uid),)) if job is not None else Plan()
    if job is not None and asked is not None:
        if job.meta.labels.get(contract.LABEL_DEBUG_ASKED) != _wish(asked):
            return Plan(actions=(DeleteJob(job.meta.key, job.meta.uid),))
        return Plan(requeue_after=left)
    if exp.status.run_hash is None or exp.spec is None or asked is None:
        return Plan()
    seconds = min(left, LONGEST)
    try:
        body = _job(exp, exp.spec, asked, seconds=seconds, removed_after=left, defaults=defaults)
    except ValueError:
        return Plan()  # its parameters do not fit into a pod: the run itself says so
    note = Note(type="Normal", reason="Debug", message=f"a pod with a shell is made, for {seconds / 60:.0f} minutes")
    return Plan(actions=(CreateJob(body),), notes=(note,), requeue_after=left)


def _job(
    exp: ExperimentView,
    spec: ExperimentSpec,
    asked: Debug,
    *,
    seconds: float,
    removed_after: float,
    defaults: Defaults,
) -> dict[str, Any]:
    resources = spec.resources
    if not asked.gpus:
        # A small one that any node can hold; what a GPU's memory has to be is nothing to it.
        resources = Resources(gpus=0, cpu=resources.cpu, memory=resources.memory, shared_memory=resources.shared_memory)
    # It does not wait for its turn, in Kueue's queue as little as in the built-in one.
    update = {"resources": resources, "command": _SLEEP, "max_run_time": None, "queue_name": None}
    changed = spec.model_copy(update=update)
    last = exp.status.attempts[-1] if exp.status.attempts else None
    body = build_job(
        replace(exp, spec=changed),
        attempt=last.number if last is not None else 1,
        defaults=defaults,
        param_hash=exp.status.param_hash or "",
        run_hash=exp.status.run_hash or "",
        folder=exp.status.output_folder,
    )
    labels = {contract.LABEL_MANAGED_BY: contract.MANAGED_BY, contract.LABEL_DEBUG: exp.meta.key.name}
    body["metadata"] |= {
        "name": debug_name(exp.meta.key.name),
        "labels": {**labels, contract.LABEL_DEBUG_ASKED: _wish(asked)},
    }
    job = body["spec"]
    job |= {
        "suspend": False,
        "activeDeadlineSeconds": max(int(seconds), 1),
        "ttlSecondsAfterFinished": max(int(removed_after), 1),
    }
    job["template"]["metadata"]["labels"] = dict(labels)
    pod = job["template"]["spec"]
    pod["terminationGracePeriodSeconds"] = 5
    (container,) = pod["containers"]
    container["env"] = _env(container["env"], command=shlex.join(spec.command))
    for mount in container["volumeMounts"]:
        if mount["mountPath"] == OUTPUT_MOUNT:
            mount["readOnly"] = True
    if last is not None and last.node is not None:
        pod["affinity"] = _near(pod.get("affinity") or {}, last.node)
    return body


def _wish(asked: Debug) -> str:
    return f"{int(asked.until.timestamp())}{'-gpus' if asked.gpus else ''}"


def _env(entries: list[dict[str, Any]], *, command: str) -> list[dict[str, Any]]:
    kept = [entry for entry in entries if entry["name"] not in (contract.ENV_URL, contract.ENV_OUTPUT)]
    return [*kept, {"name": contract.ENV_OUTPUT, "value": OUTPUT}, {"name": ENV_COMMAND, "value": command}]


def _near(affinity: Mapping[str, Any], node: str) -> dict[str, Any]:
    """Where it failed, if that node is there and has room: asked for, not insisted on."""
    of_nodes = dict(affinity.get("nodeAffinity") or {})
    here = {"key": HOSTNAME, "operator": "In", "values": [node]}
    of_nodes["preferredDuringSchedulingIgnoredDuringExecution"] = [
        {"weight": 100, "preference": {"matchExpressions": [here]}}
    ]
    return {**affinity, "nodeAffinity": of_nodes}
