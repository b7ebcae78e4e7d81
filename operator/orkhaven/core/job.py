"""An Experiment's attempt as a batch/v1 Job: created suspended, one pod, no retries of its own.

One Job is one attempt, so that every attempt has a record of its own; trying again is `retry.py`'s, not the Job
controller's:
* backoffLimit 0: the first pod that fails fails the Job.
* podFailurePolicy FailJob (not Ignore) for disruptions too: an ignored one would be replaced within the same Job,
without a record and without our back-off. Its other rule only makes the controller write the exit code into the Job's
condition, where it outlives the pod.
* podReplacementPolicy Failed: no second pod writes into the output folder while the first is still ending.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from pathlib import PurePosixPath
from typing import Any

from orkhaven.api import GROUP, VERSION, ExperimentSpec
from orkhaven.api.meta import parse_duration, parse_quantity
from orkhaven.core.devices import WHOLE, GpuResource, named, split_models
from orkhaven.core.identity import LABEL_DIGITS, job_name
from orkhaven.core.kueue.labels import labels_of
from orkhaven.core.parse import ANNOTATION_AVOID, CONTAINER, NODE_NAME
from orkhaven.core.views import Defaults, ExperimentView
from orkrun import contract

OUTPUT_MOUNT = "/output"
USER_ID = 10001
"""User and group of trainer pods and images."""
MAX_CONFIG_BYTES = 200 * 1024
"""Kubernetes takes 256 KiB of annotations in all."""
DEFAULT_SHARED_MEMORY = "2Gi"
"""Limit of /dev/shm where the spec names none: 64Mi, the container runtime's own, starves data loader workers."""
TOKEN_SECONDS = 3600
HOSTNAME = "kubernetes.io/hostname"


class ConfigTooLarge(ValueError):
    """The run's config does not fit into an annotation."""


def output_folder(folder: str) -> str:
    """Where the run's own folder is mounted."""
    return f"{OUTPUT_MOUNT}/{folder}"


def image_of(spec: ExperimentSpec, defaults: Defaults) -> str:
    return spec.image or defaults.image


def build_job(
    exp: ExperimentView,
    *,
    attempt: int,
    defaults: Defaults,
    param_hash: str,
    run_hash: str,
    folder: str | None = None,
    avoid: Sequence[str] = (),
    shun: Sequence[str] = (),
) -> dict[str, Any]:
    """The body of the Job of `attempt`.

    `folder`: of its output, on the volume; None: named by the run hash. `avoid`: nodes that it may not go to; `shun`:
    only where no other has room. Raises ConfigTooLarge, and ValueError for a spec that is None.
    """
    spec = exp.spec
    if spec is None:
        raise ValueError(f"{exp.meta.key}: has no readable spec")
    labels = _labels(exp, attempt, param_hash)
    output = output_folder(folder or run_hash)
    job_spec: dict[str, Any] = {
        "suspend": True,
        "backoffLimit": 0,
        "completions": 1,
        "parallelism": 1,
        "podReplacementPolicy": "Failed",
        "podFailurePolicy": {
            "rules": [
                {"action": "FailJob", "onPodConditions": [{"type": "DisruptionTarget", "status": "True"}]},
                {
                    "action": "FailJob",
                    "onExitCodes": {"containerName": CONTAINER, "operator": "NotIn", "values": [0]},
                },
            ]
        },
        "template": {
            "metadata": {
                "labels": labels,
                "annotations": {
                    contract.ANNOTATION_CONFIG: _config(
                        exp, spec, attempt=attempt, param_hash=param_hash, run_hash=run_hash, output=output
                    )
                },
            },
            "spec": _pod(exp, spec, defaults=defaults, output=output, avoid=avoid, shun=shun),
        },
    }
    if spec.max_run_time is not None:
        # Counts from the release, and anew after every resume.
        job_spec["activeDeadlineSeconds"] = int(parse_duration(spec.max_run_time).total_seconds())
    return {
        "apiVersion": "batch/v1",
        "kind": "Job",
        "metadata": {
            "name": job_name(exp.meta.key.name, attempt),
            "namespace": exp.meta.key.namespace,
            "labels": labels | labels_of(spec, defaults.kueue_priority_classes),
            **({"annotations": {ANNOTATION_AVOID: ",".join(sorted(avoid))}} if avoid else {}),
            "ownerReferences": [
                {
                    "apiVersion": f"{GROUP}/{VERSION}",
                    "kind": "Experiment",
                    "name": exp.meta.key.name,
                    "uid": exp.meta.uid,
                    "controller": True,
                    "blockOwnerDeletion": False,
                }
            ],
        },
        "spec": job_spec,
    }


def _labels(exp: ExperimentView, attempt: int, param_hash: str) -> dict[str, str]:
    inherited = {
        name: exp.meta.labels[name] for name in (contract.LABEL_SWEEP, contract.LABEL_TRIAL) if name in exp.meta.labels
    }
    return {
        contract.LABEL_MANAGED_BY: contract.MANAGED_BY,
        contract.LABEL_EXPERIMENT: exp.meta.key.name,
        contract.LABEL_ATTEMPT: str(attempt),
        contract.LABEL_PARAM_HASH: param_hash[:LABEL_DIGITS],
        **inherited,
    }


