"""Lists and plots as files for whoever is logged in; nothing in them is run by a spreadsheet or by LaTeX."""

from __future__ import annotations

import csv
import io
from typing import Any

import pytest

from orkhaven.hub.query.export import to_csv
from tests.unit.hub.conftest import line
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser, add_sweep

SWEEP = f"/n/{NAMESPACE}/sweeps/sweep"
OBJECTIVE = {"metric": "val/dice", "direction": "Maximize"}
HOSTILE = "=cmd|' /C calc'!A1"


def add_trial(
    cluster: FakeCluster, name: str, *, params: dict[str, Any], state: str = "Succeeded", **status: Any
) -> None:
    cluster.add_run(name, sweep="sweep", objective=OBJECTIVE, params=params)
    cluster.objects["Experiment", NAMESPACE, name]["status"] = {"state": state, **status}
    cluster.touch("Experiment", NAMESPACE, name)


@pytest.fixture
async def clinic(browser: Browser, fake_cluster: FakeCluster) -> Browser:
    """Two sets of parameters, one of them with three repeats of which one failed."""
    failures = [{"reason": "Diverged", "count": 1, "message": HOSTILE, "samples": ["c"]}]
    add_sweep(fake_cluster, status={"state": "Running", "trials": {"total": 4}, "failureClusters": failures})
    for name, value, state in (("a", 0.5, "Succeeded"), ("b", 0.7, "Succeeded"), ("c", 0.1, "Failed")):
        add_trial(
            fake_cluster, name, params={"lr": 1, "note": HOSTILE}, state=state, paramHash="p1",
            objective={"value": value, "step": 3},
        )  # fmt: skip
    add_trial(
        fake_cluster, "d", params={"lr": 2, "note": "plain"}, paramHash="p2", objective={"value": 0.65, "step": 2}
    )
    await browser.hub.post("d", [line(1, val__dice=0.6), line(2, val__dice=0.65)])
    await browser.hub.settled()
    return browser


def table(text: str) -> list[dict[str, str]]:
    return list(csv.DictReader(io.StringIO(text)))


async def test_the_leaderboard_is_a_file_of_all_that_is_filtered_as_it_is_sorted(clinic: Browser) -> None:
    answer = await clinic.get(
        f"{SWEEP}/export", format="csv", filter="objective > 0.4", sort="objective", col=["objective", "params.lr"]
    )
    assert answer.headers["content-type"].startswith("text/csv")
    assert answer.headers["content-disposition"] == 'attachment; filename="sweep-leaderboard.csv"'
    assert [(row["name"], row["objective"], row["params.lr"]) for row in table(answer.text)] == [
        ("a", "0.5", "1"),
        ("d", "0.65", "2"),
        ("b", "0.7", "1"),
    ]


@pytest.mark.parametrize(
    "path",
    [
        f"/n/{NAMESPACE}/export/sweeps",
        f"/n/{NAMESPACE}/export/experiments",
        f"{SWEEP}/export",
        f"{SWEEP}/export/failures",
    ],
    ids=["sweeps", "experiments", "leaderboard", "failures"],
)
@pytest.mark.parametrize(
    ("format_", "kind", "begins"),
    [("csv", "text/csv", ""), ("json", "application/json", "["), ("latex", "application/x-latex", "% needs")],
    ids=["csv", "json", "latex"],
)
async def test_every_list_is_there_in_every_format(
    clinic: Browser, path: str, format_: str, kind: str, begins: str
) -> None:
    answer = await clinic.get(path, format=format_)
    assert answer.status_code == 200
    assert answer.headers["content-type"].startswith(kind)
    assert "attachment" in answer.headers["content-disposition"]
    assert answer.headers["cache-control"] == "no-store"
    assert answer.text.startswith(begins)


@pytest.mark.parametrize(
    "path",
    [f"/n/{NAMESPACE}/export/sweeps", f"{SWEEP}/export", f"{SWEEP}/export/failures", f"{SWEEP}/curves?format=csv"],
)
async def test_without_a_login_there_is_no_file(anonymous: Browser, path: str) -> None:
    answer = await anonymous.get(path)
    assert answer.status_code in (303, 401)


