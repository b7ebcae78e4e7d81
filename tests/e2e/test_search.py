"""Searches and early stopping, by the real operator, hub and trainer."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tests.e2e.outside import operator_outside
from tests.e2e.user import Body, User, condition, sweep
from tools.deploy import Deployment

LR = {"name": "optimizer.lr", "range": {"min": 1.0e-7, "max": 1.0e-2, "scale": "Log"}}
DECAY = {"name": "optimizer.weight_decay", "range": {"min": 0, "max": 0.1}}
LOSS = {"name": "loss.name", "values": ["dice_ce", "focal"]}
GAMMA = {"name": "loss.gamma", "range": {"min": 1, "max": 5}, "when": {"loss.name": ["focal"]}}

SEARCHES: dict[str, tuple[list[Body], dict[str, Any]]] = {
    # The first ten are Sobol's: the last two are TPE's own.
    "TPE": ([LR, LOSS, GAMMA], {"algorithm": "TPE", "maxTrials": 12, "seed": 1}),
    "CMAES": ([LR, DECAY], {"algorithm": "CMAES", "maxTrials": 3}),
    "Sobol": ([LR, LOSS, GAMMA], {"algorithm": "Sobol", "maxTrials": 3}),
}


@pytest.mark.parametrize("name", SEARCHES)
def test_a_search_comes_to_its_end(user: User, name: str) -> None:
    searched_to_the_end(user, *SEARCHES[name])


@pytest.mark.alone
def test_a_gaussian_process_searches_where_the_operator_has_torch(
    user: User, deployment: Deployment, tmp_path: Path
) -> None:
    """The image has none. The first ten trials are Sobol's, the last one is the process's own."""
    with operator_outside(deployment, tmp_path) as operator:
        try:
            searched_to_the_end(user, [LR, LOSS, GAMMA], {"algorithm": "GP", "maxTrials": 11, "seed": 2})
        except AssertionError as error:
            raise AssertionError(f"{error}\n{operator.tail()}") from error


def searched_to_the_end(user: User, parameters: list[Body], search: dict[str, Any]) -> None:
    user.apply(sweep("learns", parameters, params={"epochs": 1}, search=search, parallelism=2, canary=1))
    body = user.wait_finished("sweep", "learns", timeout_s=600)
    status, trials = body["status"], user.list("experiment", "orkhaven.io/sweep=learns")
    assert status["state"] == "Succeeded", status
    assert status["trials"]["succeeded"] == len(trials) == search["maxTrials"]
    assert condition(status, "Accepted") == "True"
    points = [str(trial["spec"]["params"]["optimizer"]) + str(trial["spec"]["params"].get("loss")) for trial in trials]
    assert len(set(points)) == len(points)
    for trial in trials:
        loss = trial["spec"]["params"].get("loss", {})
        assert ("gamma" in loss) == (loss.get("name") == "focal")


STOPPING: dict[str, Body] = {
    "ASHA": {"algorithm": "ASHA", "minSteps": 20, "reductionFactor": 2},
    "Median": {"algorithm": "Median", "minSteps": 20, "startupTrials": 2},
    "Hyperband": {"algorithm": "Hyperband", "minSteps": 20, "reductionFactor": 2, "maxSteps": 80},
}


@pytest.mark.parametrize("name", STOPPING)
def test_a_trial_that_is_not_worth_going_on_with_is_stopped_and_the_sweep_goes_on(user: User, name: str) -> None:
    # Hundreds of epochs: nobody is done before it is judged. The small learning rate learns nothing. The second trial
    # is short, and only there because Hyperband has the first and the third in one bracket.
    rates = [(2.0e-3, 300), (1.0e-3, 1), (1.0e-8, 300)]
    user.apply(
        sweep(
            "stops",
            [],
            search={"algorithm": "List"},
            trials=[{"optimizer": {"lr": rate}, "epochs": epochs} for rate, epochs in rates],
            parallelism=2,
            earlyStopping=STOPPING[name],
        )
    )
    body = user.wait("sweep", "stops", lambda status: status.get("trials", {}).get("pruned", 0) == 1, timeout_s=300)
    (stopped,) = (
        one for one in user.list("experiment", "orkhaven.io/sweep=stops") if one["status"]["state"] == "Pruned"
    )
    status = stopped["status"]
    assert status["reason"] == "EarlyStopped"
    assert "rung" in status["message"]
    assert status["checkpoint"]["step"] < 300
    assert (condition(status, "Finished"), condition(status, "Succeeded")) == ("True", "False")
    assert body["status"]["trials"]["failed"] == 0
    running = ("-l", f"orkhaven.io/experiment={stopped['metadata']['name']}", "--field-selector=status.phase=Running")
    assert user.kubectl("get", "pods", *running, "-o", "name") == ""
    assert stopped["spec"]["params"]["optimizer"]["lr"] == 1.0e-8
    user.kubectl("delete", "sweep", "stops")
