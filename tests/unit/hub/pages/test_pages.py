"""What pages show, whatever names and texts they are given."""

from __future__ import annotations

import json
import re
from html.parser import HTMLParser
from typing import Any

import pytest

from tests.unit.hub.conftest import line
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser, add_sweep

HOSTILE = [
    "<script>alert(1)</script>",
    '"><img src=x onerror=alert(1)>',
    "' onmouseover='alert(1)",
    "{{ 7 * 7 }}",
    "‮evil",
    "x" * 3000,
    "</textarea></title><svg onload=alert(1)>",
]


class Tags(HTMLParser):
    """What a browser would make of it: elements and event handlers."""

    def __init__(self, text: str) -> None:
        super().__init__()
        self.elements: list[str] = []
        self.inline: list[str] = []
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.elements.append(tag)
        self.inline += [name for name, _ in attrs if name.startswith("on") or name == "style"]
        if tag == "script" and not dict(attrs).get("src"):
            self.inline.append("script")


async def ready(browser: Browser, *, experiments: int = 0, sweeps: int = 1) -> None:
    catalogue = browser.hub.app.state.hub.queries.catalogue
    await browser.hub.until(
        lambda: len(catalogue.sweeps(NAMESPACE)) >= sweeps and len(catalogue.experiments(NAMESPACE)) >= experiments
    )


async def report(browser: Browser, name: str, *values: float, **params: Any) -> None:
    """A run of `sweep` with these values of its objective."""
    browser.hub.cluster.add_run(
        name, sweep="sweep", objective={"metric": "val/dice", "direction": "Maximize"}, params=params
    )
    lines = [line(number + 1, val__dice=value) for number, value in enumerate(values)]
    if lines:
        assert (await browser.hub.post(name, lines)).status_code == 200


async def test_a_list_without_sweeps_says_how_one_gets_there(browser: Browser) -> None:
    page = (await browser.get(f"/n/{NAMESPACE}/sweeps")).text
    assert "No sweep in namespace radiology yet." in page
    assert "kubectl apply -n radiology" in page


async def test_the_list_shows_progress_the_best_value_its_holder_and_failures(
    browser: Browser, fake_cluster: FakeCluster
) -> None:
    status = {
        "state": "Running",
        "trials": {"total": 20, "succeeded": 8, "failed": 2, "running": 4},
        "best": {"experiment": "sweep-abc", "value": 0.81234567, "step": 3},
        "gpuHours": {"total": 12.5},
    }
    add_sweep(fake_cluster, status=status, metadata={"labels": {"orkhaven.io/owner": "anna"}})
    await ready(browser)
    page = (await browser.get(f"/n/{NAMESPACE}/sweeps")).text
    for wanted in ("10 / 20", "0.81235", "sweep-abc", "10 of 20 trials ended, 8 succeeded, 2 failed", "anna", "12.5"):
        assert wanted in page, wanted


async def test_a_filter_that_nothing_fits_says_so_and_offers_a_way_out(
    browser: Browser, fake_cluster: FakeCluster
) -> None:
    add_sweep(fake_cluster)
    await ready(browser)
    page = (await browser.get(f"/n/{NAMESPACE}/sweeps", q="nothing")).text
    assert "No sweep fits." in page


async def test_the_leaderboard_ranks_pins_and_pages_and_keeps_all_of_it_in_links(
    browser: Browser, fake_cluster: FakeCluster
) -> None:
    add_sweep(fake_cluster)
    for number in range(60):
        await report(browser, f"sweep-{number:02d}", number / 100, lr=number % 2)
    await ready(browser, experiments=60)
    page = (await browser.get(f"/n/{NAMESPACE}/sweeps/sweep", run=["sweep-00"], metric="val/dice")).text
    pins = re.findall(r'aria-label="Pin (sweep-\d+)"', page)
    assert pins[:3] == ["sweep-00", "sweep-59", "sweep-58"]
    assert len(pins) == 51
    following = re.search(r'href="([^"]+)"[^>]*rel="next"', page)
    assert following is not None
    link = following[1].replace("&amp;", "&")
    assert "run=sweep-00" in link
    assert "metric=val%2Fdice" in link
    second = (await browser.get(link)).text
    assert re.findall(r'aria-label="Pin (sweep-\d+)"', second)[1] == "sweep-09"


async def test_a_filter_that_cannot_be_read_is_said_above_all_runs(browser: Browser, fake_cluster: FakeCluster) -> None:
    add_sweep(fake_cluster)
    await report(browser, "sweep-a", 0.5, lr=1)
    await ready(browser, experiments=1)
    answer = await browser.get(f"/n/{NAMESPACE}/sweeps/sweep", filter="params.lrr > 1")
    assert answer.status_code == 200
    assert "params.lrr" in answer.text
    assert "All runs are shown." in answer.text
    assert "Pin sweep-a" in answer.text


