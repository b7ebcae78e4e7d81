"""The virtual cluster: which run waits, runs, is leaving; which GPUs are free; and what kube-scheduler would do.

Everything is kept as it changes, so that a decision does not build it anew: the views that `plan_queue` reads are made
once for each attempt.
"""

from __future__ import annotations

from bisect import bisect_left, insort
from collections import defaultdict, deque
from collections.abc import Callable, Iterator, Mapping, Sequence, Set
from dataclasses import replace
from datetime import datetime, timedelta

from orkhaven.api import Priority
from orkhaven.core.devices import NVIDIA, WHOLE
from orkhaven.core.queue import Needs, Request
from orkhaven.core.queue.needs import memory_on, unfit
from orkhaven.core.views import Key, Meta, NodeView, PodView
from orkhaven.simulate.cluster import START
from orkhaven.simulate.trace import TraceRun

Group = tuple[str, str, Priority, int, str]


def moment(seconds: float) -> datetime:
    return START + timedelta(seconds=seconds)


class Run:
    """A run of the trace, as it goes."""

    __slots__ = ("attempt", "bound", "group", "index", "left", "overhead", "request", "since", "trace")

    def __init__(self, index: int, trace: TraceRun) -> None:
        self.index = index
        self.trace = trace
        self.group: Group = (trace.namespace, trace.user, trace.priority, trace.gpus, trace.gpu_model)
        self.left = trace.duration
        """Seconds of work."""
        self.overhead = 0.0
        """Seconds before the present attempt works at all."""
        self.attempt = 0
        self.since = trace.submitted
        """When it began to wait, or its pod got its GPUs."""
        self.bound: str | None = None
        """The node that its pod is on."""
        key = Key(trace.namespace, f"run-{index}")
        self.request = Request(
            job=key,
            uid=key.name,
            experiment=key,
            created=moment(trace.submitted),
            trial=index,
            needs=Needs(gpus=trace.gpus, gpu_models=(trace.gpu_model,) if trace.gpu_model else ()),
            user=trace.user,
            priority=trace.priority,
        )


