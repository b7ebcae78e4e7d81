"""`submit` and `lint`: what is checked, counted and sent, over an API server in memory."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from orkhaven.cli import app, submit
from orkhaven.client.check import check
from orkhaven.client.errors import OrkhavenError
from orkrun.contract import ANNOTATION_CREATED_BY as CREATED_BY
from tests.cli_world import Body, covid
from tests.unit.cli.world import Capture, TestSession
from tests.unit.client.fake_api import FakeApi, refusal


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
    assert "sweep/second: dedupe Reuse (the operator's default, by its image, as for covid-" in out
    assert "2 wait for results: covid-5f6a7b8c9d, covid-6a7b8c9d0e" in out
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
    assert "(6 of 12 trials, the first is number 0)" in str(error.value)
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


def test_what_is_submitted_has_the_name_of_whoever_made_it(api: FakeApi, session: TestSession, tmp_path: Path) -> None:
    body = covid()[0]
    body["metadata"] |= {"name": "mine", "annotations": {"note": "a copy", CREATED_BY: "eve@clinic.example"}}
    assert _submit(session, _file(tmp_path, body)) == 0
    made = api.objects["Sweep", "mine"]["metadata"]["annotations"]
    assert made == {"note": "a copy", CREATED_BY: "ada@clinic.example"}
    api.user = "bob@clinic.example"
    assert _submit(session, _file(tmp_path, body)) == 0
    sent = json.loads(api.requests[-1].content)["metadata"]["annotations"]
    assert sent[CREATED_BY] == "ada@clinic.example", "who changes it has not made it"
    api.refuse["POST"] = refusal(403, "Forbidden", "no reviews here")
    body["metadata"]["name"] = "nobodys"
    assert _submit(session, _file(tmp_path, body)) == 0
    assert api.objects["Sweep", "nobodys"]["metadata"]["annotations"] == {"note": "a copy"}


def test_lint_finds_what_the_trainer_would_refuse(capsys: Capture, tmp_path: Path) -> None:
    root = Path(__file__).resolve().parents[3]
    assert app.run(["lint", str(root / "examples/random-search.yaml")]) == 0
    assert app.run(["lint", str(root / "examples/quickstart.yaml")]) == 1
    assert "params.loss.gamma: -2.0 is not valid" in capsys.readouterr().out
    wrong = tmp_path / "wrong.yaml"
    text = (root / "examples/random-search.yaml").read_text()
    wrong.write_text(text.replace("  parallelism:", "  constraints: [batchsize < 8]\n  parallelism:"))
    assert app.run(["lint", str(wrong)]) == 1
    said = capsys.readouterr().out
    assert "spec.constraints[0]: no parameter of this search is called batchsize; did you mean batch_size?" in said
    learns = tmp_path / "learns.yaml"
    learns.write_text(text.replace("algorithm: Random, maxTrials: 6", "algorithm: TPE, maxTrials: 16"))
    assert app.run(["lint", str(learns)]) == 0
    assert (
        "10 checked by ctseg, 6 chosen later, by the results of these: parameters are right" in capsys.readouterr().err
    )
    listed = tmp_path / "listed.yaml"
    head, _, _ = text.partition("  search:")
    trials = "[{batch_size: 4}, {batch_size: 8}, {batch_size: 4.0}]"
    listed.write_text(f"{head}  search: {{algorithm: List}}\n  dedupe: Skip\n  trials: {trials}\n")
    assert app.run(["lint", str(listed)]) == 0
    said = capsys.readouterr().err
    assert "trials[0] and trials[2] are the same: each is run once" in said
    assert "dedupe Skip (as the spec says): trials that the namespace has already are not run" in said
    assert app.run(["lint", str(tmp_path / "none.yaml")]) == 1
    assert "No such file" in capsys.readouterr().err
