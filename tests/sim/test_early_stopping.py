"""Early stopping through the whole operator: trainings with curves from a table, a hub that notes rungs, and an
operator that dies at every write.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from orkrun.contract import ANNOTATION_CONFIG
from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Simulation
from tests.sim.world import World, experiment_of

Curve = list[float | None]
TABLE = json.loads((Path(__file__).parent / "curves.json").read_text())
ASHA = {"algorithm": "ASHA", "minSteps": 1, "reductionFactor": 3}


@dataclass
class Trainings:
    """Every running pod does one epoch each round, reports it, and has its checkpoint when it is stopped. Params: lr is
    the number of its curve."""

    curves: list[Curve]
    done: dict[str, int] = field(default_factory=dict)
    """Epochs by run hash: what is on the output volume."""
    epochs: int = 0
    hub_is_down: Callable[[], bool] = lambda: False

    def __call__(self, world: World, pod: Body) -> None:
        config = json.loads(pod["metadata"]["annotations"][ANNOTATION_CONFIG])
        curve = self.curves[config["params"]["lr"]]
        step = self.done.get(config["runHash"], 0)
        if step == len(curve):
            finite = [value for value in curve if value is not None]
            world.succeed(pod, value=max(finite))
            return
        self.done[config["runHash"]] = step + 1
        self.epochs += 1
        if not self.hub_is_down():
            world.report(NAMESPACE, experiment_of(pod), step + 1, curve[step])


def made(sim: Simulation, curves: list[Curve], stopping: Body | None, **spec: Any) -> Trainings:
    sim.apply_sweep(
        parameters=[{"name": "lr", "values": list(range(len(curves)))}],
        **({"earlyStopping": stopping} if stopping else {}),
        **spec,
    )
    return Trainings(curves)


def runs(sim: Simulation) -> dict[int, Body]:
    """Experiments by the number of their curve."""
    return {body["spec"]["params"]["lr"]: body for body in sim.cluster.all("Experiment")}


def states(sim: Simulation) -> dict[int, str]:
    return {number: body["status"]["state"] for number, body in sorted(runs(sim).items())}


FOUR: list[Curve] = [[0.1, 0.2, 0.3, 0.4], [0.3, 0.4, 0.5, 0.6], [0.2, 0.3, 0.4, 0.5], [0.15, 0.2, 0.2, 0.2]]
"""The second is the best from the first epoch on."""


def test_asha_finds_the_best_of_a_table_for_two_fifths_of_the_epochs() -> None:
    curves: list[Curve] = TABLE["curves"]
    sim = Simulation(nodes={"node-a": 8})
    trainings = made(sim, curves, {**ASHA, "minSteps": 3}, parallelism=8)
    sim.settle(trainings, rounds=2000)
    status = sim.sweep()["status"]
    best = max(value for curve in curves for value in curve if value is not None)
    assert status["state"] == "Succeeded"
    assert status["best"]["value"] >= best - 0.01
    assert status["trials"]["succeeded"] + status["trials"]["pruned"] == len(curves)
    whole = sum(map(len, curves))
    assert trainings.epochs <= 0.4 * whole, f"{trainings.epochs} of {whole}"
    sim.check_quiet()


def test_a_stopped_trial_says_why_and_leaves_nothing_running() -> None:
    sim = Simulation(nodes={"node-a": 4})
    trainings = made(sim, FOUR, {**ASHA, "reductionFactor": 2}, parallelism=4)
    sim.settle(trainings)
    assert states(sim) == {0: "Pruned", 1: "Succeeded", 2: "Pruned", 3: "Pruned"}
    status = runs(sim)[3]["status"]
    assert (status["state"], status["reason"]) == ("Pruned", "EarlyStopped")
    assert status["message"] == "rung 1: 0.15 is not among the best 2 of 4 trials (0.2 or better goes on)"
    assert {c["type"]: c["status"] for c in status["conditions"] if c["type"] in ("Finished", "Succeeded")} == {
        "Finished": "True",
        "Succeeded": "False",
    }
    (attempt,) = status["attempts"]
    assert (attempt["reason"], status["retriesUsed"], "failure" in status) == ("EarlyStopped", 0, False)
    assert status["gpuSeconds"] == attempt["gpuSeconds"] > 0
    whole = sim.sweep()["status"]
    assert (whole["state"], whole["progress"], len(whole["leaderboard"])) == ("Succeeded", "4/4", 1)
    assert (whole["trials"]["succeeded"], whole["trials"]["failed"], whole["trials"]["pruned"]) == (1, 0, 3)
    assert whole["failureClusters"] == []
    assert {job["metadata"]["name"] for job in sim.cluster.all("Job")} == {runs(sim)[1]["status"]["attempts"][0]["job"]}
    said = [note.reason for kind, _, note in sim.events.said if kind == "Sweep"]
    assert said.count("TrialPruned") == 1
    sim.check_quiet()
