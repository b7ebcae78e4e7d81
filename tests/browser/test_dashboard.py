"""Walks through each page as a person would."""

from __future__ import annotations

from urllib.parse import parse_qs, urlsplit

import pytest
from playwright.sync_api import Browser, Page, Route, expect

from tests.browser.conftest import brush_the_best, drawn, wait_for
from tests.browser.serving import Served
from tests.unit.hub.fakes import NAMESPACE

SWEEP = f"/n/{NAMESPACE}/sweeps/covid-architectures"


def query(page: Page) -> dict[str, list[str]]:
    return parse_qs(urlsplit(page.url).query)


def leaders(served: Served, count: int) -> list[str]:
    rows = served.cluster.objects["Sweep", NAMESPACE, "covid-architectures"]["status"]["leaderboard"]
    return [row["experiment"] for row in rows[:count]]


def open_sweep(page: Page) -> None:
    page.goto(SWEEP)
    for widget in ("curves", "parallel", "scatter"):
        wait_for(lambda widget=widget: drawn(page, widget), f"{widget} is drawn")


def test_from_the_list_to_the_best_run_and_back(page: Page, served: Served) -> None:
    page.get_by_role("link", name="covid-architectures", exact=True).click()
    expect(page.get_by_role("heading", level=1)).to_have_text("covid-architectures")
    best = leaders(served, 1)[0]
    page.locator("#head").get_by_role("link", name=best).click()
    expect(page.get_by_role("heading", level=1)).to_have_text(best)
    wait_for(lambda: drawn(page, "curves"), "the curve is drawn")
    page.get_by_label("You are here").get_by_role("link", name="covid-architectures").click()
    expect(page).to_have_url(f"{served.url}{SWEEP}")


def test_a_sort_and_a_filter_are_in_the_url_and_survive_a_reload(page: Page) -> None:
    open_sweep(page)
    page.locator("#leaderboard").get_by_role("link", name="optimizer.lr").click()
    expect(page.locator("#leaderboard th[aria-sort=descending]")).to_contain_text("optimizer.lr")
    page.fill("#filter", 'params.model.architecture == "Unet"')
    page.press("#filter", "Enter")
    expect(page.locator("#leaderboard footer")).to_contain_text("runs fit")
    assert query(page)["sort"] == ["-params.optimizer.lr"]
    text = page.locator("#leaderboard footer").inner_text()
    page.reload()
    expect(page.locator("#leaderboard footer")).to_have_text(text)


def test_a_wrong_filter_says_what_is_wrong_and_where(page: Page) -> None:
    open_sweep(page)
    page.fill("#filter", "objectiv > 0.5")
    page.press("#filter", "Enter")
    expect(page.get_by_role("alert")).to_contain_text("objective")


def test_a_brush_filters_the_leaderboard_and_clearing_it_brings_all_back(page: Page) -> None:
    open_sweep(page)
    brush_the_best(page)
    expect(page.locator("#leaderboard footer")).to_contain_text("runs fit")
    assert query(page)["brush"][0].startswith("objective >= ")
    page.get_by_role("button", name="Clear the brush").click()
    expect(page.locator("#leaderboard footer")).not_to_contain_text("runs fit")
    assert "brush" not in query(page)


def test_pinned_runs_stay_on_top_and_are_compared(page: Page, served: Served) -> None:
    open_sweep(page)
    first, second = leaders(served, 2)
    for name in (first, second):
        page.get_by_label(f"Pin {name}").check()
        expect(page.locator("tr.pinned").get_by_label(f"Pin {name}")).to_be_checked()
    page.get_by_role("link", name="Compare 2").click()
    expect(page.get_by_role("heading", level=1)).to_have_text("Compare 2 runs")
    wait_for(lambda: drawn(page, "curves"), "the curves are drawn")
    expect(page.locator(".series li")).to_have_count(2)


def test_a_run_is_pinned_before_the_plots_are_there(page: Page, served: Served) -> None:
    held: list[Route] = []
    page.route("**/js/curves.js*", lambda route: held.append(route))
    page.goto(SWEEP, wait_until="domcontentloaded")
    (name,) = leaders(served, 1)
    page.get_by_label(f"Pin {name}").check()
    expect(page.locator("tr.pinned").get_by_label(f"Pin {name}")).to_be_checked()
    for route in held:
        route.continue_()
    wait_for(lambda: drawn(page, "curves"), "the curves are drawn")


def test_controls_of_the_curves_are_in_the_url(page: Page) -> None:
    open_sweep(page)
    before = drawn(page, "curves")
    page.get_by_label("mean by").select_option(label="augmentation")
    wait_for(lambda: drawn(page, "curves") > before, "means are drawn")
    expect(page.locator("[data-widget=curves] .series li").first).to_contain_text("runs")
    page.locator("[data-widget=curves]").get_by_label("log").check()
    assert query(page)["band"] == ["params.augmentation"]
    assert query(page)["log"] == ["1"]
    page.reload()
    wait_for(lambda: drawn(page, "curves"), "means are drawn again")
    assert page.get_by_label("mean by").input_value() == "params.augmentation"


