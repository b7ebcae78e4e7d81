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

from orkhaven.errors import ApiError, Conflict, Unavailable
from orkrun.contract import ANNOTATION_CONFIG
from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Crash, Simulation
from tests.sim.test_crashes import AtWrite
from tests.sim.world import World, experiment_of

Curve = list[float | None]
TABLE = Path(__file__).parents[1] / "recorded" / "trainings.json"
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
            world.report(NAMESPACE, experiment_of(pod), step + 1, curve[step], total=len(curve))


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
    curves: list[Curve] = [training["values"] for training in json.loads(TABLE.read_text())["trainings"]]
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
    assert sim.cluster.all("Job") == []
    said = [note.reason for kind, _, note in sim.events.said if kind == "Sweep"]
    assert said.count("TrialPruned") == 1
    sim.check_quiet()


# --- an operator that dies --------------------------------------------------------------------------------------------

HALF = {**ASHA, "reductionFactor": 2}


def end_of(sim: Simulation, trainings: Trainings) -> Body:
    """What has to be the same whatever went wrong: who ends how. When a trial is stopped depends on when the operator
    looked."""
    out: Body = {
        f"{number}": (body["status"]["state"], [a["reason"] for a in body["status"]["attempts"]])
        for number, body in sorted(runs(sim).items())
    }
    whole = sim.sweep()["status"]
    names = {body["metadata"]["name"]: number for number, body in runs(sim).items()}
    out["best"] = names[whole["best"]["experiment"]]
    out["counts"] = {key: whole["trials"][key] for key in ("total", "created", "succeeded", "failed", "pruned")}
    out["jobs"] = len(sim.cluster.all("Job"))
    return out


def run(hooks: dict[str, AtWrite]) -> tuple[Simulation, Trainings]:
    sim = Simulation(nodes={"node-a": 4})
    sim.cluster.before = hooks.get("before", sim.cluster.before)
    sim.cluster.after = hooks.get("after", sim.cluster.after)
    trainings = made(sim, FOUR, HALF, parallelism=4)
    sim.settle_over_crashes(trainings)
    return sim, trainings


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_write_stops_the_same_trials(moment: str) -> None:
    sim, trainings = run({})
    want, writes = end_of(sim, trainings), len(sim.cluster.writes)
    assert want["counts"]["pruned"] == 3
    assert [w.verb for w in sim.cluster.writes if w.kind == "Experiment"].count("patch") == 3
    for number in range(writes):
        fault = AtWrite(number, Crash)
        sim, trainings = run({moment: fault})
        assert fault.happened
        assert end_of(sim, trainings) == want, f"{moment} write {number}\n{sim.describe()}"
        sim.check_quiet()


@pytest.mark.parametrize(
    ("moment", "error"),
    [
        ("before", Unavailable("API server away")),
        ("after", Unavailable("the answer was lost")),
        ("before", Conflict("somebody was faster", status=409)),
    ],
    ids=["not sent", "answer lost", "conflict"],
)
def test_an_error_at_any_write_stops_what_is_to_be_stopped(moment: str, error: ApiError) -> None:
    sim, trainings = run({})
    want, writes = end_of(sim, trainings), len(sim.cluster.writes)
    for number in range(writes):
        fault = AtWrite(number, lambda: error)
        sim, trainings = run({moment: fault})
        assert fault.happened
        found = end_of(sim, trainings)
        if isinstance(error, Unavailable) and found["2"] != want["2"]:
            # While the operator backs off, the worst two come to the next rung: there the third is among the best half
            # of four, where it was not the best of two.
            assert found["2"] == ("Succeeded", ["Completed"])
            found["2"] = want["2"]
            found["counts"] = {**found["counts"], "succeeded": 1, "pruned": 3}
        assert found == want, f"{moment} write {number}\n{sim.describe()}"
        sim.check_quiet()


# --- races and people -------------------------------------------------------------------------------------------------


def until(sim: Simulation, outcome: Any, holds: Callable[[], bool]) -> None:
    for _ in range(100):
        if holds():
            return
        sim.step(outcome)
    raise AssertionError(f"it never came to that\n{sim.describe()}")


def prune_of(sim: Simulation, number: int) -> Body:
    found: Body = runs(sim)[number]["spec"].get("prune") or {}
    return found


def test_a_person_resumes_a_pruned_trial_and_it_goes_on_from_its_checkpoint() -> None:
    sim = Simulation(nodes={"node-a": 4})
    trainings = made(sim, FOUR, {**HALF, "minSteps": 2}, parallelism=4)
    until(sim, trainings, lambda: states(sim).get(3) == "Pruned")
    assert prune_of(sim, 3)["step"] == 2
    before = runs(sim)[3]
    at = trainings.done[before["status"]["runHash"]]
    sim.cluster.change(
        "Experiment", NAMESPACE, before["metadata"]["name"], lambda body: body["spec"]["prune"].update(resume=True)
    )
    until(sim, trainings, lambda: states(sim)[3] == "Running")
    status = runs(sim)[3]["status"]
    assert next(c for c in status["conditions"] if c["type"] == "Finished")["status"] == "False"
    assert "completionTime" not in status
    assert 2 <= at < 4
    assert trainings.done[status["runHash"]] >= at
    sim.settle(trainings)
    # Not stopped at its rung again, and at the next one, 4, it is done.
    assert prune_of(sim, 3)["resume"] is True
    assert states(sim)[3] == "Succeeded"
    assert [a["reason"] for a in runs(sim)[3]["status"]["attempts"]] == ["EarlyStopped", "Completed"]
    assert runs(sim)[3]["status"]["retriesUsed"] == 0
    sim.check_quiet()


