"""A page that changes by itself leaves alone what somebody is using."""

from __future__ import annotations

from playwright.sync_api import Page, expect

from tests.browser.conftest import brush_the_best, drawn, wait_for
from tests.browser.serving import Served
from tests.unit.hub.fakes import NAMESPACE

SWEEP = f"/n/{NAMESPACE}/sweeps/covid-architectures"


def open_sweep(page: Page) -> None:
    page.goto(SWEEP)
    wait_for(lambda: drawn(page, "timeline"), "all is drawn")
    expect(page.locator("#live")).to_have_text("live")


def rename_a_reason(served: Served, reason: str) -> None:
    """A change that every part of the page hears of."""

    def change() -> None:
        name = served.cluster.objects["Sweep", NAMESPACE, "covid-architectures"]["status"]["best"]["experiment"]
        served.cluster.objects["Experiment", NAMESPACE, name]["status"]["reason"] = reason
        served.cluster.touch("Experiment", NAMESPACE, name)

    served.do(change)


def test_an_open_menu_stays_open_and_the_change_comes_when_it_is_closed(page: Page, served: Served) -> None:
    open_sweep(page)
    menu = page.locator("#leaderboard details.menu", has_text="Columns")
    menu.locator("summary").click()
    before = drawn(page, "scatter")
    rename_a_reason(served, "FirstReason")
    page.get_by_label("across").select_option("trial")
    wait_for(lambda: drawn(page, "scatter") > before, "something was drawn meanwhile")
    expect(menu).to_have_attribute("open", "")
    expect(page.locator("#leaderboard")).not_to_contain_text("FirstReason")
    menu.locator("summary").click()
    expect(page.locator("#leaderboard")).to_contain_text("FirstReason")


def test_a_filter_that_is_being_typed_is_not_lost(page: Page, served: Served) -> None:
    open_sweep(page)
    page.locator("#filter").press_sequentially("objective >")
    rename_a_reason(served, "FirstReason")
    expect(page.locator("#head")).to_be_visible()
    page.locator("#filter").press_sequentially(" 0.5")
    expect(page.locator("#filter")).to_have_value("objective > 0.5")
    page.locator("#filter").press("Enter")
    expect(page.locator("#leaderboard footer")).to_contain_text("runs fit")


def test_a_table_that_is_scrolled_stays_where_it_is(page: Page, served: Served) -> None:
    open_sweep(page)
    page.evaluate("document.querySelector('#leaderboard .scroll').scrollTop = 200")
    link = page.locator("#leaderboard tbody a").nth(12)
    name = link.get_attribute("title")
    link.focus()
    scrolled = page.evaluate("document.querySelector('#leaderboard .scroll').scrollTop")
    rename_a_reason(served, "FirstReason")
    expect(page.locator("#leaderboard")).to_contain_text("FirstReason")
    assert page.evaluate("document.querySelector('#leaderboard .scroll').scrollTop") == scrolled
    assert page.evaluate("document.activeElement.title") == name


def test_a_brush_is_still_drawn_after_a_change(page: Page, served: Served) -> None:
    open_sweep(page)
    brush_the_best(page)
    expect(page.locator("#leaderboard footer")).to_contain_text("runs fit")
    before = drawn(page, "parallel")
    text = page.locator("#leaderboard footer span").first.inner_text()

    def change() -> None:
        name = served.cluster.objects["Sweep", NAMESPACE, "covid-architectures"]["status"]["best"]["experiment"]
        old = served.cluster.objects["Experiment", NAMESPACE, name]
        labels = old["metadata"]["labels"]
        status = {**old["status"], "objective": {"value": 0.3, "step": 1}}
        served.cluster.put("Experiment", f"{name}-2", metadata={"labels": labels}, spec=old["spec"], status=status)

    served.do(change)
    wait_for(lambda: drawn(page, "parallel") > before, "it is drawn anew")
    assert page.evaluate(BRUSHED) == 1
    expect(page.locator("#leaderboard footer span").first).to_have_text(text.replace("of 125", "of 126"))


BRUSHED = """() => {
  const chart = echarts.getInstanceByDom(document.querySelector('[data-widget=parallel] .box'));
  let found = 0;
  chart.getModel().eachComponent('parallelAxis', (model) => (found += model.activeIntervals?.length ?? 0));
  return found;
}"""
