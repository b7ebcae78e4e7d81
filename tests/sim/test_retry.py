"""Retries with something changed, nodes that are gone past, sweeps that stop themselves, runs that fall silent: through
the whole operator, with a crash before and after every write."""

from __future__ import annotations

import json
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Any

import pytest

from orkrun.contract import ANNOTATION_CONFIG
from tests.sim.cluster import Body
from tests.sim.harness import NAMESPACE, Crash, Outcome, Simulation, all_succeed
from tests.sim.test_crashes import AtWrite
from tests.sim.world import World, experiment_of, record


def needs_memory(world: World, pod: Body) -> None:
    """Trial 2 takes 20Gi, trial 3 a batch of 4; the others are content."""
    params = json.loads(pod["metadata"]["annotations"][ANNOTATION_CONFIG])["params"]
    memory = pod["spec"]["containers"][0]["resources"]["limits"]["memory"]
    if params["lr"] == 2 and memory == "16Gi":
        world.out_of_memory(pod)
    elif params["lr"] == 3 and params["batch_size"] > 4:
        failure = {"type": "torch.OutOfMemoryError", "message": "CUDA out of memory. Tried to allocate 2 GiB"}
        world.end(pod, exit_code=1, message=record(None, outcome="Failed", failure=failure))
    else:
        all_succeed(world, pod)


def broken_gpu(world: World, pod: Body) -> None:
    """Whatever runs on node-a dies of its hardware."""
    if pod["spec"]["nodeName"] == "node-a":
        world.end(pod, exit_code=1, message="NVRM: Xid (PCI:0000:3b:00): 79, GPU has fallen off the bus.")
    else:
        all_succeed(world, pod)


def one_bug(world: World, pod: Body) -> None:
    lr = json.loads(pod["metadata"]["annotations"][ANNOTATION_CONFIG])["params"]["lr"]
    if lr % 4:
        world.end(pod, exit_code=64, message=record(None, outcome="Failed", failure={"type": "E", "message": "bad lr"}))
    else:
        all_succeed(world, pod)


def memory_sweep(sim: Simulation) -> None:
    sim.apply_sweep(
        template={
            "params": {"batch_size": 16},
            "resources": {"gpus": 1, "memory": "16Gi"},
            "retry": {"outOfMemory": {"memoryFactor": 1.5, "params": {"batch_size": 4}}},
        }
    )


def node_sweep(sim: Simulation) -> None:
    sim.apply_sweep(parameters=[{"name": "lr", "values": list(range(7))}], parallelism=3)


def bug_sweep(sim: Simulation) -> None:
    sim.apply_sweep(
        parameters=[{"name": "lr", "values": list(range(10))}],
        failurePolicy={"stopOnCluster": {"minFailures": 3, "share": 0.5}},
    )


STORIES: dict[str, tuple[Callable[[Simulation], None], Outcome, dict[str, int]]] = {
    "memory": (memory_sweep, needs_memory, {"node-a": 2}),
    "node": (node_sweep, broken_gpu, {"node-a": 2, "node-b": 2}),
    "bug": (bug_sweep, one_bug, {"node-a": 2}),
}


def told(story: str, fault: Callable[[Simulation], None] = lambda sim: None) -> Simulation:
    apply, outcome, nodes = STORIES[story]
    sim = Simulation(nodes=nodes)
    fault(sim)
    apply(sim)
    sim.settle_over_crashes(outcome)
    return sim


def state(sim: Simulation) -> Body:
    """The end state, with what this is about."""
    end = sim.end_state()
    for body in sim.cluster.look("Experiment"):
        status = body.get("status", {})
        end[f"Experiment/{body['metadata']['name']}"] |= {
            "overrides": status.get("overrides"),
            "run": status.get("runHash"),
            "avoid": status.get("avoid"),
            "past": [attempt.get("avoid") for attempt in status.get("attempts", ())],
        }
    (sweep,) = sim.cluster.look("Sweep")
    end["held"] = [(c["status"], c["reason"]) for c in sweep["status"]["conditions"] if c["type"] == "Suspended"]
    return end


def results(sim: Simulation) -> Body:
    """What came of it, whoever ran where: which trial comes to the broken node depends on when who was looked at."""
    left_alone(sim)
    return {
        body["metadata"]["name"]: (body["status"]["state"], body["status"]["objective"])
        for body in sim.cluster.look("Experiment")
    }


def stopped(sim: Simulation) -> Body:
    """That it has stopped itself in time; whether a run more had ended by then depends on when who was looked at."""
    (sweep,) = sim.cluster.look("Sweep")
    trials = sweep["status"]["trials"]
    assert 3 <= trials["failed"] <= 5
    assert trials["created"] < trials["total"]
    assert sweep["status"]["failureClusters"][0]["count"] == trials["failed"]
    return {"state": sweep["status"]["state"], "held": state(sim)["held"]}


SEEN = {"memory": state, "node": results, "bug": stopped}


def by_lr(sim: Simulation) -> dict[int, Body]:
    return {body["spec"]["params"]["lr"]: body["status"] for body in sim.cluster.all("Experiment")}


def left_alone(sim: Simulation) -> None:
    """Nothing starts on node-a any more once three have failed there, but for what was released by then."""
    attempts = [a for e in sim.cluster.all("Experiment") for a in e["status"]["attempts"] if a.get("node") == "node-a"]
    failed = sorted(datetime.fromisoformat(a["endTime"]) for a in attempts if a["reason"] == "GpuHardware")
    assert 3 <= len(failed) <= 6
    late = [a for a in attempts if datetime.fromisoformat(a["startTime"]) > failed[2] + timedelta(seconds=2)]
    assert late == []


