"""A run's page and the comparison of runs: log, pictures, volumes, Events, as a person looks at them."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Page, Route, expect

from orkhaven.hub.context import Clocks
from orkhaven.hub.logs import follower
from tests.browser.conftest import wait_for
from tests.browser.demo import NOW, Plan, build
from tests.browser.media import add_artifact, add_attempts, add_events, add_log, add_media, png, slice_of
from tests.browser.serving import Served, serving
from tests.unit.hub.fakes import NAMESPACE
from tests.unit.hub.pods import LogCluster

PLAN = Plan(name="covid", total=8, succeeded=3, failed=1, running=1)
HOSTILE = (
    b"<script>alert('log')</script> <img src=x onerror=alert(1)>\n"
    b"\x1b]8;;javascript:alert(1)\x07click\x1b]8;;\x07 \x1b[31;1mred\x1b[0m \x1b[2J\x1b[999;999Hhome\n"
    b"step 1\rstep 2\rstep 3\n"
    b"no UTF-8: \xff\xfe, reversed: \xe2\x80\xaeabc\n"
)


@pytest.fixture
def served(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[Served]:
    monkeypatch.setattr(follower, "NOT_STARTED_SECONDS", 0.05)
    cluster = LogCluster()
    cluster.add_reader("reader")
    cluster.add_log_reader("reader")
    rights = (("patch", "Experiment"), ("create", "Experiment"), ("delete", "Experiment"), ("list", "Event"))
    cluster.changers |= {("user-of-reader", verb, kind) for verb, kind in rights}
    with serving(cluster, tmp_path, Clocks(wall=NOW.timestamp), log_flush_seconds=0.05) as hub:
        hub.do(lambda: build(cluster, hub.store.ingest, plans=[PLAN]))
        hub.do(lambda: add_media(cluster, hub.store, [*named(hub, "Succeeded"), *named(hub, "Failed")]))
        yield hub


def named(served: Served, state: str) -> list[str]:
    return [
        name
        for (kind, _, name), body in served.cluster.objects.items()
        if kind == "Experiment" and body.get("status", {}).get("state") == state
    ]


def look_at(page: Page, name: str, part: str, query: str = "") -> Any:
    """Opens the run's page there; the panel."""
    page.goto(f"/n/{NAMESPACE}/experiments/{name}{query}")
    panel = page.locator(f"#{part}")
    panel.scroll_into_view_if_needed()
    return panel


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def hit_is_seen(page: Page) -> bool:
    """Whether the marked line is within what the log shows of itself."""
    script = """() => {
      const [hit, log] = [".log .hit", ".log"].map((one) => document.querySelector(one).getBoundingClientRect());
      return hit.top >= log.top && hit.bottom <= log.bottom;
    }"""
    return bool(page.evaluate(script))


