"""Several namespaces on one cluster: weights, quotas and priorities, as they are read off it."""

from __future__ import annotations

from typing import Any

from tests.sim.cluster import Body, drive
from tests.sim.harness import Simulation
from tests.sim.world import World, gpus


def namespace(sim: Simulation, name: str, **annotations: str) -> None:
    keyed = {f"orkhaven.io/{key.replace('_', '-')}": value for key, value in annotations.items()}
    sim.cluster.add(
        {
            "apiVersion": "v1",
            "kind": "Namespace",
            "metadata": {"name": name, **({"annotations": keyed} if keyed else {})},
        }
    )


def quota(sim: Simulation, name: str, limit: int, *, used: int = 0, **spec: Any) -> None:
    resource = "requests.nvidia.com/gpu"
    made = sim.cluster.add(
        {
            "apiVersion": "v1",
            "kind": "ResourceQuota",
            "metadata": {"namespace": name, "name": "gpus"},
            "spec": {"hard": {resource: str(limit)}, **spec},
        }
    )
    sim.cluster.change(
        "ResourceQuota", name, made["metadata"]["name"], lambda q: q.update(status={"used": {resource: str(used)}})
    )


def runs(sim: Simulation, ns: str, count: int, **spec: Any) -> None:
    for number in range(count):
        sim.cluster.add(
            {
                "apiVersion": "orkhaven.io/v1alpha1",
                "kind": "Experiment",
                "metadata": {"namespace": ns, "name": f"x{number}"},
                "spec": {"params": {"lr": number}, "resources": {"gpus": 1}, **spec},
            }
        )


def held(sim: Simulation, ns: str) -> int:
    return sum(gpus(pod) for pod in sim.world.pods("Pending", "Running") if pod["metadata"]["namespace"] == ns)


def in_ten_seconds(sim: Simulation) -> Any:
    """Runs that take ten rounds."""
    rounds: dict[str, int] = {}

    def outcome(world: World, pod: Body) -> None:
        name = pod["metadata"]["uid"]
        rounds[name] = rounds.get(name, 0) + 1
        if rounds[name] >= 10:
            world.succeed(pod, 0.5)

    return outcome


def test_two_namespaces_with_weights_two_to_one_share_two_to_one() -> None:
    sim = Simulation(nodes={"node-a": 3, "node-b": 3})
    namespace(sim, "a", gpu_weight="2")
    namespace(sim, "b")
    drive(sim.engine.sharing.look())
    runs(sim, "a", 60)
    runs(sim, "b", 60)
    had = {"a": 0, "b": 0}
    outcome = in_ten_seconds(sim)
    for number in range(140):
        sim.step(outcome)
        for ns in had:
            had[ns] += held(sim, ns) if number >= 20 else 0
    assert 1.8 <= had["a"] / had["b"] <= 2.2, had


def test_a_quota_is_not_fought() -> None:
    sim = Simulation(nodes={"node-a": 4})
    quota(sim, "a", 3, used=1)
    drive(sim.engine.sharing.look())
    runs(sim, "a", 4)
    outcome = in_ten_seconds(sim)
    most = 0
    for _ in range(60):
        sim.step(outcome)
        most = max(most, held(sim, "a"))
    assert most == 2
    states = {e["status"]["state"] for e in sim.cluster.look("Experiment")}
    assert states == {"Succeeded"}


def test_a_quota_for_other_pods_does_not_count() -> None:
    sim = Simulation(nodes={"node-a": 4})
    quota(sim, "a", 0, scopes=["Terminating"])
    drive(sim.engine.sharing.look())
    assert sim.engine.sharing.quotas == {}


def test_a_weight_that_is_none_is_said_once_and_counts_as_one() -> None:
    sim = Simulation()
    namespace(sim, "a", gpu_weight="-3")
    for _ in range(3):
        drive(sim.engine.sharing.look())
    ((kind, key, note),) = sim.events.said
    assert (kind, key.namespace, note.reason) == ("Namespace", "a", "InvalidWeight")
    assert "'-3' is no weight" in note.message
    assert sim.engine.sharing.weights == {}


def test_a_long_line_is_told_of_with_few_writes() -> None:
    sim = Simulation(nodes={"node-a": 1})
    runs(sim, "a", 12)
    sim.settle(in_ten_seconds(sim))
    of_runs = [w for w in sim.cluster.writes if w.kind == "Experiment"]
    assert len(of_runs) / 12 <= 6
    sim.check_quiet()
