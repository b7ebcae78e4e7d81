"""Searches that learn from their results, on the cluster in memory: every number becomes one trial, whatever happens
between the question, the answer and the write.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
from collections import Counter
from typing import Any

import pytest

from orkhaven.core.search.history import Answer, Ask, Outcome
from orkhaven.engine.asker import WorkerAsker
from orkrun.contract import LABEL_TRIAL
from tests.sim.asker import searched
from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Simulation, all_succeed, mixed
from tests.sim.test_crashes import AtWrite, Crash
from tests.sim.world import World, experiment_of

LR = {"name": "lr", "range": {"min": 1, "max": 5, "step": 1}}
DROP = {"name": "drop", "range": {"min": 0, "max": 1}}
MODEL = {"name": "model", "values": ["unet", {"name": "fpn", "depth": 3}]}
DEPTH = {"name": "depth", "range": {"min": 2, "max": 4, "scale": "Integer"}, "when": {"model": ["unet"]}}

SEARCHES: dict[str, dict[str, Any]] = {
    "TPE": {
        "search": {"algorithm": "TPE", "maxTrials": 14, "seed": 3},
        "parameters": [LR, DROP, MODEL, DEPTH],
        "constraints": ["lr <= 4", "drop < 0.5"],
        "initialPoints": [{"lr": 1, "drop": 0.25}],
    },
    "CMAES": {"search": {"algorithm": "CMAES", "maxTrials": 5}, "parameters": [LR, DROP]},
}


def numbers(sim: Simulation) -> Counter[int]:
    return Counter(int(e["metadata"]["labels"][LABEL_TRIAL]) for e in sim.cluster.all("Experiment"))


def tried(sim: Simulation) -> Counter[str]:
    return Counter(json.dumps(e["spec"]["params"], sort_keys=True) for e in sim.cluster.all("Experiment"))


def by_number(sim: Simulation) -> dict[int, Body]:
    return {int(e["metadata"]["labels"][LABEL_TRIAL]): e for e in sim.cluster.all("Experiment")}


def run(sim: Simulation, **spec: Any) -> Simulation:
    sim.apply_sweep(**spec)
    sim.settle_over_crashes(mixed)
    return sim


def check(sim: Simulation, total: int) -> None:
    """All numbers once, all combinations once, the end."""
    assert numbers(sim) == Counter(range(total))
    assert set(tried(sim).values()) == {1}
    status = sim.sweep()["status"]
    assert status["state"] in ("Succeeded", "Failed")
    assert status["progress"] == f"{total}/{total}"
    sim.check_quiet()


@pytest.mark.parametrize("name", SEARCHES)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_every_number_becomes_one_trial_whenever_the_operator_dies(name: str, moment: str) -> None:
    spec = SEARCHES[name]
    total = spec["search"]["maxTrials"]
    undisturbed = run(Simulation(), **spec)
    check(undisturbed, total)
    writes = [(write.verb, write.kind) for write in undisturbed.cluster.writes]
    creations = [number for number, write in enumerate(writes) if write == ("create", "Experiment")]
    assert len(creations) == total
    names = sorted(e["metadata"]["name"] for e in undisturbed.cluster.all("Experiment"))
    for number in creations:
        fault = AtWrite(number, Crash)
        sim = Simulation()
        setattr(sim.cluster, moment, fault)
        run(sim, **spec)
        assert fault.happened
        check(sim, total)
        assert sorted(e["metadata"]["name"] for e in sim.cluster.all("Experiment")) == names


def test_the_same_results_make_the_same_trials() -> None:
    one, other = (run(Simulation(), **SEARCHES["TPE"]) for _ in range(2))
    assert one.end_state() == other.end_state()


def test_what_is_known_keeps_the_constraints_and_the_first_are_as_they_were_said() -> None:
    sim = run(Simulation(), **SEARCHES["TPE"])
    params = {number: e["spec"]["params"] for number, e in by_number(sim).items()}
    assert (params[0]["lr"], params[0]["drop"]) == (1, 0.25)
    assert all(one["lr"] <= 4 and one["drop"] < 0.5 for one in params.values())
    assert all(("depth" in one) == (one["model"] == "unet") for one in params.values())


def test_each_question_tells_what_runs_and_what_became_of_the_others() -> None:
    sim = run(Simulation(), **SEARCHES["TPE"])
    last = sim.asker.asked[-1]
    ended = {one.number: one for one in last.results if one.outcome is not Outcome.RUNNING}
    running = [one for one in last.results if one.outcome is Outcome.RUNNING]
    assert len(running) <= 1  # of a parallelism of 2
    for number, experiment in by_number(sim).items():
        if number in ended:
            objective = experiment["status"].get("objective")
            assert ended[number].value == (objective["value"] if objective else None)
            assert (ended[number].outcome is Outcome.FAILED) == (experiment["status"]["state"] == "Failed")


def test_an_answer_that_comes_late_holds_up_nothing_else() -> None:
    sim = Simulation(nodes={"a": 8})
    sim.asker.late = True
    sim.apply_sweep("learns", parallelism=3, **SEARCHES["CMAES"])
    sim.apply_sweep("grid")
    for _ in range(30):
        sim.step()
    assert sim.sweep("grid")["status"]["state"] == "Succeeded"
    assert sim.sweep("learns")["status"]["trials"]["created"] == 1
    assert len(sim.asker.asked) == 1
    sim.asker.late = False
    sim.asker.give()
    sim.settle()
    assert sim.sweep("learns")["status"]["trials"]["succeeded"] == 5
    sim.check_quiet()


def test_an_answer_to_a_sweep_that_is_gone_is_nobodys() -> None:
    sim = Simulation()
    sim.asker.late = True
    sim.apply_sweep(**SEARCHES["CMAES"])
    for _ in range(10):
        sim.step()
    sim.cluster.remove("Sweep", NAMESPACE, "s")
    sim.settle()
    sim.asker.give()
    sim.settle()
    assert sim.cluster.all("Experiment") == []


def test_a_search_that_fails_is_said_once_and_tried_again() -> None:
    sim = Simulation()
    sim.asker.answer = lambda ask: Answer(problem="the search process ended (exit code -9)")
    sim.apply_sweep("learns", **SEARCHES["CMAES"])
    sim.apply_sweep("grid")
    for _ in range(100):
        sim.step()
    assert sim.sweep("grid")["status"]["state"] == "Succeeded"
    conditions = {c["type"]: c for c in sim.sweep("learns")["status"]["conditions"]}
    assert (conditions["Running"]["reason"], conditions["Accepted"]["status"]) == ("SearchFailed", "True")
    assert "exit code -9" in conditions["Running"]["message"]
    assert [note.reason for _, key, note in sim.events.said if key.name == "learns"].count("SearchFailed") == 1
    # 10 s, 20 s, 40 s, ...: not at every look.
    assert 3 <= len(sim.asker.asked) <= 6
    sim.asker.answer = None
    sim.settle()
    status = sim.sweep("learns")["status"]
    assert status["trials"]["succeeded"] == 5
    assert all(c["reason"] != "SearchFailed" for c in status["conditions"])
    sim.check_quiet()


def test_a_search_that_this_operator_cannot_do_is_not_accepted_and_not_ended() -> None:
    sim = Simulation()
    sim.asker.answer = lambda ask: Answer(unavailable="search.algorithm GP needs the Python package torch")
    sim.apply_sweep(search={"algorithm": "GP", "maxTrials": 20}, parameters=[DROP])
    for _ in range(60):
        sim.step()
    status = sim.sweep()["status"]
    accepted = next(c for c in status["conditions"] if c["type"] == "Accepted")
    assert (accepted["status"], accepted["reason"]) == ("False", "SearchUnavailable")
    assert "torch" in accepted["message"]
    assert status["state"] == "Running"
    sim.asker.answer = None
    sim.settle()  # another image, in effect
    check(sim, 20)


def test_a_space_that_runs_out_ends_the_sweep_with_what_it_has() -> None:
    sim = Simulation()
    sim.apply_sweep(
        search={"algorithm": "TPE", "maxTrials": 50},
        parameters=[DROP, LR],
        constraints=["drop < 0.0001 and lr <= 1"],
        initialPoints=[{"drop": 0.00005, "lr": 1}],
    )
    sim.asker.answer = lambda ask: Answer(exhausted="10,000 draws in a row broke a constraint")
    sim.settle()
    status = sim.sweep()["status"]
    finished = next(c for c in status["conditions"] if c["type"] == "Finished")
    assert status["trials"]["total"] == status["trials"]["created"]
    assert "no more of 50 were found" in finished["message"]
    sim.check_quiet()


def test_a_small_space_is_tried_whole_and_no_combination_twice() -> None:
    sim = run(Simulation(), search={"algorithm": "TPE", "maxTrials": 50}, parameters=[LR, MODEL, DEPTH])
    check(sim, 20)


def test_more_trials_are_asked_for_when_max_trials_rises() -> None:
    sim = Simulation()
    sim.apply_sweep(**SEARCHES["CMAES"])
    for _ in range(8):
        sim.step()
    sim.cluster.change("Sweep", NAMESPACE, "s", lambda body: body["spec"]["search"].update(maxTrials=9))
    sim.settle()
    check(sim, 9)


def test_a_trial_that_is_deleted_by_hand_is_made_again_under_its_name() -> None:
    sim = Simulation()
    sim.apply_sweep(parallelism=4, **SEARCHES["CMAES"])
    for _ in range(4):
        sim.step(lambda world, pod: None)
    (name, *_) = [experiment_of(pod) for pod in sim.world.pods("Running")]
    sim.cluster.remove("Experiment", NAMESPACE, name)
    # What was told of the trial that is gone must not be there any more.
    sim._trials.clear()
    sim.settle()
    assert name in {e["metadata"]["name"] for e in sim.cluster.all("Experiment")}
    check(sim, 5)


def test_no_more_than_parallelism_are_made_so_that_each_learns_from_as_many_as_it_can() -> None:
    sim = Simulation(nodes={"a": 8}, lookahead=2)
    sim.apply_sweep(parallelism=3, **SEARCHES["CMAES"])
    for _ in range(6):
        sim.step(lambda world, pod: None)
    assert sim.sweep()["status"]["trials"]["created"] == 3


def _by_name(world: World, pod: Body) -> None:
    """One in four breaks for good, the others end with a value that depends on the name."""
    if sum(map(ord, experiment_of(pod))) % 4 == 0:
        world.out_of_memory(pod)
    else:
        all_succeed(world, pod)


@pytest.mark.parametrize("moment", ["before", "after"])
def test_with_repeats_a_combination_is_chosen_once_whenever_the_operator_dies(moment: str) -> None:
    spec = {
        "search": {"algorithm": "CMAES", "maxTrials": 4, "repeats": 3},
        "parameters": [LR, DROP],
        "template": {"params": {}, "seed": 7, "resources": {"gpus": 1}},
        "parallelism": 2,
    }
    for number in range(2, 60, 9):
        fault = AtWrite(number, Crash)
        sim = Simulation()
        setattr(sim.cluster, moment, fault)
        sim.apply_sweep(**spec)
        for _ in range(2):
            try:
                sim.settle(_by_name)
            except Crash:
                sim.restart()
        assert fault.happened
        trials = by_number(sim)
        assert sorted(trials) == list(range(12))
        for first in range(0, 12, 3):
            assert len({json.dumps(trials[first + n]["spec"]["params"]) for n in range(3)}) == 1
            assert [trials[first + n]["spec"].get("seed") for n in range(3)] == [7, 8, 9]
        assert len(tried(sim)) == 4
        for result in (result for ask in sim.asker.asked for result in ask.results):
            ends = [trials[result.number * 3 + n]["status"].get("objective") for n in range(3)]
            values = [end["value"] for end in ends if end]
            if result.outcome is Outcome.COMPLETE:
                assert result.value == pytest.approx(sum(values) / len(values))
            elif result.outcome is Outcome.FAILED:
                assert values == []
        sim.check_quiet()


def test_a_stale_store_makes_no_number_twice() -> None:
    """The operator is killed after a creation; the next one's list does not have it yet and it asks again."""
    sim = Simulation()
    asked: list[Ask] = []

    def otherwise(ask: Ask) -> Answer:
        asked.append(ask)
        points = searched(ask).points
        # No answer is ever repeated.
        return Answer(points={n: (p[0], round(p[1] / (len(asked) + 1), 6)) for n, p in points.items()})  # type: ignore[operator]

    sim.asker.answer = otherwise
    sim.apply_sweep(**SEARCHES["CMAES"])
    for _ in range(8):
        sim.step(lambda world, pod: None)
    before = by_number(sim)
    assert set(before) == {0, 1}
    hidden = sim.cluster.objects.pop(("Experiment", NAMESPACE, before[1]["metadata"]["name"]))
    sim.restart()
    sim.asker.answer = otherwise
    sim.asker.late = True
    sim.work()
    sim.cluster.objects["Experiment", NAMESPACE, before[1]["metadata"]["name"]] = hidden
    sim.asker.give()
    sim.clock.advance(5)
    sim.work()
    assert by_number(sim)[1]["spec"]["params"] == before[1]["spec"]["params"]
    sim.asker.late = False
    sim.settle()
    check(sim, 5)


async def test_with_the_real_search_process_which_is_killed_in_the_middle() -> None:
    asker = WorkerAsker()
    task = asyncio.create_task(asker.run())
    sim = Simulation(asker=asker)
    sim.apply_sweep(search={"algorithm": "TPE", "maxTrials": 24, "seed": 3}, parameters=[LR, DROP, MODEL, DEPTH])
    killed = 0
    try:
        async with asyncio.timeout(300):
            while sim.sweep().get("status", {}).get("state") not in ("Succeeded", "Failed"):
                sim.step(mixed)
                if asker.pid is not None and not killed and sim.sweep()["status"]["trials"]["created"] > 16:
                    killed = asker.pid
                    os.kill(killed, signal.SIGKILL)
                    sim.restart()
                await asyncio.sleep(0.01)
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
    assert killed
    check(sim, 24)
    assert not [note for _, _, note in sim.events.said if note.reason.startswith("Search")]