def _config(
    exp: ExperimentView, spec: ExperimentSpec, *, attempt: int, param_hash: str, run_hash: str, output: str
) -> str:
    config: contract.Config = {
        "version": contract.VERSION,
        "namespace": exp.meta.key.namespace,
        "experiment": exp.meta.key.name,
        "uid": exp.meta.uid,
        "paramHash": param_hash,
        "runHash": run_hash,
        "params": spec.params,
        "data": [
            {"name": volume.name, "mountPath": volume.mount_path, "readOnly": volume.read_only} for volume in spec.data
        ],
        "seed": spec.seed,
        "attempt": attempt,
        "output": output,
    }
    if contract.LABEL_SWEEP in exp.meta.labels:
        config["sweep"] = exp.meta.labels[contract.LABEL_SWEEP]
    if spec.objective is not None:
        config["objective"] = {"metric": spec.objective.metric, "direction": spec.objective.direction.value}
    text = json.dumps(config, separators=(",", ":"), allow_nan=False)
    if len(text) > MAX_CONFIG_BYTES:
        raise ConfigTooLarge(
            f"spec.params: {len(text) // 1024} KiB as JSON, more than the {MAX_CONFIG_BYTES // 1024} KiB that reach a "
            "pod; put large tables into a file on a data volume"
        )
    return text


def _pod(
    exp: ExperimentView,
    spec: ExperimentSpec,
    *,
    defaults: Defaults,
    output: str,
    avoid: Sequence[str],
    shun: Sequence[str],
) -> dict[str, Any]:
    config_dir, config_file = _split(contract.DEFAULT_CONFIG)
    token_dir, token_file = _split(contract.DEFAULT_TOKEN_FILE)
    claim = spec.output.claim if spec.output else defaults.output_claim
    results = {"persistentVolumeClaim": {"claimName": claim}} if claim else {"emptyDir": {}}
    volumes: list[dict[str, Any]] = [
        {
            "name": "config",
            "downwardAPI": {
                "items": [
                    {
                        "path": config_file,
                        "fieldRef": {"fieldPath": f"metadata.annotations['{contract.ANNOTATION_CONFIG}']"},
                    }
                ]
            },
        },
        {
            "name": "token",
            "projected": {
                "sources": [
                    {
                        "serviceAccountToken": {
                            "path": token_file,
                            "audience": contract.TOKEN_AUDIENCE,
                            "expirationSeconds": TOKEN_SECONDS,
                        }
                    }
                ]
            },
        },
        {"name": "output", **results},
        {"name": "tmp", "emptyDir": {}},
        {
            "name": "shm",
            "emptyDir": {"medium": "Memory", "sizeLimit": spec.resources.shared_memory or DEFAULT_SHARED_MEMORY},
        },
    ]
    mounts: list[dict[str, Any]] = [
        {"name": "config", "mountPath": config_dir, "readOnly": True},
        {"name": "token", "mountPath": token_dir, "readOnly": True},
        {"name": "output", "mountPath": OUTPUT_MOUNT},
        {"name": "tmp", "mountPath": "/tmp"},
        {"name": "shm", "mountPath": "/dev/shm"},
    ]
    for index, volume in enumerate(spec.data):
        name = f"data-{index}"
        # Read-only is the mount's: one claim may hold both data and results.
        volumes.append({"name": name, "persistentVolumeClaim": {"claimName": volume.claim}})
        mount = {"name": name, "mountPath": volume.mount_path, "readOnly": volume.read_only}
        mounts.append(mount | ({"subPath": volume.sub_path} if volume.sub_path else {}))

    kind = named(spec.resources.gpu_resource, defaults.gpu_resources)
    container: dict[str, Any] = {
        "name": CONTAINER,
        "image": image_of(spec, defaults),
        "imagePullPolicy": defaults.image_pull_policy,
        "env": _env(spec, defaults=defaults, output=output),
        "resources": _resources(spec, kind),
        "volumeMounts": mounts,
        "terminationMessagePolicy": "FallbackToLogsOnError",
        "securityContext": {
            "allowPrivilegeEscalation": False,
            "readOnlyRootFilesystem": True,
            "capabilities": {"drop": ["ALL"]},
        },
    }
    if spec.command:
        container["command"] = list(spec.command)
    pod: dict[str, Any] = {
        "restartPolicy": "Never",
        "automountServiceAccountToken": False,
        "enableServiceLinks": False,
        "terminationGracePeriodSeconds": defaults.termination_grace_seconds,
        "securityContext": {
            "runAsNonRoot": True,
            "runAsUser": USER_ID,
            "runAsGroup": USER_ID,
            "fsGroup": USER_ID,
            # A data volume of a million files would take minutes to be walked at every start.
            "fsGroupChangePolicy": "OnRootMismatch",
            "seccompProfile": {"type": "RuntimeDefault"},
        },
        "containers": [container],
        "volumes": volumes,
    }
    if spec.node_selector:
        pod["nodeSelector"] = dict(spec.node_selector)
    if spec.tolerations:
        pod["tolerations"] = [toleration.to_dict() for toleration in spec.tolerations]
    affinity = node_affinity(
        models=spec.resources.gpu_models,
        least_mib=memory_mib(spec.resources.min_gpu_memory),
        kind=kind,
        avoid=avoid,
        shun=shun,
    )
    if affinity:
        pod["affinity"] = {"nodeAffinity": affinity}
    return pod


