"""Who gets in, what the browser holds, and what another site's page cannot do."""

from __future__ import annotations

import logging

import pytest

from orkhaven.hub.pages.security import safe_next
from orkhaven.hub.session import CODE_LIFETIME, IDLE, LIFETIME, Codes, Sessions
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser, add_sweep


async def test_without_a_login_every_page_leads_to_it_and_back(anonymous: Browser) -> None:
    answer = await anonymous.get("/n/radiology/sweeps?state=Failed")
    assert answer.status_code == 303
    assert answer.headers["location"] == "/login?next=%2Fn%2Fradiology%2Fsweeps%3Fstate%3DFailed"
    assert (await anonymous.login(next="/n/radiology/sweeps?state=Failed")).headers["location"] == (
        "/n/radiology/sweeps?state=Failed"
    )


async def test_the_cookie_is_kept_from_scripts_and_other_sites_and_is_not_the_token(anonymous: Browser) -> None:
    cookie = (await anonymous.login()).headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=strict" in cookie
    assert "Max-Age=28800" in cookie
    assert "reader" not in cookie


async def test_a_refused_token_is_said_and_opens_nothing(anonymous: Browser) -> None:
    answer = await anonymous.login("forged")
    assert answer.status_code == 401
    assert "the API server does not accept the token: invalid bearer token" in answer.text
    assert "set-cookie" not in answer.headers


@pytest.mark.parametrize("token", ["", "two words", "näh", "x" * 20_000], ids=["empty", "words", "letters", "long"])
async def test_what_cannot_be_a_token_is_not_sent_to_the_api_server(
    anonymous: Browser, fake_cluster: FakeCluster, token: str
) -> None:
    before = fake_cluster.calls.count("review token")
    assert (await anonymous.login(token)).status_code == 400
    assert fake_cluster.calls.count("review token") == before


async def test_logging_out_forgets_the_login_on_the_server_too(browser: Browser) -> None:
    cookies = dict(browser.client.cookies)
    assert (await browser.client.post("/logout", data={"csrf": await browser.csrf()})).status_code == 303
    browser.client.cookies.update(cookies)
    assert (await browser.get("/n/radiology/sweeps")).status_code == 303


async def test_a_logout_without_the_pages_token_is_refused(browser: Browser) -> None:
    answer = await browser.client.post("/logout", data={"csrf": "0" * 64})
    assert answer.status_code == 403
    assert "from an earlier login" in answer.text


@pytest.mark.parametrize(
    "headers",
    [{"Sec-Fetch-Site": "cross-site"}, {"Sec-Fetch-Site": "same-site"}, {"Origin": "https://evil.example"}],
    ids=["cross-site", "sibling", "origin"],
)
async def test_a_form_of_another_sites_page_is_refused_even_with_the_token(
    browser: Browser, headers: dict[str, str]
) -> None:
    answer = await browser.client.post("/logout", data={"csrf": await browser.csrf()}, headers=headers)
    assert answer.status_code == 403


async def test_a_bearer_header_works_instead_of_a_login(anonymous: Browser) -> None:
    answer = await anonymous.client.get("/n/radiology/sweeps", headers={"Authorization": "Bearer reader"})
    assert answer.status_code == 200
    assert "user-of-reader" in answer.text


async def test_a_namespace_that_is_not_ones_own_is_refused_with_the_command_that_shows_why(
    browser: Browser, fake_cluster: FakeCluster
) -> None:
    fake_cluster.put("Sweep", "secret", namespace="elsewhere", spec={"objective": {"metric": "m"}})
    for path in ("sweeps", "sweeps/secret", "sweeps/secret/curves", "experiments", "experiments/x", "events"):
        answer = await browser.get(f"/n/elsewhere/{path}")
        assert answer.status_code == 403, path
        assert "may not get experiments in namespace" in answer.text
        assert "secret-value" not in answer.text
    page = await browser.get("/n/elsewhere/sweeps")
    assert "kubectl auth can-i get experiments.orkhaven.io -n elsewhere" in page.text


async def test_the_picker_offers_only_namespaces_that_one_may_read(browser: Browser, fake_cluster: FakeCluster) -> None:
    add_sweep(fake_cluster)
    fake_cluster.put("Sweep", "secret", namespace="elsewhere", spec={"objective": {"metric": "m"}})
    await browser.hub.until(lambda: len(browser.hub.app.state.hub.queries.catalogue.namespaces()) == 2)
    page = (await browser.get(f"/n/{NAMESPACE}/sweeps")).text
    assert "<option selected>radiology</option>" in page
    assert "elsewhere" not in page


async def test_every_answer_carries_the_strict_policy(browser: Browser) -> None:
    for path in ("/login", "/n/radiology/sweeps", "/n/elsewhere/sweeps", "/n/radiology/sweeps/none/curves"):
        headers = (await browser.get(path)).headers
        policy = headers["content-security-policy"]
        assert "default-src 'none'" in policy
        assert "unsafe" not in policy
        assert headers["x-content-type-options"] == "nosniff"
        assert headers["referrer-policy"] == "same-origin"
        assert headers["cache-control"] == "no-store"


