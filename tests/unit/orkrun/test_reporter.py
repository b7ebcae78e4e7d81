"""The reporter against a real HTTP server that fails in every way a hub can."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from orkrun import reporter
from orkrun.reporter import Reporter, Target
from orkrun.spool import SENT, Backlog, Spool
from tests.unit.orkrun.conftest import Hub, wait_for


def spool_lines(folder: Path, attempt: int, count: int) -> Spool:
    spool = Spool(folder, attempt)
    for _ in range(count):
        spool.append(
            {"attempt": attempt, "seq": spool.seq + 1, "step": spool.seq + 1, "time": 0.0, "metrics": {"a": 1.0}}
        )
        spool.seq += 1
    return spool


def start(folder: Path, url: str, token: str = "t") -> Reporter:
    (folder / "token").write_text(token)
    made = Reporter(folder, Target(url, folder / "token"), rng=random.Random(0))
    made.notify()
    return made


@pytest.fixture(autouse=True)
def short_backoff(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(reporter, "BACKOFF_BASE", 0.01)
    monkeypatch.setattr(reporter, "BACKOFF_MAX", 0.05)


def test_lines_arrive_in_order_and_once(tmp_path: Path, hub: Hub) -> None:
    spool_lines(tmp_path, 1, 500)
    assert start(tmp_path, hub.url + "/x").close(10)
    assert hub.seqs() == list(range(1, 501))
    assert Backlog(tmp_path).peek(1) == []


def test_a_hub_that_fails_for_a_while_gets_everything_once_it_is_back(tmp_path: Path, hub: Hub) -> None:
    answers = iter([500, 503, 404, 429])
    hub.answer = lambda token, lines: next(answers, 200)
    spool_lines(tmp_path, 1, 3)
    made = start(tmp_path, hub.url)
    wait_for(lambda: hub.seqs() == [1, 2, 3], "the lines")
    assert made.close(5)
    assert len(hub.bodies) == 5


def test_the_token_is_read_again_after_a_refusal(tmp_path: Path, hub: Hub, capfd: pytest.CaptureFixture[str]) -> None:
    hub.answer = lambda token, lines: 200 if token == "Bearer new" else 401
    spool_lines(tmp_path, 1, 2)
    made = start(tmp_path, hub.url, token="old")
    wait_for(lambda: "Bearer old" in hub.tokens, "a first try")
    (tmp_path / "token").write_text("new\n")
    wait_for(lambda: hub.seqs() == [1, 2], "the lines")
    assert made.close(5)
    said = capfd.readouterr().err
    assert said.count("answered 401") == 1, "said once, however often it happened"
    assert "takes metrics again" in said


@pytest.mark.parametrize("code", [400, 413, 422])
def test_one_line_that_is_refused_is_dropped_and_does_not_hold_up_the_others(
    tmp_path: Path, hub: Hub, code: int, capfd: pytest.CaptureFixture[str]
) -> None:
    hub.answer = lambda token, lines: code if any(line["seq"] == 5 for line in lines) else 200
    spool_lines(tmp_path, 1, 9)
    assert start(tmp_path, hub.url).close(10)
    assert hub.seqs() == [1, 2, 3, 4, 6, 7, 8, 9]
    said = capfd.readouterr().err
    assert "dropped" in said
    assert '"seq":5' in said


def test_what_former_attempts_left_is_sent_first(tmp_path: Path, hub: Hub) -> None:
    for attempt in (10, 2, 1):
        spool_lines(tmp_path, attempt, 2)
    assert start(tmp_path, hub.url).close(10)
    assert [(line["attempt"], line["seq"]) for line in hub.lines] == [(1, 1), (1, 2), (2, 1), (2, 2), (10, 1), (10, 2)]


def test_a_new_process_sends_only_what_the_old_one_had_not(tmp_path: Path, hub: Hub) -> None:
    spool_lines(tmp_path, 1, 3).close()
    assert start(tmp_path, hub.url).close(10)
    spool_lines(tmp_path, 1, 2).close()
    assert start(tmp_path, hub.url).close(10)
    assert hub.seqs() == [1, 2, 3, 4, 5]


def test_a_damaged_mark_means_sending_again_not_losing(tmp_path: Path, hub: Hub) -> None:
    spool_lines(tmp_path, 1, 2)
    (tmp_path / SENT).write_text('{"metrics-1.jsonl":')
    assert start(tmp_path, hub.url).close(10)
    assert hub.seqs() == [1, 2]


def test_lines_reported_while_a_request_is_under_way_go_together_in_the_next(tmp_path: Path, hub: Hub) -> None:
    entered, release = threading.Event(), threading.Event()

    def slow(token: str, lines: list[dict[str, Any]]) -> int:
        entered.set()
        return 200 if release.wait(20) else 500

    hub.answer = slow
    spool_lines(tmp_path, 1, 1).close()
    made = start(tmp_path, hub.url)
    assert entered.wait(20)
    spool_lines(tmp_path, 1, 50).close()
    made.notify()
    release.set()
    assert made.close(10)
    assert hub.seqs() == list(range(1, 52))
    assert len(hub.bodies) == 2


def test_closing_is_bounded_when_the_hub_hangs(tmp_path: Path, hub: Hub) -> None:
    release = threading.Event()
    hub.answer = lambda token, lines: 200 if release.wait(60) else 500
    spool_lines(tmp_path, 1, 1)
    made = start(tmp_path, hub.url)
    begin = time.monotonic()
    assert not made.close(0.3)
    assert time.monotonic() - begin < 5
    release.set()


def test_closing_is_bounded_when_nobody_listens(tmp_path: Path) -> None:
    spool_lines(tmp_path, 1, 1)
    made = start(tmp_path, "http://127.0.0.1:1/x")
    assert not made.close(0.3)


def test_an_answer_that_is_no_http_is_survived(tmp_path: Path) -> None:
    import socket

    listener = socket.create_server(("127.0.0.1", 0))

    def talk() -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            with connection:
                connection.recv(65536)
                connection.sendall(b"\x00\x01 nonsense\r\n\r\n")

    thread = threading.Thread(target=talk)
    thread.start()
    spool_lines(tmp_path, 1, 1)
    made = start(tmp_path, f"http://127.0.0.1:{listener.getsockname()[1]}/")
    assert not made.close(0.5)
    listener.shutdown(socket.SHUT_RDWR)
    listener.close()
    thread.join()


def test_without_an_address_nothing_is_sent_and_all_is_kept(tmp_path: Path) -> None:
    spool_lines(tmp_path, 1, 2)
    assert start(tmp_path, "").close(5)
    assert len(Backlog(tmp_path).peek(1 << 20)) == 2