class TestLog:
    def test_of_a_failed_attempt_the_failures_line_is_before_ones_eyes(self, page: Page, served: Served) -> None:
        (name,) = named(served, "Failed")
        log = look_at(page, name, "log")
        message = served.cluster.objects["Experiment", NAMESPACE, name]["status"]["failure"]["message"]
        expect(log.locator(".hit")).to_have_text(message)
        wait_for(lambda: hit_is_seen(page), "the line is on the screen")
        expect(log.locator("[data-status]")).to_contain_text("ended")
        lines = log.locator(".log")
        expect(lines).to_contain_text("train 100%")
        expect(lines).not_to_contain_text("train  48%")
        expect(log.locator(".log span.f6").first).to_contain_text("epoch")

    def test_whatever_a_program_prints_is_text(self, page: Page, served: Served) -> None:
        (name,) = named(served, "Running")
        served.do(
            lambda: add_log(served.store, served.cluster.objects["Experiment", NAMESPACE, name], HOSTILE, ended=True)
        )
        log = look_at(page, name, "log")
        lines = log.locator(".log > div > div")
        expect(lines.nth(0)).to_have_text("<script>alert('log')</script> <img src=x onerror=alert(1)>")
        expect(lines.nth(1)).to_have_text("click red home")
        expect(lines.nth(1).locator("span")).to_have_class("f1 bold")
        expect(lines.nth(2)).to_have_text("step 3")
        expect(lines.nth(3)).to_have_text("no UTF-8: \ufffd\ufffd, reversed: abc")
        expect(lines.nth(4)).to_have_text("the container ended, exit code 0")
        assert log.locator(".log script, .log img, .log a").count() == 0

    def test_a_search_shows_matches_with_their_neighbours_and_leads_into_the_log(
        self, page: Page, served: Served
    ) -> None:
        name = named(served, "Succeeded")[0]
        log = look_at(page, name, "log")
        page.fill("#find", "epoch +7\\b")
        page.press("#find", "Enter")
        expect(log.locator("[data-found]")).to_have_text("1 line")
        expect(log.locator(".matches mark")).to_have_text("epoch   7")
        expect(log.locator(".matches")).to_contain_text("epoch   6")
        log.get_by_role("button", name="Show in the log").click()
        expect(log.locator(".hit")).to_contain_text("epoch   7")
        wait_for(lambda: hit_is_seen(page), "the line is on the screen")
        expect(log.locator(".log")).to_contain_text("epoch   6")
        assert query(page)["find"] == ["epoch +7\\b"]
        page.reload()
        log.scroll_into_view_if_needed()
        expect(log.locator("[data-found]")).to_have_text("1 line")

    @pytest.mark.parametrize("sent", ["once it has come", "before it has come"])
    def test_what_is_typed_before_the_script_has_come_is_searched_for(
        self, page: Page, served: Served, sent: str
    ) -> None:
        held: list[Route] = []
        page.route("**/js/log.js*", lambda route: held.append(route))
        log = look_at(page, named(served, "Succeeded")[0], "log")
        page.fill("#find", "epoch +7\\b")
        wait_for(lambda: held or page.wait_for_timeout(10), "the script is asked for")
        if sent == "before it has come":
            page.unroute("**/js/log.js*")
            page.press("#find", "Enter")
        else:
            held[0].continue_()
            expect(log.locator("[data-status]")).to_have_attribute("data-state", "ended")
            page.press("#find", "Enter")
        expect(log.locator("[data-found]")).to_have_text("1 line")
        expect(log.locator(".matches mark")).to_have_text("epoch   7")  # once, though it may be searched for twice
        assert query(page)["find"] == ["epoch +7\\b"]

    def test_it_goes_on_by_itself_waits_while_one_reads_and_ends(self, page: Page, served: Served) -> None:
        cluster = served.cluster
        assert isinstance(cluster, LogCluster)
        (name,) = named(served, "Running")
        pods: list[str] = []
        served.do(lambda: pods.append(cluster.add_talker(name)))
        log = look_at(page, name, "log")
        served.do(lambda: cluster.say(pods[0], *(b"line %d\n" % number for number in range(200))))
        # Nothing else changes: the page looks for a log by itself.
        expect(log.locator("[data-status]")).to_have_text("live", timeout=20_000)
        expect(log.locator(".log")).to_contain_text("line 199")
        served.do(lambda: cluster.say(pods[0], b"bar 10%", b"\rbar 20%"))
        expect(log.locator(".log > div > div").last).to_have_text("bar 20%")
        served.do(lambda: cluster.say(pods[0], b"\rbar 100%\n", b"next\n"))
        expect(log.locator(".log > div > div").nth(200)).to_have_text("bar 100%")
        log.locator(".log").hover()
        page.mouse.wheel(0, -500)
        expect(log.locator("[data-status]")).to_have_text("paused: you scrolled up")
        served.do(lambda: cluster.say(pods[0], b"unseen\n"))
        log.get_by_role("button", name="Follow").click()
        expect(log.locator(".log")).to_contain_text("unseen")
        served.do(lambda: cluster.end(pods[0], code=1))
        expect(log.locator("[data-status]")).to_contain_text("ended")

        def fail() -> None:
            (attempt,) = cluster.objects["Experiment", NAMESPACE, name]["status"]["attempts"]
            attempt |= {"exitCode": 1, "reason": "UserException", "message": "unseen"}
            cluster.touch("Experiment", NAMESPACE, name)

        served.do(fail)
        log.get_by_role("button", name="Go to the failure").click()
        expect(log.locator(".hit")).to_have_text("unseen")
        expect(log.locator("select[name=attempt]")).to_contain_text("attempt 1, UserException")

    def test_a_large_log_is_a_bounded_page_and_its_beginning_a_few_clicks_away(
        self, page: Page, served: Served
    ) -> None:
        (name,) = named(served, "Running")
        text = b"".join(b"line %07d %s\n" % (number, b"x" * 90) for number in range(300_000))
        body = served.cluster.objects["Experiment", NAMESPACE, name]
        served.do(lambda: add_log(served.store, body, text + b"y" * 300_000 + b"\nlast\n", ended=True))
        log = look_at(page, name, "log")
        lines = log.locator(".log > div > div")
        expect(log.locator("[data-status]")).to_contain_text("ended")
        expect(log.locator(".log")).to_contain_text("more characters in this line")
        for _ in range(6):
            first = lines.first.text_content()
            log.get_by_role("button", name="Load earlier lines").click()
            wait_for(lambda first=first: lines.first.text_content() != first, "earlier lines are there")
            assert lines.count() <= 8000
        expect(log.get_by_role("button", name="Load later lines")).to_be_visible()
        expect(log.locator("[data-status]")).to_have_text("paused: this is not the end of the log")
        log.get_by_role("button", name="Follow").click()
        expect(lines.nth(-2)).to_have_text("last")

    @pytest.mark.parametrize("part", ["refused", "absent"])
    def test_where_there_is_none_it_says_why(self, page: Page, served: Served, part: str) -> None:
        if part == "refused":
            assert isinstance(served.cluster, LogCluster)
            served.cluster.log_readers.clear()
        (name,) = named(served, "Running")
        log = look_at(page, name, "log")
        expect(log.locator(".empty")).to_contain_text("pods/log" if part == "refused" else "has not said anything yet")


