"""Metrics while a run is under way, in its status, and what the hub answers about it afterwards."""

from __future__ import annotations

import pytest

from tests.e2e.hub import read, reader_of
from tests.e2e.user import User, experiment, sweep
from tools.deploy import wait_until


def test_progress_and_objective_are_seen_before_the_run_ends(user: User) -> None:
    user.apply(experiment("live", params={"epochs": 400}))
    body = user.wait("experiment", "live", lambda status: status.get("progress", {}).get("step", 0) >= 1)
    assert body["status"]["state"] == "Running"
    assert body["status"]["progress"]["totalSteps"] == 400
    user.wait("experiment", "live", lambda status: "objective" in status)
    later = user.wait(
        "experiment", "live", lambda status: status["progress"]["step"] > body["status"]["progress"]["step"]
    )
    assert later["status"]["state"] == "Running"
    user.kubectl("delete", "experiment", "live")


def test_the_hub_tells_sweeps_ranks_and_curves_to_who_may_see_them(user: User) -> None:
    user.apply(
        sweep(
            "shown",
            [{"name": "optimizer.lr", "values": [1e-3, 2e-3]}],
            params={"epochs": 3},
            search={"algorithm": "Grid"},
        )
    )
    board = user.wait_finished("sweep", "shown")["status"]["leaderboard"]
    with reader_of(user) as client:
        here = user.namespace
        assert [one["name"] for one in read(client, f"{here}/sweeps")["items"]] == ["shown"]
        assert read(client, f"{here}/sweeps/shown")["status"]["progress"] == "2/2"
        ranked = read(client, f"{here}/sweeps/shown/experiments")["items"]
        assert [one["name"] for one in ranked] == [row["experiment"] for row in board]
        leader = ranked[0]["name"]
        assert read(client, f"{here}/experiments/{leader}")["objective"]["value"] == pytest.approx(
            board[0]["value"], rel=1e-5
        )
        # The end is known by the last word of the pod, which may be faster than what the hub is told.
        path = f"/api/v1/namespaces/{here}/experiments/{leader}/metrics/val/dice"
        wait_until("the curve", lambda: client.get(path).status_code == 200, timeout_s=30)
        curve = read(client, f"{here}/experiments/{leader}/metrics/val/dice")
        assert curve["step"] == [1, 2, 3]
        assert max(curve["value"]) == pytest.approx(board[0]["value"], rel=1e-5)

        assert client.get("/api/v1/namespaces/kube-system/experiments").status_code == 403
        client.headers.pop("authorization")
        assert client.get(f"/api/v1/namespaces/{here}/sweeps").status_code == 401
