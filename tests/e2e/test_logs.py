"""The log of a real pod while it runs, after it is gone, over a restart of the hub; and the pictures of a training."""

from __future__ import annotations

from typing import Any

import httpx
import pytest

from tests.e2e.hub import read, reader_of
from tests.e2e.user import User, experiment
from tools.deploy import SYSTEM_NAMESPACE, wait_until

PRINTS = "for i in range(1, {count} + 1): print('line', i, flush=True); time.sleep({pause})"


def printer(name: str, *, count: int, pause: float) -> dict[str, object]:
    """A run that only prints."""
    script = f"import time\n{PRINTS.format(count=count, pause=pause)}"
    body = experiment(name, command=["python", "-c", script])
    del body["spec"]["objective"]
    return body


def test_a_log_is_read_while_it_grows_and_after_its_pod_is_gone(user: User) -> None:
    user.apply(printer("talker", count=100, pause=0.2))
    path = f"{user.namespace}/experiments/talker"
    with reader_of(user) as client:
        wait_until("the log's first lines", lambda: "line 3\n" in _text(client, path), timeout_s=120)
        with client.stream("GET", f"/api/v1/namespaces/{path}/attempts/1/log", params={"follow": "true"}) as answer:
            followed = answer.read().decode()
        user.wait_finished("experiment", "talker")
        expected = "".join(f"line {number}\n" for number in range(1, 101))
        assert followed == expected + "[orkhaven: the log ends here: the container ended, exit code 0]\n"
        user.kubectl("delete", "pods", "-l", "orkhaven.io/experiment=talker", "--wait")
        assert _text(client, path) == followed
        found = read(client, f"{path}/attempts/1/log", grep="line 50$", context=1)
        assert [(one["before"], one["text"], one["after"]) for one in found["matches"]] == [
            (["line 49"], "line 50", ["line 51"])
        ]


@pytest.mark.alone
def test_a_restart_of_the_hub_loses_and_doubles_no_line(user: User) -> None:
    user.apply(printer("talker", count=600, pause=0.1))
    path = f"{user.namespace}/experiments/talker"
    with reader_of(user) as client:
        wait_until("the log's first lines", lambda: "line 3\n" in _text(client, path), timeout_s=120)
    user.deployment.cluster.kubectl(
        "delete", "pods", "-n", SYSTEM_NAMESPACE, "-l", "app.kubernetes.io/component=hub", "--wait"
    )
    user.deployment.cluster.kubectl(
        "rollout", "status", "-n", SYSTEM_NAMESPACE, "deployment/orkhaven-hub", "--timeout=120s"
    )
    user.wait_finished("experiment", "talker")
    user.kubectl("delete", "serviceaccount,rolebinding", "reader")
    with reader_of(user) as client:
        # The chart's default store is gone with its pod; with a volume it is not. Either way each line is there once.
        ended = "[orkhaven: the log ends here"
        wait_until("the end of the log", lambda: ended in _text(client, path), timeout_s=120)
        lines = [line for line in _text(client, path).splitlines() if line.startswith("line ")]
        assert lines == [f"line {number}" for number in range(1, 601)]


def test_a_training_s_pictures_are_listed_and_shown(user: User) -> None:
    user.apply(experiment("seen"))
    user.wait_finished("experiment", "seen")
    with reader_of(user) as client:
        wanted = {"report/overlays", "report/curves", "report/reliability", "report/worst/mask"}

        def listed() -> dict[str, Any] | None:
            items = read(client, f"{user.namespace}/experiments/seen/artifacts")["items"]
            return found if wanted <= set(found := {item["name"]: item for item in items}) else None

        # The end is known by the pod's last word, which may be faster than what the hub is told.
        found = wait_until("the report's pictures", listed, timeout_s=60)
        answer = client.get(found["report/overlays"]["url"])
        assert answer.content.startswith(b"\x89PNG")
        assert answer.headers["content-type"] == "image/png"


def _text(client: httpx.Client, path: str) -> str:
    answer = client.get(f"/api/v1/namespaces/{path}/attempts/1/log")
    return answer.text if answer.status_code == 200 else ""
