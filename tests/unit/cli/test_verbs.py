"""Each verb over an API server in memory: what a person reads, what a program gets, the exit code."""

from __future__ import annotations

import csv
import io
import json
import re
import sys
from typing import Any

import httpx
import pytest

from orkhaven.cli import describe, logs, rerun, steer, top, trouble, wait
from orkhaven.cli import status as status_verb
from orkhaven.cli.output import Format, redraw
from orkhaven.client.errors import Invalid, NoHub, NotFound, OrkhavenError
from tests.cli_world import finished, trial
from tests.unit.cli.world import Capture, TestSession
from tests.unit.client.fake_api import FakeApi


def test_status_lists_sweeps(session: TestSession, capsys: Capture) -> None:
    assert status_verb.status(session, None, watch=False) == 0
    head, *rows = capsys.readouterr().out.splitlines()
    assert head.split()[:5] == ["NAME", "STATE", "PROGRESS", "RUNNING", "FAILED"]
    assert rows[0].split()[:7] == ["covid", "Running", "5/24", "1", "2", "0.781", "val/dice"]


def test_status_of_one_says_what_matters_and_what_to_type_next(session: TestSession, capsys: Capture) -> None:
    session.namespace = "radiology"
    status_verb.status(session, "covid", watch=False)
    out = capsys.readouterr().out
    for part in (
        "3 succeeded, 2 failed, 1 running, 1 queued, 17 not made yet",
        "0.781 at step 10 by covid-1b2c3d4e5f",
        "2 x InvalidParams: loss.gamma",
        "kubectl ork failures covid -n radiology",
    ):
        assert part in out