def pixel(page: Page, pane: int, x: float, y: float) -> list[int]:
    script = """([pane, x, y]) => {
      const canvas = document.querySelectorAll('[data-views] canvas')[pane];
      if (!canvas) return [0, 0, 0, 0];
      const context = canvas.getContext('2d');
      return [...context.getImageData(Math.floor(x * canvas.width), Math.floor(y * canvas.height), 1, 1).data];
    }"""
    found: list[int] = page.evaluate(script, [pane, x, y])
    return found


def is_grey(colour: list[int]) -> bool:
    return max(colour[:3]) - min(colour[:3]) < 3


LESION = (0.675, 0.62)
"""Where the lesion of the best case is."""


class TestImages:
    def test_a_case_has_its_layers_over_one_another_and_all_of_it_is_in_the_url(
        self, page: Page, served: Served
    ) -> None:
        panel = look_at(page, named(served, "Succeeded")[0], "images")
        expect(panel.locator("[data-views] figcaption strong")).to_have_text(["Image", "Mask", "Prediction", "Both"])
        wait_for(lambda: pixel(page, 0, *LESION)[3], "the pictures are drawn")
        assert is_grey(pixel(page, 0, *LESION))
        assert not is_grey(pixel(page, 1, *LESION))
        panel.locator("input[name=mask]").fill("0")
        wait_for(lambda: is_grey(pixel(page, 1, *LESION)), "no mask over the image any more")
        panel.locator("input[name=at]").fill("0")
        expect(panel.locator("[data-views] figcaption").first).to_contain_text("after epoch 10")
        expect(panel.locator("[data-views] figcaption").last).to_contain_text("Dice of these two masks 0.")
        panel.locator("select[name=case]").select_option("worst case")
        expect(panel.locator("[data-views] figcaption").first).to_contain_text("worst case after epoch 40")
        assert query(page)["case"] == ["image:worst case"]

    def test_the_cursor_is_one_and_keys_do_what_the_mouse_does(self, page: Page, served: Served) -> None:
        panel = look_at(page, named(served, "Succeeded")[0], "images")
        wait_for(lambda: all(pixel(page, pane, *LESION)[3] for pane in range(4)), "all four are drawn")
        second = panel.locator("canvas").nth(1)
        box = second.bounding_box()
        assert box is not None
        # Waits until it lies still: what is above it on the page is still being drawn.
        second.hover(position={"x": box["width"] * LESION[0], "y": box["height"] * LESION[1]})
        expect(panel.locator("[data-readout]")).to_contain_text("mask 255, prediction 255")
        for pane in range(4):
            red, green, blue, _ = pixel(page, pane, LESION[0], 0.02)
            assert red > blue, "a yellow line through every picture"
            assert green > blue
        before = [pixel(page, pane, 0.1, 0.5) for pane in range(4)]
        panel.locator("canvas").first.focus()
        for _ in range(6):
            page.keyboard.press("+")
        wait_for(lambda: [pixel(page, pane, 0.1, 0.5) for pane in range(4)] != before, "all are nearer")
        page.keyboard.press(",")
        expect(panel.locator("[data-views] figcaption").first).to_contain_text("after epoch 20")
        assert query(page)["at"] == ["20"]

    def test_window_and_level_are_of_the_image_alone(self, page: Page, served: Served) -> None:
        panel = look_at(page, named(served, "Succeeded")[0], "images")
        wait_for(lambda: pixel(page, 0, *LESION)[3], "the pictures are drawn")
        panel.locator("input[name=window]").fill("2")
        panel.locator("input[name=level]").fill("60")
        wait_for(lambda: pixel(page, 0, *LESION)[0] == 255, "above the window is white")
        assert pixel(page, 0, 0.03, 0.03)[0] == 0

    def test_svg_and_what_only_says_it_is_a_picture_do_nothing(self, page: Page, served: Served) -> None:
        (name,) = named(served, "Running")
        body = served.cluster.objects["Experiment", NAMESPACE, name]
        evil = b"<svg xmlns='http://www.w3.org/2000/svg' onload='alert(1)'><script>alert(2)</script></svg>"

        def report() -> None:
            add_artifact(served.store, body, name="evil.svg", media_type="image/svg+xml", path="evil.svg", content=evil)
            add_artifact(served.store, body, name="<b>'\"&", content=png(slice_of(0)[0]), caption="<i>not italic</i>")

        served.do(report)
        panel = look_at(page, name, "images")
        expect(panel.locator("[data-why]")).to_contain_text("1 more in the list of artifacts")
        expect(panel.locator(".gallery figcaption")).to_have_text("<b>'\"& <i>not italic</i>")
        assert panel.locator(".gallery b, .gallery i").count() == 0
        page.locator("#artifacts").scroll_into_view_if_needed()
        with page.expect_download() as download:
            page.get_by_role("link", name="evil.svg").click()
        assert download.value.suggested_filename == "evil.svg"

    def test_none_says_how_there_would_be_some(self, page: Page, served: Served) -> None:
        panel = look_at(page, named(served, "Running")[0], "images")
        expect(panel.locator("[data-why]")).to_contain_text("A training reports them with run.image")


