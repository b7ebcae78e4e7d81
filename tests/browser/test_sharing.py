"""The queue and the GPUs as somebody who waits looks at them."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Page, Route, expect

from tests.browser.conftest import wait_for
from tests.browser.serving import Served
from tests.unit.cli.sharing_world import node, pod, run
from tests.unit.hub.fakes import NAMESPACE, FakeCluster


def put(cluster: FakeCluster, body: dict[str, Any]) -> None:
    meta = {key: value for key, value in body["metadata"].items() if key not in ("name", "namespace")}
    rest = {key: value for key, value in body.items() if key in ("spec", "status")}
    name, namespace = body["metadata"]["name"], body["metadata"].get("namespace", "")
    cluster.put(body["kind"], name, namespace=namespace, metadata=meta, **rest)


@pytest.fixture
def shared(page: Page, served: Served) -> Page:
    """Two nodes, which `reader` may list, a run that holds one, a pod of somebody else, a run that waits."""

    def change() -> None:
        served.cluster.changers |= {("user-of-reader", "list", kind) for kind in ("Node", "Pod")}
        for body in (
            node("shared-1", 2),
            node("shared-2", 2, cordoned=True),
            run("holder", user="ada@example.com", on="shared-1"),
            pod("holder-1-x", on="shared-1", labels={"orkhaven.io/experiment": "holder"}),
            pod("notebook", on="shared-1", namespace="elsewhere"),
            run("waiter", gpus=2, message="position 1 in radiology; needs 2 GPUs; 0 free", user="bo@example.com"),
        ):
            put(served.cluster, body)

    served.do(change)
    return page


def test_from_a_sweeps_list_to_the_queue_and_the_run_that_waits(shared: Page) -> None:
    shared.get_by_label("Pages").get_by_role("link", name="Queue").click()
    expect(shared.get_by_role("heading", level=1)).to_have_text("Queue")
    expect(shared).to_have_url(f"{shared.url.split('/queue')[0]}/queue?namespace={NAMESPACE}")
    row = shared.locator("#queue tbody tr", has_text="waiter")
    expect(row).to_contain_text("bo@example.com")
    expect(row).to_contain_text("needs 2 GPUs; 0 free")
    row.get_by_role("link", name="waiter").click()
    expect(shared.get_by_role("heading", level=1)).to_have_text("waiter")


def test_a_filter_is_in_the_address_and_survives_a_reload(shared: Page) -> None:
    shared.goto("/queue")
    shared.fill("#q", "bo@example")
    shared.press("#q", "Enter")
    expect(shared.locator("#queue tbody tr")).to_have_count(1)
    shared.reload()
    expect(shared.locator("#queue tbody tr")).to_have_count(1)
    expect(shared.locator("#q")).to_have_value("bo@example")


def test_the_gpus_say_who_holds_them_and_what_is_wrong_with_a_node(shared: Page) -> None:
    shared.get_by_label("Pages").get_by_role("link", name="GPUs").click()
    first = shared.locator("#gpus tbody tr", has_text="shared-1")
    expect(first.get_by_role("link", name="holder")).to_be_visible()
    expect(first.locator("td.num").nth(2)).to_have_text("0")
    expect(first.locator("td.num").last).to_have_text("1")
    expect(shared.locator("#gpus tbody tr", has_text="shared-2")).to_contain_text("cordoned")


def test_the_queue_of_an_open_page_grows_by_itself(shared: Page, served: Served) -> None:
    shared.goto(f"/queue?namespace={NAMESPACE}")
    expect(shared.locator("#live")).to_have_text("live")
    served.do(lambda: put(served.cluster, run("newcomer", message="position 2 in radiology; needs 1 GPU")))
    expect(shared.locator("#queue")).to_contain_text("newcomer")


def test_no_page_scrolls_sideways_on_a_phone(shared: Page) -> None:
    """Tables do, inside their own box."""
    shared.set_viewport_size({"width": 390, "height": 844})
    for path in ("/queue", f"/queue?namespace={NAMESPACE}", "/gpus", "/usage", "/usage?by=sweep"):
        shared.goto(path)
        expect(shared.get_by_role("heading", level=1)).to_be_visible()
        assert shared.evaluate("document.documentElement.scrollWidth") <= 390, path


def test_what_changed_before_an_opened_page_listened_is_shown(shared: Page, served: Served) -> None:
    held: list[Route] = []
    shared.route("**/events*", lambda route: held.append(route))
    shared.goto(f"/queue?namespace={NAMESPACE}")
    wait_for(lambda: held or shared.wait_for_timeout(10), "the stream is asked for")
    served.do(lambda: put(served.cluster, run("newcomer", message="position 2 in radiology; needs 1 GPU")))
    held[0].continue_()
    # The table also renews itself every 15 s.
    expect(shared.locator("#queue")).to_contain_text("newcomer", timeout=10_000)