def test_a_resumed_trial_is_stopped_again_at_a_later_rung() -> None:
    sim = Simulation(nodes={"node-a": 4})
    curves: list[Curve] = [[0.5 + i / 100 + t / 1000 for t in range(8)] for i in range(3)]
    curves.append([0.1] * 8)
    trainings = made(sim, curves, HALF, parallelism=4)
    until(sim, trainings, lambda: states(sim).get(3) == "Pruned")
    name = runs(sim)[3]["metadata"]["name"]
    sim.cluster.change("Experiment", NAMESPACE, name, lambda body: body["spec"]["prune"].update(resume=True))
    sim.settle(trainings)
    assert states(sim)[3] == "Pruned"
    assert prune_of(sim, 3)["step"] > 1
    assert [a["reason"] for a in runs(sim)[3]["status"]["attempts"]] == ["EarlyStopped", "EarlyStopped"]
    sim.check_quiet()


def test_a_trial_that_ends_by_itself_while_it_is_being_stopped_keeps_its_result() -> None:
    sim = Simulation(nodes={"node-a": 4})
    trainings = made(sim, FOUR, HALF, parallelism=4)
    ended: list[str] = []

    def ends(verb: str, kind: str, key: tuple[str, str]) -> None:
        # It was just told to end early, and is done before its Job is suspended.
        if (verb, kind) == ("patch", "Experiment") and not ended:
            (pod,) = [pod for pod in sim.world.pods("Running") if experiment_of(pod) == key[1]]
            sim.world.succeed(pod, value=0.77)
            ended.append(key[1])

    sim.cluster.after = ends
    sim.settle(trainings)
    found = sim.cluster.find("Experiment", NAMESPACE, ended[0])
    assert found is not None
    assert found["spec"]["prune"]["message"]
    assert (found["status"]["state"], found["status"]["objective"]["value"]) == ("Succeeded", 0.77)
    assert sim.sweep()["status"]["best"]["experiment"] == ended[0]
    sim.check_quiet()


def test_the_gpu_of_a_stopped_trial_goes_to_the_next() -> None:
    sim = Simulation(nodes={"node-a": 2})
    curves: list[Curve] = [[0.5] * 6, [0.7] * 6, [0.6] * 6]
    trainings = made(sim, curves, HALF, parallelism=2)
    until(sim, trainings, lambda: list(states(sim).values()).count("Running") == 2)
    (next_one,) = [number for number, state in states(sim).items() if state == "Queued"]
    until(sim, trainings, lambda: "Pruned" in states(sim).values())
    assert states(sim)[next_one] in ("Starting", "Running")
    sim.settle(trainings)


def test_a_hub_that_is_down_stops_nobody_and_what_comes_late_counts_then() -> None:
    sim = Simulation(nodes={"node-a": 4})
    trainings = made(sim, FOUR, HALF, parallelism=4)
    trainings.hub_is_down = lambda: sum(trainings.done.values()) < 9
    until(sim, trainings, lambda: not trainings.hub_is_down())
    assert set(states(sim).values()) == {"Running"}
    sim.settle(trainings)
    assert set(states(sim).values()) == {"Succeeded", "Pruned"}
    assert states(sim)[1] == "Succeeded"
    sim.check_quiet()


def test_a_trial_that_reports_nothing_but_nan_is_stopped_as_the_worst() -> None:
    sim = Simulation(nodes={"node-a": 4})
    curves: list[Curve] = [[0.3] * 6, [0.5] * 6, [None] * 6, [0.4] * 6]
    trainings = made(sim, curves, {"algorithm": "Median", "startupTrials": 3, "minSteps": 2}, parallelism=4)
    sim.settle(trainings)
    assert states(sim)[2] == "Pruned"
    assert "no finite value" in runs(sim)[2]["status"]["message"]
    assert states(sim)[1] == "Succeeded"


def test_what_ran_out_of_patience_has_a_rank() -> None:
    sim = Simulation(nodes={"node-a": 4})
    curves: list[Curve] = [[0.1, 0.5, *[0.4] * 20], [0.2, 0.6, *[0.5] * 20]]
    trainings = made(sim, curves, {"algorithm": "Patience", "patience": 3}, parallelism=4)
    sim.settle(trainings)
    status = sim.sweep()["status"]
    assert states(sim) == {0: "Pruned", 1: "Pruned"}
    assert runs(sim)[1]["status"]["message"].startswith("step 5: no better than 0.6 of step 2 for 3 steps")
    assert (status["state"], status["best"]["value"]) == ("Succeeded", 0.6)
    assert trainings.epochs <= 14


def test_a_suspended_sweep_stops_nobody_early() -> None:
    sim = Simulation(nodes={"node-a": 4})
    trainings = made(sim, FOUR, {**HALF, "minSteps": 2}, parallelism=4)
    until(sim, trainings, lambda: len(sim.world.pods("Running")) == 4)
    sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"].update(suspend=True))
    sim.settle(trainings)
    assert set(states(sim).values()) == {"Suspended"}
    sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"].update(suspend=False))
    sim.settle(trainings)
    assert states(sim)[1] == "Succeeded"


def test_early_stopping_that_is_taken_out_stops_nobody_any_more() -> None:
    sim = Simulation(nodes={"node-a": 4})
    trainings = made(sim, FOUR, {**HALF, "minSteps": 2}, parallelism=4)
    until(sim, trainings, lambda: len(sim.world.pods("Running")) == 4)
    sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"].pop("earlyStopping"))
    sim.settle(trainings)
    assert set(states(sim).values()) == {"Succeeded"}
