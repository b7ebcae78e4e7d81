"""Each page in the system's Chromium, on a real sweep: logged in with a real token, with and without rights.

`PANELS` is what the walk looks for: whoever adds a panel adds a line.
"""

from __future__ import annotations

import contextlib
import json
import re
import subprocess
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
from playwright.sync_api import Browser, BrowserContext, ConsoleMessage, Page, expect

from tests.browser.conftest import drawn, started_chromium, wait_for
from tests.e2e.clinic import SWEEP, Clinic, Person
from tests.e2e.hub import forwarded
from tests.e2e.user import sweep
from tools.deploy import Deployment

PANELS = {
    "sweep": (
        "Learning curves",
        "Parameters and result",
        "Leaderboard",
        "One column against another",
        "What matters",
        "Failures by cause",
        "YAML",
    ),
    "experiment": (
        "Conditions",
        "Metrics",
        "Curves",
        "Parameters",
        "Images",
        "Log",
        "Attempts",
        "Events",
        "Artifacts",
        "YAML",
    ),
    "compare": ("Curves", "The same case side by side", "What differs"),
}
SAYS = {
    "Conditions": "Finished",
    "Metrics": "val/dice",
    "Log": "epoch 2/2: train/loss",
    "Attempts": "orkhaven-e2e-node",
    "Events": "Successfully assigned",
    "Artifacts": "report/overlays",
}
"""Of the run that leads: what a panel has from the real cluster."""
PLOTS = {"sweep": ("curves", "parallel", "scatter"), "experiment": ("curves",), "compare": ("curves",)}


BROWSER = """#!/bin/sh
# A browser that only writes down what it was given.
file="${1#file://}"
{ stat -c %a "$file" "$(dirname "$file")"; cat "$file"; echo "$1"; } >"$0.told"
mv "$0.told" "$(dirname "$0")/opened"
"""


@pytest.fixture(scope="module")
def chromium() -> Iterator[Browser]:
    with started_chromium() as browser:
        yield browser


@contextlib.contextmanager
def dashboard(env: Mapping[str, str], *arguments: str) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """`kubectl ork dashboard` while the block lasts, with the address that it prints; it has ended after it."""
    with subprocess.Popen(
        ["kubectl", "ork", "dashboard", *arguments],
        env=env,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        stdin=subprocess.DEVNULL,
        text=True,
    ) as run:
        try:
            assert run.stdout is not None
            yield run.stdout.readline().strip(), run
        finally:
            run.terminate()


@pytest.fixture
def hub(deployment: Deployment) -> Iterator[str]:
    """The hub's address on this machine."""
    with forwarded(deployment) as url:
        yield url


@dataclass(frozen=True)
class Desk:
    """A browser of somebody's own. Complains at the end about what came from elsewhere, and of what the console did."""

    context: BrowserContext
    page: Page
    foreign: list[str]
    complaints: list[str]

    def look(self, page: str) -> None:
        """Every panel of the page is there and says something, every plot is drawn."""
        for title in PANELS[page]:
            panel = self.page.locator("section.panel").filter(
                has=self.page.get_by_role("heading", name=title, exact=True)
            )
            panel.first.scroll_into_view_if_needed()  # some are fetched when they are looked at
            expect(panel.first).to_be_visible()
            expect(panel.first.get_by_text("Being fetched")).not_to_be_visible()
            if page == "experiment" and title in SAYS:
                expect(panel.first).to_contain_text(SAYS[title])
        for widget in PLOTS[page]:
            wait_for(lambda widget=widget: drawn(self.page, widget), f"{widget} of the page {page} is drawn")


@contextlib.contextmanager
def desk(chromium: Browser, url: str) -> Iterator[Desk]:
    context = chromium.new_context(viewport={"width": 1600, "height": 1000}, base_url=url)
    made = Desk(context, context.new_page(), [], [])
    made.page.set_default_timeout(60_000)
    made.page.on("pageerror", lambda error: made.complaints.append(str(error)))
    made.page.on("console", lambda said: made.complaints.append(said.text) if _is_complaint(said) else None)
    ours = (url, "data:", "blob:")
    made.page.on("request", lambda one: None if one.url.startswith(ours) else made.foreign.append(one.url))
    expect.set_options(timeout=60_000)
    try:
        yield made
    finally:
        context.close()
    assert made.foreign == []
    assert made.complaints == []


