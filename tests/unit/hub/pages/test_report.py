"""A sweep as one HTML file: all of it there, nothing fetched, nothing in it run but its own scripts."""

from __future__ import annotations

import base64
import hashlib
import json
import re

import pytest

from orkhaven.hub.report import bundle
from orkhaven.hub.report.page import json_in_html
from tests.unit.hub.conftest import line
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser, add_sweep

PATH = f"/n/{NAMESPACE}/sweeps/sweep/report"
HOSTILE = '</script><script>document.title="owned"</script><!--'
OBJECTIVE = {"metric": "val/dice", "direction": "Maximize"}


@pytest.fixture
async def clinic(browser: Browser, fake_cluster: FakeCluster) -> Browser:
    """Three runs, one of them failed, with hostile texts everywhere that a run can write."""
    failures = [{"reason": "Diverged", "count": 1, "message": HOSTILE, "suggestion": "less lr"}]
    add_sweep(fake_cluster, status={"state": "Running", "failureClusters": failures, "trials": {"total": 3}})
    for name in ("a", "b", "c"):
        fake_cluster.add_run(name, sweep="sweep", objective=OBJECTIVE, params={"lr": ord(name), "note": HOSTILE + name})
        status = (
            {"state": "Failed", "message": HOSTILE, "reason": "Diverged"} if name == "c" else {"state": "Succeeded"}
        )
        fake_cluster.objects["Experiment", NAMESPACE, name]["status"] = status
        fake_cluster.touch("Experiment", NAMESPACE, name)
    await browser.hub.settled()
    for name in ("a", "b"):
        await browser.hub.post(name, [line(1, val__dice=0.5)])
    return browser


async def test_the_report_is_one_file_with_all_of_the_sweep(clinic: Browser) -> None:
    answer = await clinic.get(PATH)
    assert answer.status_code == 200
    assert answer.headers["content-disposition"] == 'attachment; filename="sweep-report.html"'
    html = answer.text
    for heading in (
        "Learning curves", "Parameters and result", "Leaderboard", "One column against another", "What matters",
        "When and where", "Failures by cause", "Parameters", "YAML",
    ):  # fmt: skip
        assert f">{heading}</h2>" in html
    assert "made by Orkhaven" in html
    markup = re.sub(r"<script>.*?</script>", "", html, flags=re.DOTALL)
    assert not re.search(r'\s(?:src|href|action)="', markup)
    assert not re.search(r"url\((?!#)", markup)


async def test_no_text_of_a_run_ends_an_element_or_is_markup(clinic: Browser) -> None:
    html = (await clinic.get(PATH)).text
    assert HOSTILE not in html
    assert html.count("<script") == html.count("</script>") == 3
    (data,) = re.findall(r'<script type="application/json" id="ork-data">(.*?)</script>', html, re.DOTALL)
    assert HOSTILE + "a" in json.loads(data)["columns"]["params.note"]["texts"]
    assert "<" not in data


async def test_only_its_own_scripts_may_run_in_it(clinic: Browser) -> None:
    html = (await clinic.get(PATH)).text
    found = re.search(r'http-equiv="Content-Security-Policy" content="([^"]*)"', html)
    assert found is not None
    policy = found[1].replace("&#39;", "'")
    assert policy.startswith("default-src 'none'")
    for text in re.findall(r"<script>(.*?)</script>", html, re.DOTALL):
        digest = base64.b64encode(hashlib.sha256(text.encode()).digest()).decode()
        assert f"'sha256-{digest}'" in policy


async def test_the_api_gives_the_same_file_to_a_token(clinic: Browser) -> None:
    answer = await clinic.hub.get("sweeps/sweep/report")
    assert answer.status_code == 200
    assert "made by Orkhaven" in answer.text
    assert (await clinic.hub.get("sweeps/none/report")).status_code == 404


async def test_who_may_not_read_gets_no_report(anonymous: Browser, fake_cluster: FakeCluster) -> None:
    add_sweep(fake_cluster)
    assert (await anonymous.get(PATH)).status_code == 303
    assert (await anonymous.hub.get("sweeps/sweep/report", token=None)).status_code == 401
    await anonymous.login()
    assert (await anonymous.get("/n/pathology/sweeps/sweep/report")).status_code == 403


async def test_a_sweep_without_a_run_has_a_report_that_says_so(browser: Browser, fake_cluster: FakeCluster) -> None:
    add_sweep(fake_cluster)
    await browser.hub.settled()
    html = (await browser.get(PATH)).text
    assert "No run yet." in html
    assert "No trial has ended yet." in html


def test_json_in_a_page_is_the_same_json() -> None:
    value = {"<!--": ["</script>", "a & b", "\u2028", "ü"]}
    text = json_in_html(value)
    assert not set("<>&\u2028") & set(text)
    assert json.loads(text) == value


def test_the_scripts_can_be_put_together() -> None:
    script = bundle.script()
    assert all(f"modules['{name}']" in script for name in bundle.MODULES)
    assert not re.search(r"^\s*(import|export)\b", script, re.MULTILINE)