async def test_no_token_is_ever_logged(anonymous: Browser, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    await anonymous.login("reader")
    await anonymous.login("forged-token-value")
    await anonymous.get("/n/radiology/sweeps")
    assert "forged-token-value" not in caplog.text


@pytest.mark.parametrize(
    ("asked", "given"),
    [
        ("/n/a/sweeps?x=1", "/n/a/sweeps?x=1"),
        (None, "/"),
        ("", "/"),
        ("https://evil.example/", "/"),
        ("//evil.example/", "/"),
        ("/\\evil.example", "/"),
        ("/\t/evil.example", "/"),
        ("/login?next=/login", "/"),
    ],
)
def test_after_the_login_only_paths_of_ours_are_gone_to(asked: str | None, given: str) -> None:
    assert safe_next(asked) == given


def test_a_login_ends_after_its_time_and_after_idleness() -> None:
    now = [0.0]
    sessions = Sessions(clock=lambda: now[0])
    idle, used = sessions.open("a", "anna"), sessions.open("b", "ben")
    while now[0] + 1000 < LIFETIME:
        now[0] += 1000
        assert sessions.find(used) is not None
    assert sessions.find(idle) is None
    now[0] = LIFETIME
    assert sessions.find(used) is None
    assert IDLE < LIFETIME


def test_of_too_many_logins_the_one_unused_for_longest_goes() -> None:
    sessions = Sessions(clock=lambda: 0.0, size=2)
    first, second = sessions.open("a", "anna"), sessions.open("b", "ben")
    assert sessions.find(first) is not None
    sessions.open("c", "cleo")
    assert sessions.find(second) is None
    assert sessions.find(first) is not None


def test_a_viewer_shows_no_secret_when_it_is_printed() -> None:
    sessions = Sessions(clock=lambda: 0.0)
    viewer = sessions.find(sessions.open("my-token", "anna"))
    assert viewer is not None
    assert "my-token" not in repr(viewer)
    assert viewer.csrf not in repr(viewer)


# --- one-time codes ---


async def _code(browser: Browser, token: str = "reader") -> str:
    answer = await browser.client.post("/login/code", headers={"Authorization": f"Bearer {token}"})
    assert answer.status_code == 201, answer.text
    assert answer.headers["cache-control"] == "no-store"
    assert answer.json()["expires_in"] == 60
    return str(answer.json()["code"])


async def test_a_code_logs_a_browser_in_once_and_leads_on_without_a_redirect(anonymous: Browser) -> None:
    code = await _code(anonymous)
    answer = await anonymous.get("/login", code=code, next="/n/radiology/sweeps?state=Failed")
    assert answer.status_code == 200
    assert '<meta http-equiv="refresh" content="0; url=/n/radiology/sweeps?state=Failed">' in answer.text
    assert code not in answer.text
    assert answer.headers["referrer-policy"] == "same-origin"
    assert {"HttpOnly", "SameSite=strict"} <= set(answer.headers["set-cookie"].split("; "))
    page = await anonymous.get("/n/radiology/sweeps")
    assert page.status_code == 200
    assert "user-of-reader" in page.text


async def test_the_second_to_come_with_a_code_ends_the_login_of_the_first(anonymous: Browser) -> None:
    code = await _code(anonymous)
    assert (await anonymous.get("/login", code=code)).status_code == 200
    cookies = dict(anonymous.client.cookies)
    anonymous.client.cookies.clear()
    late = await anonymous.get("/login", code=code)
    assert late.status_code == 401
    assert "somebody has used it: then that login has just been ended" in late.text
    anonymous.client.cookies.update(cookies)
    assert (await anonymous.get("/n/radiology/sweeps")).status_code == 303


async def test_whoever_is_logged_in_may_load_the_address_again(anonymous: Browser) -> None:
    code = await _code(anonymous)
    await anonymous.get("/login", code=code)
    again = await anonymous.get("/login", code=code, next="/n/radiology/sweeps")
    assert (again.status_code, again.headers["location"]) == (303, "/n/radiology/sweeps")
    assert (await anonymous.get("/n/radiology/sweeps")).status_code == 200


@pytest.mark.parametrize("code", ["", "guess", "x" * 200], ids=["empty", "wrong", "long"])
async def test_a_code_that_was_never_made_opens_nothing(anonymous: Browser, code: str) -> None:
    answer = await anonymous.get("/login", code=code)
    assert answer.status_code == 401
    assert "set-cookie" not in answer.headers


async def test_a_code_is_made_for_a_good_token_and_not_for_a_cookie(browser: Browser) -> None:
    assert (await browser.client.post("/login/code")).status_code == 401
    forged = await browser.client.post("/login/code", headers={"Authorization": "Bearer forged"})
    assert forged.json()["error"]["code"] == "TokenRefused"
    from_elsewhere = {"Authorization": "Bearer reader", "Sec-Fetch-Site": "cross-site"}
    assert (await browser.client.post("/login/code", headers=from_elsewhere)).status_code == 403


def test_a_code_is_over_after_a_minute_and_says_nothing_when_printed() -> None:
    now = [0.0]
    sessions = Sessions(clock=lambda: now[0])
    codes = Codes(sessions, clock=lambda: now[0], size=2)
    first = codes.make("my-token", "anna")
    now[0] = CODE_LIFETIME - 1
    second = codes.make("my-token", "anna")
    assert "my-token" not in repr(list(codes._codes.values()))
    now[0] = CODE_LIFETIME
    assert codes.exchange(first) is None
    assert codes.exchange(second) is not None
    assert len(sessions) == 1
    made = [codes.make("t", "anna") for _ in range(3)]
    assert [codes.exchange(one) is None for one in made] == [True, False, False], "the oldest goes"


async def test_hubs_at_two_ports_of_one_host_do_not_share_a_login(browser: Browser) -> None:
    other = await browser.client.get("http://hub:8123/n/radiology/sweeps")
    assert other.status_code == 303
    assert (await browser.client.get("/n/radiology/sweeps")).status_code == 200
    assert (await browser.client.get("/n/radiology/sweeps", headers={"Host": "hub:port"})).status_code == 400
