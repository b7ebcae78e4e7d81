"""The panel "Failures by cause": what a person reads of each, and how they run its trials again."""

from __future__ import annotations

from typing import Any

import pytest
from playwright.sync_api import Browser, Dialog, Locator, Page, expect

from tests.browser.conftest import wait_for
from tests.browser.serving import Served
from tests.unit.hub.fakes import NAMESPACE

SWEEP = "covid-architectures"
PATH = f"/n/{NAMESPACE}/sweeps/{SWEEP}"


def cluster(number: str, reason: str, count: int, message: str, suggestion: str, **more: Any) -> dict[str, Any]:
    samples = [f"{SWEEP}-{number}{place:02d}" for place in range(min(count, 3))]
    return {
        "id": number,
        "reason": reason,
        "count": count,
        "message": message,
        "suggestion": suggestion,
        "samples": samples,
        **more,
    }


CLUSTERS = [
    cluster(
        "c3f2a1d0",
        "OutOfMemoryKilled",
        5,
        "killed at its memory limit of 16Gi (container trainer, 15.9Gi of anonymous memory at its last report)",
        "Raise resources.memory above 16Gi, or lower batch size, image size or number of data workers. "
        "All 5 have batch_size=16: change what it does, or leave it out of the search.",
        correlates=[
            {"text": "batch_size=16 in 5/5, 3/88 of the successful"},
            {"text": "node=gpu-03 in 4/5, 9/88 of the successful"},
        ],
        nodes=[{"name": "gpu-03", "count": 4}, {"name": "gpu-01", "count": 1}],
    ),
    cluster(
        "81b7aa02",
        "ImportError",
        2,
        "ModuleNotFoundError: No module named 'scipy'",
        "The image lacks the module scipy: add scipy to the image (pip install), or correct the import.",
        where="ctseg/weak.py in _points_of_plane",
    ),
    cluster(
        "5d0c99e4",
        "InvalidParams",
        1,
        "loss.name: 'dice_cee' is unknown; did you mean dice_ce or nr_dice_ce?",
        "Correct the parameter that the message names; in a Sweep, leave this value out.",
    ),
    cluster(
        "9e41f7b3",
        "DataError",
        1,
        "/data/lyon: there is no such folder (data.root, or the experiment's first data mount)",
        "Check the file that the message names, and the data claim with its subPath and mountPath.",
    ),
]
RERUN = {
    "id": "timeouts-2026-09-13",
    "selected": 3,
    "created": 3,
    "done": 3,
    "succeeded": 2,
    "failed": 1,
    "message": "",
}


@pytest.fixture
def failures(page: Page, served: Served) -> Locator:
    """The panel of a sweep with four causes."""

    def change() -> None:
        body = served.cluster.objects["Sweep", NAMESPACE, SWEEP]
        body["spec"]["template"]["resources"] = {"gpus": 1, "memory": "16Gi"}
        body["status"] |= {"failureClusters": CLUSTERS, "reruns": [RERUN]}
        served.cluster.touch("Sweep", NAMESPACE, SWEEP)

    served.do(change)
    page.goto(PATH)
    panel = page.locator("#failures")
    expect(panel.locator("article")).to_have_count(4)
    return panel


def of(failures: Locator, reason: str) -> Locator:
    return failures.locator("article", has=failures.page.get_by_text(reason, exact=True))


def asked(served: Served) -> list[dict[str, Any]]:
    """The entries of spec.rerun that were written, each without its id."""
    entries = [body["spec"]["rerun"][-1] for *_, body in served.cluster.patched]
    return [{key: value for key, value in entry.items() if key != "id"} for entry in entries]


def test_each_cause_says_how_many_what_in_common_and_what_to_do(failures: Locator) -> None:
    memory = of(failures, "OutOfMemoryKilled")
    for words in (
        "5 trials",
        "killed at its memory limit of 16Gi",
        "batch_size=16 in 5/5, 3/88 of the successful",
        "Raise resources.memory above 16Gi",
        "on gpu-03 (4), gpu-01 (1)",
        "c3f2a1d0",
    ):
        expect(memory).to_contain_text(words)
    expect(of(failures, "ImportError")).to_contain_text("ctseg/weak.py in _points_of_plane")
    expect(failures.get_by_role("table", name="Run again")).to_contain_text("timeouts-2026-09-13")


