"""The queue: order, places, limits, and what is told to those who wait."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import timedelta
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.api import Reason
from orkhaven.api.container import Toleration
from orkhaven.core.parse import parse_job, parse_pod
from orkhaven.core.queue import Needs, QueuePlan, Request, plan_queue, request_of, wants_release
from orkhaven.core.views import Key, NodeView, PodView
from tests.unit.core.world import START, World, make_experiment, make_node, node_views


def request(
    name: str, gpus: int = 1, *, age: int = 0, sweep: str | None = None, trial: int = 0, **needs: Any
) -> Request:
    """`age`: seconds that it is older than START."""
    return Request(
        job=Key("ns", f"{name}-1"),
        uid=f"uid-{name}-1",
        experiment=Key("ns", name),
        sweep=Key("ns", sweep) if sweep else None,
        created=START - timedelta(seconds=age),
        trial=trial,
        needs=Needs(gpus=gpus, **needs),
    )


def pod_of(wanted: Request, node: str | None) -> PodView:
    labels = {"batch.kubernetes.io/job-name": wanted.job.name}
    if wanted.sweep:
        labels["orkhaven.io/sweep"] = wanted.sweep.name
    limits = {"limits": {"nvidia.com/gpu": str(wanted.gpus)}}
    return parse_pod(
        {
            "metadata": {"name": f"{wanted.job.name}-a", "namespace": "ns", "labels": labels},
            "spec": {"containers": [{"resources": limits}], **({"nodeName": node} if node else {})},
            "status": {"phase": "Running" if node else "Pending"},
        }
    )


@dataclass
class Cluster:
    nodes: list[NodeView]
    pods: list[PodView] = field(default_factory=list)
    foreign: dict[str, int] = field(default_factory=dict)
    running: list[Request] = field(default_factory=list)
    caps: dict[Key, int] = field(default_factory=dict)
    stopped: set[Key] = field(default_factory=set)

    def plan(self, *waiting: Request) -> QueuePlan:
        return plan_queue(
            nodes=self.nodes,
            pods=self.pods,
            foreign_gpus={node: {"nvidia.com/gpu": held} for node, held in self.foreign.items()},
            waiting=waiting,
            running=self.running,
            parallelism=self.caps,
            stopped=self.stopped,
            now=START,
        )

    def released(self, *waiting: Request) -> list[str]:
        return [action.key.name.removesuffix("-1") for action in self.plan(*waiting).release]

    def why(self, *waiting: Request) -> dict[str, str]:
        return {key.name: str(why) for key, why in self.plan(*waiting).reasons.items()}


def nodes(*gpus: int) -> list[NodeView]:
    return node_views(*[make_node(f"n{index}", gpus=count) for index, count in enumerate(gpus)])


class TestOrder:
    def test_the_oldest_first_then_by_name(self) -> None:
        cluster = Cluster(nodes(2))
        assert cluster.released(request("b"), request("a"), request("c", age=5)) == ["c", "a"]

    def test_trials_of_one_second_in_the_order_of_their_sweep_whatever_their_names(self) -> None:
        cluster = Cluster(nodes(2))
        trials = [request(name, sweep="s", trial=number) for name, number in (("a", 11), ("b", 2), ("c", 1))]
        assert cluster.released(*trials) == ["c", "b"]

    def test_what_is_released_but_has_no_pod_yet_holds_its_place(self) -> None:
        assert Cluster(nodes(2), running=[request("r")]).released(request("a"), request("b")) == ["a"]

    def test_a_pod_that_is_bound_is_counted_where_it_is_and_once(self) -> None:
        held = request("r", 2)
        cluster = Cluster(nodes(2, 2), running=[held], pods=[pod_of(held, "n1")])
        assert cluster.released(request("a", 2), request("b", 2)) == ["a"]

    def test_the_gpus_of_others_are_not_given_away(self) -> None:
        cluster = Cluster(nodes(4), foreign={"n0": 3})
        assert cluster.released(request("a"), request("b")) == ["a"]

    def test_a_pod_that_still_stops_holds_its_gpus_though_its_job_waits_again(self) -> None:
        stopping = request("s")
        cluster = Cluster(nodes(1), pods=[pod_of(stopping, "n0")])
        assert cluster.why(stopping, request("a")) == {
            "s": "waits until its pod, which was told to stop, has ended",
            "a": "waits for 1 GPU: 0 of 1 free",
        }

    def test_small_ones_never_starve_a_large_one(self) -> None:
        running = [request(f"r{index}") for index in range(4)]
        cluster = Cluster(nodes(4), running=running[:3], pods=[pod_of(r, "n0") for r in running[:3]])
        large, small = request("large", 4, age=9), request("small")
        assert cluster.released(large, small) == []
        assert cluster.why(large, small) == {
            "large": "waits for 4 GPUs on one node: 0 of 4 free, 1 kept for the next in line",
            "small": "waits for 1 GPU: 0 of 4 free, 1 kept for the next in line",
        }

    def test_but_other_nodes_stay_open_to_them(self) -> None:
        held = request("r")
        cluster = Cluster(nodes(4, 2), running=[held], pods=[pod_of(held, "n0")])
        assert cluster.released(request("large", 4, age=9), request("small")) == ["small"]

    def test_the_tightest_place_is_taken(self) -> None:
        cluster = Cluster(nodes(4, 1))
        assert cluster.released(request("small", age=1), request("large", 4)) == ["small", "large"]

    def test_one_on_the_cpu_needs_no_node(self) -> None:
        assert Cluster([]).released(request("cpu", 0)) == ["cpu"]


class TestParallelism:
    def test_a_sweep_holds_no_more_than_it_may(self) -> None:
        cluster = Cluster(nodes(8), caps={Key("ns", "s"): 2}, running=[request("r", sweep="s")])
        waiting = [request("a", sweep="s"), request("b", sweep="s"), request("c")]
        assert cluster.released(*waiting) == ["a", "c"]
        assert cluster.why(*waiting) == {"b": "waits for another trial to end: sweep s has parallelism 2"}

    def test_zero_pauses(self) -> None:
        cluster = Cluster(nodes(8), caps={Key("ns", "s"): 0})
        assert cluster.why(request("a", sweep="s")) == {"a": "waits because sweep s has parallelism 0"}

    def test_one_without_gpus_counts_too(self) -> None:
        cluster = Cluster([], caps={Key("ns", "s"): 1})
        assert cluster.released(request("a", 0, sweep="s"), request("b", 0, sweep="s")) == ["a"]

    def test_a_sweep_that_starts_no_more_trials_keeps_nothing_from_others(self) -> None:
        cluster = Cluster(nodes(1), caps={Key("ns", "s"): 2}, stopped={Key("ns", "a")})
        waiting = [request("a", age=9, sweep="s"), request("b", sweep="t")]
        assert cluster.released(*waiting) == ["b"]
        assert cluster.why(*waiting) == {"a": "is not started: sweep s starts no more trials"}

    def test_those_held_back_by_it_keep_nothing_from_others(self) -> None:
        cluster = Cluster(nodes(1), caps={Key("ns", "s"): 0})
        assert cluster.released(request("a", sweep="s", age=9), request("b")) == ["b"]


class TestNoFittingNode:
    @pytest.mark.parametrize(
        ("needs", "says"),
        {
            "too many": (request("x", 64), "no node has 64 GPUs on one node: the largest node has 4"),
            "another model": (
                request("x", gpu_models=("B200",)),
                "no node has 1 GPU of model B200: not one of these models (GPUs here: A100)",
            ),
            "more memory": (
                request("x", min_gpu_memory_mib=900 * 1024),
                "no node has 1 GPU with at least 900Gi: too little memory per GPU (GPUs here: A100)",
            ),
            "a label": (
                request("x", node_selector={"zone": "b"}),
                "no node has 1 GPU on a node with zone=b: no node has zone=b (GPUs here: A100)",
            ),
        }.values(),
        ids=["too many", "another model", "more memory", "a label"],
    )
    def test_it_says_what_is_missing_and_blocks_nobody(self, needs: Request, says: str) -> None:
        plan = Cluster(nodes(4)).plan(needs, request("y"))
        assert [action.key.name for action in plan.release] == ["y-1"]
        assert plan.reasons[needs.experiment].reason is Reason.NO_FITTING_NODE
        assert plan.reasons[needs.experiment].message == says

    def test_a_node_that_is_not_there_for_new_pods(self) -> None:
        bare: Any = make_node("n0")
        tainted = {**bare, "spec": {"taints": [{"key": "team", "value": "a", "effect": "NoSchedule"}]}}
        cordoned = {**bare, "spec": {"unschedulable": True}}
        down = make_node("n0", ready=False)
        for body, word in ((tainted, "taint team=a:NoSchedule"), (cordoned, "cordoned"), (down, "not ready")):
            assert word in Cluster(node_views(body)).why(request("x"))["x"]
        for toleration in (
            Toleration(key="team", value="a"),
            Toleration(operator="Exists"),
            Toleration(key="team", operator="Exists", effect="NoSchedule"),
        ):
            assert Cluster(node_views(tainted)).released(request("x", tolerations=(toleration,))) == ["x"]
        for toleration in (Toleration(key="team", value="b"), Toleration(key="team", value="a", effect="NoExecute")):
            assert Cluster(node_views(tainted)).released(request("x", tolerations=(toleration,))) == []

    def test_no_gpu_at_all(self) -> None:
        assert Cluster(nodes(0)).why(request("x")) == {"x": "no node has 1 GPU: no node has GPUs at all"}


class TestFromTheStore:
    def test_what_a_run_needs_is_read_off_its_spec(self) -> None:
        labels = {"orkhaven.io/sweep": "s", "orkhaven.io/trial": "7"}
        resources = {"gpus": 2, "gpuModels": ["A100"], "minGpuMemory": "40G"}
        world = World(make_experiment(labels=labels, resources=resources, nodeSelector={"a": "b"}))
        world.settle()
        found = request_of(world.view(), parse_job(world.job))
        assert found is not None
        assert (found.gpus, found.needs.gpu_models, found.needs.min_gpu_memory_mib) == (2, ("A100",), 38147)
        assert (found.sweep, found.trial, found.job) == (Key("ns", "s"), 7, Key("ns", "x-1"))
        assert dict(found.needs.node_selector) == {"a": "b"}

    def test_only_the_suspended_job_of_a_run_that_wants_on_waits(self) -> None:
        world = World()
        world.settle()
        assert wants_release(world.view(), parse_job(world.job))
        world.suspend()
        assert not wants_release(world.view(), parse_job(world.job))
        world.suspend(False)
        world.release()
        assert not wants_release(world.view(), parse_job(world.job))
        world.start().wait(5).exit(0)
        world.defaults = type(world.defaults)(image="i")
        world.settle()
        world.job["spec"]["suspend"] = True
        assert not wants_release(world.view(), parse_job(world.job)), "its attempt has ended"


@st.composite
def situations(draw: st.DrawFn) -> tuple[Cluster, list[Request]]:
    capacities = draw(st.lists(st.integers(0, 4), min_size=1, max_size=3))
    sweeps = [None, "s", "t"]
    cluster = Cluster(nodes(*capacities), caps={Key("ns", "s"): draw(st.integers(0, 3)), Key("ns", "t"): 2})
    free = list(capacities)
    for index in range(draw(st.integers(0, 5))):
        held = request(f"r{index}", draw(st.integers(0, 2)), sweep=draw(st.sampled_from(sweeps)))
        where = draw(st.sampled_from([n for n, left in enumerate(free) if left >= held.gpus] or [-1]))
        if where >= 0:
            free[where] -= held.gpus
            cluster.running.append(held)
            if draw(st.booleans()):
                cluster.pods.append(pod_of(held, f"n{where}"))
    for index, left in enumerate(free):
        cluster.foreign[f"n{index}"] = draw(st.integers(0, left))
    waiting = [
        request(f"w{index}", draw(st.integers(0, 5)), age=draw(st.integers(0, 3)), sweep=draw(st.sampled_from(sweeps)))
        for index in range(draw(st.integers(0, 8)))
    ]
    return cluster, waiting


class TestProperties:
    @given(situations())
    @settings(max_examples=300)
    def test_every_gpu_is_given_once_and_every_limit_kept(self, situation: tuple[Cluster, list[Request]]) -> None:
        cluster, waiting = situation
        plan = cluster.plan(*waiting)
        by_job = {wanted.job: wanted for wanted in waiting}
        released = [by_job[action.key] for action in plan.release]
        bound = {pod.job_name for pod in cluster.pods}
        free = [node.gpus - cluster.foreign[node.meta.key.name] for node in cluster.nodes]
        for pod in cluster.pods:
            free[int((pod.node or "n0")[1:])] -= pod.gpus
        unplaced = [held.gpus for held in cluster.running if held.job.name not in bound]
        if fits(unplaced, free):  # what was released before may have lost its place to others' pods since
            assert fits([*unplaced, *(r.gpus for r in released)], free)
        for sweep, limit in cluster.caps.items():
            before = sum(held.sweep == sweep for held in cluster.running)
            now = sum(wanted.sweep == sweep for wanted in released)
            assert now == 0 or before + now <= limit
        assert {wanted.experiment for wanted in waiting} == {r.experiment for r in released} | set(plan.reasons)
        assert not {r.experiment for r in released} & set(plan.reasons)

    @given(situations(), st.randoms(use_true_random=False))
    def test_the_order_in_which_they_are_seen_changes_nothing(
        self, situation: tuple[Cluster, list[Request]], rng: Any
    ) -> None:
        cluster, waiting = situation
        before = cluster.plan(*waiting)
        for seen in (waiting, cluster.running, cluster.pods, cluster.nodes):
            rng.shuffle(seen)  # type: ignore[arg-type]
        assert cluster.plan(*waiting) == before

    @given(situations())
    def test_equal_needs_go_in_order_of_age(self, situation: tuple[Cluster, list[Request]]) -> None:
        cluster, waiting = situation
        plan = cluster.plan(*waiting)
        released = {action.key for action in plan.release}
        for early in waiting:
            for late in waiting:
                same = (early.gpus, early.sweep) == (late.gpus, late.sweep)
                if same and (early.created, early.experiment) < (late.created, late.experiment):
                    assert early.job in released or late.job not in released

    @given(st.lists(st.integers(1, 2), min_size=20, max_size=60), st.randoms(use_true_random=False))
    @settings(max_examples=40)
    def test_a_large_one_starts_though_small_ones_never_stop_coming(self, small: list[int], rng: Any) -> None:
        cluster = Cluster(nodes(4, 4))
        large = request("large", 4)
        waiting = [large]
        for step, gpus in enumerate(small):
            waiting.append(request(f"s{step}", gpus, age=-1 - step))
            for action in cluster.plan(*waiting).release:
                started = next(w for w in waiting if w.job == action.key)
                waiting.remove(started)
                cluster.running.append(started)
                cluster.pods.append(pod_of(started, first_fit(cluster, started.gpus)))
            if large not in waiting:
                return
            if cluster.running and step % 2:
                gone = rng.choice(cluster.running)
                cluster.running.remove(gone)
                cluster.pods[:] = [pod for pod in cluster.pods if pod.job_name != gone.job.name]
        raise AssertionError("starved")


def first_fit(cluster: Cluster, gpus: int) -> str:
    for node in cluster.nodes:
        used = sum(pod.gpus for pod in cluster.pods if pod.node == node.meta.key.name)
        if used + gpus <= node.gpus:
            return node.meta.key.name
    raise AssertionError("released without a place")


def fits(needs: list[int], free: list[int]) -> bool:
    """Whether there is any way to place them: the slow way."""
    if not needs:
        return True
    first, *rest = sorted(needs, reverse=True)
    if first == 0:
        return True
    for index, left in enumerate(free):
        if left >= first and fits(rest, [*free[:index], left - first, *free[index + 1 :]]):
            return True
    return False