def _is_complaint(said: ConsoleMessage) -> bool:
    # The login page asks whether there is a login after all; for "no" the browser has words of its own.
    return said.type == "error" and not said.location["url"].endswith("/session")


def log_in(page: Page, person: Person) -> None:
    page.goto("/")
    page.fill("#token", person.token())
    page.click("button.primary")


def test_from_the_login_to_the_sweep_its_best_run_and_a_comparison(chromium: Browser, hub: str, clinic: Clinic) -> None:
    best, second = clinic.trials("Succeeded")
    (failed,) = clinic.trials("Failed")
    with desk(chromium, hub) as at:
        page = at.page
        log_in(page, clinic.reader)
        page.wait_for_url(f"**/n/{clinic.namespace}/sweeps")
        expect(page.locator(".who")).to_have_text(f"system:serviceaccount:{clinic.namespace}:reader")
        row = page.locator("tbody tr").filter(has_text=SWEEP)
        expect(row).to_contain_text("Succeeded")
        row.get_by_role("link", name=SWEEP, exact=True).click()

        expect(page.get_by_role("heading", level=1)).to_have_text(SWEEP)
        at.look("sweep")
        expect(page.locator("#leaderboard tbody tr").first).to_contain_text(best.removeprefix(f"{SWEEP}-"))
        expect(page.locator("main")).to_contain_text("loss.gamma: -2 is not valid")
        for name in (best, second):
            page.get_by_label(f"Pin {name}").check()
            expect(page.locator("tr.pinned").get_by_label(f"Pin {name}")).to_be_checked()
        page.locator("#head").get_by_role("link", name=best).click()

        expect(page.get_by_role("heading", level=1)).to_have_text(best)
        at.look("experiment")
        expect(page.locator("main")).to_contain_text("orkhaven-e2e-node")
        page.goto(f"/n/{clinic.namespace}/experiments/{failed}")
        expect(page.locator("main")).to_contain_text("Correct the parameter that the message names")

        page.goto(f"/n/{clinic.namespace}/compare?run={best}&run={second}")
        expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 runs")
        at.look("compare")
        expect(page.get_by_role("region", name="What differs").first).to_contain_text("loss.name")


def test_a_change_is_seen_as_it_happens_and_made_by_whoever_may(chromium: Browser, hub: str, clinic: Clinic) -> None:
    """On a sweep of its own: the clinic's has ended."""
    long = sweep(
        "held", [{"name": "optimizer.lr", "values": [1e-3]}], params={"epochs": 400}, search={"algorithm": "Grid"}
    )
    with desk(chromium, hub) as own, desk(chromium, hub) as other:
        log_in(own.page, clinic.editor)
        own.page.wait_for_url("**/sweeps")
        expect(own.page.locator("#live")).to_have_text("live")
        clinic.editor.ork("submit", "-", given=json.dumps(long))
        own.page.get_by_role("link", name="held", exact=True).click()
        expect(own.page.locator("#head .state").first).to_have_text("Running")

        log_in(other.page, clinic.reader)
        other.page.wait_for_url("**/sweeps")
        other.page.get_by_role("link", name="held", exact=True).click()
        expect(other.page.locator("#live")).to_have_text("live")
        expect(other.page.get_by_role("button", name="Suspend")).to_have_count(0)
        expect(other.page.locator("details.menu").first).to_contain_text(
            "kubectl auth can-i patch sweeps.orkhaven.io/held"
        )

        own.page.on("dialog", lambda dialog: dialog.accept())
        own.page.get_by_role("button", name="Suspend").click()
        expect(own.page.get_by_role("button", name="Resume")).to_be_visible()
        # Nobody has loaded the other's page again.
        expect(other.page.locator("#head .state").first).to_have_text("Suspended")
        own.page.get_by_role("button", name="Resume").click()
        expect(other.page.locator("#head .state").first).to_have_text("Running")
        for page in (own.page, other.page):
            page.goto("about:blank")
        clinic.editor.ork("cancel", "held", "--yes")


