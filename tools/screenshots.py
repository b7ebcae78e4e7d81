"""`make screenshots`: pictures of every page of the dashboard, in both themes and both widths, from the made-up
clinic of the browser tests. Writes docs/screenshots/<page>-<theme>-<width>.png.
"""

from __future__ import annotations

import io
import sys
import tempfile
import time
from collections.abc import Iterator
from pathlib import Path

from PIL import Image
from playwright.sync_api import Browser, Page, sync_playwright

from orkhaven.hub.context import Clocks
from tests.browser.conftest import ARGUMENTS, CHROMIUM, drawn, wait_for
from tests.browser.demo import NOW, build
from tests.browser.media import add_events, add_media
from tests.browser.serving import Served, serving
from tests.unit.hub.fakes import NAMESPACE, FakeCluster

FOLDER = Path(__file__).parents[1] / "docs" / "screenshots"
SIZES = ((1600, 1000), (390, 844))
THEMES = ("light", "dark")
SWEEP = "covid-architectures"


def main() -> int:
    if CHROMIUM is None:
        print("Chromium is not installed (Debian: apt-get install chromium)", file=sys.stderr)
        return 2
    FOLDER.mkdir(parents=True, exist_ok=True)
    cluster = FakeCluster()
    cluster.add_reader("reader")
    cluster.add_log_reader("reader")
    verbs, kinds = ("patch", "delete", "create"), ("Sweep", "Experiment")
    cluster.changers |= {("user-of-reader", verb, kind) for verb in verbs for kind in kinds}
    cluster.changers.add(("user-of-reader", "list", "Event"))
    with (
        tempfile.TemporaryDirectory() as folder,
        serving(cluster, Path(folder), Clocks(wall=NOW.timestamp)) as served,
        sync_playwright() as playwright,
    ):
        served.do(lambda: build(cluster, served.store.ingest))
        served.do(lambda: _add_media(served))
        browser = playwright.chromium.launch(executable_path=CHROMIUM, args=ARGUMENTS)
        for picture in _pictures(browser, served):
            print(picture.relative_to(FOLDER.parents[1]))
        browser.close()
    return 0


def _leaders(served: Served) -> list[str]:
    rows = served.cluster.objects["Sweep", NAMESPACE, SWEEP]["status"]["leaderboard"]
    return [row["experiment"] for row in rows[:3]]


def _failed(served: Served) -> str:
    return next(
        name
        for (kind, namespace, name), body in served.cluster.objects.items()
        if kind == "Experiment" and namespace == NAMESPACE and body["status"]["state"] == "Failed"
    )


def _add_media(served: Served) -> None:
    shown = [*_leaders(served), _failed(served)]
    add_media(served.cluster, served.store, shown)
    add_events(served.cluster, shown)


def _pages(served: Served) -> dict[str, str]:
    leaders, failed = _leaders(served), _failed(served)
    root = f"/n/{NAMESPACE}"
    return {
        "sweeps": f"{root}/sweeps",
        "sweep": f"{root}/sweeps/{SWEEP}",
        "experiment": f"{root}/experiments/{leaders[0]}",
        "failed": f"{root}/experiments/{failed}",
        "compare": f"{root}/compare?" + "&".join(f"run={name}" for name in leaders),
    }


def _pictures(browser: Browser, served: Served) -> Iterator[Path]:
    for theme in THEMES:
        for width, height in SIZES:
            context = browser.new_context(
                viewport={"width": width, "height": height},
                color_scheme="dark" if theme == "dark" else "light",
                base_url=served.url,
            )
            page = context.new_page()
            page.clock.set_fixed_time(NOW)  # ages are counted by the browser
            page.goto("/")
            page.fill("#token", "reader")
            page.click("button.primary")
            for name, path in _pages(served).items():
                page.goto(path)
                _settle(page)
                target = FOLDER / f"{name}-{theme}-{width}.png"
                _save(page.screenshot(full_page=True), target)
                yield target
            context.close()


def _save(picture: bytes, target: Path) -> None:
    """With a palette: a third of the bytes, and nothing that an eye would miss."""
    with Image.open(io.BytesIO(picture)) as image:
        image.convert("RGB").quantize(256, method=Image.Quantize.FASTOCTREE, dither=Image.Dither.NONE).save(
            target, optimize=True
        )


def _settle(page: Page) -> None:
    """Until every plot is drawn and nothing is being computed."""
    widgets: list[str] = page.evaluate(
        "[...document.querySelectorAll('[data-widget]')].map((one) => one.dataset.widget)"
    )
    for widget in widgets:
        wait_for(lambda widget=widget: drawn(page, widget), f"{widget} is drawn", seconds=60)
    # What stands further down is fetched when it comes into sight.
    parts = page.locator("[data-part], [hx-trigger^=intersect]")
    for number in range(parts.count()):
        parts.nth(number).scroll_into_view_if_needed()
        wait_for(
            lambda number=number: (
                "Being fetched" not in (parts.nth(number).text_content() or "")
                or not parts.nth(number).get_by_text("Being fetched").is_visible()
            ),
            "a part is fetched",
        )
    wait_for(
        lambda: page.locator("[data-views]").count() == 0 or page.locator("[data-views][data-drawn]").count() > 0,
        "the pictures are drawn",
    )
    page.evaluate("scrollTo(0, 0)")
    pending = "document.querySelector('#importance .empty')?.textContent.startsWith('Being') ?? false"
    wait_for(lambda: not page.evaluate(pending), "importance is computed", seconds=60)
    wait_for(lambda: page.evaluate("document.querySelector('#live')?.textContent") != "connecting", "events arrive")
    # One more frame, so that the canvas is on the screen.
    page.evaluate("new Promise((done) => requestAnimationFrame(() => requestAnimationFrame(done)))")


if __name__ == "__main__":
    started = time.monotonic()
    code = main()
    print(f"{time.monotonic() - started:.0f} s")
    sys.exit(code)