def test_memory_is_proposed_and_a_yes_runs_just_these(failures: Locator, page: Page, served: Served) -> None:
    questions: list[str] = []

    def answer(dialog: Dialog) -> None:
        questions.append(dialog.message)
        if len(questions) == 1:
            dialog.dismiss()
        else:
            dialog.accept()

    page.on("dialog", answer)
    memory = of(failures, "OutOfMemoryKilled")
    expect(memory.get_by_label("memory")).to_have_value("32Gi")
    memory.get_by_role("button", name="Rerun these 5").click()
    wait_for(lambda: questions, "it asks")
    assert "these 5 trials again, each in the place of the one that failed" in questions[0]
    assert questions[0].endswith("Changed: memory 32Gi.")
    assert served.cluster.patched == [], "a no is a no"
    memory.get_by_role("button", name="Rerun these 5").click()
    page.wait_for_url(f"**{PATH}#failures")
    wait_for(lambda: served.cluster.patched, "it is written")
    assert asked(served) == [{"select": {"clusters": ["c3f2a1d0"]}, "overrides": {"resources": {"memory": "32Gi"}}}]


def test_a_parameter_and_an_image_are_asked_for_where_they_are_the_cause(
    failures: Locator, page: Page, served: Served
) -> None:
    page.on("dialog", lambda dialog: dialog.accept())
    of(failures, "InvalidParams").get_by_label("parameters").fill("loss.name=dice_ce")
    of(failures, "InvalidParams").get_by_role("button", name="Rerun it").click()
    wait_for(lambda: len(served.cluster.patched) == 1, "the parameter is written")
    expect(failures.locator("article")).to_have_count(4)
    image = of(failures, "ImportError")
    image.get_by_label("image").fill("registry.example/ctseg:1.5")
    image.get_by_text("more changes").click()
    image.get_by_label("from the start").check()
    image.get_by_role("button", name="Rerun these 2").click()
    wait_for(lambda: len(served.cluster.patched) == 2, "the image is written")
    assert asked(served) == [
        {"select": {"clusters": ["5d0c99e4"]}, "overrides": {"params": {"loss.name": "dice_ce"}}},
        {
            "select": {"clusters": ["81b7aa02"]},
            "overrides": {"image": "registry.example/ctseg:1.5"},
            "fromCheckpoint": False,
        },
    ]


def test_what_is_typed_stays_while_more_trials_fail(failures: Locator, page: Page, served: Served) -> None:
    def one_more() -> None:
        body = served.cluster.objects["Sweep", NAMESPACE, SWEEP]
        found = body["status"]["failureClusters"]
        body["status"]["failureClusters"] = [{**found[0], "count": found[0]["count"] + 1}, *found[1:]]
        body["status"]["trials"]["failed"] += 1
        served.cluster.touch("Sweep", NAMESPACE, SWEEP)

    memory = of(failures, "OutOfMemoryKilled")
    memory.get_by_label("memory").fill("48Gi")
    page.get_by_role("heading", level=1).click()
    expect(page.locator("#head")).to_contain_text("9 failed")
    served.do(one_more)
    expect(page.locator("#head")).to_contain_text("10 failed")
    expect(memory.get_by_label("memory")).to_have_value("48Gi")
    expect(memory).to_contain_text("5 trials")
    memory.get_by_label("memory").fill("32Gi")
    page.get_by_role("heading", level=1).click()
    expect(memory).to_contain_text("6 trials")


def test_who_may_only_read_is_offered_no_button(failures: Locator, chromium: Browser, served: Served) -> None:
    expect(failures.get_by_role("button", name="Rerun")).to_have_count(4)
    served.do(lambda: served.cluster.add_reader("visitor"))
    context = chromium.new_context(base_url=served.url)
    page = context.new_page()
    page.goto("/")
    page.fill("#token", "visitor")
    page.click("button.primary")
    page.wait_for_url("**/sweeps")
    page.goto(PATH)
    expect(page.locator("#failures article")).to_have_count(4)
    expect(page.locator("#failures").get_by_role("button", name="Rerun")).to_have_count(0)
    context.close()


@pytest.mark.parametrize("width", [390, 1600])
def test_all_of_it_fits_the_screen_and_every_field_has_a_name(failures: Locator, page: Page, width: int) -> None:
    page.set_viewport_size({"width": width, "height": 900})
    for more in failures.locator("summary").all():
        more.click()
    assert page.evaluate("document.documentElement.scrollWidth") <= width
    outside = """panel => [...panel.querySelectorAll('*')].filter((one) => one.getClientRects().length)
      .filter((one) => !one.closest('.scroll'))
      .filter((one) => one.getBoundingClientRect().right > panel.getBoundingClientRect().right + 1)
      .map((one) => one.outerHTML.slice(0, 80))"""
    assert failures.evaluate(outside) == []
    unnamed = """panel => [...panel.querySelectorAll('input:not([type=hidden])')]
      .filter((one) => !one.labels.length).map((one) => one.outerHTML)"""
    assert failures.evaluate(unnamed) == []
