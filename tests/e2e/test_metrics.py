"""Metrics while a run is under way, in its status. Series in the hub: tests/integration/test_hub.py."""

from __future__ import annotations

from tests.e2e.user import User, experiment


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
