"""A small cluster with a queue in front of it, for what is decided again and again while time goes on."""

from __future__ import annotations

from collections.abc import Callable, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime, timedelta
from typing import Any

from orkhaven.api import Priority
from orkhaven.core.devices import NVIDIA
from orkhaven.core.parse import parse_pod
from orkhaven.core.queue import Needs, QueuePlan, Quota, Request, Shares, plan_queue
from orkhaven.core.views import Key, NodeView, PodView
from tests.unit.core.world import START, make_node, node_views

I, S, P = Priority.INTERACTIVE, Priority.STANDARD, Priority.PREEMPTIBLE  # noqa: E741


def nodes(*gpus: int) -> list[NodeView]:
    return node_views(*[make_node(f"n{index}", gpus=count) for index, count in enumerate(gpus)])


def ask(
    name: str,
    gpus: int = 1,
    *,
    ns: str = "a",
    user: str = "",
    priority: Priority = S,
    age: float = 0,
    ran: float | None = None,
    **needs: Any,
) -> Request:
    """`age`: seconds that it is older than START, `ran`: since its Job was released."""
    return Request(
        job=Key(ns, f"{name}-1"),
        uid=f"uid-{ns}-{name}",
        experiment=Key(ns, name),
        created=START - timedelta(seconds=age),
        user=user,
        priority=priority,
        released=None if ran is None else START - timedelta(seconds=ran),
        needs=Needs(gpus=gpus, **needs),
        said=(),
    )


def pod_of(run: Request, node: str) -> PodView:
    return parse_pod(
        {
            "metadata": {
                "name": f"{run.job.name}-a",
                "namespace": run.job.namespace,
                "labels": {"batch.kubernetes.io/job-name": run.job.name},
            },
            "spec": {
                "containers": [{"resources": {"limits": {"nvidia.com/gpu": str(run.gpus)}}}],
                "nodeName": node,
            },
            "status": {"phase": "Running"},
        }
    )


@dataclass
class Queue:
    nodes: list[NodeView]
    weights: dict[str, float] = field(default_factory=dict)
    quotas: dict[str, Quota] = field(default_factory=dict)
    usage: dict[tuple[str, str], float] = field(default_factory=dict)
    run_time: timedelta | None = None
    half_life: timedelta = timedelta(days=2)
    foreign: dict[str, int] = field(default_factory=dict)
    now: datetime = START
    waiting: list[Request] = field(default_factory=list)
    running: list[tuple[Request, str]] = field(default_factory=list)
    """With the node; empty: it has no pod yet."""
    stopping: list[tuple[Request, str]] = field(default_factory=list)
    """Suspended, while their pods still end."""
    kept: Set[Key] = frozenset()
    """By the plan that was carried out last."""
    beside: list[PodView] = field(default_factory=list)
    """Pods of ours whose Jobs nobody queues: to look around in, or of one that is being deleted."""

    def plan(self) -> QueuePlan:
        return plan_queue(
            nodes=self.nodes,
            pods=[
                *(pod_of(run, node) for run, node in (*self.running, *self.stopping) if run.gpus and node),
                *self.beside,
            ],
            foreign_gpus={name: {NVIDIA: gpus} for name, gpus in self.foreign.items()},
            waiting=[*self.waiting, *(run for run, _ in self.stopping)],
            running=[run for run, _ in self.running],
            parallelism={},
            shares=Shares(weights=self.weights, usage=self.usage, half_life=self.half_life, run_time=self.run_time),
            quotas=self.quotas,
            kept=self.kept,
            now=self.now,
        )

    def free(self) -> dict[str, int]:
        free = {node.meta.key.name: node.gpus - self.foreign.get(node.meta.key.name, 0) for node in self.nodes}
        for run, node in (*self.running, *self.stopping):
            free[node] -= run.gpus
        return free

    def carry_out(self, plan: QueuePlan) -> None:
        """What is released is put where it fits tightest; who is preempted begins to stop."""
        self.kept = plan.kept
        for action in plan.release:
            (run,) = [one for one in self.waiting if one.job == action.key]
            free = self.free()
            fitting = [(free[node.meta.key.name], node.meta.key.name) for node in self.nodes if node.gpus >= run.gpus]
            node = min((left, name) for left, name in fitting if left >= run.gpus)[1]
            self.waiting.remove(run)
            self.running.append((replace(run, released=self.now), node))
        for order in plan.preempt:
            (victim,) = [pair for pair in self.running if pair[0].job == order.job]
            self.running.remove(victim)
            self.stopping.append((replace(victim[0], released=None), victim[1]))

    def pods_end(self) -> None:
        self.waiting += [run for run, _ in self.stopping]
        self.stopping = []

    def finish(self, which: Callable[[Request], bool]) -> None:
        self.running = [pair for pair in self.running if not which(pair[0])]

    def wait(self, seconds: float) -> None:
        """Time passes; what is held is used."""
        fade = 0.5 ** (seconds / self.half_life.total_seconds())
        self.usage = {who: amount * fade for who, amount in self.usage.items()}
        for run, _ in (*self.running, *self.stopping):
            who = run.job.namespace, run.user
            self.usage[who] = self.usage.get(who, 0.0) + run.gpus * seconds
        self.now += timedelta(seconds=seconds)

    def held(self, namespace: str) -> int:
        return sum(run.gpus for run, _ in self.running if run.job.namespace == namespace)

    def released(self) -> list[str]:
        return [action.key.name.removesuffix("-1") for action in self.plan().release]

    def preempted(self) -> list[str]:
        return [order.experiment.name for order in self.plan().preempt]

    def why(self) -> dict[str, str]:
        return {key.name: str(why) for key, why in self.plan().reasons.items()}


def on(node: str, *runs: Request) -> list[tuple[Request, str]]:
    return [(run, node) for run in runs]


def names(runs: Sequence[Request]) -> list[str]:
    return [run.experiment.name for run in runs]
