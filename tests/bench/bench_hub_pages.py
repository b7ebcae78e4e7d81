"""The sweep page of 10,000 runs in Chromium: until the first plot with data is drawn, what is loaded until then, and
parallel coordinates. `make bench-hub`, or `pytest tests/bench/bench_hub_pages.py -s -o python_files='bench_*.py'`.
"""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING

from tests.bench.hub_report import Report, What
from tests.bench.hub_served import HEADERS, PAGE, served

if TYPE_CHECKING:
    from playwright.sync_api import Browser, Page

VISITS = 5
MARK = """
window.painted = {};
new MutationObserver((records) => {
  for (const record of records) {
    const name = record.target.closest("[data-widget]")?.dataset.widget;
    // The frame after the plot was drawn, and the task after that frame.
    requestAnimationFrame(() => setTimeout(() => { window.painted[name] ??= performance.now(); }));
  }
}).observe(document, { subtree: true, attributes: true, attributeFilter: ["data-drawn"] });
"""
"""Notes when each plot was painted, in milliseconds from the beginning of the navigation."""
ASKED = """() => {
  const asked = performance.getEntriesByType("resource").filter((one) => /[/]parallel([?]|$)/.test(one.name));
  return asked[0].startTime;
}"""


def painted(page: Page, widget: str, *, seconds: float = 60) -> float:
    """Milliseconds. Playwright's own waiting for an expression needs eval, which the pages' policy forbids."""
    deadline = time.monotonic() + seconds
    while (at := page.evaluate("name => window.painted[name] ?? null", widget)) is None:
        assert time.monotonic() < deadline, f"{widget} was not drawn"
        time.sleep(0.02)
    return float(at)


def test_the_sweep_page_in_chromium(ten_thousand_runs: Path, tmp_path: Path, chromium: Browser, report: Report) -> None:
    first: list[float] = []
    later: list[float] = []
    parallel: list[float] = []
    loaded = 0.0
    with served(ten_thousand_runs, tmp_path) as hub:
        for _ in range(VISITS):
            # A context of its own has an empty cache.
            context = chromium.new_context(viewport={"width": 1600, "height": 900}, extra_http_headers=HEADERS)
            page = context.new_page()
            page.add_init_script(MARK)
            session = context.new_cdp_session(page)
            session.send("Network.enable")
            sizes: list[float] = []
            session.on("Network.loadingFinished", lambda event, sizes=sizes: sizes.append(event["encodedDataLength"]))
            page.goto(hub.url + PAGE, wait_until="commit")
            first.append(painted(page, "curves"))
            painted(page, "scatter")  # the last one
            loaded = max(loaded, sum(sizes))
            page.goto(hub.url + PAGE, wait_until="commit")
            later.append(painted(page, "curves"))
            parallel.append(painted(page, "parallel") - float(page.evaluate(ASKED)))
            context.close()
    report.add(What.PLOT, f"{seconds(first)}; {seconds(later)}")
    report.add(What.BYTES, f"{loaded / 1000:.0f} kB")
    report.add(What.PARALLEL, seconds(parallel))


def seconds(milliseconds: list[float]) -> str:
    found = sorted(one / 1000 for one in milliseconds)
    return f"{found[len(found) // 2]:.2f} s ({found[0]:.2f}-{found[-1]:.2f})"