def test_a_sweep_that_runs_out_of_memory_here_and_there_ends_complete() -> None:
    sim = told("memory")
    assert sim.sweep()["status"]["trials"]["succeeded"] == 4
    found = by_lr(sim)
    assert [a["reason"] for a in found[2]["attempts"]] == ["OutOfMemoryKilled", "Completed"]
    assert found[2]["overrides"] == {"memory": "24Gi", "params": {"batch_size": 4}}
    assert found[3]["overrides"] == {"params": {"batch_size": 4}}
    assert "overrides" not in found[1]
    sim.check_quiet()


def test_a_node_with_a_broken_gpu_is_left_alone_by_all_and_used_again_later() -> None:
    sim = told("node")
    status = sim.sweep()["status"]
    assert status["trials"]["succeeded"] == 7
    left_alone(sim)
    assert "NodeAvoided" in {note.reason for _, key, note in sim.events.said if key.name == "s"}
    sim.clock.advance(3700)
    sim.apply_sweep("later", template={"params": {"model": "other"}, "resources": {"gpus": 1}})
    sim.settle()
    nodes = {
        a["node"]
        for e in sim.cluster.all("Experiment")
        if e["metadata"]["name"].startswith("later")
        for a in e["status"]["attempts"]
    }
    assert nodes == {"node-a"}
    sim.check_quiet()


def test_jobs_made_before_the_node_was_known_are_told_when_they_are_released() -> None:
    sim = Simulation(nodes={"node-a": 1, "node-b": 3})
    node_sweep(sim)
    sim.apply_sweep("other", parallelism=4, parameters=[{"name": "lr", "values": [11, 12, 13, 14, 15, 16]}])
    sim.settle(broken_gpu)
    for experiment in sim.cluster.all("Experiment"):
        assert experiment["status"]["state"] == "Succeeded"
    left_alone(sim)
    sim.check_quiet()


def test_a_sweep_with_one_bug_stops_itself_and_goes_on_when_it_is_told() -> None:
    sim = told("bug")
    status = sim.sweep()["status"]
    assert status["state"] == "Suspended"
    assert status["trials"]["failed"] < 8
    (held,) = (c for c in status["conditions"] if c["type"] == "Suspended")
    assert held["reason"] == "StoppedOnCluster"
    assert "InvalidParams" in held["message"]
    sim.check_quiet()
    ended = status["trials"]["failed"] + status["trials"]["succeeded"]
    sim.clock.advance(600)
    since = sim.clock.now().isoformat().replace("+00:00", "Z")
    sim.cluster.change(
        "Sweep", NAMESPACE, "s", lambda b: b["spec"]["failurePolicy"]["stopOnCluster"].update(since=since)
    )
    sim.settle()
    status = sim.sweep()["status"]
    assert status["state"] == "Succeeded"
    assert status["trials"]["succeeded"] + status["trials"]["failed"] == 10
    assert ended < 10
    sim.check_quiet()


@pytest.mark.parametrize("story", STORIES)
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_write_changes_nothing_about_the_end(story: str, moment: str) -> None:
    reference = told(story)
    seen = SEEN[story]
    want, writes = seen(reference), len(reference.cluster.writes)
    for number in range(writes):
        fault = AtWrite(number, Crash)
        sim = told(story, lambda sim, fault=fault: setattr(sim.cluster, moment, fault))  # type: ignore[misc]
        # Where it went another way, it may have had less to write.
        assert fault.happened or (story != "memory" and number > writes / 2)
        assert seen(sim) == want, f"{moment} write {number}"
        sim.check_quiet()


class TestSilence:
    def silent(self, sim: Simulation, pod: Body) -> None:
        """The hub says that nothing was heard of the pod's run since it started."""
        started = pod["status"]["containerStatuses"][0]["state"]["running"]["startedAt"]
        until = sim.clock.now().isoformat(timespec="seconds").replace("+00:00", "Z")

        def change(body: Body) -> None:
            body["status"]["progress"] = {
                "step": 3,
                "secondsPerStep": 2.0,
                "silent": {"since": started, "until": until},
            }

        sim.cluster.change("Experiment", NAMESPACE, experiment_of(pod), change)

    @pytest.mark.parametrize("moment", [None, "before", "after"])
    def test_a_run_that_hangs_is_stopped_and_tried_once_more(self, moment: str | None) -> None:
        def story(fault: AtWrite | None) -> Simulation:
            sim = Simulation(nodes={"a": 1, "b": 1})
            if fault is not None and moment is not None:
                setattr(sim.cluster, moment, fault)

            def guarded(what: Callable[[], Any]) -> None:
                try:
                    what()
                except Crash:
                    sim.restart()

            sim.apply_sweep(parameters=[{"name": "lr", "values": [1]}])
            for _ in range(6):
                guarded(lambda: sim.step(lambda world, pod: None))
            (pod,) = sim.world.pods("Running")
            sim.clock.advance(3600)
            self.silent(sim, pod)
            sim.settle_over_crashes(all_succeed)
            return sim

        reference = story(None)
        (run,) = reference.cluster.all("Experiment")
        assert [a["reason"] for a in run["status"]["attempts"]] == ["HungAtStart", "Completed"]
        assert run["status"]["attempts"][1]["node"] != run["status"]["attempts"][0]["node"]
        reference.check_quiet()
        if moment is None:
            return
        for number in range(len(reference.cluster.writes)):
            sim = story(AtWrite(number, Crash))
            assert state(sim) == state(reference), f"{moment} write {number}"
            sim.check_quiet()