async def test_of_a_namespace_that_one_may_not_read_there_is_no_file(clinic: Browser) -> None:
    assert (await clinic.get("/n/pathology/export/sweeps")).status_code == 403
    assert (await clinic.get("/n/pathology/sweeps/sweep/export")).status_code == 403


@pytest.mark.parametrize("plot", ["curves?metric=val/dice", "parallel", "scatter?sx=params.lr", "timeline"])
@pytest.mark.parametrize("format_", ["csv", "json"])
async def test_the_data_of_a_plot_is_a_file(clinic: Browser, plot: str, format_: str) -> None:
    answer = await clinic.get(f"{SWEEP}/{plot}{'&' if '?' in plot else '?'}format={format_}")
    assert answer.status_code == 200
    assert "attachment" in answer.headers["content-disposition"]


async def test_a_curve_is_a_line_per_point(clinic: Browser) -> None:
    answer = await clinic.get(f"{SWEEP}/curves", format="csv", metric="val/dice")
    assert table(answer.text) == [
        {"experiment": "d", "step": "1", "val/dice": "0.6"},
        {"experiment": "d", "step": "2", "val/dice": "0.65"},
    ]


async def test_what_a_spreadsheet_would_run_is_text(clinic: Browser) -> None:
    rows = table((await clinic.get(f"{SWEEP}/export", format="csv", col="params.note")).text)
    assert {row["params.note"] for row in rows} == {f"'{HOSTILE}", "plain"}
    (cause,) = table((await clinic.get(f"{SWEEP}/export/failures", format="csv")).text)
    assert cause["message"] == f"'{HOSTILE}"


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1", "'+1"),
        ("-1", "'-1"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", '"\'\t=1"'),
        ("\n=1", '"\'\n=1"'),
        ("＝1+1", "'＝1+1"),
        ("x;=1+1", '"x;=1+1"'),
        ('say "hi", you', '"say ""hi"", you"'),
        (-1, "-1"),
        (-0.5, "-0.5"),
        (float("nan"), "NaN"),
        (None, ""),
        ([1, "=2"], '"[1, ""=2""]"'),
    ],
)
def test_a_cell_is_what_it_was_and_never_a_formula(value: Any, cell: str) -> None:
    assert "".join(to_csv(["x"], [{"x": value}])) == f"x\r\n{cell}\r\n"


async def test_repeats_are_one_row_that_says_who_failed(clinic: Browser) -> None:
    rows = table((await clinic.get(f"{SWEEP}/export", view="sets")).text)
    assert [(row["name"], row["runs"], row["failed"], row["n"]) for row in rows] == [
        ("d", "1", "0", "1"),
        ("b", "3", "1", "2"),
    ]
    assert float(rows[1]["mean"]) == pytest.approx(0.6)
    assert float(rows[1]["std"]) == pytest.approx(0.1414, abs=1e-4)
    assert (rows[1]["best"], rows[1]["worst"]) == ("0.7", "0.5")
    page = (await clinic.get(SWEEP, view="sets")).text
    assert "1 of 3" in page
    assert "paramHash+%3D%3D+%22p1%22" in page


@pytest.mark.parametrize(
    ("sort", "first"), [("", "d"), ("-best", "b"), ("params.lr", "b"), ("-params.lr", "d"), ("-runs", "b")]
)
async def test_sets_are_sorted_by_any_of_their_columns(clinic: Browser, sort: str, first: str) -> None:
    rows = table((await clinic.get(f"{SWEEP}/export", view="sets", sort=sort)).text)
    assert rows[0]["name"] == first


async def test_a_sort_that_sets_do_not_have_is_said_above_all_of_them(clinic: Browser) -> None:
    page = (await clinic.get(SWEEP, view="sets", sort="node")).text
    assert "parameter sets have no column node" in page
    assert "1 of 3" in page
