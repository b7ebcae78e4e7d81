"""The Job of an attempt: what the container gets, and what it may not do."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orkhaven.core.job import ConfigTooLarge, build_job, memory_mib
from orkhaven.core.parse import parse_experiment, parse_job
from orkhaven.core.views import Defaults
from orkrun import contract
from tests.unit.core.world import DEFAULTS, World, make_experiment


def job(
    *,
    attempt: int = 1,
    defaults: Defaults = DEFAULTS,
    avoid: tuple[str, ...] = (),
    shun: tuple[str, ...] = (),
    **spec: Any,
) -> dict[str, Any]:
    labels = {contract.LABEL_SWEEP: "s", contract.LABEL_TRIAL: "7"}
    view = parse_experiment(make_experiment("s-0123456789", labels=labels, **spec))
    return build_job(
        view, attempt=attempt, defaults=defaults, param_hash="a" * 64, run_hash="b" * 64, avoid=avoid, shun=shun
    )


def pod(**spec: Any) -> dict[str, Any]:
    found: dict[str, Any] = job(**spec)["spec"]["template"]["spec"]
    return found


def container(**spec: Any) -> dict[str, Any]:
    (found,) = pod(**spec)["containers"]
    return dict(found)


def test_one_job_is_one_attempt_and_waits_to_be_released() -> None:
    body = job(attempt=3, maxRunTime="1h30m")
    assert body["metadata"]["name"] == "s-0123456789-3"
    spec = body["spec"]
    assert (spec["suspend"], spec["backoffLimit"], spec["podReplacementPolicy"]) == (True, 0, "Failed")
    assert spec["activeDeadlineSeconds"] == 5400
    assert "activeDeadlineSeconds" not in job()["spec"]
    assert {rule["action"] for rule in spec["podFailurePolicy"]["rules"]} == {"FailJob"}
    assert spec["template"]["spec"]["restartPolicy"] == "Never"
    (owner,) = body["metadata"]["ownerReferences"]
    assert (owner["kind"], owner["uid"], owner["controller"]) == ("Experiment", "uid-s-0123456789", True)


def test_job_and_pod_carry_the_same_labels() -> None:
    body = job(attempt=2)
    assert body["metadata"]["labels"] == body["spec"]["template"]["metadata"]["labels"]
    assert body["metadata"]["labels"] == {
        "app.kubernetes.io/managed-by": "orkhaven",
        "orkhaven.io/experiment": "s-0123456789",
        "orkhaven.io/attempt": "2",
        "orkhaven.io/param-hash": "a" * 16,
        "orkhaven.io/sweep": "s",
        "orkhaven.io/trial": "7",
    }
    assert parse_job(body).attempt == 2


def test_the_config_reaches_the_pod_as_the_contract_has_it() -> None:
    params = {"model": {"encoder": None}, "lr": 1e-5, "n": 8, "name": "é"}
    body = job(attempt=2, params=params, seed=5, data=[{"name": "ct", "claim": "c", "mountPath": "/data/ct"}])
    config = json.loads(body["spec"]["template"]["metadata"]["annotations"]["orkhaven.io/config"])
    assert config == {
        "version": 1,
        "namespace": "ns",
        "experiment": "s-0123456789",
        "uid": "uid-s-0123456789",
        "sweep": "s",
        "paramHash": "a" * 64,
        "runHash": "b" * 64,
        "params": params,
        "data": [{"name": "ct", "mountPath": "/data/ct", "readOnly": True}],
        "objective": {"metric": "val/dice", "direction": "Maximize"},
        "seed": 5,
        "attempt": 2,
        "output": "/output/" + "b" * 64,
    }
    env = {entry["name"]: entry.get("value") for entry in container()["env"]}
    assert env["ORKHAVEN_CONFIG"] == "/etc/orkhaven/experiment.json"
    assert env["ORKHAVEN_OUTPUT"] == config["output"]
    assert env["ORKHAVEN_URL"] == "http://hub.test:8080"
    assert env["ORKHAVEN_TOKEN_FILE"] == "/var/run/secrets/orkhaven/token"
    assert env["HOME"] == "/tmp"


def test_a_config_that_no_annotation_holds_is_refused_and_ends_the_run() -> None:
    with pytest.raises(ConfigTooLarge, match=r"spec\.params: 300 KiB"):
        job(params={"table": "x" * 300 * 1024})
    world = World(make_experiment(params={"table": "x" * 300 * 1024}))
    world.settle()
    assert world.seen == ("Failed", "InvalidSpec")
    assert world.condition("Accepted")["status"] == "False"
    assert not world.jobs


def test_volumes_and_where_they_are_mounted() -> None:
    spec = pod(
        data=[
            {"name": "ct", "claim": "ct-data", "subPath": "covid", "mountPath": "/data/ct"},
            {"name": "masks", "claim": "ct-data", "mountPath": "/data/masks", "readOnly": False},
        ],
        output={"claim": "mine"},
        resources={"sharedMemory": "8Gi"},
    )
    volumes = {volume["name"]: volume for volume in spec["volumes"]}
    mounts = {mount["mountPath"]: mount for mount in spec["containers"][0]["volumeMounts"]}
    assert volumes[mounts["/output"]["name"]]["persistentVolumeClaim"] == {"claimName": "mine"}
    assert mounts["/data/ct"] == {"name": "data-0", "mountPath": "/data/ct", "readOnly": True, "subPath": "covid"}
    assert mounts["/data/masks"] == {"name": "data-1", "mountPath": "/data/masks", "readOnly": False}
    assert volumes["shm"]["emptyDir"] == {"medium": "Memory", "sizeLimit": "8Gi"}
    (source,) = volumes["token"]["projected"]["sources"]
    assert source["serviceAccountToken"]["audience"] == "orkhaven"
    assert volumes["tmp"] == {"name": "tmp", "emptyDir": {}}
    assert set(mounts) >= {"/etc/orkhaven", "/var/run/secrets/orkhaven", "/tmp", "/dev/shm"}


def test_without_any_claim_the_output_is_gone_with_the_pod() -> None:
    volumes = {v["name"]: v for v in job(defaults=Defaults(image="i"))["spec"]["template"]["spec"]["volumes"]}
    assert volumes["output"] == {"name": "output", "emptyDir": {}}
    default = {v["name"]: v for v in pod()["volumes"]}
    assert default["output"]["persistentVolumeClaim"] == {"claimName": "results"}


def test_what_is_asked_for_is_requested_and_limited() -> None:
    resources = container(resources={"gpus": 2, "cpu": "4", "memory": "16Gi"})["resources"]
    assert resources["requests"] == resources["limits"] == {"cpu": "4", "memory": "16Gi", "nvidia.com/gpu": "2"}
    assert container(resources={"gpus": 0})["resources"] == {}
    env = {entry["name"]: entry.get("value") for entry in container(resources={"gpus": 0})["env"]}
    assert env["NVIDIA_VISIBLE_DEVICES"] == "void"


def test_pod_and_container_are_as_the_restricted_standard_wants_them() -> None:
    security = pod()["securityContext"]
    assert security["runAsNonRoot"] is True
    assert (security["runAsUser"], security["runAsGroup"], security["fsGroup"]) == (10001, 10001, 10001)
    assert security["seccompProfile"] == {"type": "RuntimeDefault"}
    assert container()["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }
    assert pod()["automountServiceAccountToken"] is False
    assert pod()["enableServiceLinks"] is False
    assert container()["terminationMessagePolicy"] == "FallbackToLogsOnError"


def test_where_it_may_run() -> None:
    spec = pod(
        resources={"gpus": 1, "gpuModels": ["A100", "H100"], "minGpuMemory": "40Gi"},
        nodeSelector={"zone": "a"},
        tolerations=[{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}],
        avoid=("n3",),
        shun=("n2",),
    )
    affinity = spec["affinity"]["nodeAffinity"]
    (term,) = affinity["requiredDuringSchedulingIgnoredDuringExecution"]["nodeSelectorTerms"]
    assert term["matchExpressions"] == [
        {"key": "nvidia.com/gpu.product", "operator": "In", "values": ["A100", "H100"]},
        {"key": "nvidia.com/gpu.memory", "operator": "Gt", "values": ["40959"]},
        {"key": "kubernetes.io/hostname", "operator": "NotIn", "values": ["n3"]},
    ]
    (elsewhere,) = affinity["preferredDuringSchedulingIgnoredDuringExecution"]
    assert elsewhere["preference"]["matchExpressions"][0]["values"] == ["n2"]
    assert spec["nodeSelector"] == {"zone": "a"}
    assert spec["tolerations"] == [{"key": "gpu", "operator": "Exists", "effect": "NoExecute", "tolerationSeconds": 60}]
    assert "affinity" not in pod()


def test_the_users_variables_come_along_but_never_over_the_contract() -> None:
    env = container(
        env=[
            {"name": "A", "value": "1"},
            {"name": "HOME", "value": "/data"},
            {"name": "K", "secretKeyRef": {"name": "s", "key": "k"}},
        ]
    )["env"]
    by_name = {entry["name"]: entry for entry in env}
    assert len(by_name) == len(env)
    assert by_name["A"] == {"name": "A", "value": "1"}
    assert by_name["HOME"]["value"] == "/data"
    assert by_name["K"]["valueFrom"] == {"secretKeyRef": {"name": "s", "key": "k"}}


@pytest.mark.parametrize(
    ("quantity", "mib"), [("16Gi", 16384), ("40G", 38147), ("1", 1), ("1Mi", 1), (None, None)], ids=str
)
def test_gpu_memory_is_rounded_up_to_mib(quantity: str | None, mib: int | None) -> None:
    assert memory_mib(quantity) == mib


def test_a_gpu_that_broke_is_avoided_by_the_next_attempt() -> None:
    world = World().run()
    world.exit(1, "NVRM: Xid 79").settle()
    world.wait(15).settle()
    affinity = world.jobs["x-2"]["spec"]["template"]["spec"]["affinity"]["nodeAffinity"]
    assert "n1" in json.dumps(affinity["preferredDuringSchedulingIgnoredDuringExecution"])