def test_a_change_in_the_cluster_is_on_the_page_by_itself(page: Page, served: Served) -> None:
    open_sweep(page)
    expect(page.locator("#live")).to_have_text("live")
    status = served.cluster.objects["Sweep", NAMESPACE, "covid-architectures"]["status"]

    def fail_all() -> None:
        status["state"] = "Failed"
        served.cluster.touch("Sweep", NAMESPACE, "covid-architectures")

    served.do(fail_all)
    expect(page.locator("#head .state").first).to_have_text("Failed")


def test_a_sweep_is_suspended_by_the_person_who_asked(page: Page, served: Served) -> None:
    open_sweep(page)
    page.on("dialog", lambda dialog: dialog.accept())
    page.get_by_role("button", name="Suspend").click()
    expect(page.get_by_role("button", name="Resume")).to_be_visible()
    assert served.cluster.patched == [
        ("user-of-reader", "Sweep", "covid-architectures", {"spec": {"suspend": True}}),
    ]


def test_the_theme_is_switched_kept_and_plots_follow(page: Page) -> None:
    open_sweep(page)
    before = drawn(page, "curves")
    page.get_by_role("button", name="Switch between light and dark").click()
    wait_for(lambda: drawn(page, "curves") > before, "the curves are drawn anew")
    page.reload()
    assert page.evaluate("document.documentElement.dataset.theme") == "dark"


def test_by_keyboard_one_gets_past_the_header_and_into_the_table(page: Page) -> None:
    page.goto(f"/n/{NAMESPACE}/sweeps")
    page.keyboard.press("Tab")
    assert page.evaluate("document.activeElement.className") == "skip"
    page.keyboard.press("Enter")
    assert page.evaluate("document.activeElement.id") == "main"
    for _ in range(20):
        page.keyboard.press("Tab")
        if page.evaluate("document.activeElement.closest('tbody') !== null"):
            break
    page.keyboard.press("Enter")
    page.wait_for_url("**/sweeps/*")


def test_every_control_and_table_has_a_name(page: Page, served: Served) -> None:
    script = """() => [...document.querySelectorAll('button, a, input:not([type=hidden]), select, table, [role=img]')]
      .filter((one) => one.offsetParent !== null || one.tagName === 'TABLE')
      .filter((one) => !(one.getAttribute('aria-label') || one.labels?.length || one.textContent.trim()
        || one.querySelector?.('caption')))
      .map((one) => one.outerHTML.slice(0, 120))"""
    for path in (f"/n/{NAMESPACE}/sweeps", SWEEP, f"/n/{NAMESPACE}/experiments/{leaders(served, 1)[0]}"):
        page.goto(path)
        assert page.evaluate(script) == [], path


@pytest.mark.parametrize("width", [390, 1600])
def test_no_page_is_wider_than_the_screen(page: Page, served: Served, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    first, second = leaders(served, 2)
    for path in (
        f"/n/{NAMESPACE}/sweeps",
        SWEEP,
        f"/n/{NAMESPACE}/experiments",
        f"/n/{NAMESPACE}/experiments/{first}",
        f"/n/{NAMESPACE}/compare?run={first}&run={second}",
    ):
        page.goto(path)
        assert page.evaluate("document.documentElement.scrollWidth") <= width, path


def test_whoever_follows_a_link_from_elsewhere_is_not_asked_to_log_in_again(page: Page, served: Served) -> None:
    # The first request of such a navigation comes without the strict cookie; the login page finds it.
    page.goto("/login?next=" + SWEEP)
    page.wait_for_url(f"**{SWEEP}")


def test_hostile_names_run_nothing(page: Page, served: Served) -> None:
    text = "<img src=x onerror=\"document.title='owned'\">"

    def poison() -> None:
        for (kind, namespace, name), body in list(served.cluster.objects.items()):
            if kind == "Experiment" and namespace == NAMESPACE and name.startswith("covid"):
                body["spec"]["params"]["augmentation"] = text + name[-1]
                served.cluster.touch(kind, namespace, name)

    served.do(poison)
    open_sweep(page)
    expect(page.locator("#leaderboard")).to_contain_text("onerror")
    page.mouse.move(1200, 500)
    assert page.title() != "owned"
    assert page.locator("main img").count() == 0


def test_without_scripts_the_leaderboard_is_all_there(chromium: Browser, served: Served) -> None:
    context = chromium.new_context(java_script_enabled=False, base_url=served.url)
    page = context.new_page()
    page.goto("/")
    page.fill("#token", "reader")
    page.click("button.primary")
    page.goto(f"{SWEEP}?filter=objective+%3E+0.7")
    expect(page.locator("#leaderboard tbody tr").first).to_be_visible()
    page.get_by_role("link", name="optimizer.lr").first.click()
    assert "sort=" in page.url
    context.close()