def test_status_tells_what_identical_runs_saved(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    api.objects["Sweep", "covid"]["status"]["trials"] = {
        "total": 9, "created": 8, "succeeded": 5, "reused": 3, "skipped": 2, "failed": 1
    }  # fmt: skip
    session.namespace = "radiology"
    status_verb.status(session, "covid", watch=False)
    assert "5 succeeded (3 reused), 1 failed, 2 skipped, 1 not made yet" in capsys.readouterr().out


def test_status_is_watched_to_the_end(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    held = api.objects["Sweep", "covid"]
    later = {
        **held,
        "metadata": {**held["metadata"], "resourceVersion": "900"},
        "status": finished("covid", failed=1)["status"],
    }
    api.watched = [[("MODIFIED", later)]]
    assert status_verb.status(session, "covid", watch=True) == 3
    assert "covid: Succeeded 4/4, 0 running, 1 failed" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("name", "hint"),
    [
        ("cvid", "did you mean covid?"),
        ("base", "did you mean baseline?"),
        ("zzz", "there are baseline, broken, covid; -n says another namespace"),
    ],
)
def test_a_wrong_name_is_answered_with_the_nearest_right_one(name: str, hint: str, session: TestSession) -> None:
    with pytest.raises(NotFound, match=f"no Sweep '{name}' in namespace 'radiology'") as error:
        status_verb.status(session, name, watch=False)
    assert error.value.hint == hint
    with pytest.raises(NotFound) as other:
        wait.wait(session, f"{name}", condition="Finished", timeout="1s")
    assert other.value.hint.startswith(("did you mean", "kubectl get sweeps,experiments -n radiology lists all 10"))


def test_a_picture_is_drawn_over_the_last_and_ends_where_the_window_does(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("LINES", "6")
    out = io.StringIO()
    redraw("\n".join("abcdefgh"), out=out)
    shown = re.sub(r"\x1b\[[?0-9]*[A-Za-z]", "", out.getvalue()).splitlines()
    assert shown == ["a", "b", "(6 more lines: a taller window shows them)", "", "(Ctrl-C ends this, not the sweep)"]


def test_what_has_ended_is_watched_no_longer(session: TestSession, capsys: Capture) -> None:
    assert status_verb.status(session, "broken", watch=True) == 3
    assert top.top(session, "broken", top.Asked(), watch=True) == 3
    assert not [one for one in session.api.requests if one.url.params.get("watch")]


def test_json_is_the_resource_itself(session: TestSession, capsys: Capture) -> None:
    session.output = Format.JSON
    status_verb.status(session, "covid", watch=False)
    assert json.loads(capsys.readouterr().out)["status"]["progress"] == "5/24"


def test_a_name_of_the_other_kind_is_said(session: TestSession) -> None:
    with pytest.raises(NotFound, match="is an Experiment") as error:
        status_verb.status(session, "covid-0a1b2c3d4e", watch=False)
    assert error.value.hint == "kubectl ork describe covid-0a1b2c3d4e"


def test_top_needs_no_hub_for_the_ten_best(session: TestSession, capsys: Capture) -> None:
    top.top(session, "covid", top.Asked())
    lines = capsys.readouterr().out.splitlines()
    assert [line.split()[1] for line in lines[1:]] == ["covid-1b2c3d4e5f", "covid-0a1b2c3d4e", "covid-2c3d4e5f6a"]
    assert len(session.api.requests) == 1


def test_top_asks_the_hub_for_a_filter_with_the_user_s_token(api: FakeApi, capsys: Capture) -> None:
    asked = []

    def hub(request: httpx.Request) -> httpx.Response:
        asked.append(request)
        item = {
            "name": "covid-1b2c3d4e5f",
            "state": "Succeeded",
            "objective": 0.5,
            "objectiveStep": 3,
            "params.optimizer.lr": 0.001,
        }
        return httpx.Response(200, json={"items": [item], "next": None})

    session = TestSession(api, hub)
    asked_for = top.Asked(expression="params.optimizer.lr < 1", sort="-params.optimizer.lr", count=5)
    top.top(session, "covid", asked_for)
    (request,) = asked
    assert request.url.path == "/api/v1/namespaces/radiology/sweeps/covid/leaderboard"
    assert dict(request.url.params) == {
        "limit": "5",
        "filter": "params.optimizer.lr < 1",
        "sort": "-params.optimizer.lr",
        "columns": "default,objective,objectiveStep",
    }
    assert request.headers["authorization"] == "Bearer mine"
    assert capsys.readouterr().out.splitlines()[1].split() == [
        "1",
        "covid-1b2c3d4e5f",
        "Succeeded",
        "0.5",
        "3",
        "0.001",
    ]


def test_top_tells_mean_and_spread_where_runs_are_repeats(api: FakeApi, capsys: Capture) -> None:
    def hub(_: httpx.Request) -> httpx.Response:
        spread = {"repeats.mean": 0.5, "repeats.std": 0.0125, "repeats.n": 3}
        items = [{"name": f"covid-{n}", "state": "Succeeded", "objective": 0.5, "objectiveStep": 3} for n in "ab"]
        return httpx.Response(200, json={"items": [{**item, **spread} for item in items], "next": None})

    top.top(TestSession(api, hub), "covid", top.Asked(count=50))
    head, first, _ = capsys.readouterr().out.splitlines()
    assert head.split()[-3:] == ["MEAN", "STD", "RUNS"]
    assert first.split()[-4:] == ["0.5", "±", "0.0125", "3"]


def test_top_by_another_metric_falls_back_to_the_resources_and_says_so(session: TestSession, capsys: Capture) -> None:
    top.top(session, "covid", top.Asked(metric="val/loss", count=2))
    done = capsys.readouterr()
    assert [line.split()[1] for line in done.out.splitlines()[1:]] == ["covid-1b2c3d4e5f", "covid-0a1b2c3d4e"]
    assert "at most 32 metrics" in done.err
    with pytest.raises(Invalid, match="there are: val/dice, val/loss"):
        top.top(session, "covid", top.Asked(metric="nope", count=2))
    with pytest.raises(NoHub):
        top.top(session, "covid", top.Asked(expression="state == 1", count=2))


@pytest.mark.parametrize(("sort", "first"), [("-optimizer.lr", 0.001), ("lr", 0.0001)])
def test_top_sorts_by_a_parameter(sort: str, first: float, session: TestSession, capsys: Capture) -> None:
    session.output = Format.JSON
    top.top(session, "covid", top.Asked(sort=sort, count=20))
    assert json.loads(capsys.readouterr().out)[0]["params.optimizer.lr"] == first


def test_export_has_every_trial(session: TestSession, capsys: Capture) -> None:
    session.output = Format.CSV
    top.export(session, "covid")
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert len(rows) == 7
    assert (rows[0]["value"], rows[0]["params.model.architecture"], rows[0]["metrics.val/loss"]) == (
        "0.781",
        "FPN",
        "0.28",
    )


def test_export_of_curves_has_a_row_for_each_point_of_those_that_reported_it(api: FakeApi, capsys: Capture) -> None:
    def hub(request: httpx.Request) -> httpx.Response:
        if "covid-0a1b2c3d4e" not in request.url.path:
            return httpx.Response(404, json={"error": {"code": "NotFound", "message": "never reported"}})
        assert request.url.raw_path.endswith(b"/experiments/covid-0a1b2c3d4e/metrics/val%2Fdice")
        told = {"step": [1, 2], "time": ["t1", "t2"], "value": [0.5, "NaN"], "attempt": [1, 1]}
        return httpx.Response(200, json=told)

    session = TestSession(api, hub)
    session.output = Format.CSV
    assert top.export(session, "covid", curves="val/dice") == 0
    assert capsys.readouterr().out.splitlines() == [
        "experiment,metric,step,time,value,attempt",
        "covid-0a1b2c3d4e,val/dice,1,t1,0.5,1",
        "covid-0a1b2c3d4e,val/dice,2,t2,NaN,1",
    ]
    with pytest.raises(NotFound, match="no trial has reported nope; there are: val/dice, val/loss"):
        top.export(TestSession(api, lambda _: httpx.Response(404, json={})), "covid", curves="nope")


def test_failures_are_told_by_cause(session: TestSession, capsys: Capture) -> None:
    trouble.failures(session, "covid")
    out = capsys.readouterr().out
    assert "2 of 5 ended trials failed, of one cause" in out
    assert "kubectl ork why covid-3d4e5f6a7b" in out
    for part in ("cluster c3f2a1b0", "losses/focal.py:12", "loss.gamma=-2 in 2/2, 0/3 of the successful", "gpu-1 (2)"):
        assert part in out


@pytest.mark.parametrize(
    ("name", "parts"),
    [
        ("covid-6a7b8c9d0e", ["Queued: WaitingForGpus", "0 of 4 are free", "starts by itself"]),
        ("covid-3d4e5f6a7b", ["Failed: InvalidParams", "Correct the parameter", "Traceback", "kubectl ork logs"]),
        ("new", ["is Pending", "the operator has not looked at it yet"]),
    ],
)
def test_why_tells_the_reason_and_the_way_out(name: str, parts: list[str], api: FakeApi, capsys: Capture) -> None:
    made = trial("new")
    del made["status"]
    api.put(made)
    trouble.why(TestSession(api), name)
    out = capsys.readouterr().out
    assert not [part for part in parts if part not in out], out


def test_diff_shows_only_what_differs(session: TestSession, capsys: Capture) -> None:
    describe.diff(session, "covid-0a1b2c3d4e", "covid-2c3d4e5f6a")
    rows = [line.split()[0] for line in capsys.readouterr().out.splitlines()[1:]]
    assert rows == ["params.optimizer.lr", "status.objective", "metrics.val/dice", "metrics.val/loss"]


def test_describe_tells_all(session: TestSession, capsys: Capture) -> None:
    describe.describe(session, "covid-3d4e5f6a7b")
    out = capsys.readouterr().out
    for part in ("Failed: InvalidParams", "gpus 1, memory 16Gi", "loss.name", "NVIDIA-A100", "Last words"):
        assert part in out


def test_wait_ends_with_3_where_trials_failed(session: TestSession) -> None:
    assert wait.wait(session, "baseline", condition="Finished", timeout="1s") == 0
    assert wait.wait(session, "sweep/broken", condition="condition=Finished", timeout="0") == 3
    with pytest.raises(Invalid, match="no length of time"):
        wait.wait(session, "baseline", condition="Finished", timeout="soon")


def test_suspend_and_resume_patch_one_field(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    assert steer.suspend(session, "covid", held=True) == 0
    assert json.loads(api.requests[-1].content) == {"spec": {"suspend": True}}
    assert api.requests[-1].url.params["fieldManager"] == "kubectl-ork"
    assert steer.suspend(session, "covid", held=False) == 0
    assert steer.suspend(session, "baseline", held=True) == 1
    assert "has ended" in capsys.readouterr().err


def test_a_pruned_trial_is_told_why_and_resumed(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    why = "rung 5: 0.41 is below the median 0.7 of 12 trials"
    pruned = trial("covid-9f9f9f9f9f", index=9, state="Pruned", reason="EarlyStopped", message=why, value=0.41, step=5)
    api.objects["Experiment", "covid-9f9f9f9f9f"] = pruned
    said = trouble.explain(pruned)
    assert (said["state"], said["message"]) == ("Pruned", why)
    assert "kubectl ork resume" in said["suggestion"]
    assert steer.suspend(session, "covid-9f9f9f9f9f", held=True) == 1
    assert steer.suspend(session, "covid-9f9f9f9f9f", held=False) == 0
    assert json.loads(api.requests[-1].content) == {"spec": {"prune": {"resume": True}}}
    assert "goes on from its checkpoint" in capsys.readouterr().out


def test_a_rerun_of_a_pruned_trial_is_not_pruned(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    pruned = trial("covid-9f9f9f9f9f", index=9, state="Pruned", reason="EarlyStopped")
    pruned["spec"]["prune"] = {"step": 5, "message": "rung 5", "resume": False}
    api.objects["Experiment", "covid-9f9f9f9f9f"] = pruned
    assert rerun.rerun(session, "covid-9f9f9f9f9f", rerun.Asked(dry_run=True)) == 0
    assert "prune" not in capsys.readouterr().out


def test_what_a_canary_holds_is_resumed_without_it(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    held = [{"type": "Suspended", "status": "True", "reason": "CanaryFailed", "message": "canary trial x failed"}]
    sweep = api.objects["Sweep", "covid"]
    sweep["status"] = {**sweep.get("status", {}), "state": "Suspended", "conditions": held}
    assert steer.suspend(session, "covid", held=False) == 0
    assert json.loads(api.requests[-1].content) == {"spec": {"suspend": False, "canary": 0}}
    assert "without waiting for its canary" in capsys.readouterr().out


def test_cancel_asks_and_refuses_what_would_come_back(
    api: FakeApi, session: TestSession, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    with pytest.raises(Invalid, match="delete sweep/covid with its 7 Experiments"):
        steer.cancel(session, "covid", yes=False)
    running = api.objects["Experiment", "covid-5f6a7b8c9d"]
    running["metadata"]["ownerReferences"] = [{"kind": "Sweep", "name": "covid", "controller": True}]
    with pytest.raises(Invalid, match="would make it again"):
        steer.cancel(session, "covid-5f6a7b8c9d", yes=True)
    assert steer.cancel(session, "covid", yes=True) == 0
    assert ("Sweep", "covid") not in api.objects


def test_logs_come_from_the_pod_and_else_from_the_hub(api: FakeApi, capsys: Capture) -> None:
    given: dict[str, Any] = {"follow": False, "attempt": None, "tail": None}
    api.logs["pod-1"] = "epoch 1\nepoch 2\nlast\x1b[2J\n"
    assert logs.logs(TestSession(api), "covid-5f6a7b8c9d", grep="epoch [2-9]", **given) == 0
    assert capsys.readouterr().out == "epoch 2\n"
    assert logs.logs(TestSession(api), "covid-5f6a7b8c9d", grep="nothing", **given) == 1
    api.logs.clear()
    asked = []

    def hub(request: httpx.Request) -> httpx.Response:
        asked.append(request.url.path)
        return httpx.Response(200, text="kept\n")

    assert logs.logs(TestSession(api, hub), "covid-5f6a7b8c9d", grep=None, **given) == 0
    assert asked == ["/api/v1/namespaces/radiology/experiments/covid-5f6a7b8c9d/attempts/1/log"]
    with pytest.raises(NoHub, match="the pod of attempt 1 is gone, and what the hub has kept cannot be read"):
        logs.logs(TestSession(api), "covid-5f6a7b8c9d", grep=None, **given)
    with pytest.raises(OrkhavenError, match="has not been started yet"):
        logs.logs(TestSession(api), "covid-6a7b8c9d0e", grep=None, **given)
    with pytest.raises(Invalid, match="--grep"):
        logs.logs(TestSession(api), "covid-5f6a7b8c9d", grep="(", **given)
