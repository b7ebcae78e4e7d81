"""The dashboard in the system's Chromium, over the made-up clinic of `demo`."""

from __future__ import annotations

import contextlib
import shutil
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from playwright.sync_api import Browser, Page, expect, sync_playwright

from orkhaven.hub.context import Clocks
from tests.browser.demo import NOW, build
from tests.browser.serving import Served, serving
from tests.unit.hub.fakes import FakeCluster

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
ARGUMENTS = ["--no-sandbox", "--disable-gpu"]
# A page on a busy machine is slower than Playwright's five seconds, and no less right.
expect.set_options(timeout=20_000)


def wait_for(condition: Callable[[], object], what: str, *, seconds: float = 20) -> None:
    """Playwright's own waiting for an expression needs eval, which the pages' policy forbids."""
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, f"not in time: {what}"
        time.sleep(0.02)


def drawn(page: Page, widget: str) -> int:
    """How often the plot was drawn."""
    script = "name => Number(document.querySelector(`[data-widget=${name}] .plot`)?.dataset.drawn ?? 0)"
    return int(page.evaluate(script, widget))


def brush_the_best(page: Page) -> None:
    """Drags along the upper part of the last axis, the objective, of the parallel coordinates."""
    box = page.locator("[data-widget=parallel] canvas").bounding_box()
    assert box is not None
    x, y = box["x"] + box["width"] - 60, box["y"]
    page.mouse.move(x, y + 52)
    page.mouse.down()
    page.mouse.move(x, y + 90, steps=4)
    page.mouse.move(x, y + 120, steps=4)
    page.mouse.up()


@contextlib.contextmanager
def started_chromium() -> Iterator[Browser]:
    """The system's own. Skips the test where there is none."""
    if CHROMIUM is None:
        pytest.skip("Chromium is not installed (Debian: apt-get install chromium)")
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        yield browser
        browser.close()


@pytest.fixture(scope="session")
def chromium() -> Iterator[Browser]:
    with started_chromium() as browser:
        yield browser


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    cluster = FakeCluster()
    cluster.add_reader("reader")
    cluster.changers |= {("user-of-reader", "patch", kind) for kind in ("Sweep", "Experiment")}
    with serving(cluster, tmp_path, Clocks(wall=NOW.timestamp)) as hub:
        hub.do(lambda: build(cluster, hub.store.ingest))
        yield hub


@pytest.fixture
def page(chromium: Browser, served: Served) -> Iterator[Page]:
    """Logged in. At the end: nothing came from elsewhere, and the console had no complaint."""
    context = chromium.new_context(viewport={"width": 1600, "height": 1000}, base_url=served.url)
    page = context.new_page()
    page.goto("/")
    page.fill("#token", "reader")
    page.click("button.primary")
    page.wait_for_url("**/n/radiology/sweeps")
    complaints: list[str] = []
    foreign: list[str] = []
    page.on("console", lambda message: complaints.append(message.text) if message.type == "error" else None)
    page.on("pageerror", lambda error: complaints.append(str(error)))
    page.on("request", lambda request: None if _is_ours(request.url, served.url) else foreign.append(request.url))
    yield page
    context.close()
    assert foreign == []
    assert complaints == []


def _is_ours(url: str, base: str) -> bool:
    return url.startswith((base, "data:", "blob:"))
