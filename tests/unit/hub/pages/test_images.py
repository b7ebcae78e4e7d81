"""Which pictures make a case, which are shown by themselves, which are a download only, and to whom."""

from __future__ import annotations

import hashlib
from typing import Any

import pytest

from orkhaven.hub.artifacts.entry import Entry
from orkhaven.hub.artifacts.store import Found, Limits, Place
from orkhaven.hub.pages.views.images import once, pictures
from orkhaven.hub.storage.ingest import RunIdentity
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser

RUN = f"/n/{NAMESPACE}/experiments/trial"


def entry(seq: int, **fields: Any) -> Entry:
    values: dict[str, Any] = {
        "attempt": 1, "seq": seq, "name": "picture", "kind": "image", "path": "a.png", "sha256": "0" * 64, "size": 9,
        "media_type": "image/png", "step": None, "time": 1.0, "caption": "", "group": "", "role": "", **fields,
    }  # fmt: skip
    return Entry(**values)


def found(*entries: Entry, stored: bool = True) -> list[Found]:
    place = Place(claim="results", folder="a")
    return [
        Found(id=number, namespace="n", experiment="x", uid="u", entry=one, place=place, stored=stored)
        for number, one in enumerate(entries, 1)
    ]


def frames(case: dict[str, Any]) -> list[tuple[Any, Any, dict[str, str]]]:
    return [
        (one["slice"], one["step"], {role: layer["url"].split("/")[-2] for role, layer in one["layers"].items()})
        for one in case["frames"]
    ]


def test_layers_of_one_group_are_a_case_with_its_slices_and_steps() -> None:
    made = pictures(
        found(
            entry(1, group="case-07/12", role="image"),
            entry(2, group="case-07/12", role="mask"),
            entry(3, group="case-07/9", role="image", step=5),
            entry(4, group="worst case", role="prediction"),
        ),
        lambda one: None,
    )
    assert [one["name"] for one in made["cases"]] == ["case-07", "worst case"]
    assert frames(made["cases"][0]) == [(9, 5, {"image": "3"}), (12, None, {"image": "1", "mask": "2"})]


def test_of_what_was_reported_twice_the_last_is_shown() -> None:
    made = pictures(found(entry(1, group="c", role="image"), entry(2, group="c", role="image")), lambda one: None)
    assert frames(made["cases"][0]) == [(None, None, {"image": "2"})]


def test_pictures_without_a_role_are_by_themselves_with_their_steps() -> None:
    made = pictures(found(*(entry(n, name="curves", step=step) for n, step in enumerate((20, 10)))), lambda one: None)
    assert made["cases"] == []
    assert [[shot["step"] for shot in one["shots"]] for one in made["gallery"]] == [[10, 20]]


@pytest.mark.parametrize(
    ("fields", "hidden"),
    [
        ({"media_type": "image/svg+xml"}, 1),
        ({"media_type": "text/html"}, 1),
        ({"kind": "volume", "path": "a.npy"}, 1),
        ({"kind": "volume", "path": "a.nii.gz"}, 0),
        ({"kind": "file"}, 0),
    ],
    ids=["svg", "html", "a volume of another kind", "nifti", "a file"],
)
def test_what_a_browser_is_not_given_in_place_is_counted(fields: dict[str, Any], hidden: int) -> None:
    made = pictures(found(entry(1, **fields)), lambda one: None)
    assert made["hidden"] == hidden
    assert made["gallery"] == []


def test_what_cannot_be_had_says_why_and_the_place_is_asked_for_once() -> None:
    asked: list[int] = []

    def why_not(one: Found) -> str:
        asked.append(one.id)
        return "the claim is not mounted"

    made = pictures(found(*(entry(n, name=f"p{n}") for n in range(1, 50)), stored=False), once(why_not))
    assert asked == [1]
    assert {(one["shots"][0]["url"], one["shots"][0]["why"]) for one in made["gallery"]} == {
        (None, "the claim is not mounted")
    }