def _split(path: str) -> tuple[str, str]:
    whole = PurePosixPath(path)
    return str(whole.parent), whole.name


def _env(spec: ExperimentSpec, *, defaults: Defaults, output: str) -> list[dict[str, Any]]:
    plain = {
        # The root file system is read-only and the user has no entry in /etc/passwd.
        "HOME": "/tmp",
        "USER": "orkhaven",
        "LOGNAME": "orkhaven",
        "XDG_CACHE_HOME": "/tmp/.cache",
        "MPLCONFIGDIR": "/tmp/.cache/matplotlib",
        "PYTHONUNBUFFERED": "1",
        "PYTHONDONTWRITEBYTECODE": "1",
    }
    if not spec.resources.gpus:
        # Where NVIDIA's runtime is the default, a container that asks for no GPU would see all of them.
        plain["NVIDIA_VISIBLE_DEVICES"] = "void"
    entries: dict[str, dict[str, Any]] = {name: {"name": name, "value": value} for name, value in plain.items()}
    for variable in spec.env:
        if variable.secret_key_ref is not None:
            reference = {"name": variable.secret_key_ref.name, "key": variable.secret_key_ref.key}
            entries[variable.name] = {"name": variable.name, "valueFrom": {"secretKeyRef": reference}}
        else:
            entries[variable.name] = {"name": variable.name, "value": variable.value or ""}
    ours = {
        contract.ENV_CONFIG: contract.DEFAULT_CONFIG,
        contract.ENV_OUTPUT: output,
        contract.ENV_TOKEN_FILE: contract.DEFAULT_TOKEN_FILE,
    }
    if defaults.hub_url:
        ours[contract.ENV_URL] = defaults.hub_url.rstrip("/")
    entries.update({name: {"name": name, "value": value} for name, value in ours.items()})
    return list(entries.values())


def _resources(spec: ExperimentSpec, kind: GpuResource) -> dict[str, Any]:
    wanted = {
        "cpu": spec.resources.cpu,
        "memory": spec.resources.memory,
        kind.name: str(spec.resources.gpus) if spec.resources.gpus else None,
    }
    # Requests equal limits: guaranteed, so that a neighbour cannot take it, and a GPU is not shared anyway.
    named = {name: amount for name, amount in wanted.items() if amount is not None}
    return {"requests": named, "limits": dict(named)} if named else {}


def node_affinity(
    *,
    models: Sequence[str],
    least_mib: int | None,
    avoid: Sequence[str],
    shun: Sequence[str] = (),
    prefer: str | None = None,
    kind: GpuResource = WHOLE,
) -> dict[str, Any]:
    """Empty where any node will do. `avoid`: nodes that it may not go to; `shun`: nodes that it goes to only where no
    other has room; `prefer`: the one that it goes to if that has room."""
    required: list[dict[str, Any]] = []
    allowed, denied = split_models(models)
    if allowed:
        required.append({"key": kind.model_label, "operator": "In", "values": list(allowed)})
    if denied:  # a node that does not say its model has none of these
        required.append({"key": kind.model_label, "operator": "NotIn", "values": list(denied)})
    if least_mib is not None:
        required.append({"key": kind.memory_label, "operator": "Gt", "values": [str(least_mib - 1)]})
    if avoid:
        required.append({"key": HOSTNAME, "operator": "NotIn", "values": sorted(avoid)})
    affinity: dict[str, Any] = {}
    if required:
        affinity["requiredDuringSchedulingIgnoredDuringExecution"] = {
            "nodeSelectorTerms": [{"matchExpressions": required}]
        }
    wishes: list[dict[str, Any]] = []
    if shun:
        wishes.append({"matchExpressions": [{"key": HOSTNAME, "operator": "NotIn", "values": sorted(shun)}]})
    if prefer is not None:
        wishes.append({"matchFields": [{"key": NODE_NAME, "operator": "In", "values": [prefer]}]})
    if wishes:
        affinity["preferredDuringSchedulingIgnoredDuringExecution"] = [
            {"weight": 100, "preference": wish} for wish in wishes
        ]
    return affinity


def memory_mib(quantity: str | None) -> int | None:
    """A quantity of bytes in MiB, rounded up."""
    if quantity is None:
        return None
    return math.ceil(parse_quantity(quantity) / 2**20)
