"""`queue` and `gpus`: who waits, who holds, and what one may not see."""

from __future__ import annotations

import csv
import io
import json

import pytest

from orkhaven.cli.gpus import gpus
from orkhaven.cli.output import Format
from orkhaven.cli.queue import queue
from orkhaven.client.errors import Forbidden
from tests.unit.cli.sharing_world import node, pod, run, shared
from tests.unit.cli.world import Capture, TestSession
from tests.unit.client.fake_api import FakeApi, refusal


@pytest.fixture
def api() -> FakeApi:
    return FakeApi(shared())


def test_the_queue_has_totals_and_what_waits_in_its_order(session: TestSession, capsys: Capture) -> None:
    session.everywhere = True
    assert queue(session) == 0
    head, columns, *rows = capsys.readouterr().out.splitlines()
    assert head == "all namespaces: 4 runs wait for 12 GPUs, 2 hold 3 GPUs"
    assert columns.split()[:7] == ["NAMESPACE", "#", "EXPERIMENT", "SWEEP", "USER", "PRIORITY", "GPUS"]
    assert [row.split()[:3] for row in rows] == [
        ["oncology", "-", "elsewhere"],
        ["radiology", "1", "first"],
        ["radiology", "2", "second"],
        ["radiology", "-", "urgent"],
    ]
    assert "ada@example.com" in rows[1]
    assert "Interactive" in rows[3]
    assert "no node has 8 GPUs" in rows[0]


