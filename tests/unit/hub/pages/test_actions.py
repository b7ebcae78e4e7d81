"""Changes through a page: only with the person's own token, only where the API server says yes."""

from __future__ import annotations

import pytest

from tests.unit.hub.conftest import until
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser, add_sweep

CHANGE = f"/n/{NAMESPACE}/sweeps/sweep/change"


@pytest.fixture
async def changer(browser: Browser, fake_cluster: FakeCluster) -> Browser:
    fake_cluster.changers.add(("user-of-reader", "patch", "Sweep"))
    add_sweep(fake_cluster)
    await until(lambda: bool(browser.hub.app.state.hub.queries.catalogue.sweeps(NAMESPACE)))
    return browser


@pytest.mark.parametrize(
    ("form", "spec"),
    [
        ({"action": "suspend"}, {"suspend": True}),
        ({"action": "resume"}, {"suspend": False}),
        ({"action": "parallelism", "parallelism": "32"}, {"parallelism": 32}),
        ({"action": "parallelism", "parallelism": "0"}, {"parallelism": 0}),
    ],
    ids=["suspend", "resume", "parallelism", "drain"],
)
async def test_a_change_is_a_patch_in_the_persons_name(
    changer: Browser, fake_cluster: FakeCluster, form: dict[str, str], spec: dict[str, object]
) -> None:
    answer = await changer.client.post(CHANGE, data={**form, "csrf": await changer.csrf()})
    assert answer.status_code == 303
    assert fake_cluster.patched == [("user-of-reader", "Sweep", "sweep", {"spec": spec})]


@pytest.mark.parametrize(
    "text", ["", "-1", "1e3", "10001", "٣", "4;rm"], ids=["empty", "negative", "e", "large", "arabic", "more"]
)
async def test_a_parallelism_that_is_no_small_number_is_refused_before_it_is_sent(
    changer: Browser, fake_cluster: FakeCluster, text: str
) -> None:
    form = {"action": "parallelism", "parallelism": text, "csrf": await changer.csrf()}
    answer = await changer.client.post(CHANGE, data=form)
    assert answer.status_code == 400
    assert "a whole number from 0 to 10000" in answer.text
    assert fake_cluster.patched == []


async def test_a_change_without_the_pages_token_is_refused(changer: Browser, fake_cluster: FakeCluster) -> None:
    assert (await changer.client.post(CHANGE, data={"action": "suspend"})).status_code == 403
    assert fake_cluster.patched == []


async def test_a_change_of_a_namesake_made_meanwhile_is_refused(changer: Browser, fake_cluster: FakeCluster) -> None:
    form = {"action": "suspend", "uid": "an-earlier-one", "csrf": await changer.csrf()}
    answer = await changer.client.post(CHANGE, data=form)
    assert answer.status_code == 409
    assert fake_cluster.patched == []


async def test_who_may_not_change_sees_no_form_but_the_command_that_shows_why(
    browser: Browser, fake_cluster: FakeCluster
) -> None:
    add_sweep(fake_cluster)
    await until(lambda: bool(browser.hub.app.state.hub.queries.catalogue.sweeps(NAMESPACE)))
    page = (await browser.get(f"/n/{NAMESPACE}/sweeps/sweep")).text
    assert 'name="action"' not in page
    assert "kubectl auth can-i patch sweeps.orkhaven.io/sweep -n radiology" in page
    answer = await browser.client.post(CHANGE, data={"action": "suspend", "csrf": await browser.csrf()})
    assert answer.status_code == 403
    assert fake_cluster.patched == []


async def test_the_offered_form_stands_on_the_page_of_who_may(changer: Browser) -> None:
    page = (await changer.get(f"/n/{NAMESPACE}/sweeps/sweep")).text
    assert 'value="suspend"' in page
    assert 'name="parallelism"' in page
