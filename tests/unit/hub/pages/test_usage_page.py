"""The page of GPU-hours, and its files."""

from __future__ import annotations

import csv
import io
import re

from orkhaven.hub.pages.views.usage import bars_of, row_of
from tests.unit.hub.fakes import NAMESPACE
from tests.unit.hub.pages.conftest import Browser
from tests.unit.hub.test_usage import attempt, put, recorded

MARCH = {"since": "2026-03-09", "until": "2026-03-12"}


async def test_the_page_shows_hours_by_day_and_by_person(browser: Browser) -> None:
    put(browser.hub.cluster, "x", attempt(1, 0, 1, reason="DiskFull"), attempt(2, 1, 16, reason="Completed"))
    put(browser.hub.cluster, "y", attempt(1, 0, 8, reason="Preempted"), savedGpuSeconds=3600)
    await recorded(browser.hub, 3)
    text = (await browser.get(f"/n/{NAMESPACE}/usage", **MARCH)).text
    assert 'aria-current="page">Usage</a>' in text
    assert "2026-03-10: 20.00 GPU-hours: 11.00 useful, 1.00 failed, 8.00 preempted" in text
    assert "2026-03-12: 0.00 GPU-hours: nothing" in text
    assert len(re.findall(r"<title>2026-03-", text)) == 4
    (row,) = re.findall(r"<tr>\s*<th scope=\"row\".*?</tr>", text, re.DOTALL)
    assert [re.sub(r"<.*?>", "", cell).strip() for cell in re.findall(r"<t[hd].*?</t[hd]>", row, re.DOTALL)] == [
        "ada", "24.0", "15.0", "1.0", "8.0", "62 %",
    ]  # fmt: skip
    assert "style=" not in text


async def test_rows_are_by_what_is_asked_and_a_sweep_leads_to_its_page(browser: Browser) -> None:
    put(browser.hub.cluster, "x", attempt(1, 0, 1, reason="Completed"))
    await recorded(browser.hub, 1)
    text = (await browser.get(f"/n/{NAMESPACE}/usage", by="sweep", **MARCH)).text
    assert f'<a href="/n/{NAMESPACE}/sweeps/covid">covid</a>' in text
    assert "by=cause&amp;since=2026-03-09&amp;until=2026-03-12&amp;per=day" in text


async def test_an_empty_time_says_so(browser: Browser) -> None:
    answer = await browser.get(f"/n/{NAMESPACE}/usage")
    assert answer.status_code == 200
    assert "No GPU was held in this time." in answer.text


async def test_all_namespaces_are_those_that_may_be_read(browser: Browser) -> None:
    put(browser.hub.cluster, "x", attempt(1, 0, 1, reason="Completed"))
    put(browser.hub.cluster, "y", attempt(1, 0, 1, reason="Completed"), namespace="oncology")
    await recorded(browser.hub, 2)
    text = (await browser.get("/usage", **MARCH)).text
    assert f'<a href="/n/{NAMESPACE}/usage?since=2026-03-09' in text
    assert "oncology" not in text
    assert (await browser.get("/n/oncology/usage")).status_code == 403
    rows = list(csv.DictReader(io.StringIO((await browser.get("/export/usage", **MARCH)).text)))
    assert [(one["namespace"], one["total"]) for one in rows] == [(NAMESPACE, "1.0")]


async def test_the_file_is_what_the_page_shows_by_day(browser: Browser) -> None:
    put(browser.hub.cluster, "x", attempt(1, 0, 16, reason="Completed"))
    await recorded(browser.hub, 1)
    answer = await browser.get(f"/n/{NAMESPACE}/export/usage", per="day", **MARCH)
    assert answer.headers["content-disposition"] == f'attachment; filename="{NAMESPACE}-usage.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(one["period"], one["user"], one["useful"]) for one in rows] == [
        ("2026-03-10", "ada", "12.0"),
        ("2026-03-11", "ada", "4.0"),
    ]


async def test_a_wrong_link_is_a_page_that_says_what_would_be_right(browser: Browser) -> None:
    answer = await browser.get(f"/n/{NAMESPACE}/usage", since="soon")
    assert answer.status_code == 400
    assert "no day such as 2026-11-30" in answer.text


async def test_nobody_sees_it_without_a_login(anonymous: Browser) -> None:
    for path in ("/usage", f"/n/{NAMESPACE}/usage", "/export/usage"):
        assert (await anonymous.get(path)).headers["location"].startswith("/login")


def test_bars_stand_on_each_other_and_the_highest_fills_the_plot() -> None:
    parts = dict.fromkeys(("useful", "failed", "pruned", "preempted", "cancelled", "suspended", "running"), 0.0)
    bars = bars_of(
        [
            {"start": "2026-03-10", **parts, "total": 4.0, "useful": 3.0, "failed": 1.0},
            {"start": "2026-03-11", **parts, "total": 0.0},
        ]
    )
    assert [(piece.y, piece.height) for piece in bars.bars[0].pieces] == [(25, 75), (0, 25)]
    assert (bars.bars[1].pieces, bars.width) == ([], 20)


def test_what_has_not_ended_does_not_count_against_the_useful_share() -> None:
    row = {"user": "", "total": 4.0, "useful": 1.0, "running": 2.0, "suspended": 0.0}
    made = row_of(row, "user")
    assert (made.key, made.useful_share) == ("–", 50)