def add(browser: Browser, content: bytes = b"\x89PNG\r\n\x1a\n", *, uid: str | None = None, **fields: Any) -> int:
    hub = browser.hub.app.state.hub
    uid = uid or browser.hub.cluster.objects["Experiment", NAMESPACE, "trial"]["metadata"]["uid"]
    run = RunIdentity(uid=uid, namespace=NAMESPACE, name="trial", sweep=None, objective=None, minimize=None)
    seq = len(hub.store.artifacts.of_run(NAMESPACE, "trial")) + 1
    one = entry(seq, size=len(content), sha256=hashlib.sha256(content).hexdigest(), **fields)
    limits, place = Limits(count=100, run_bytes=1 << 20), Place(claim="", folder="")
    return int(hub.store.artifacts.add(run, one, content, place=place, limits=limits, now=1.0).id)


async def test_the_login_opens_pictures_as_what_they_are_and_nothing_as_a_page(
    browser: Browser, fake_cluster: FakeCluster
) -> None:
    fake_cluster.add_run("trial")
    add(browser, name="<script>alert(1)</script>", caption='"><b>', group="g", role="image")
    svg = add(browser, b"<svg onload='alert(1)'/>", media_type="image/svg+xml", name="evil.svg", path="evil.svg")
    answer = await browser.get(f"{RUN}/images")
    assert answer.headers["content-type"] == "application/json"
    (layer,) = answer.json()["cases"][0]["frames"][0]["layers"].values()
    shown = await browser.get(layer["url"])
    assert (shown.status_code, shown.headers["content-type"]) == (200, "image/png")
    evil = await browser.get(f"/api/v1/namespaces/{NAMESPACE}/experiments/trial/artifacts/{svg}/content")
    assert evil.headers["content-disposition"].startswith("attachment")
    assert evil.headers["content-type"] == "application/octet-stream"
    listed = (await browser.part(f"{RUN}/artifacts")).text
    assert "&lt;script&gt;alert(1)&lt;/script&gt;" in listed
    assert "<script>" not in listed
    again = await browser.client.get(f"{RUN}/images", headers={"If-None-Match": answer.headers["etag"]})
    assert again.status_code == 304


async def test_pictures_of_a_namesake_that_is_gone_are_not_this_runs(
    browser: Browser, fake_cluster: FakeCluster
) -> None:
    fake_cluster.add_run("trial")
    add(browser, uid="earlier")
    assert (await browser.get(f"{RUN}/images")).json() == {"cases": [], "gallery": [], "hidden": 0}
    assert "Nothing reported" in (await browser.part(f"{RUN}/artifacts")).text


async def test_who_may_not_read_the_namespace_sees_no_picture(anonymous: Browser, fake_cluster: FakeCluster) -> None:
    fake_cluster.add_run("trial")
    fake_cluster.add_reader("stranger", namespace="elsewhere")
    number = add(anonymous)
    await anonymous.login("stranger")
    content = f"/api/v1/namespaces/{NAMESPACE}/experiments/trial/artifacts/{number}/content"
    for path in (f"{RUN}/images", f"{RUN}/artifacts", content):
        assert (await anonymous.get(path)).status_code == 403, path


async def test_the_list_is_paged_and_says_where_each_is(browser: Browser, fake_cluster: FakeCluster) -> None:
    fake_cluster.add_run("trial")
    for number in range(45):
        add(browser, name=f"picture-{number}")
    text = (await browser.part(f"{RUN}/artifacts", page=2)).text
    assert "picture-20" in text
    assert "picture-19" not in text
    assert "page 2 of 3" in text
    assert "in the hub" in text
    assert "picture-44" in (await browser.part(f"{RUN}/artifacts", page=99)).text


async def test_compared_runs_come_with_the_pictures_of_each(browser: Browser, fake_cluster: FakeCluster) -> None:
    for name in ("trial", "other"):
        fake_cluster.add_run(name)
    add(browser, group="worst case", role="mask", step=4)
    runs = (await browser.get(f"/n/{NAMESPACE}/compare/images", run=["trial", "other"])).json()["runs"]
    assert [(run["name"], [case["name"] for case in run["cases"]]) for run in runs] == [
        ("trial", ["worst case"]), ("other", []),
    ]  # fmt: skip
    assert (await browser.get(f"/n/{NAMESPACE}/compare/images", run=["trial"])).status_code == 400
    assert (await browser.get(f"/n/{NAMESPACE}/compare/images", run=["trial", "gone"])).status_code == 404
