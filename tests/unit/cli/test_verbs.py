"""Each verb over an API server in memory: what a person reads, what a program gets, the exit code."""

from __future__ import annotations

import csv
import io
import json
import re
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import httpx
import pytest

from orkhaven.cli import app, describe, logs, steer, submit, top, trouble, wait
from orkhaven.cli import status as status_verb
from orkhaven.cli.complete import complete
from orkhaven.cli.output import Format, redraw
from orkhaven.cli.session import Session
from orkhaven.client.check import check
from orkhaven.client.errors import Invalid, NoHub, NotFound, OrkhavenError
from orkhaven.client.hub import Hub
from orkhaven.client.kube import Kube
from tests.cli_world import Body, covid, finished, trial
from tests.unit.client.fake_api import FakeApi, refusal


class TestSession(Session):
    """With an API server in memory, and a hub in memory or none."""

    __test__ = False

    def __init__(
        self, api: FakeApi, hub: Callable[[httpx.Request], httpx.Response] | None = None, **options: Any
    ) -> None:
        super().__init__(**options)
        self.api = api
        self.hub_answer = hub

    @property
    def kube(self) -> Kube:  # type: ignore[override]
        return self.api.kube()

    @property
    def hub(self) -> Hub:  # type: ignore[override]
        if self.hub_answer is None:
            raise NoHub("the hub is away")
        return Hub(httpx.Client(transport=httpx.MockTransport(self.hub_answer), base_url="http://hub"), lambda: "mine")


@pytest.fixture
def api() -> FakeApi:
    return FakeApi([*covid(), finished("baseline"), finished("broken", failed=1)])


@pytest.fixture
def session(api: FakeApi) -> TestSession:
    return TestSession(api)


Capture = pytest.CaptureFixture[str]


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


def test_failures_are_told_by_cause(session: TestSession, capsys: Capture) -> None:
    trouble.failures(session, "covid")
    out = capsys.readouterr().out
    assert "2 of 5 ended trials failed, of one cause" in out
    assert "kubectl ork why covid-3d4e5f6a7b" in out


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


def test_rerun_prints_a_new_run_and_makes_it_on_request(api: FakeApi, session: TestSession, capsys: Capture) -> None:
    def again(**options: Any) -> None:
        given = {"settings": [], "seed": None, "new_name": None, "apply": False, **options}
        steer.rerun(session, "covid-3d4e5f6a7b", **given)

    again()
    assert "the same run as covid-3d4e5f6a7b" in capsys.readouterr().err
    again(settings=["loss.name=dice"], apply=True)
    made = api.objects["Experiment", "covid-3d4e5f6a7b-r1"]
    assert made["spec"]["params"]["loss"] == {"name": "dice"}
    assert "ownerReferences" not in made["metadata"]
    again(seed=3, apply=True)
    assert api.objects["Experiment", "covid-3d4e5f6a7b-r2"]["spec"]["seed"] == 3


def _file(folder: Path, body: Body) -> str:
    path = folder / "sweep.yaml"
    path.write_text(json.dumps({key: value for key, value in body.items() if key != "status"}))
    return str(path)


def _submit(session: TestSession, file: str, **options: Any) -> int:
    given = {"settings": [], "dry_run": False, "watch": False, "force": False, "check_params": True, **options}
    return submit.submit(session, [file], **given)


def test_submit_counts_first_and_applies(api: FakeApi, session: TestSession, tmp_path: Path, capsys: Capture) -> None:
    body = covid()[0]
    body["metadata"]["name"] = "second"
    assert _submit(session, _file(tmp_path, body), dry_run=True) == 0
    assert ("Sweep", "second") not in api.objects
    assert _submit(session, _file(tmp_path, body), settings=["epochs=20"]) == 0
    assert api.objects["Sweep", "second"]["spec"]["template"]["params"] == {"epochs": 20}
    out = capsys.readouterr().out
    assert "24 trials: 17 new, 3 identical to a run that has succeeded" in out
    assert "nothing was kept" in out


def test_submit_sends_nothing_that_would_be_refused(api: FakeApi, session: TestSession, tmp_path: Path) -> None:
    body = covid()[0]
    body["spec"]["parallelism"] = -1
    with pytest.raises(OrkhavenError, match=r"spec.parallelism: Input should be greater"):
        _submit(session, _file(tmp_path, body))
    assert not api.requests