def test_a_program_gets_the_totals_the_moment_and_the_local_queue(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    api.put(run("with-kueue", spec={"queueName": "team"}, created="2026-09-01T09:00:00Z"))
    session.everywhere, session.output = True, Format.JSON
    queue(session)
    found = json.loads(capsys.readouterr().out)
    assert (found["waiting"], found["gpus"]) == (5, 13)
    one = next(row for row in found["runs"] if row["experiment"] == "with-kueue")
    assert (one["queueName"], one["since"], one["priority"]) == ("team", "2026-09-01T09:00:00Z", "Standard")


def test_it_waits_since_its_last_attempt_or_since_it_was_resumed(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    ended = {"number": 1, "node": "gpu-1", "endTime": "2026-09-02T08:00:00Z", "reason": "Preempted"}
    resumed = {"type": "Suspended", "status": "False", "lastTransitionTime": "2026-09-02T09:00:00Z"}
    api.objects.clear()
    api.put(run("preempted", attempts=[ended, {"number": 2, "job": "preempted-2"}]))
    api.put(run("resumed", attempts=[ended], conditions=[resumed]))
    session.output = Format.JSON
    session.everywhere = True
    queue(session)
    found = {row["experiment"]: row["since"] for row in json.loads(capsys.readouterr().out)["runs"]}
    assert found == {"preempted": "2026-09-02T08:00:00Z", "resumed": "2026-09-02T09:00:00Z"}


def test_an_empty_queue_says_so(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    api.objects.clear()
    assert queue(session) == 0
    out = capsys.readouterr()
    assert out.out == "radiology: no run waits, none holds a GPU\n"
    assert out.err == "nothing waits in namespace 'radiology'\n"


def test_an_api_server_that_cannot_choose_by_state_is_asked_for_all(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    answer = api.answer

    def old(request):  # type: ignore[no-untyped-def]
        if "status.state" in request.url.params.get("fieldSelector", ""):
            return refusal(400, "BadRequest", "field label not supported: status.state")
        return answer(request)

    api.answer = old  # type: ignore[method-assign]
    assert queue(session) == 0
    assert "first" in capsys.readouterr().out


def test_gpus_are_counted_by_node_and_who_holds_them_is_named(session: TestSession, capsys: Capture) -> None:
    assert gpus(session) == 0
    out = capsys.readouterr()
    total, head, first, second, _, _, *holders = out.out.splitlines()
    assert total == "0 of 4 GPUs free on 2 nodes"
    assert head.split() == ["NODE", "MODEL", "MEMORY", "GPUS", "FREE", "RUNS", "OTHERS", "NOTES"]
    assert first.split()[:7] == ["gpu-1", "NVIDIA-A100-SXM4-40GB", "40Gi", "3", "0", "2", "1"]
    assert second.split() == ["gpu-2", "Tesla-T4", "15Gi", "1", "0", "1", "0", "cordoned"]
    assert [row.split()[:6] for row in holders] == [
        ["gpu-1", "big", "radiology", "ada@example.com", "Standard", "2"],
        ["gpu-2", "far", "oncology", "bo", "Preemptible", "1"],
    ]
    assert out.err == ""


@pytest.mark.parametrize(
    ("forbidden", "said", "total"),
    [
        ({"Node"}, "you may not list nodes", "3 GPUs held on 2 nodes"),
        ({"Pod"}, "you may not list pods of all namespaces", "1 of 4 GPUs free on 2 nodes"),
        ({"Experiment everywhere"}, "names are those of 'radiology' alone", "0 of 4 GPUs free on 2 nodes"),
    ],
    ids=["nodes", "pods", "other namespaces"],
)
def test_what_one_may_not_see_is_said_and_the_rest_is_shown(
    api: FakeApi, session: TestSession, capsys: Capture, forbidden: set[str], said: str, total: str
) -> None:
    api.forbidden = forbidden
    assert gpus(session) == 0
    out = capsys.readouterr()
    assert out.out.splitlines()[0] == total
    assert said in out.err
    assert "big" in out.out


def test_who_may_read_no_runs_at_all_is_refused(api: FakeApi, session: TestSession) -> None:
    api.forbidden = {"Experiment"}
    for verb in (gpus, queue):
        with pytest.raises(Forbidden):
            verb(session)


def test_a_node_that_is_no_good_is_marked_and_has_nothing_free(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    sweep = {"state": "Running", "avoidedNodes": [{"node": "gpu-5", "reason": "GpuHardware"}]}
    api.objects.clear()
    for body in (
        node("gpu-3", 2, ready=False),
        node("gpu-4", 2, healthy=0),
        node("gpu-5", 2),
        {"kind": "Sweep", "metadata": {"name": "covid"}, "spec": {}, "status": sweep},
    ):
        api.put(body)
    session.output = Format.JSON
    gpus(session)
    found = {row["node"]: (row["free"], row["notes"]) for row in json.loads(capsys.readouterr().out)["nodes"]}
    assert found == {
        "gpu-3": (0, "not ready"),
        "gpu-4": (0, "2 of 2 not healthy"),
        "gpu-5": (2, "avoided: GpuHardware"),
    }


def test_parts_of_gpus_and_other_makers_are_lines_of_their_own(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    api.objects.clear()
    both = node("gpu-1", 2)
    for part in ("allocatable", "capacity"):
        both["status"][part] |= {"nvidia.com/mig-1g.10gb": "7", "example.com/gpus-cooler": "1"}
    mig = {"resources": {"requests": {"nvidia.com/mig-1g.10gb": "3"}}}
    staying = {"resources": {"limits": {"nvidia.com/gpu": "1"}}, "restartPolicy": "Always"}
    passing = {"resources": {"limits": {"nvidia.com/gpu": "2"}}}
    for body in (
        both,
        pod("slices", on="gpu-1", gpus=0, spec={"containers": [mig]}),
        pod("helper", on="gpu-1", gpus=0, spec={"initContainers": [passing, staying]}),
        pod("not-placed", on=None, gpus=2),
    ):
        api.put(body)
    session.output = Format.CSV
    gpus(session)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["device"], row["gpus"], row["free"], row["others"]) for row in rows] == [
        ("nvidia.com/gpu", "2", "0", "2"),
        ("nvidia.com/mig-1g.10gb", "7", "4", "3"),
    ]


def test_pods_that_stop_and_shells_are_told_from_runs(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    stopping = api.objects["Pod", "big-1-x"]
    stopping["metadata"]["deletionTimestamp"] = "2026-09-01T11:00:00Z"
    api.put(pod("big-shell", on="gpu-1", labels={"orkhaven.io/debug": "big"}))
    session.output = Format.JSON
    gpus(session)
    first = json.loads(capsys.readouterr().out)["nodes"][0]
    assert [(one["experiment"], one["holds"], one["note"]) for one in first["holders"]] == [
        ("big", 2, "stopping"),
        ("big", 1, "debug"),
    ]
