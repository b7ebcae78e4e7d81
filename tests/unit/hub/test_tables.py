"""GET of leaderboards, curves and bands, and their exports."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest

from tests.unit.hub.conftest import RunningHub, line, running_hub
from tests.unit.hub.fakes import NAMESPACE, FakeCluster

OBJECTIVE = {"metric": "dice", "direction": "Maximize"}
NASTY = '=cmd|"/c calc"!A1 & 50% of $x_1$ {a}\\b <script>'


@pytest.fixture
async def hub(fake_cluster: FakeCluster, sqlite_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(fake_cluster, sqlite_url) as running:
        fake_cluster.put("Sweep", "covid", spec={"objective": OBJECTIVE}, status={"state": "Running"})
        for number, note in enumerate((NASTY, "plain", None)):
            name = f"run-{number}"
            fake_cluster.add_run(name, sweep="covid", objective=OBJECTIVE, params={"lr": 10.0**-number, "note": note})
            lines = [line(1, dice=0.1 * number), line(2, dice="NaN"), line(3, dice="Infinity")]
            await running.post(name, lines)
        yield running


async def test_a_leaderboard_is_json_whatever_the_numbers(hub: RunningHub) -> None:
    answer = await hub.get("sweeps/covid/leaderboard", columns="default,metrics.dice.last", limit=2)
    assert answer.status_code == 200

    def refuse(constant: str) -> None:
        raise AssertionError(f"{constant} is no JSON")

    content = json.loads(answer.text, parse_constant=refuse)
    assert [column["key"] for column in content["columns"]] == [
        "name", "state", "objective", "objectiveStep", "params.lr", "params.note", 'metrics["dice"].last',
    ]  # fmt: skip
    assert content["items"][0] == {
        "name": "run-2", "state": None, "objective": 0.2, "objectiveStep": 1,
        "params.lr": 0.01, "params.note": None, 'metrics["dice"].last': "Infinity",
    }  # fmt: skip
    assert (content["total"], content["matched"], content["staleSeconds"]) == (3, 3, 0)
    rest = (await hub.get("sweeps/covid/leaderboard", limit=2, cursor=content["next"])).json()
    assert ([item["name"] for item in rest["items"]], rest["next"]) == (["run-0"], None)


async def test_what_has_not_changed_is_not_sent_again(hub: RunningHub) -> None:
    first = await hub.get("sweeps/covid/leaderboard")
    headers = {"Authorization": "Bearer reader", "If-None-Match": first.headers["etag"]}
    path = f"/api/v1/namespaces/{NAMESPACE}/sweeps/covid/leaderboard"
    await hub.until(lambda: hub.app.state.hub.flusher.waiting == 0 and len(hub.cluster.applied) == 3)
    await hub.settled()
    headers["If-None-Match"] = (await hub.get("sweeps/covid/leaderboard")).headers["etag"]
    again = await hub.client.get(path, headers=headers)
    assert (again.status_code, again.content) == (304, b"")
    assert (await hub.client.get(path, params={"format": "csv"}, headers=headers)).status_code == 200
    hub.cluster.finish("run-0")
    await hub.settled()
    assert (await hub.client.get(path, headers=headers)).status_code == 200


@pytest.mark.parametrize(
    ("params", "accept"), [({"format": "csv"}, "*/*"), ({}, "text/csv"), ({}, "text/html, text/csv;q=0.9")]
)
async def test_csv_has_all_rows_and_runs_no_formula(hub: RunningHub, params: dict[str, str], accept: str) -> None:
    path = f"/api/v1/namespaces/{NAMESPACE}/sweeps/covid/leaderboard"
    await hub.settled()
    answer = await hub.client.get(path, params=params, headers={"Authorization": "Bearer reader", "Accept": accept})
    assert answer.headers["content-type"] == "text/csv; charset=utf-8"
    assert answer.headers["content-disposition"] == 'attachment; filename="covid.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [row["name"] for row in rows] == ["run-2", "run-1", "run-0"]
    assert [row["params.note"] for row in rows] == ["", "plain", "'" + NASTY]
    assert [float(row["params.lr"]) for row in rows] == [0.01, 0.1, 1]


async def test_latex_escapes_what_it_must(hub: RunningHub) -> None:
    answer = await hub.get("sweeps/covid/leaderboard", format="latex", columns="objective,params", sort="name")
    assert answer.text == (
        "% needs \\usepackage{booktabs}\n"
        "\\begin{tabular}{lrrl}\n\\toprule\nName & Objective & lr & note \\\\\n\\midrule\n"
        "run-0 & 0 & 1 & =cmd\\textbar{}\\textquotedbl{}/c calc\\textquotedbl{}!A1 \\& 50\\% of \\$x\\_1\\$ \\{a\\}"
        "\\textbackslash{}b \\textless{}script\\textgreater{} \\\\\n"
        "run-1 & 0.1 & 0.1 & plain \\\\\nrun-2 & 0.2 & 0.01 & -- \\\\\n\\bottomrule\n\\end{tabular}\n"
    )


@pytest.mark.parametrize(
    ("path", "header"),
    [("sweeps", "name,state,objective"), ("experiments", "name,sweep,trial"), ("sweeps/covid/experiments", "name,")],
)
async def test_every_list_is_a_file_too(hub: RunningHub, path: str, header: str) -> None:
    assert (await hub.get(path, format="csv")).text.startswith(header)
    assert "\\toprule" in (await hub.get(path, format="latex")).text


async def test_curves_have_gaps_where_nan_was(hub: RunningHub) -> None:
    content = (await hub.get("sweeps/covid/curves", metric="dice", experiment=["run-1", "run-0"])).json()
    assert content == {
        "metric": "dice", "x": "step", "missing": [],
        "curves": [
            {"experiment": "run-1", "x": [1, 2, 3], "y": [0.1, None, "Infinity"], "total": 3},
            {"experiment": "run-0", "x": [1, 2, 3], "y": [0, None, "Infinity"], "total": 3},
        ],
    }  # fmt: skip
    text = (await hub.get("sweeps/covid/curves", metric="dice", top=1, format="csv")).text
    assert text.splitlines() == ["experiment,step,dice", "run-2,1,0.2", "run-2,2,NaN", "run-2,3,Infinity"]


async def test_bands_are_grouped_by_a_parameter(hub: RunningHub) -> None:
    content = (await hub.get("sweeps/covid/bands", metric="dice", group="params.lr")).json()
    assert [(band["label"], band["x"], band["mean"], band["n"]) for band in content["bands"]] == [
        ("0.01", [1], [0.2], [1]), ("0.1", [1], [0.1], [1]), ("1.0", [1], [0], [1]),
    ]  # fmt: skip
    assert (content["group"], content["runs"], content["matched"]) == ("params.lr", 3, 3)


async def test_the_names_that_a_filter_may_use_are_listed(hub: RunningHub) -> None:
    content = (await hub.get("sweeps/covid/columns")).json()
    assert (content["params"], content["varying"], content["metrics"]) == (["lr", "note"], ["lr", "note"], ["dice"])
    assert {"key": "state", "label": "State", "kind": "text", "group": "field"} in content["fields"]
    assert "bestStep" in content["metricParts"]


async def test_all_runs_of_a_namespace_are_one_table(hub: RunningHub) -> None:
    hub.cluster.add_run("alone", objective=OBJECTIVE, params={"lr": 5})
    content = (await hub.get("leaderboard", columns="sweep,params.lr", filter="params.lr >= 1")).json()
    assert content["items"] == [
        {"name": "alone", "sweep": None, "params.lr": 5}, {"name": "run-0", "sweep": "covid", "params.lr": 1},
    ]  # fmt: skip


@pytest.mark.parametrize(
    ("path", "params", "where", "message"),
    [
        ("leaderboard", {"filter": "state = 1"}, "query filter", "'=' means nothing here; compare with =="),
        ("leaderboard", {"sort": "obective"}, "query sort", "did you mean objective"),
        ("leaderboard", {"columns": "params.x"}, "query columns", "there are lr, note"),
        ("leaderboard", {"format": "xml"}, "query format", "'json', 'csv' or 'latex'"),
        ("curves", {"metric": "dice", "format": "latex"}, "query format", "json and csv"),
        ("bands", {"metric": "dice", "group": "name"}, "query group", "group by a parameter"),
    ],
)
async def test_a_wrong_parameter_is_answered_with_its_name(
    hub: RunningHub, path: str, params: dict[str, Any], where: str, message: str
) -> None:
    answer = await hub.get(f"sweeps/covid/{path}", **params)
    assert answer.status_code == 422
    error = answer.json()["error"]
    assert (error["where"], error["code"]) == (where, "InvalidParameter")
    assert message in error["message"]


@pytest.mark.parametrize("path", ["leaderboard", "sweeps/covid/leaderboard", "sweeps/covid/curves?metric=dice"])
async def test_who_may_not_get_experiments_sees_none(hub: RunningHub, path: str) -> None:
    hub.cluster.add_reader("stranger", namespace="elsewhere")
    assert (await hub.get(path, token="stranger")).status_code == 403
    assert (await hub.get(path, token=None)).status_code == 401
