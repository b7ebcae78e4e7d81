"""GPUs that come, go and are others': never two runs on one, none given out before it is known who holds it."""

from __future__ import annotations

import random

import pytest

from tests.sim.cluster import Body
from tests.sim.harness import Outcome, Simulation, all_succeed
from tests.sim.runs import run_by_hand, status
from tests.sim.world import GPU

KEPT: Outcome = lambda world, pod: None  # noqa: E731


def resize(sim: Simulation, name: str, gpus: int) -> None:
    """What its device plugin offers; as many as it has stay in its capacity."""

    def change(node: Body) -> None:
        allocatable = node["status"]["allocatable"]
        capacity = node["status"].setdefault("capacity", dict(allocatable))
        capacity[GPU] = str(max(int(capacity[GPU]), gpus))
        allocatable[GPU] = str(gpus)

    sim.node_faults = True
    sim.cluster.change("Node", "", name, change)


def foreign_pod(sim: Simulation, name: str, node: str, *, gpus: int = 1) -> None:
    sim.cluster.add(
        {
            "apiVersion": "v1",
            "kind": "Pod",
            "metadata": {"namespace": "others", "name": name, "labels": {}},
            "spec": {"nodeName": node, "containers": [{"resources": {"limits": {GPU: str(gpus)}}}]},
            "status": {"phase": "Running"},
        }
    )


def released(sim: Simulation) -> list[str]:
    return sorted(job["metadata"]["name"] for job in sim.cluster.look("Job") if not job["spec"].get("suspend"))


def steps(sim: Simulation, count: int, outcome: Outcome = KEPT) -> None:
    for _ in range(count):
        sim.step(outcome)


def test_while_a_device_plugin_reports_nothing_runs_go_on_and_none_is_added() -> None:
    sim = Simulation(nodes={"node-a": 2})
    run_by_hand(sim, "a")
    run_by_hand(sim, "b", params={"lr": 2})
    run_by_hand(sim, "c", params={"lr": 3})
    steps(sim, 8)
    assert released(sim) == ["a-1", "b-1"]
    resize(sim, "node-a", 0)
    steps(sim, 60)
    assert released(sim) == ["a-1", "b-1"], "what runs is left alone"
    waiting = status(sim, "c")
    assert (waiting["state"], waiting["reason"]) == ("Queued", "NoFittingNode")
    assert "node-a has 0 of 2 fit for use" in waiting["message"]
    resize(sim, "node-a", 2)
    steps(sim, 5)
    assert released(sim) == ["a-1", "b-1"], "both GPUs are held still"
    sim.settle(all_succeed)
    assert [status(sim, name)["state"] for name in "abc"] == ["Succeeded"] * 3
    assert [len(status(sim, name)["attempts"]) for name in "abc"] == [1, 1, 1]


def test_a_run_that_fits_no_node_blocks_nobody_and_starts_once_one_comes() -> None:
    sim = Simulation(nodes={"node-a": 1})
    run_by_hand(sim, "large", resources={"gpus": 4})
    run_by_hand(sim, "small", params={"lr": 2})
    sim.settle()
    assert status(sim, "small")["state"] == "Succeeded"
    assert status(sim, "large")["reason"] == "NoFittingNode"
    sim.world.add_node("node-b", gpus=4)
    sim.settle()
    assert status(sim, "large")["state"] == "Succeeded"
    sim.check_quiet()


@pytest.mark.parametrize("gpus_first", [False, True], ids=["no GPU when it started", "a node that comes"])
def test_what_others_hold_on_a_node_counts_from_its_first_moment(gpus_first: bool) -> None:
    sim = Simulation(nodes={"node-a": 1 if gpus_first else 0})
    sim.world.add_node("node-b", gpus=0)
    foreign_pod(sim, "theirs", "node-b", gpus=2)
    sim.restart()
    run_by_hand(sim, "mine", resources={"gpus": 2})
    steps(sim, 5)
    resize(sim, "node-b", 2)
    steps(sim, 5)
    assert released(sim) == []
    assert "0 of 2 free" in status(sim, "mine")["message"]


def test_a_restart_releases_nothing_onto_what_others_took_meanwhile() -> None:
    sim = Simulation(nodes={"node-a": 2})
    run_by_hand(sim, "a")
    steps(sim, 5)
    run_by_hand(sim, "b", params={"lr": 2})
    foreign_pod(sim, "theirs", "node-a")
    sim.restart()
    steps(sim, 5)
    assert released(sim) == ["a-1"]
    assert "0 of 2 free" in status(sim, "b")["message"]


def test_a_node_whose_labels_change_is_seen_as_it_is_now() -> None:
    sim = Simulation(nodes={"node-a": 1})
    run_by_hand(sim, "picky", resources={"gpus": 1, "gpuModels": ["!A100"]})
    steps(sim, 5)
    assert status(sim, "picky")["reason"] == "NoFittingNode"
    assert "not a A100" in status(sim, "picky")["message"]
    sim.cluster.change("Node", "", "node-a", lambda n: n["metadata"]["labels"].update({f"{GPU}.product": "H100"}))
    steps(sim, 5)
    assert released(sim) == ["picky-1"], "its Job's affinity says what will not do, not what did"


@pytest.mark.parametrize("seed", range(6))
def test_whatever_becomes_of_nodes_no_gpu_is_held_twice_and_all_runs_end(seed: int) -> None:
    rng = random.Random(seed)
    sim = Simulation(nodes={"node-a": 2, "node-b": 2})
    for number in range(8):
        run_by_hand(sim, f"r{number}", params={"lr": number * 5 + 1}, resources={"gpus": rng.choice((1, 1, 2))})
    sim.node_faults = True
    slow: Outcome = lambda world, pod: all_succeed(world, pod) if rng.random() < 0.2 else None  # noqa: E731
    for _ in range(40):
        match rng.randrange(5):
            case 0:
                resize(sim, rng.choice(("node-a", "node-b")), rng.randrange(3))
            case 1 if sim.cluster.find("Node", "", "node-b"):
                sim.world.lose_node("node-b")
            case 2:
                sim.world.return_node("node-b")
            case 3:
                sim.restart()
        sim.step(slow)
        for node in ("node-a", "node-b"):
            # The scheduler gives no GPU out twice; a kubelet whose plugin is away keeps what runs.
            held = int(sim.cluster.objects["Node", "", node]["status"]["allocatable"][GPU]) - sim.world.free(node)
            assert held <= 2, sim.describe()
    for node in ("node-a", "node-b"):
        sim.world.return_node(node)
        resize(sim, node, 2)
    sim.settle(all_succeed)
    assert {status(sim, f"r{number}")["state"] for number in range(8)} == {"Succeeded"}
    sim.check_quiet()