async def test_curves_are_of_the_best_runs_and_the_pinned_ones(browser: Browser, fake_cluster: FakeCluster) -> None:
    add_sweep(fake_cluster)
    for name, value in (("sweep-a", 0.3), ("sweep-b", 0.9), ("sweep-c", 0.6)):
        await report(browser, name, value / 2, value, lr=1)
    await ready(browser, experiments=3)
    answer = await browser.get(f"/n/{NAMESPACE}/sweeps/sweep/curves", top=1, run="sweep-a")
    series = answer.json()["series"]
    assert [(one["name"], one.get("pinned", False)) for one in series] == [("sweep-a", True), ("sweep-b", False)]
    assert series[1]["x"] == [1, 2]
    assert series[1]["y"] == [0.45, 0.9]
    again = await browser.client.get(answer.url, headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_plots_of_a_silent_sweep_say_why_they_are_empty(browser: Browser, fake_cluster: FakeCluster) -> None:
    add_sweep(fake_cluster)
    await ready(browser)
    for plot in ("curves", "parallel", "scatter"):
        body = (await browser.get(f"/n/{NAMESPACE}/sweeps/sweep/{plot}")).json()
        assert body["empty"]["title"], plot
        assert not body.get("series"), plot
        assert not body.get("names"), plot
    page = (await browser.get(f"/n/{NAMESPACE}/sweeps/sweep")).text
    assert "No run yet." in page
    assert "No trial has ended yet." in page
    importance = (await browser.part(f"/n/{NAMESPACE}/sweeps/sweep/importance")).text
    assert "0 completed trials; from 20 on" in importance


async def test_an_experiments_page_says_why_it_waits_and_how_to_run_it_again(
    browser: Browser, fake_cluster: FakeCluster
) -> None:
    name = "sweep-a"
    fake_cluster.add_run(name, sweep="sweep", objective={"metric": "val/dice"}, params={"optimizer": {"lr": 0.1}})
    body = fake_cluster.objects["Experiment", NAMESPACE, name]
    body["status"] = {"state": "Queued", "reason": "WaitingForGpus", "message": "waits for 1 GPU with 24Gi"}
    page = (await browser.get(f"/n/{NAMESPACE}/experiments/{name}")).text
    assert "waits for 1 GPU with 24Gi" in page
    assert "optimizer.lr" in page
    assert "generateName: sweep-a-again-" in page
    assert "No attempt yet." in page
    assert "No metric yet." in page


async def test_a_sweeps_page_tells_what_identical_runs_saved(browser: Browser, fake_cluster: FakeCluster) -> None:
    trials = {"total": 9, "created": 9, "succeeded": 5, "reused": 3, "skipped": 2, "failed": 2}
    add_sweep(fake_cluster, status={"state": "Succeeded", "trials": trials})
    await ready(browser)
    page = (await browser.get(f"/n/{NAMESPACE}/sweeps/sweep")).text
    assert "of 9, 3 reused" in page
    assert "2 skipped" in page


async def test_a_run_that_took_a_result_over_leads_to_the_one_that_did_the_work(
    browser: Browser, fake_cluster: FakeCluster
) -> None:
    name = "copy"
    fake_cluster.add_run(name)
    fake_cluster.objects["Experiment", NAMESPACE, name]["status"] = {
        "state": "Succeeded",
        "reason": "Reused",
        "message": "val/dice 0.7 at step 3, taken over from source, the same run",
        "reusedFrom": "source",
    }
    page = (await browser.get(f"/n/{NAMESPACE}/experiments/{name}")).text
    assert f'href="/n/{NAMESPACE}/experiments/source"' in page
    assert "taken over from source" in page


async def test_compared_runs_show_only_what_differs(browser: Browser, fake_cluster: FakeCluster) -> None:
    add_sweep(fake_cluster)
    await report(browser, "sweep-a", 0.5, lr=1, epochs=60)
    await report(browser, "sweep-b", 0.6, lr=2, epochs=60)
    page = (await browser.get(f"/n/{NAMESPACE}/compare", run=["sweep-a", "sweep-b"])).text
    assert ">lr</th>" in page
    assert ">epochs</th>" not in page
    everything = (await browser.get(f"/n/{NAMESPACE}/compare", run=["sweep-a", "sweep-b"], all="1")).text
    assert ">epochs</th>" in everything


@pytest.mark.parametrize("runs", [["a"], [f"r{n}" for n in range(9)]], ids=["one", "nine"])
async def test_one_run_or_nine_cannot_be_compared(browser: Browser, runs: list[str]) -> None:
    answer = await browser.get(f"/n/{NAMESPACE}/compare", run=runs)
    assert answer.status_code == 400
    assert "Pin 2 to 8 runs" in answer.text


@pytest.mark.parametrize("text", HOSTILE, ids=["script", "image", "quote", "template", "rtl", "long", "svg"])
async def test_hostile_texts_stay_texts_on_every_page(browser: Browser, fake_cluster: FakeCluster, text: str) -> None:
    failure = {"reason": text[:60], "message": text, "suggestion": text, "samples": [text], "count": 1}
    failure |= {"id": text, "where": text, "correlates": [{"text": text}], "nodes": [{"name": text, "count": 1}]}
    add_sweep(
        fake_cluster,
        spec={"objective": {"metric": text, "direction": "Maximize"}},
        metadata={"labels": {"orkhaven.io/owner": text}},
        status={"state": text, "failureClusters": [failure], "best": {"experiment": text, "value": 1.0}},
    )
    fake_cluster.add_run("sweep-a", sweep="sweep", objective={"metric": text}, params={text: text, "plain": text})
    fake_cluster.add_run("sweep-b", sweep="sweep", objective={"metric": text}, params={text: 1, "plain": 2})
    body = fake_cluster.objects["Experiment", NAMESPACE, "sweep-a"]
    body["status"] = {
        "state": "Failed",
        "reason": text,
        "message": text,
        "failure": {"reason": text, "message": text, "excerpt": text, "location": text},
        "attempts": [{"number": 1, "node": text, "pod": text, "message": text, "reason": text}],
        "conditions": [{"type": text, "status": "False", "message": text}],
    }
    fake_cluster.touch("Experiment", NAMESPACE, "sweep-a")
    await ready(browser, experiments=2)
    harmless = None
    for path in ("sweeps", "sweeps/sweep", "experiments", "experiments/sweep-a", "compare?run=sweep-a&run=sweep-b"):
        answer = await browser.get(f"/n/{NAMESPACE}/{path}")
        assert answer.status_code == 200, path
        tags = Tags(answer.text)
        assert tags.inline == [], path
        if text == "{{ 7 * 7 }}":
            assert text in answer.text, path
        images = [tag for tag in tags.elements if tag == "img"]
        assert images == [], path
        harmless = answer
    assert harmless is not None
    for part in ("failures", "yaml", "head"):
        assert Tags((await browser.part(f"/n/{NAMESPACE}/sweeps/sweep/{part}")).text).inline == []
    answer = await browser.get(f"/n/{NAMESPACE}/sweeps/sweep", filter=text[:1000], sort=text[:1000], col=text[:1000])
    assert Tags(answer.text).inline == []


async def test_no_page_names_another_host(browser: Browser, fake_cluster: FakeCluster) -> None:
    add_sweep(fake_cluster)
    await report(browser, "sweep-a", 0.5, lr=1)
    await ready(browser, experiments=1)
    for path in ("/login", "/n/radiology/sweeps", "/n/radiology/sweeps/sweep", "/n/radiology/experiments/sweep-a"):
        page = (await browser.get(path)).text
        assert re.findall(r'(?:src|href|action|hx-get)="(?!/|#|\?)[^"]*"', page) == [], path


async def test_nan_is_shown_by_name_and_is_a_gap_in_a_curve(browser: Browser, fake_cluster: FakeCluster) -> None:
    add_sweep(fake_cluster)
    fake_cluster.add_run("sweep-a", sweep="sweep", objective={"metric": "val/dice"}, params={})
    lines = [line(1, val__dice=0.5), line(2, val__dice="NaN"), line(3, val__dice="Infinity")]
    assert (await browser.hub.post("sweep-a", lines)).status_code == 200
    await ready(browser, experiments=1)
    body = json.loads((await browser.get(f"/n/{NAMESPACE}/sweeps/sweep/curves")).text)
    assert body["series"][0]["y"] == [0.5, None, None]
    page = (await browser.get(f"/n/{NAMESPACE}/experiments/sweep-a")).text
    assert "Infinity" in page


async def test_an_api_server_that_is_away_is_said_on_a_page(browser: Browser, fake_cluster: FakeCluster) -> None:
    fake_cluster.away = True
    answer = await browser.get(f"/n/{NAMESPACE}/experiments/sweep-a")
    assert answer.status_code == 503
    assert "Not now" in answer.text


async def test_the_scatter_begins_with_a_parameter_that_differs_among_the_runs_that_have_a_result(
    browser: Browser, fake_cluster: FakeCluster
) -> None:
    add_sweep(fake_cluster)
    await report(browser, "a", 0.5, loss="dice", windows=[[0, 1]])
    await report(browser, "b", 0.6, loss="focal", windows=[[0, 1]])
    await report(browser, "failed-1", loss="focal", gamma=-2, windows=[[0, 2]])
    await report(browser, "failed-2", loss="focal", gamma=-1, windows=[])
    await ready(browser, experiments=4)
    for page in ("", "/report"):
        text = (await browser.get(f"/n/{NAMESPACE}/sweeps/sweep{page}")).text
        assert '<select name="sx" data-default="params.loss">' in text
