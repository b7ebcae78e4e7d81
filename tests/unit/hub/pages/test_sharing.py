"""The queue and the GPUs as pages: what a person may see of them, and as files."""

from __future__ import annotations

import csv
import io
import json
import re
from typing import Any

import pytest

from tests.unit.cli.sharing_world import shared
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser, add_sweep

USER = "user-of-reader"


def put(cluster: FakeCluster, body: dict[str, Any]) -> None:
    meta = {key: value for key, value in body["metadata"].items() if key not in ("name", "namespace")}
    rest = {key: value for key, value in body.items() if key in ("spec", "status")}
    namespace = body["metadata"].get("namespace", "")
    cluster.put(body["kind"], body["metadata"]["name"], namespace=namespace, metadata=meta, **rest)


@pytest.fixture
async def clinic(browser: Browser, fake_cluster: FakeCluster) -> Browser:
    """As `reader`, who may read runs of radiology alone, and neither nodes nor pods."""
    for body in shared():
        put(fake_cluster, body)
    add_sweep(fake_cluster, status={"state": "Running", "avoidedNodes": [{"node": "gpu-1", "reason": "Stalled"}]})
    catalogue = browser.hub.app.state.hub.queries.catalogue
    await browser.hub.until(lambda: len(catalogue.experiments(NAMESPACE)) == 6 and catalogue.sweeps(NAMESPACE))
    await browser.hub.until(lambda: len(catalogue.experiments("oncology")) == 2)
    return browser


def allow(cluster: FakeCluster, *kinds: str) -> None:
    cluster.changers |= {(USER, "list", kind) for kind in kinds}


def names(page: str) -> list[str]:
    return re.findall(r'<th scope="row" class="name">(?:<a [^>]*>)?([^<]+)', page)


async def test_the_queue_is_in_order_with_what_each_waits_for(clinic: Browser) -> None:
    page = (await clinic.get("/queue")).text
    assert names(page) == ["first", "second", "urgent"]
    for wanted in (
        "3 runs wait for 4 GPUs, 1 holds 2 GPUs",
        "ada@example.com",
        "Interactive",
        "position 2 in radiology",
    ):
        assert wanted in page, wanted


async def test_runs_of_a_namespace_that_one_may_not_read_are_not_there(
    clinic: Browser, fake_cluster: FakeCluster
) -> None:
    for path in ("/queue", "/gpus", "/queue/export?format=json", "/gpus/export?format=json"):
        assert "oncology" not in (await clinic.get(path)).text, path
    assert (await clinic.get("/queue", namespace="oncology")).status_code == 403
    other = fake_cluster.add_reader("other", namespace="oncology")
    page = await clinic.client.get("/queue", headers={"Authorization": f"Bearer {other}"})
    assert names(page.text) == ["elsewhere"]


async def test_the_queue_of_one_namespace_is_chosen_by_the_address_and_a_filter_too(clinic: Browser) -> None:
    page = (await clinic.get("/queue", namespace=NAMESPACE, q="interactive")).text
    assert names(page) == ["urgent"]
    assert "1 of 3 fit" in page
    assert "<option selected>radiology</option>" in page
    assert f'data-events="/n/{NAMESPACE}/events"' in page
    assert "No run fits." in (await clinic.get("/queue", q="nobody")).text
    assert (await clinic.get("/queue", namespace="")).status_code == 200
    assert (await clinic.get("/queue", namespace="../etc")).status_code == 400


async def test_an_empty_queue_says_so(browser: Browser) -> None:
    assert "Nothing waits." in (await browser.get("/queue")).text
    assert "No GPU to be seen." in (await browser.get("/gpus")).text


@pytest.mark.parametrize("path", ["/queue", "/gpus"])
async def test_a_part_is_fetched_alone_and_both_are_in_the_navigation(clinic: Browser, path: str) -> None:
    page = (await clinic.get(path)).text
    assert re.search(rf'href="{path}" aria-current="page"', page)
    part = (await clinic.part(path)).text
    assert "<html" not in part
    assert 'hx-trigger="ork:changed from:body, every 15s"' in part
    sweeps = (await clinic.get(f"/n/{NAMESPACE}/sweeps")).text
    assert f'href="{path}?namespace={NAMESPACE}"' in sweeps


@pytest.mark.parametrize("path", ["/queue", "/gpus", "/queue/export", "/gpus/export"])
async def test_without_a_login_there_is_nothing(anonymous: Browser, path: str) -> None:
    answer = await anonymous.get(path)
    assert answer.status_code == 303
    assert answer.headers["location"].startswith("/login")


async def test_who_may_list_nodes_and_pods_sees_all_gpus_and_others_as_a_number(
    clinic: Browser, fake_cluster: FakeCluster
) -> None:
    allow(fake_cluster, "Node", "Pod")
    page = (await clinic.get("/gpus")).text
    assert names(page) == ["gpu-1", "gpu-2"]
    for wanted in ("0 of 4 GPUs free on 2 nodes", "cordoned", "avoided: Stalled", "40 GiB", ">big</a>"):
        assert wanted in page, wanted
    assert "You may not" not in page
    assert ">far<" not in page
    rows = json.loads((await clinic.get("/gpus/export", format="json")).text)
    assert [(row["node"], row["gpus"], row["free"], row["others"], row["experiment"]) for row in rows] == [
        ("gpu-1", 3, 0, 1, "big"),
        ("gpu-2", 1, 0, 1, None),
    ]


@pytest.mark.parametrize(
    ("kinds", "said", "total"),
    [
        ((), "You may not list nodes", "2 GPUs held on 1 node"),
        (("Node",), "You may not list pods of all namespaces", "1 of 4 GPUs free on 2 nodes"),
    ],
    ids=["nothing", "nodes alone"],
)
async def test_what_one_may_not_list_is_said_and_the_runs_tell_the_rest(
    clinic: Browser, fake_cluster: FakeCluster, kinds: tuple[str, ...], said: str, total: str
) -> None:
    allow(fake_cluster, *kinds)
    page = (await clinic.get("/gpus")).text
    for wanted in (said, total, ">big</a>"):
        assert wanted in page, wanted


async def test_nodes_and_pods_are_listed_once_for_many_looks(clinic: Browser, fake_cluster: FakeCluster) -> None:
    allow(fake_cluster, "Node", "Pod")
    for _ in range(3):
        await clinic.part("/gpus")
    assert [call for call in fake_cluster.calls if call.startswith("each ")] == ["each Node", "each Pod"]


async def test_an_api_server_that_is_away_leaves_what_the_runs_tell(clinic: Browser, fake_cluster: FakeCluster) -> None:
    await clinic.get("/queue")  # now it is known what the person may read
    fake_cluster.away = True
    page = (await clinic.get("/gpus")).text
    fake_cluster.away = False
    assert "The API server did not answer" in page
    assert ">big</a>" in page


async def test_the_queue_is_a_file_of_all_that_is_filtered(clinic: Browser) -> None:
    answer = await clinic.get("/queue/export", format="csv", namespace=NAMESPACE)
    assert answer.headers["content-disposition"] == 'attachment; filename="radiology-queue.csv"'
    rows = list(csv.DictReader(io.StringIO(answer.text)))
    assert [(row["experiment"], row["position"], row["gpus"]) for row in rows] == [
        ("first", "1", "2"),
        ("second", "2", "1"),
        ("urgent", "", "1"),
    ]
