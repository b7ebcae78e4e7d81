"""Files out of the pages, and a sweep's report opened from a disk."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Locator, Page, expect

from tests.browser.conftest import drawn, wait_for
from tests.browser.serving import Served
from tests.unit.hub.fakes import NAMESPACE

ROOT = f"/n/{NAMESPACE}"
SWEEP = f"{ROOT}/sweeps/covid-architectures"
HOSTILE = "</script><script>document.title='owned'</script>"
WIDGETS = ("curves", "parallel", "scatter", "timeline")


def open_sweep(page: Page, query: str = "") -> None:
    page.goto(SWEEP + query)
    for widget in WIDGETS:
        wait_for(lambda widget=widget: drawn(page, widget), f"{widget} is drawn")


def saved(page: Page, panel: Locator, label: str) -> Path:
    """What a click in the panel's export menu downloads."""
    menu = panel.locator("details.menu", has_text="Export")
    menu.locator("summary").click()
    with page.expect_download() as download:
        menu.get_by_text(label, exact=True).click()
    menu.locator("summary").click()
    return Path(download.value.path())


@pytest.mark.parametrize("widget", WIDGETS)
def test_a_plot_is_a_picture_and_its_data(page: Page, widget: str) -> None:
    open_sweep(page)
    panel = page.locator(f"[data-widget={widget}]")
    assert saved(page, panel, "PNG").read_bytes().startswith(b"\x89PNG")
    drawing = saved(page, panel, "SVG").read_text()
    assert drawing.startswith("<svg")
    assert drawing.count("<path") > 5
    rows = list(csv.DictReader(saved(page, panel, "CSV of the data").open()))
    assert len(rows) > 20
    assert json.loads(saved(page, panel, "JSON of the data").read_text())[0].keys() == rows[0].keys()


def test_a_list_is_exported_as_it_is_filtered(page: Page) -> None:
    open_sweep(page, "?filter=params.model.architecture+%3D%3D+%22Unet%22&col=objective&col=params.model.architecture")
    rows = list(csv.DictReader(saved(page, page.locator("#leaderboard"), "CSV").open()))
    assert {row["params.model.architecture"] for row in rows} == {"Unet"}
    assert list(rows[0]) == ["name", "objective", "params.model.architecture"]
    assert "toprule" in saved(page, page.locator("#leaderboard"), "LaTeX").read_text()
    page.goto(f"{ROOT}/sweeps?state=Running")
    assert [row["name"] for row in csv.DictReader(saved(page, page.locator("#sweeps"), "CSV").open())] == [
        "covid-architectures"
    ]
    page.goto(f"{ROOT}/experiments")
    assert len(json.loads(saved(page, page.locator("#experiments"), "JSON").read_text())) > 200


def test_a_smaller_window_of_the_timeline_is_in_the_url_and_is_taken_back(page: Page) -> None:
    open_sweep(page)
    before = drawn(page, "timeline")
    box = page.locator("[data-widget=timeline] canvas").bounding_box()
    assert box is not None
    page.locator("[data-widget=timeline] canvas").hover(position={"x": 900, "y": 60})
    page.keyboard.down("Control")
    page.mouse.wheel(0, -400)
    page.keyboard.up("Control")
    wait_for(lambda: drawn(page, "timeline") > before, "the window is fetched")
    query = parse_qs(urlsplit(page.url).query)
    assert int(query["ta"][0]) < int(query["tz"][0])
    page.get_by_role("button", name="Whole time").click()
    wait_for(lambda: "ta=" not in page.url, "the whole time is shown")


def test_repeats_become_a_row_and_lead_to_their_runs(page: Page) -> None:
    open_sweep(page, "?view=sets")
    row = page.locator("#leaderboard tbody tr").first
    expect(page.locator("#leaderboard footer")).to_contain_text("sets of parameters")
    row.get_by_title("Its runs").click()
    expect(page.locator("#leaderboard footer")).to_contain_text("runs fit")
    assert "view=" not in page.url


def test_the_report_opens_from_a_disk_without_a_network(page: Page, chromium: Browser, served: Served) -> None:
    def poison() -> None:
        for (kind, namespace, name), body in list(served.cluster.objects.items()):
            if kind == "Experiment" and namespace == NAMESPACE and name.startswith("covid"):
                body["spec"]["params"]["augmentation"] = HOSTILE + name[-1]
                served.cluster.touch(kind, namespace, name)

    served.do(poison)
    open_sweep(page)
    with page.expect_download(timeout=120_000) as download:
        page.get_by_role("link", name="Report").click()
    assert download.value.suggested_filename == "covid-architectures-report.html"
    file = Path(download.value.path()).rename(Path(download.value.path()).with_suffix(".html"))
    context = chromium.new_context(offline=True, viewport={"width": 390, "height": 844})
    report = context.new_page()
    complaints: list[str] = []
    requests: list[str] = []
    report.on("console", lambda message: complaints.append(message.text))
    report.on("pageerror", lambda error: complaints.append(str(error)))
    report.on("request", lambda request: requests.append(request.url))
    report.goto(file.as_uri())
    for widget in WIDGETS:
        wait_for(lambda widget=widget: drawn(report, widget), f"{widget} is drawn")
    expect(report.locator("#leaderboard")).to_contain_text(HOSTILE)
    assert report.title() == "covid-architectures · report"
    assert report.evaluate("document.documentElement.scrollWidth") <= 390
    # It sorts, and its plots go on working.
    first = report.locator("#leaderboard tbody tr").first
    report.get_by_role("button", name="Objective", exact=True).click()
    best = first.inner_text()
    report.get_by_role("button", name="Objective", exact=True).click()
    assert first.inner_text() != best
    before = drawn(report, "scatter")
    report.get_by_label("across").select_option("trial")
    wait_for(lambda: drawn(report, "scatter") > before, "another column is drawn")
    # A canvas may be drawn into a picture that the page itself makes; nothing else is asked for.
    assert [url for url in requests if not url.startswith(("file:", "data:", "blob:"))] == []
    assert complaints == []
    context.close()


def test_a_sweep_is_cancelled_after_a_question(page: Page, served: Served) -> None:
    served.cluster.changers.add(("user-of-reader", "delete", "Sweep"))
    open_sweep(page)
    asked: list[str] = []
    page.on("dialog", lambda dialog: (asked.append(dialog.message), dialog.accept()))
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url(f"**{ROOT}/sweeps")
    assert "deletes it with all its Experiments" in asked[0]
    assert served.cluster.removed == [("user-of-reader", "Sweep", "covid-architectures")]
