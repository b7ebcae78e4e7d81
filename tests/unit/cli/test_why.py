"""`why`: what a run stands among, beside its own words."""

from __future__ import annotations

import json
import re
from typing import Any

import pytest

from orkhaven.cli.output import Format
from orkhaven.cli.trouble import why
from tests.cli_world import API_VERSION, Body, attempt, covid, trial
from tests.unit.cli.sharing_world import run, shared
from tests.unit.cli.world import Capture, TestSession
from tests.unit.client.fake_api import FakeApi


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(shared())


def standing(session: TestSession, name: str, capsys: Capture) -> dict[str, str]:
    session.output = Format.JSON
    assert why(session, name) == 0
    return dict(json.loads(capsys.readouterr().out)["standing"])


def following(session: TestSession, name: str, capsys: Capture) -> list[str]:
    session.output = Format.JSON
    assert why(session, name) == 0
    return list(json.loads(capsys.readouterr().out)["next"])


def quota(name: str, **numbers: str) -> Body:
    status = {key: {"requests.nvidia.com/gpu": value} for key, value in numbers.items()}
    return {"apiVersion": "v1", "kind": "ResourceQuota", "metadata": {"name": name}, "status": status}


def written_by(manager: str, **fields: Any) -> Body:
    return {"manager": manager, "time": "2026-09-01T10:30:00Z", "fieldsV1": {"f:spec": {"f:suspend": {}}}, **fields}


def test_one_that_waits_is_told_the_cluster_its_namespace_and_quota(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    namespace = {"name": "radiology", "annotations": {"orkhaven.io/gpu-weight": "2"}}
    api.put({"apiVersion": "v1", "kind": "Namespace", "metadata": namespace})
    api.put(quota("gpus", hard="2", used="2"))
    api.put(quota("pods", hard="9"))
    api.objects["Experiment", "first"]["spec"]["resources"] |= {"minGpuMemory": "30Gi", "gpuModels": ["A", "B", "!T"]}
    found = standing(session, "first", capsys)
    assert found.pop("since").endswith(" ago")
    assert found == {
        "asks for": "2 GPUs, at least 30Gi each, of model A or B, not T; priority Standard; made by ada@example.com",
        "cluster": "0 of 4 GPUs free on 2 nodes",
        "namespace": "radiology holds 2 GPUs of the 3 that runs hold; weight 2",
        "quota": "2 of 2 GPUs are used (ResourceQuota gpus), 0 of 9 GPUs are used (ResourceQuota pods)",
    }


def test_a_person_reads_it_in_one_list_with_what_to_type_next(session: TestSession, capsys: Capture) -> None:
    session.namespace = "radiology"
    why(session, "first")
    out = capsys.readouterr().out
    assert "position 1 in radiology; needs 2 GPUs; 0 free" in out
    assert re.search("^  cluster +0 of 4 GPUs free on 2 nodes$", out, re.MULTILINE)
    assert "kubectl ork queue -n radiology" in out


def test_what_may_not_be_read_is_left_out(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    api.forbidden = {"Node", "Namespace", "ResourceQuota", "Pod", "Experiment everywhere"}
    found = standing(session, "first", capsys)
    assert found["cluster"] == "3 GPUs held on 2 nodes"
    assert found["namespace"].startswith("radiology holds 2 GPUs")
    assert "weight" not in found["namespace"]
    assert "quota" not in found


def test_where_kueue_decides_the_built_in_queue_s_numbers_are_not_told(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    api.put(run("with-kueue", spec={"queueName": "team"}))
    found = standing(session, "with-kueue", capsys)
    assert found["queue"] == "Kueue's LocalQueue team decides: kubectl get workloads -n radiology"
    assert "namespace" not in found
    assert {request.url.path.rsplit("/", 1)[-1] for request in api.requests} == {"with-kueue", "events"}


def test_one_that_was_preempted_is_told_for_whom_and_where_it_goes_on(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    taken = attempt(
        1,
        endTime="2026-09-01T11:00:00Z",
        reason="Preempted",
        message="gives 1 GPU to radiology/ct-17 (Interactive)",
    )
    again = {"number": 2, "job": "job-2"}
    api.put(run("victim", attempts=[taken, again], checkpoint={"step": 12, "path": "x"}))
    told = standing(session, "victim", capsys)["stopped"]
    assert told.startswith("Preempted ")
    assert told.endswith("ago: gives 1 GPU to radiology/ct-17 (Interactive); it goes on from step 12")


@pytest.mark.parametrize(
    ("manager", "said"),
    [
        ("kubectl-ork", "kubectl ork suspend, "),
        ("orkhaven-dashboard", "the dashboard, "),
        ("orkhaven", "its sweep covid, "),
        ("argocd", "argocd, "),
    ],
)
def test_one_that_is_suspended_is_told_by_what(
    api: FakeApi, session: TestSession, capsys: Capture, manager: str, said: str
) -> None:
    api.put({"apiVersion": API_VERSION, "kind": "Sweep", "metadata": {"name": "covid"}, "spec": {}})
    body = run("paused", state="Suspended", reason="Suspended", sweep="covid", spec={"suspend": True})
    status_writer = {"manager": "other", "fieldsV1": {"f:status": {}}}
    body["metadata"]["managedFields"] = [status_writer, written_by(manager)]
    api.put(body)
    assert standing(session, "paused", capsys)["by"].startswith(said)
    assert following(session, "paused", capsys) == ["kubectl ork resume paused"]


def test_one_that_has_failed_is_told_what_else_did_and_how_to_run_them_again(
    session: TestSession, capsys: Capture
) -> None:
    api = FakeApi(covid())
    api.objects["Experiment", "covid-3d4e5f6a7b"]["status"]["failure"]["cluster"] = "c3f2a1b0"
    session.api = api
    name = "covid-3d4e5f6a7b"
    assert standing(session, name, capsys) == {"alike": "one other trial of covid failed of the same (c3f2a1b0)"}
    again = following(session, name, capsys)[-1]
    assert again.startswith("kubectl ork rerun covid --cluster c3f2a1b0 --set ")


@pytest.mark.parametrize(
    ("sweep", "line"),
    [
        ("covid", "kubectl ork rerun covid --name alone --set resources.memory=32Gi"),
        (None, "kubectl ork rerun alone --set resources.memory=32Gi"),
    ],
    ids=["a trial whose cause is in no list", "a run on its own"],
)
def test_a_failure_that_is_alone_is_run_again_by_name(
    session: TestSession, capsys: Capture, sweep: str | None, line: str
) -> None:
    session.api = FakeApi([*covid(), trial("alone", sweep=sweep, state="Failed", reason="OutOfMemoryKilled")])
    assert standing(session, "alone", capsys) == {}
    assert following(session, "alone", capsys) == [line]


def test_one_that_runs_or_has_ended_well_stands_among_nothing(session: TestSession, capsys: Capture) -> None:
    for name in ("big", "over"):
        assert standing(session, name, capsys) == {}
