"""`debug` over an API server in memory: what is asked for, what is waited for, and what is left behind."""

from __future__ import annotations

import io
import json
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from orkhaven.cli.debug import debug
from orkhaven.client.connect import Target
from orkhaven.client.errors import Invalid, OrkhavenError
from tests.unit.cli.world import Capture, TestSession
from tests.unit.client.fake_api import FakeApi

FAILED = "covid-3d4e5f6a7b"


class Terminal(io.StringIO):
    def isatty(self) -> bool:
        return True


@pytest.fixture(autouse=True)
def ready(api: FakeApi, monkeypatch: pytest.MonkeyPatch) -> None:
    """A run that has ended, and kubectl."""
    api.objects["Experiment", FAILED]["status"]["runHash"] = "f" * 64
    kubectl = lambda self, *words: ["/bin/kubectl", *words, "--context=lab"]  # noqa: E731
    monkeypatch.setattr(Target, "kubectl", kubectl)
    monkeypatch.setattr(sys, "stdin", Terminal())


def pod(phase: str = "Running", **status: Any) -> dict[str, Any]:
    labels = {"orkhaven.io/debug": FAILED}
    return {"kind": "Pod", "metadata": {"name": "pod-d", "labels": labels}, "status": {"phase": phase, **status}}


def enter(session: TestSession, **options: Any) -> tuple[int, list[Sequence[str]]]:
    ran: list[Sequence[str]] = []

    def run(command: Sequence[str]) -> int:
        ran.append(command)
        return 7

    given = {"timeout": "1h", "gpu": False, "keep": False, "pause": lambda seconds: None, **options}
    return debug(session, FAILED, run=run, **given), ran


def wishes(api: FakeApi) -> list[Any]:
    return [json.loads(one.content)["spec"]["debug"] for one in api.requests if one.method == "PATCH"]


def test_its_last_words_come_first_and_the_shell_ends_the_pod(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    api.put(pod())
    code, (command,) = enter(session)
    out = capsys.readouterr().out
    assert code == 7
    failure = api.objects["Experiment", FAILED]["status"]["failure"]
    assert out.index(failure["message"]) < out.index("pod-d, until")
    assert list(command[:8]) == ["/bin/kubectl", "exec", "--context=lab", "-n", "radiology", "-it", "pod-d", "-c"]
    asked, taken_back = wishes(api)
    assert asked["gpus"] is False
    assert taken_back is None


def test_a_pod_that_is_kept_is_entered_again_and_not_asked_for_anew(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    api.put(pod())
    enter(session, keep=True)
    assert "the pod stays until" in capsys.readouterr().out
    enter(session, keep=True)
    assert len(wishes(api)) == 1
    enter(session, keep=True, gpu=True)
    assert [wish["gpus"] for wish in wishes(api)] == [False, True]


def test_what_it_waits_for_is_said_and_not_waited_for_without_end(
    api: FakeApi, session: TestSession, capsys: Capture
) -> None:
    waiting = {"containerStatuses": [{"state": {"waiting": {"reason": "ErrImagePull", "message": "no such tag"}}}]}
    api.put(pod("Pending", **waiting))
    with pytest.raises(OrkhavenError, match="ErrImagePull: no such tag"):
        enter(session)
    assert capsys.readouterr().err.count("ErrImagePull") == 1
    assert wishes(api)[-1] is None


def test_without_a_terminal_it_says_how_to_enter(
    api: FakeApi, session: TestSession, capsys: Capture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(sys, "stdin", io.StringIO())
    api.put(pod())
    code, ran = enter(session)
    assert (code, ran) == (0, [])
    assert "enter it: kubectl exec --context=lab -n radiology -it pod-d" in capsys.readouterr().out
    assert len(wishes(api)) == 1


@pytest.mark.parametrize("source", ["pipe", "file"])
def test_commands_from_a_pipe_or_a_file_are_run_and_the_pod_goes(
    api: FakeApi, session: TestSession, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, source: str
) -> None:
    if source == "pipe":
        reading, writing = os.pipe()
        os.close(writing)
    else:
        (tmp_path / "look.sh").touch()
        reading = os.open(tmp_path / "look.sh", os.O_RDONLY)
    api.put(pod())
    with os.fdopen(reading) as stdin:
        monkeypatch.setattr(sys, "stdin", stdin)
        code, (command,) = enter(session)
    assert code == 7
    assert command[5] == "-i"
    assert wishes(api)[-1] is None


@pytest.mark.parametrize("timeout", ["soon", "10s", "25h"])
def test_a_time_that_is_none_is_refused(session: TestSession, timeout: str) -> None:
    with pytest.raises(Invalid, match="--timeout"):
        enter(session, timeout=timeout)


def test_a_run_that_the_operator_has_not_seen_has_no_pod_yet(api: FakeApi, session: TestSession) -> None:
    del api.objects["Experiment", FAILED]["status"]["runHash"]
    with pytest.raises(OrkhavenError, match="has not looked at"):
        enter(session)
