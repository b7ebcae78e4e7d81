"""A sweep's life, by the real operator and trainer: repeats, values that are added, the same again, a goal."""

from __future__ import annotations

import json
import statistics
from typing import Any

import pytest

from tests.e2e.clinic import Person
from tests.e2e.user import Body, User, condition, sweep

QUICK = {"epochs": 1}


def _rates(name: str, *rates: float, **spec: Any) -> Body:
    """Two repeats of each learning rate."""
    search = {"algorithm": "Grid", "order": "Sequential", "repeats": 2}
    return sweep(name, [{"name": "optimizer.lr", "values": list(rates)}], params=QUICK, search=search, **spec)


def _trials(user: User, name: str) -> dict[str, Body]:
    """By name, in the order of their numbers."""
    found = user.list("experiments", f"orkhaven.io/sweep={name}")
    found.sort(key=lambda trial: int(trial["metadata"]["labels"]["orkhaven.io/trial"]))
    return {trial["metadata"]["name"]: trial for trial in found}


def _identity(trial: Body) -> Any:
    return trial["metadata"]["uid"], trial["spec"]["params"], trial["spec"].get("seed")


def _values(trials: dict[str, Body]) -> dict[float, list[float]]:
    """What the repeats of each learning rate have reached."""
    values: dict[float, list[float]] = {}
    for trial in trials.values():
        lr = trial["spec"]["params"]["optimizer"]["lr"]
        values.setdefault(lr, []).append(trial["status"]["objective"]["value"])
    return values


def test_repeats_are_ranked_values_are_added_on_the_way_and_nothing_is_paid_for_twice(user: User) -> None:
    me = Person(name="admin", kubeconfig=user.deployment.cluster.kubeconfig, user=user)

    # A value is added while the first ones are under way: these stay what they are.
    user.apply(_rates("first", 1e-3, parallelism=2))
    user.wait("sweep", "first", lambda status: status.get("trials", {}).get("running", 0) >= 1)
    before = _trials(user, "first")
    assert [trial["spec"].get("seed", 0) for trial in before.values()] == [0, 1]
    user.apply(_rates("first", 1e-3, 1e-8, parallelism=2))
    status = user.wait_finished("sweep", "first")["status"]
    assert status["state"] == "Succeeded", status
    assert (status["progress"], status["trials"]["succeeded"]) == ("4/4", 4)
    trials = _trials(user, "first")
    for name, trial in before.items():
        assert _identity(trials[name]) == _identity(trial)
    assert all(trial["status"]["attemptCount"] == 1 for trial in trials.values()), "nothing was run again"

    # A row is a combination: the mean of its repeats, and how far they are apart.
    values = _values(trials)
    board = status["leaderboard"]
    assert [row["params"]["optimizer.lr"] for row in board] == sorted(
        values, key=lambda lr: -statistics.mean(values[lr])
    )
    for row in board:
        of = values[row["params"]["optimizer.lr"]]
        assert row["n"] == len(of) == 2
        assert row["value"] == pytest.approx(statistics.mean(of), abs=1e-5)
        assert row["std"] == pytest.approx(statistics.stdev(of), abs=1e-5)
    (leader, *_) = json.loads(me.ork("top", "first", "-n", user.namespace, "-o", "json"))
    assert (leader["n"], leader["value"], leader["std"]) == (2, board[0]["value"], board[0]["std"])

    # The same again: `submit` says so, and its results are there without a pod.
    again = json.dumps(_rates("again", 1e-3, 1e-8))
    said = me.ork("submit", "-", "-n", user.namespace, given=again)
    assert "4 trials: 4 identical to a run that has succeeded" in said
    assert "dedupe Reuse (the operator's default, by its image, as for first-" in said
    assert f"4 take over results without a Job: {', '.join(list(trials)[:3])} and 1 more" in said
    status = user.wait_finished("sweep", "again", timeout_s=60)["status"]
    assert (status["trials"]["reused"], status["trials"]["succeeded"], status["progress"]) == (4, 4, "4/4")
    assert [(row["value"], row["std"], row["n"]) for row in status["leaderboard"]] == [
        (row["value"], row["std"], row["n"]) for row in board
    ]
    for trial, source in zip(_trials(user, "again").values(), trials.values(), strict=True):
        assert trial["status"]["reusedFrom"] == source["metadata"]["name"]
        assert trial["status"]["objective"] == source["status"]["objective"]
        assert trial["status"]["attemptCount"] == 0
        assert trial["status"]["gpuSeconds"] == 0

    # And where nobody wants them: the trials that are there already are left out, those that are new are run.
    user.apply(_rates("spared", 1e-3, 1e-8, dedupe="Skip"))
    status = user.wait_finished("sweep", "spared", timeout_s=60)["status"]
    assert status["state"] == "Succeeded", status
    assert (status["trials"]["skipped"], status["progress"]) == (4, "4/4")
    assert not status.get("leaderboard")
    for trial in _trials(user, "spared").values():
        assert (trial["status"]["state"], trial["status"]["reason"]) == ("Skipped", "Duplicate")
        assert trial["status"]["attemptCount"] == 0
    for name in ("again", "spared"):
        assert not [job for job in user.list("jobs") if job["metadata"]["name"].startswith(name)]


def test_a_sweep_whose_goal_is_reached_starts_no_more_trials(user: User) -> None:
    # Any Dice is at least 0: the first trial that ends is good enough.
    enough = sweep(
        "enough",
        [{"name": "optimizer.lr", "values": [1e-3, 1e-4, 1e-5]}],
        params=QUICK,
        search={"algorithm": "Grid"},
        parallelism=1,
    )
    enough["spec"]["objective"]["goal"] = 0.0
    user.apply(enough)
    status = user.wait_finished("sweep", "enough")["status"]
    assert status["state"] == "Succeeded", status
    assert status["trials"]["succeeded"] == 1
    assert condition(status, "GoalReached") == "True"
    (finished,) = (one for one in status["conditions"] if one["type"] == "Finished")
    assert finished["reason"] == "GoalReached"
    leader = status["best"]["experiment"]
    for part in (leader, "reaches objective.goal 0", "no more trials are started"):
        assert part in finished["message"]
    for name, trial in _trials(user, "enough").items():
        state, started = trial["status"]["state"], "startTime" in trial["status"]
        assert (state, started) == (("Succeeded", True) if name == leader else ("Suspended", False))
    assert "GoalReached" in user.kubectl("get", "events", "--field-selector=involvedObject.name=enough")
