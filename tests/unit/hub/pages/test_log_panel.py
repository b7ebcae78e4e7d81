"""The log's panel, and that the login's cookie opens what it shows."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from orkhaven.hub.logs import view
from orkhaven.hub.logs.pieces import CHUNK, Limits, Pieces
from orkhaven.hub.logs.stamps import Cursor
from orkhaven.hub.logs.store import LogIdentity
from orkhaven.hub.session import cookie_name
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser

PAGE = f"/n/{NAMESPACE}/experiments/trial"
LOG = f"/api/v1/namespaces/{NAMESPACE}/experiments/trial/attempts/1/log"


def say(browser: Browser, text: bytes, *, attempt: int = 1, uid: str | None = None, ended: bool = True) -> int:
    """As the hub keeps it. What has not ended is of the run's own pod, which waits: of a pod that is not there the hub
    would end the log by itself, at its first look.
    """
    cluster, logs = browser.hub.cluster, browser.hub.app.state.hub.store.logs
    pod_uid = "u" if ended else pod_of_the_run(browser)["uid"]
    who = LogIdentity(
        namespace=NAMESPACE,
        name="trial",
        uid=uid or cluster.objects["Experiment", NAMESPACE, "trial"]["metadata"]["uid"],
        attempt=attempt,
        pod="pod" if ended else pod_of_the_run(browser)["name"],
        pod_uid=pod_uid,
    )
    state = logs.open(who, now=1.0)
    pieces = Pieces(
        state.id, pod_uid, size=state.size, last=state.last, time=0, limits=Limits(head=2 * CHUNK, tail=2 * CHUNK)
    )
    assert logs.append([pieces.add(text, cursor=Cursor(time=pieces.size + 1), time=1.0)], now=1.0) == [True]
    if ended:
        logs.end(state.id, pod_uid=pod_uid, note="the container ended, exit code 1", now=2.0)
    return int(state.id)


def pod_of_the_run(browser: Browser) -> dict[str, Any]:
    metadata: dict[str, Any] = browser.hub.cluster.objects["Pod", NAMESPACE, "trial-1-abcde"]["metadata"]
    return metadata


@pytest.fixture
def run(fake_cluster: FakeCluster) -> FakeCluster:
    fake_cluster.add_run("trial")
    fake_cluster.add_log_reader("reader")
    return fake_cluster


async def test_the_login_opens_the_log_and_nothing_else_does(browser: Browser, run: FakeCluster) -> None:
    say(browser, b"hello\n")
    answer = await browser.get(LOG)
    assert answer.text == "hello\n[orkhaven: the container ended, exit code 1]\n"
    assert answer.headers["cross-origin-resource-policy"] == "same-origin"
    browser.client.cookies.clear()
    assert (await browser.get(LOG)).status_code == 401
    browser.client.cookies.set(cookie_name(None), "guessed")
    assert (await browser.get(LOG)).status_code == 401


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Sec-Fetch-Site": "same-origin"}, 200),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "image"}, 403),
        ({"Sec-Fetch-Site": "same-site", "Sec-Fetch-Dest": "empty"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "iframe"}, 403),
        ({"Sec-Fetch-Site": "cross-site", "Sec-Fetch-Dest": "document"}, 200),
    ],
    ids=["our own page", "an image elsewhere", "a script of another port", "a frame elsewhere", "a link"],
)
async def test_another_sites_page_can_follow_a_link_and_embed_nothing(
    browser: Browser, run: FakeCluster, headers: dict[str, str], status: int
) -> None:
    say(browser, b"hello\n")
    for path in (LOG, f"/api/v1/namespaces/{NAMESPACE}/experiments/trial/artifacts"):
        assert (await browser.client.get(path, headers=headers)).status_code == status


async def test_who_may_not_read_logs_is_told_so_and_sees_the_rest(browser: Browser, fake_cluster: FakeCluster) -> None:
    fake_cluster.add_run("trial")
    say(browser, b"secret\n")
    page = await browser.get(PAGE)
    assert page.status_code == 200
    assert "kubectl auth can-i get pods/log -n radiology" in page.text
    assert 'data-part="log"' not in page.text
    assert (await browser.get(LOG)).status_code == 403


async def test_the_chooser_has_the_attempts_of_this_run_only(browser: Browser, run: FakeCluster) -> None:
    say(browser, b"of a namesake that is gone\n", attempt=7, uid="earlier")
    say(browser, b"one\n", attempt=1)
    run.objects["Experiment", NAMESPACE, "trial"]["status"] = {
        "attempts": [
            {"number": 1, "exitCode": 1, "reason": "UserException", "message": 'ValueError: "<b>'},
            {"number": 2, "startTime": "2026-09-01T10:00:00Z"},
        ]
    }
    text = (await browser.get(PAGE)).text
    assert '<option value="1" data-failure="ValueError: &#34;&lt;b&gt;">attempt 1, UserException</option>' in text
    assert 'value="7"' not in text
    assert "no log of attempt 2" in text


async def test_a_page_that_is_followed_waits_for_more_and_ends_with_the_log(browser: Browser, run: FakeCluster) -> None:
    log_id = say(browser, b"one\n", ended=False)
    waiting = asyncio.create_task(browser.get(LOG, format="json", offset=4, follow=True))
    await asyncio.sleep(0)
    say(browser, b"two\n", ended=False)
    answer = (await waiting).json()
    assert [piece["text"] for piece in answer["pieces"]] == ["two\n"]
    assert (answer["next"], answer["ended"]) == (8, None)
    waiting = asyncio.create_task(browser.get(LOG, format="json", offset=8, follow=True))
    browser.hub.app.state.hub.store.logs.end(log_id, pod_uid=pod_of_the_run(browser)["uid"], note="done", now=3.0)
    answer = (await waiting).json()
    assert (answer["pieces"], answer["ended"]) == ([], 3.0)
    assert answer["notes"][-1]["text"] == "done"


async def test_pages_backwards_are_whole_lines_and_lead_to_the_beginning(browser: Browser, run: FakeCluster) -> None:
    lines = [f"line {number}\n".encode() for number in range(3000)]
    say(browser, b"".join(lines))
    before, texts = sum(map(len, lines)), []
    while before > 0:
        answer = (await browser.get(LOG, format="json", before=before, limit=1000)).json()
        (piece,) = answer["pieces"]
        assert answer["next"] == before
        before = piece["offset"]
        texts.insert(0, piece["text"])
    assert "".join(texts).encode() == b"".join(lines)


async def test_pages_backwards_jump_over_what_was_left_out(browser: Browser, run: FakeCluster) -> None:
    line = b"x" * 63 + b"\n"
    log_id = say(browser, line * (10 * CHUNK // 64))
    logs = browser.hub.app.state.hub.store.logs
    head, tail = logs.extents(log_id)
    answer = (await browser.get(LOG, format="json", before=tail[0], limit=1000)).json()
    assert answer["pieces"][0]["offset"] == head[1] - 1000 // 64 * 64
    assert answer["next"] == head[1]


async def test_a_line_longer_than_a_page_comes_backwards_in_parts(browser: Browser, run: FakeCluster) -> None:
    log_id = say(browser, b"a\n" + b"x" * 5000 + b"\nlast\n")
    logs = browser.hub.app.state.hub.store.logs
    info = logs.refresh(log_id)
    assert view.page_before(logs, info, 5003, 1000) == (4003, 1000)
    assert view.page_before(logs, info, 2, 1000) == (0, 2)
    assert view.page_before(logs, info, 0, 1000) == (0, 1)
