"""The Job of a pod to look around in: what it has of the run, and what it must not have."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

import pytest

from orkhaven.core.actions import CreateJob, DeleteJob, Plan
from orkhaven.core.debug import debug_name, is_debug, plan_debug
from orkhaven.core.parse import parse_experiment, parse_job
from orkrun import contract
from tests.unit.core.world import DEFAULTS, START, Body, make_experiment, stamp

UNTIL = stamp(START + timedelta(hours=1))
STATUS: Body = {
    "state": "Failed",
    "paramHash": "a" * 64,
    "runHash": "b" * 64,
    "outputFolder": "own-folder",
    "attempts": [{"number": 1, "job": "x-1", "node": "n0"}, {"number": 2, "job": "x-2", "node": "n1"}],
}


def body_of(debug: Body | None = None, **spec: Any) -> Body:
    whole: Body = {
        "params": {"lr": 1, "none": None},
        "command": ["python", "-m", "mine", "a b"],
        "resources": {"gpus": 2, "minGpuMemory": "16Gi", "cpu": "4", "memory": "16Gi"},
        "env": [{"name": "A", "value": "1"}],
        "data": [{"name": "ct", "claim": "ct-data", "mountPath": "/data"}],
        "maxRunTime": "6h",
        **spec,
    }
    made = make_experiment("x", debug=debug or {"until": UNTIL}, **whole)
    return {**made, "status": STATUS}


def plan(body: Body, *, job: Body | None = None, seconds: float = 0) -> Plan:
    held = parse_job(job) if job is not None else None
    return plan_debug(parse_experiment(body), job=held, defaults=DEFAULTS, now=START + timedelta(seconds=seconds))


def job_of(body: Body) -> Body:
    (action,) = plan(body).actions
    assert isinstance(action, CreateJob)
    made = dict(action.body)
    made["metadata"] = {**made["metadata"], "uid": "u", "resourceVersion": "1", "creationTimestamp": stamp(START)}
    return made


def test_it_has_what_the_run_has_and_a_shell_that_waits() -> None:
    job = job_of(body_of())
    pod = job["spec"]["template"]["spec"]
    (container,) = pod["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert container["command"][:2] == ["/bin/sh", "-c"]
    assert env["ORKHAVEN_COMMAND"] == "python -m mine 'a b'"
    assert env["A"] == "1"
    assert container["resources"]["limits"] == {"cpu": "4", "memory": "16Gi"}
    assert any(mount["mountPath"] == "/data" for mount in container["volumeMounts"])
    assert '"lr":1' in job["spec"]["template"]["metadata"]["annotations"][contract.ANNOTATION_CONFIG]
    (wish,) = pod["affinity"]["nodeAffinity"]["preferredDuringSchedulingIgnoredDuringExecution"]
    assert wish["preference"]["matchExpressions"][0]["values"] == ["n1"]
    assert "requiredDuringSchedulingIgnoredDuringExecution" not in pod["affinity"]["nodeAffinity"]
    assert job["spec"]["suspend"] is False
    assert job["spec"]["activeDeadlineSeconds"] == job["spec"]["ttlSecondsAfterFinished"] == 3600


def test_it_can_touch_nothing_of_the_run() -> None:
    job = job_of(body_of())
    (container,) = job["spec"]["template"]["spec"]["containers"]
    env = {one["name"]: one.get("value") for one in container["env"]}
    assert contract.ENV_URL not in env
    assert env[contract.ENV_OUTPUT] == "/tmp/output"
    (output,) = [mount for mount in container["volumeMounts"] if mount["mountPath"] == "/output"]
    assert output["readOnly"] is True
    for labels in (job["metadata"]["labels"], job["spec"]["template"]["metadata"]["labels"]):
        assert labels.keys().isdisjoint({contract.LABEL_EXPERIMENT, contract.LABEL_ATTEMPT, contract.LABEL_SWEEP})
        assert labels[contract.LABEL_DEBUG] == "x"
    assert is_debug(parse_job(job))
    assert job["metadata"]["ownerReferences"][0]["uid"] == "uid-x"


def test_with_gpus_it_asks_for_those_of_the_run() -> None:
    job = job_of(body_of({"until": UNTIL, "gpus": True}))
    pod = job["spec"]["template"]["spec"]
    assert pod["containers"][0]["resources"]["limits"]["nvidia.com/gpu"] == "2"
    assert "requiredDuringSchedulingIgnoredDuringExecution" in pod["affinity"]["nodeAffinity"]


def test_a_day_is_the_longest() -> None:
    job = job_of(body_of({"until": stamp(START + timedelta(days=3))}))
    assert job["spec"]["activeDeadlineSeconds"] == 24 * 3600
    assert job["spec"]["ttlSecondsAfterFinished"] == 3 * 24 * 3600, "as long as it is wanted, it is there"


OTHER = {"until": stamp(START + timedelta(hours=2))}


@pytest.mark.parametrize(
    ("body", "there", "seconds", "want"),
    [
        (body_of(), False, 0, CreateJob),
        (body_of(), True, 0, None),
        (body_of(), True, 3599, None),
        (body_of(), True, 3600, DeleteJob),
        (body_of(), False, 3600, None),
        (body_of(), False, 3595, None),
        (body_of(OTHER), True, 0, DeleteJob),
        (body_of({"until": UNTIL, "gpus": True}), True, 0, DeleteJob),
        ({**body_of(), "status": {}}, False, 0, None),
        ({**body_of(), "spec": {**body_of()["spec"], "debug": None}}, True, 0, DeleteJob),
        ({**body_of(), "spec": {**body_of()["spec"], "debug": None}}, False, 0, None),
    ],
    ids=[
        "wanted", "there", "there at the last", "its time is over", "too late", "hardly any time left",
        "another time", "another kind", "not looked at yet", "not wanted any more", "never wanted",
    ],
)  # fmt: skip
def test_when_it_is_made_and_when_it_goes(body: Body, there: bool, seconds: float, want: type | None) -> None:
    found = plan(body, job=job_of(body_of()) if there else None, seconds=seconds)
    assert [type(action) for action in found.actions] == ([want] if want else [])
    if there and want is None:
        assert found.requeue_after == 3600 - seconds


def test_one_that_is_going_is_waited_for() -> None:
    job = job_of(body_of())
    job["metadata"]["deletionTimestamp"] = stamp(START)
    assert plan(body_of(OTHER), job=job) == Plan()


def test_its_name_fits() -> None:
    assert len(debug_name("x" * 57)) == 63