def test_nobody_sees_a_namespace_that_is_not_theirs(chromium: Browser, hub: str, clinic: Clinic) -> None:
    with desk(chromium, hub) as at:
        log_in(at.page, clinic.stranger)
        expect(at.page.locator("main")).to_contain_text("There is no sweep in a namespace that you")
        expect(at.page.locator(f"option[value={clinic.namespace}]")).to_have_count(0)
        for path in ("sweeps", f"sweeps/{SWEEP}", f"experiments/{clinic.trials('Succeeded')[0]}"):
            answer = at.page.goto(f"/n/{clinic.namespace}/{path}")
            assert answer is not None
            assert answer.status == 403
            expect(at.page.locator("main")).to_contain_text("may not get experiments in namespace")
            assert "dice" not in at.page.content()
        # The browser's console says 403 of its own accord.
        at.complaints.clear()


def test_the_command_line_opens_a_browser_that_is_logged_in(chromium: Browser, clinic: Clinic) -> None:
    with dashboard(clinic.editor.env, SWEEP, "--no-open") as (url, run):
        found = re.fullmatch(
            r"(http://127\.0\.0\.1:\d+)/login\?code=[\w-]{43}&next=%2Fn%2F[\w-]+%2Fsweeps%2Flungs", url
        )
        assert found, f"{url}\n{run.stderr.read() if run.stderr else ''}"
        with desk(chromium, found[1]) as at:
            at.page.goto(url)
            expect(at.page.get_by_role("heading", level=1)).to_have_text(SWEEP)
            expect(at.page.locator(".who")).to_have_text(f"system:serviceaccount:{clinic.namespace}:editor")
            here = at.page.url
            assert "code" not in here
            (cookie,) = at.context.cookies()
            assert (cookie["httpOnly"], cookie["sameSite"]) == (True, "Strict")
            # Whoever finds the address later gets nothing, and ends the login: one of the two is a thief.
            late = httpx.get(url)
            assert (late.status_code, late.cookies) == (401, {})
            # In a page of its own: the one that is open loads itself anew as soon as it is told.
            another = at.context.new_page()
            another.goto(here)
            for page in (another, at.page):
                expect(page.get_by_role("heading", level=1)).to_have_text("Log in")
            # What the open page asks for after its login has ended is refused, which the console says by itself.
            at.complaints.clear()


def test_without_a_token_the_page_asks_for_one(clinic: Clinic) -> None:
    with dashboard(clinic.admin.env, "--no-open") as (url, run):
        assert re.fullmatch(r"http://127\.0\.0\.1:\d+/", url)
        assert "Log in" in httpx.get(url, follow_redirects=True, headers={"Accept": "text/html"}).text
        run.terminate()
        assert run.stderr is not None
        said = run.stderr.read()
    assert "the page will ask for a token" in said
    assert "client certificate" in said
    assert "kubectl create serviceaccount" in said


def test_a_screen_gets_a_file_that_only_its_owner_may_read(
    clinic: Clinic, tmp_path_factory: pytest.TempPathFactory
) -> None:
    """What is opened stands in the list of processes: the path of a file, and no code."""
    folder = tmp_path_factory.mktemp("browser")
    opened = folder / "opened"
    browser = folder / "browser"
    browser.write_text(BROWSER)
    browser.chmod(0o755)
    with dashboard({**clinic.editor.env, "BROWSER": str(browser), "DISPLAY": ":99"}) as (url, _):
        wait_for(opened.exists, "the browser was started", seconds=60)
    assert not Path(opened.read_text().splitlines()[-1].removeprefix("file://")).exists(), "it goes with the forwarding"
    modes, *_ = opened.read_text().split("<", 1)
    assert modes.split() == ["600", "700"]
    text = opened.read_text()
    assert url.replace("&", "&amp;") in text
    assert "code=" not in text.splitlines()[-1]