def test_submit_sends_nothing_that_the_trainer_would_refuse(
    api: FakeApi, session: TestSession, tmp_path: Path, capsys: Capture
) -> None:
    body = covid()[0]
    body["metadata"]["name"] = "typo"
    body["spec"]["parameters"][0]["values"] = ["Unet", "UNet+++"]
    with pytest.raises(
        OrkhavenError, match=r"params.model.architecture: 'UNet\+\+\+' is unknown; did you mean Unet"
    ) as error:
        _submit(session, _file(tmp_path, body))
    assert "(6 of 12 trials, the first is number 6)" in str(error.value)
    assert "--no-check" in error.value.hint
    assert not api.requests
    assert _submit(session, _file(tmp_path, body), check_params=False) == 0
    assert ("Sweep", "typo") in api.objects


@pytest.mark.parametrize(
    ("template", "checked"),
    [
        ({}, True),
        ({"image": "localhost/orkhaven-trainer-cpu:dev"}, True),
        ({"image": "registry.example:5000/ct/trainer@sha256:00"}, True),
        ({"image": "registry.example/my-trainer:1"}, False),
        ({"command": ["python", "train.py"]}, False),
    ],
    ids=["the operator's default", "the chart's", "pushed elsewhere", "another's", "another program"],
)
def test_only_ctseg_s_parameters_are_asked_about(template: Body, checked: bool) -> None:
    verdict = check({"kind": "Experiment", "spec": {"params": {"epochs": 0}, **template}})
    assert (verdict.failing == 1, verdict.unchecked == "") == (checked, checked)


def test_of_a_large_search_a_sample_has_every_value_of_the_outermost_parameter() -> None:
    body = covid()[0]
    body["spec"]["parameters"] = [
        {"name": "batch_size", "values": [4, 0]},
        {"name": "epochs", "values": list(range(1, 1_001))},
    ]
    verdict = check(body, most=100)
    assert (verdict.total, verdict.checked) == (2_000, 100)
    assert 20 < verdict.failing < 80


def test_submit_names_what_another_tool_has_set(api: FakeApi, session: TestSession, tmp_path: Path) -> None:
    api.refuse["PATCH"] = refusal(409, "Conflict", "x", causes=[{"field": ".spec.suspend", "message": "by argo"}])
    with pytest.raises(OrkhavenError, match=r"sweep/covid: somebody else set: .spec.suspend") as error:
        _submit(session, _file(tmp_path, covid()[0]))
    assert "--force" in error.value.hint


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


def test_lint_finds_what_the_trainer_would_refuse(capsys: Capture, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    assert app.run(["lint", str(root / "examples/random-search.yaml")]) == 0
    assert app.run(["lint", str(root / "examples/quickstart.yaml")]) == 1
    assert "params.loss.gamma: -2.0 is not valid" in capsys.readouterr().out
    assert app.run(["lint", str(tmp_path / "none.yaml")]) == 1
    assert "No such file" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "code"), [(["top"], 2), (["nonsense"], 2), (["status", "-o", "xml"], 2), (["version", "--client"], 0)]
)
def test_wrong_usage_is_exit_code_2(arguments: list[str], code: int, capsys: Capture) -> None:
    assert app.run(arguments) == code


@pytest.mark.parametrize(
    ("words", "found", "directive"),
    [
        (["su"], ["submit", "suspend"], 4),
        (["status", "--wa"], ["--watch"], 4),
        (["top", "covid", "-o", "l"], ["latex"], 4),
        (["top", "covid", "--output=c"], ["--output=csv"], 4),
        (["submit", ""], [], 0),
        (["wait", "x", "--for", "Fin"], ["Finished"], 4),
        (["diff", "a", "b", ""], [], 4),
    ],
)
def test_completion(words: list[str], found: list[str], directive: int) -> None:
    candidates, said = complete(words)
    assert ([one.split("\t")[0] for one in candidates], said) == (found, directive)


def test_start_up_loads_nothing_heavy() -> None:
    """What makes `--help` slow is what it imports; a time would depend on the machine."""
    program = "import sys; from orkhaven.cli.app import run; run(['--help']); print(*sys.modules, file=sys.stderr)"
    done = subprocess.run(
        [sys.executable, "-c", program],
        capture_output=True,
        text=True,
        check=True,
        env={"PYTHONPATH": ":".join(sys.path)},
    )
    heavy = {"httpx", "pydantic", "yaml", "rich", "pandas", "matplotlib", "kubernetes", "torch", "orkhaven.api"}
    assert heavy.isdisjoint(done.stderr.split())