class TestVolume:
    def test_the_viewer_is_fetched_when_one_is_looked_at_and_not_before(self, page: Page, served: Served) -> None:
        asked: list[str] = []
        page.on("request", lambda request: asked.append(request.url))
        panel = look_at(page, named(served, "Succeeded")[0], "images")
        expect(panel.locator("canvas")).to_have_count(4)
        assert not any("niivue" in url for url in asked)
        panel.locator("select[name=case]").select_option("case-07 (volume)")
        expect(panel.locator(".volume")).to_have_attribute("data-state", "shown", timeout=60_000)
        assert any("niivue.umd.js" in url for url in asked)
        panel.locator(".volume").get_by_label("window").select_option("Lung")
        assert panel.locator(".volume").get_by_label("width").input_value() == "1500"
        canvas = panel.locator(".volume canvas")
        canvas.focus()
        page.keyboard.press("PageUp")
        expect(panel.locator(".volume figcaption")).to_contain_text("×")
        panel.locator("select[name=case]").select_option("best case")
        expect(panel.locator(".volume")).to_have_count(0)

    def test_a_browser_without_webgl_says_so(self, page: Page, served: Served) -> None:
        page.add_init_script(
            """const get = HTMLCanvasElement.prototype.getContext;
            HTMLCanvasElement.prototype.getContext = function (kind, ...more) {
              return kind === "webgl2" ? null : get.call(this, kind, ...more);
            };"""
        )
        panel = look_at(page, named(served, "Succeeded")[0], "images", "?case=volume:case-07")
        expect(panel.locator(".volume")).to_contain_text("no WebGL 2")


