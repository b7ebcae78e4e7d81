"""The API server's refusals as sentences, pages, watches, the child processes, the choice of a token."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import httpx
import pytest

from orkhaven.client.child import Child, ChildFailed
from orkhaven.client.connect import Target, connect
from orkhaven.client.errors import (
    Conflict,
    Forbidden,
    Invalid,
    NoCluster,
    NoKubectl,
    NotFound,
    NotInstalled,
    NoToken,
    OrkhavenError,
    TimedOut,
)
from orkhaven.client.hub import Place
from orkhaven.client.kube import Kube
from orkhaven.client.tokens import TokenChoice, token_of
from orkhaven.client.waiting import finished, holds, until
from orkhaven.client.wire import WireError
from orkhaven.pauses import LONGEST_SECONDS
from tests.cli_world import Body, covid, trial
from tests.cli_world import finished as finished_sweep
from tests.unit.client.fake_api import FakeApi, refusal

REFUSALS = {
    "no CRDs": (
        httpx.Response(404, text="404 page not found"),
        NotInstalled,
        "has no sweeps.orkhaven.io",
        "helm install",
    ),
    "no such object": (
        refusal(404, "NotFound", "sweeps 'covid' not found", name="covid"),
        NotFound,
        "there is no Sweep 'covid' in namespace 'radiology'",
        "kubectl ork status -n radiology",
    ),
    "not allowed": (
        refusal(403, "Forbidden", 'User "eve" cannot get'),
        Forbidden,
        'User "eve" cannot get',
        "ClusterRole view",
    ),
    "unknown user": (refusal(401, "Unauthorized", "Unauthorized"), Forbidden, "does not know you", "log in again"),
    "refused": (
        refusal(422, "Invalid", "x", causes=[{"field": "spec.search", "message": "Random needs maxTrials"}]),
        Invalid,
        "spec.search: Random needs maxTrials",
        "",
    ),
    "another manager": (
        refusal(409, "Conflict", "x", causes=[{"field": ".spec.suspend", "message": 'conflict with "argo"'}]),
        Conflict,
        '.spec.suspend (conflict with "argo")',
        "",
    ),
    "proxy alone": (
        httpx.Response(502, text="dial tcp: connection refused"),
        NoCluster,
        "connection refused",
        "cluster-info",
    ),
    "anything else": (refusal(500, "Oops", "etcd is full"), OrkhavenError, "etcd is full", ""),
}


@pytest.mark.parametrize(("answer", "kind", "said", "hint"), REFUSALS.values(), ids=REFUSALS)
def test_a_refusal_becomes_a_sentence(answer: httpx.Response, kind: type, said: str, hint: str) -> None:
    api = FakeApi()
    api.refuse["GET"] = answer
    with pytest.raises(kind) as error:
        api.kube().get("Sweep", "covid")
    assert type(error.value) is kind
    assert said in str(error.value)
    assert hint in error.value.hint


def test_no_connection_names_the_cluster() -> None:
    def away(request: httpx.Request) -> httpx.Response:
        raise WireError("refused")

    kube = Kube(
        httpx.Client(transport=httpx.MockTransport(away), base_url="http://x"), namespace="a", where="the cluster"
    )
    with pytest.raises(NoCluster, match="no answer from the cluster: refused"):
        kube.get("Sweep", "covid")


def test_a_list_is_read_to_its_last_page() -> None:
    api = FakeApi(covid())
    assert len(list(api.kube().each("Experiment"))) == 7
    assert len(api.requests) == 3


def _later(body: Body, **status: object) -> Body:
    version = str(int(body["metadata"]["resourceVersion"]) + 100)
    return {
        **body,
        "metadata": {**body["metadata"], "resourceVersion": version},
        "status": {**body["status"], **status},
    }


def test_waiting_survives_a_watch_that_ends_and_one_that_is_too_old() -> None:
    api = FakeApi()
    running = api.put(trial("one", state="Running", reason="Training"))
    ended = trial("one")["status"]
    api.watched = [
        [("MODIFIED", _later(running, message="step 2"))],
        [("ERROR", {"code": 410})],
        [("MODIFIED", _later(running, **ended))],
    ]
    body = until(api.kube(), running, lambda one: holds(one, "Finished"), seconds=None, what="the end")
    assert finished(body)


def test_watches_that_all_end_at_once_are_asked_for_ever_less_often() -> None:
    api = FakeApi()
    running = api.put(trial("one", state="Running", reason="Training"))
    pauses: list[float] = []

    def pause(seconds: float) -> None:
        pauses.append(seconds)
        if len(pauses) == 12:
            api.watched = [[("MODIFIED", _later(running, message="step 2"))]]
        if len(pauses) == 14:
            raise InterruptedError

    with pytest.raises(InterruptedError):
        list(api.kube().states(running, pause=pause))
    longest = [min(0.1 * 2**at, LONGEST_SECONDS) for at in range(12)]
    assert all(most / 2 <= paused <= most for paused, most in zip(pauses, longest, strict=False))
    assert pauses[12] == 0, "what told of something was no watch in vain"
    assert pauses[13] <= 0.1


def test_waiting_for_what_is_deleted_ends() -> None:
    api = FakeApi()
    running = api.put(trial("one", state="Running", reason="Training"))
    api.watched = [[("DELETED", running)]]
    with pytest.raises(NotFound, match="Experiment 'one' was deleted"):
        until(api.kube(), running, finished, seconds=None, what="the end")


def test_waiting_for_what_cannot_come_any_more_ends() -> None:
    with pytest.raises(OrkhavenError, match=r"has ended .Succeeded.: it will not be Running any more"):
        holds(trial("one"), "Running")


@pytest.mark.parametrize(
    ("seen", "over"), [(2, True), (1, False), (None, True)], ids=["as it is now", "as it was", "by an older operator"]
)
def test_a_sweep_has_ended_only_with_what_its_spec_says_now(seen: int | None, over: bool) -> None:
    body = finished_sweep("covid")
    body["metadata"]["generation"] = 2
    if seen is not None:
        body["status"]["observedGeneration"] = seen
    assert finished(body) is over
    assert holds(body, "Finished") is over


def test_waiting_gives_up_at_its_time() -> None:
    api = FakeApi()
    running = api.put(trial("one", state="Running", reason="Training"))
    with pytest.raises(TimedOut, match=r"not within 0.01 s; now: one: Running, Training"):
        until(api.kube(), running, finished, seconds=0.01, what="the end")


# --- child processes ---


def _gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return Path(f"/proc/{pid}/stat").read_text().split()[2] == "Z" if Path("/proc").is_dir() else False


def _until_gone(pid: int) -> None:
    deadline = time.monotonic() + 10
    while not _gone(pid):
        assert time.monotonic() < deadline, f"{pid} is still there"
        time.sleep(0.02)


SERVER = ["/bin/sh", "-c", "echo serving as $$; exec sleep 600"]


def test_a_child_is_ready_when_it_says_so_and_ends_when_told() -> None:
    child = Child.start(SERVER, ready=r"serving as (\d+)")
    assert child.ready is not None
    child.stop()
    _until_gone(int(child.ready[1]))


def test_a_child_ends_with_us_even_when_we_are_killed(tmp_path: Path) -> None:
    program = (
        "import sys, time; from orkhaven.client.child import Child\n"
        f"child = Child.start({SERVER!r}, ready=r'serving as (\\d+)')\n"
        "print(child.ready[1], flush=True); time.sleep(600)"
    )
    path = {**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)}
    with subprocess.Popen([sys.executable, "-c", program], stdout=subprocess.PIPE, text=True, env=path) as parent:
        assert parent.stdout is not None
        pid = int(parent.stdout.readline())
        parent.send_signal(signal.SIGKILL)
    _until_gone(pid)


def test_a_child_that_fails_says_its_last_words() -> None:
    with pytest.raises(ChildFailed, match="no such context"):
        Child.start(["/bin/sh", "-c", "echo error: no such context >&2; exit 1"], ready="x")


# --- the way in ---


def _kubectl(folder: Path, script: str) -> None:
    (folder / "kubectl").write_text(f"#!/bin/sh\n{script}\n")
    (folder / "kubectl").chmod(0o755)


def test_without_kubectl_and_outside_of_a_pod_that_is_said(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(NoKubectl, match="kubectl is not on PATH"):
        connect(Target(), env={}, account=tmp_path)


@pytest.mark.parametrize(
    ("user", "said"),
    [
        ({"client-certificate-data": "x"}, "logs in with a client certificate"),
        ({}, "has no token"),
        ({"exec": {"command": "/nonexistent/login"}}, "logs in by /nonexistent/login, which is not there"),
    ],
    ids=["certificate", "nothing", "plugin"],
)
def test_a_user_without_a_token_is_told_what_to_do(
    user: Body, said: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = {"users": [{"user": user}], "clusters": [{"cluster": {"server": "https://x"}}]}
    _kubectl(tmp_path, f"cat <<'END'\n{json.dumps(config)}\nEND")
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    with pytest.raises(NoToken) as error:
        token_of(Target(), TokenChoice(), namespace=lambda: "a", env={}, account=tmp_path / "none")
    assert said in str(error.value)
    assert "ORKHAVEN_TOKEN" in error.value.hint


def test_the_token_is_the_user_s_own(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    plugin = tmp_path / "login"
    plugin.write_text('#!/bin/sh\ntest "$REGION" = here && echo \'{"status": {"token": "from-plugin"}}\'\n')
    plugin.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/bin:/usr/bin")
    users = {
        "plain": {"token": "abc"},
        "from-plugin": {"exec": {"command": str(plugin), "env": [{"name": "REGION", "value": "here"}]}},
    }
    for wanted, user in (("abc", users["plain"]), ("from-plugin", users["from-plugin"])):
        _kubectl(tmp_path, f"cat <<'END'\n{json.dumps({'users': [{'user': user}]})}\nEND")
        assert token_of(Target(), TokenChoice(), namespace=lambda: "a", env={}) == wanted
    assert token_of(Target(), TokenChoice(), namespace=lambda: "a", env={"ORKHAVEN_TOKEN": "given"}) == "given"
    _kubectl(tmp_path, 'echo "$@"')
    made = token_of(Target(context="c"), TokenChoice(service_account="viewer"), namespace=lambda: "a", env={})
    assert made == "create token viewer --namespace a --context=c"


@pytest.mark.parametrize(
    ("text", "fine"),
    [
        ("ops/orkhaven-hub", True),
        ("https://hub.example", True),
        ("http://127.0.0.1:8080", True),
        ("http://orkhaven-hub.ops.svc", True),
        ("http://hub.example", False),
        ("hub", False),
        ("ftp://hub", False),
    ],
)
def test_a_token_goes_nowhere_unencrypted(text: str, fine: bool) -> None:
    if fine:
        Place.parse(text)
    else:
        with pytest.raises(Invalid, match="ORKHAVEN_HUB"):
            Place.parse(text)