class Line:
    """Who waits, by namespace in groups that are alike, each in order."""

    def __init__(self, rank: Callable[[Run], float]) -> None:
        self._rank = rank
        self._groups: dict[str, dict[Group, list[tuple[float, int, Run]]]] = defaultdict(dict)
        self._count = 0

    def __len__(self) -> int:
        return self._count

    def __iter__(self) -> Iterator[Run]:
        for groups in self._groups.values():
            for members in groups.values():
                for _, _, run in members:
                    yield run

    def add(self, run: Run) -> None:
        group = self._groups[run.trace.namespace].setdefault(run.group, [])
        insort(group, (self._rank(run), run.index, run))
        self._count += 1

    def remove(self, run: Run) -> None:
        groups = self._groups[run.trace.namespace]
        group = groups[run.group]
        del group[bisect_left(group, (self._rank(run), run.index, run))]
        if not group:
            del groups[run.group]
        self._count -= 1

    def heads(self, free: int, *, beyond: int, shown: Mapping[str, int] = {}) -> Iterator[Run]:
        """As many of each group as could start at once, and `beyond`; more until they ask for what is to be `shown` of
        their namespace. Those behind differ in nothing but their places in line: no decision passes over these for
        them."""
        for namespace, groups in self._groups.items():
            missing = shown.get(namespace, 0)
            rest = []
            for group, members in groups.items():
                gpus = group[3]
                heads = max(free, 0) // gpus + beyond
                for _, _, run in members[:heads]:
                    missing -= gpus
                    yield run
                if len(members) > heads:
                    rest.append((members, heads, gpus))
            for members, heads, gpus in rest:
                if missing <= 0:
                    break
                for _, _, run in members[heads : heads - missing // -gpus]:
                    missing -= gpus
                    yield run


class World:
    def __init__(self, nodes: Sequence[NodeView], rank: Callable[[Run], float], *, packed: bool) -> None:
        self.nodes = list(nodes)
        self.free = {node.meta.key.name: node.gpus for node in nodes}
        self._memory = {node.meta.key.name: memory_on(node, WHOLE) for node in nodes}
        self.capacity = sum(self.free.values())
        self.unused = self.capacity
        self.kept: Set[Key] = frozenset()
        """For whom nodes are kept, as the last decision said."""
        """Free GPUs of all nodes."""
        self.line = Line(rank)
        self.runs: dict[Key, Run] = {}
        """Those that are waiting, running or leaving, by Job."""
        self.running: dict[Key, Request] = {}
        """Released and not told to stop."""
        self.leaving: dict[Key, Request] = {}
        """Told to stop; their pods still hold their GPUs."""
        self.pods: dict[Key, PodView] = {}
        self.demands: dict[str, int] = defaultdict(int)
        """GPUs by namespace: of all that wait, run or are leaving."""
        self.held: dict[str, int] = defaultdict(int)
        """GPUs by namespace: of those that are released or leaving."""
        self._unbound: deque[Run] = deque()
        self._packed = packed
        self._fitting: dict[tuple[int, str], frozenset[str]] = {}

    def fitting(self, run: Run) -> frozenset[str]:
        """Nodes that could run it were they empty."""
        need = (run.trace.gpus, run.trace.gpu_model)
        if need not in self._fitting:
            needs = run.request.needs
            fit = (node for node in self.nodes if node.gpus >= needs.gpus and unfit(needs, node) is None)
            self._fitting[need] = frozenset(node.meta.key.name for node in fit)
        return self._fitting[need]

    def wait(self, run: Run, now: float) -> None:
        run.since = now
        self.runs[run.request.job] = run
        self.demands[run.trace.namespace] += run.trace.gpus
        self.line.add(run)

    def release(self, run: Run, now: float) -> None:
        self.line.remove(run)
        self.running[run.request.job] = replace(run.request, released=moment(now))
        self.held[run.trace.namespace] += run.trace.gpus
        self._unbound.append(run)

    def bind(self, now: float) -> list[Run]:
        """What kube-scheduler does with released pods: the oldest first, those that find no place wait on."""
        bound = []
        for run in list(self._unbound):
            name = self._place(run)
            if name is None:
                continue
            self._unbound.remove(run)
            self.free[name] -= run.trace.gpus
            self.unused -= run.trace.gpus
            run.bound, run.since = name, now
            run.attempt += 1
            self.pods[run.request.job] = _pod(run, name, now)
            bound.append(run)
        return bound

    def _place(self, run: Run) -> str | None:
        gpus = run.trace.gpus
        fitting = self.fitting(run)
        places = [
            (left if self._packed else -left, self._memory[name], name)
            for name, left in self.free.items()
            if left >= gpus and name in fitting
        ]
        return min(places)[2] if places else None

    def stop(self, run: Run) -> bool:
        """SIGTERM. False: it has no pod yet, and waits again at once."""
        job = run.request.job
        del self.running[job]
        if run.bound is None:
            self._unbound.remove(run)
            self._give_up(run)
            return False
        self.leaving[job] = run.request
        return True

    def end(self, run: Run) -> None:
        """Its pod is gone."""
        job = run.request.job
        self.running.pop(job, None)
        self.leaving.pop(job, None)
        del self.pods[job]
        self._give_up(run)
        assert run.bound is not None
        self.free[run.bound] += run.trace.gpus
        self.unused += run.trace.gpus
        run.bound = None

    def _give_up(self, run: Run) -> None:
        del self.runs[run.request.job]
        self.held[run.trace.namespace] -= run.trace.gpus
        self.demands[run.trace.namespace] -= run.trace.gpus


def _pod(run: Run, node: str, now: float) -> PodView:
    job = run.request.job
    name = f"{job.name}-{run.attempt}"
    return PodView(
        meta=Meta(key=Key(job.namespace, name), uid=name, resource_version=1, created=moment(now)),
        job_name=job.name,
        phase="Running",
        node=node,
        resource=NVIDIA,
        gpus=run.trace.gpus,
        started=moment(now),
        scheduled=moment(now),
    )