def test_events_attempts_and_what_a_person_may_do(page: Page, served: Served) -> None:
    (name,) = named(served, "Failed")

    def happen() -> None:
        add_attempts(served.cluster, name)
        add_events(served.cluster, [name], warning="<img src=x onerror=alert(1)>")

    served.do(happen)
    events = look_at(page, name, "happenings")
    expect(events.locator("tbody tr").first).to_contain_text("<img src=x onerror=alert(1)>")
    assert events.locator("tbody img").count() == 0
    expect(page.locator("#attempts svg.track")).to_have_count(3)
    expect(page.get_by_role("img", name="waited 2h, OutOfMemoryKilled after 1h")).to_be_visible()
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_text("Run it again").click()
    page.get_by_role("button", name="Run again").click()
    page.wait_for_url("**/experiments/*-again-*")
    expect(page.locator("#state")).to_contain_text("The operator has not looked at it yet")
    page.get_by_role("button", name="Cancel").click()
    page.wait_for_url("**/experiments")


def test_compared_runs_show_the_same_case_at_their_last_or_at_one_step(page: Page, served: Served) -> None:
    first, second, third = named(served, "Succeeded")
    page.goto(f"/n/{NAMESPACE}/compare?run={first}&run={second}&run={third}")
    panel = page.locator("#images")
    panel.scroll_into_view_if_needed()
    titles = panel.locator("[data-views] figcaption strong")
    expect(titles).to_have_text([f"{name}, step 40" for name in (first, second, third)])
    panel.get_by_label("each run's last step").uncheck()
    panel.locator("input[name=at]").fill("1")
    expect(titles).to_have_text([f"{name}, step 20" for name in (first, second, third)])
    assert query(page)["at"] == ["20"]
    expect(panel.locator(".gallery > .row")).to_have_count(2)


def test_every_control_has_a_name_and_every_picture_a_text(page: Page, served: Served) -> None:
    look_at(page, named(served, "Succeeded")[0], "images")
    expect(page.locator("[data-views] canvas")).to_have_count(4)
    nameless = page.evaluate(
        """() => [...document.querySelectorAll("input:not([type=hidden]), select, button, img, canvas, [role=img]")]
          .filter((one) => one.checkVisibility() && !one.closest(".plot"))
          .filter((one) => !(one.labels?.length || one.getAttribute("aria-label") || one.getAttribute("aria-labelledby")
            || one.textContent.trim() || one.alt))
          .map((one) => one.outerHTML.slice(0, 120))"""
    )
    assert nameless == []
