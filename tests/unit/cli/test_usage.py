"""`kubectl ork usage` over a hub in memory."""

from __future__ import annotations

import csv
import io
import json
from typing import Any

import httpx
import pytest

from orkhaven.cli.output import Format
from orkhaven.cli.usage import usage
from orkhaven.client.errors import Invalid
from tests.unit.cli.world import Capture, TestSession
from tests.unit.client.fake_api import FakeApi

NONE = dict.fromkeys(
    ("total", "useful", "failed", "pruned", "preempted", "cancelled", "suspended", "running", "lost", "saved"), 0.0
)
ASKED: dict[str, Any] = {"by": None, "since": "30d", "until": None, "per": None, "everywhere": False}


class Hub:
    """Answers with these rows, and keeps what it was asked."""

    def __init__(self, *rows: dict[str, Any], by: str = "user") -> None:
        self.asked: list[tuple[str, dict[str, str]]] = []
        made = [{**NONE, **row} for row in rows]
        total = {part: sum(row[part] for row in made) for part in NONE}
        self.answer = {"since": "2026-03-01", "until": "2026-03-30", "by": by, "per": "day", "total": total}
        self.answer |= {"rows": made, "periods": [{**total, "start": "2026-03-01"}]}

    def __call__(self, request: httpx.Request) -> httpx.Response:
        self.asked.append((request.url.path, dict(request.url.params)))
        return httpx.Response(200, json=self.answer)


BOTH = ({"user": "ada", "total": 3.0, "useful": 2.0, "pruned": 1.0}, {"user": "", "total": 0.5, "failed": 0.5})


def test_hours_are_by_person_with_the_outcomes_that_there_are(api: FakeApi, capsys: Capture) -> None:
    hub = Hub(*BOTH)
    assert usage(TestSession(api, hub), **ASKED) == 0
    assert [line.split() for line in capsys.readouterr().out.splitlines()] == [
        ["USER", "TOTAL", "USEFUL", "FAILED", "PRUNED"],
        ["ada", "3.00", "2.00", "0.00", "1.00"],
        ["-", "0.50", "0.00", "0.50", "0.00"],
        ["all", "3.50", "2.00", "0.50", "1.00"],
    ]
    assert hub.asked == [("/api/v1/namespaces/radiology/usage", {"by": "user", "since": "30d"})]


def test_over_all_namespaces_they_are_by_namespace(api: FakeApi, capsys: Capture) -> None:
    hub = Hub({"namespace": "oncology", "total": 1.0, "running": 1.0}, by="namespace")
    usage(TestSession(api, hub), **{**ASKED, "everywhere": True, "since": "7d"})
    assert capsys.readouterr().out.splitlines()[1].split() == ["oncology", "1.00", "0.00", "0.00", "1.00"]
    assert hub.asked == [("/api/v1/usage", {"by": "namespace", "since": "7d"})]


def test_by_period_there_is_a_row_for_each(api: FakeApi, capsys: Capture) -> None:
    hub = Hub(*BOTH)
    usage(TestSession(api, hub), **{**ASKED, "per": "month"})
    head, row = capsys.readouterr().out.splitlines()
    assert (head.split()[0], row.split()[:2]) == ("FROM", ["2026-03-01", "3.50"])
    assert hub.asked[0][1]["per"] == "month"


def test_programs_get_the_whole_answer_or_a_table(api: FakeApi, capsys: Capture) -> None:
    hub = Hub(*BOTH)
    usage(TestSession(api, hub, output=Format.JSON), **ASKED)
    assert json.loads(capsys.readouterr().out) == hub.answer
    usage(TestSession(api, hub, output=Format.CSV), **ASKED)
    rows = list(csv.DictReader(io.StringIO(capsys.readouterr().out)))
    assert [(row["user"], float(row["total"])) for row in rows] == [("ada", 3), ("", 0.5)]


def test_nothing_is_said_in_a_sentence(api: FakeApi, capsys: Capture) -> None:
    usage(TestSession(api, Hub()), **ASKED)
    assert capsys.readouterr() == ("", "no GPU was held from 2026-03-01 to 2026-03-30\n")


def test_what_the_hub_does_not_understand_is_said_as_it_says_it(api: FakeApi) -> None:
    def refuse(request: httpx.Request) -> httpx.Response:
        error = {"code": "InvalidParameter", "message": "'soon' is no day", "where": "query since"}
        return httpx.Response(422, json={"error": error})

    with pytest.raises(Invalid, match="query since: 'soon' is no day"):
        usage(TestSession(api, refuse), **{**ASKED, "since": "soon"})
