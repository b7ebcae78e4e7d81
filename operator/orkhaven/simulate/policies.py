"""Who starts next: the product's own queue, and orders to compare it with.

The others go through the waiting in their order, with the same backfill as ours: the first run that does not fit keeps
the node that is nearest to having room for it, and those behind it take what is left. So a table compares orders alone.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass
from datetime import timedelta
from typing import Protocol

from orkhaven.api import Priority
from orkhaven.core.queue import Shares, plan_queue
from orkhaven.core.queue.shares import entitlements
from orkhaven.simulate.usage import Usage
from orkhaven.simulate.world import Run, World, moment

BEYOND = 2
"""How many of each group are looked at that cannot start now: a plan may preempt for them."""
RANKS = {Priority.INTERACTIVE: 0, Priority.STANDARD: 1, Priority.PREEMPTIBLE: 2}


@dataclass(frozen=True, slots=True)
class Decision:
    start: tuple[Run, ...]
    stop: tuple[Run, ...] = ()


class Policy(Protocol):
    @property
    def name(self) -> str: ...

    def rank(self, run: Run) -> float:
        """Order among runs that are alike."""

    def decide(self, world: World, usage: Usage, now: float) -> Decision: ...


@dataclass(frozen=True, slots=True, kw_only=True)
class FairShare:
    """`plan_queue` as it is in the product. What a setting leaves out has the product's default."""

    weights: Mapping[str, float]
    half_life: timedelta
    min_run: timedelta
    whole: int = 300
    """Lines up to this length are looked at whole; of a longer one what can make a difference."""
    name: str = "fair share"

    def rank(self, run: Run) -> float:
        return run.trace.submitted

    def decide(self, world: World, usage: Usage, now: float) -> Decision:
        plan = plan_queue(
            nodes=world.nodes,
            pods=list(world.pods.values()),
            foreign_gpus={},
            waiting=[
                *(run.request for run in self._in_question(world)),
                *world.leaving.values(),
            ],
            running=list(world.running.values()),
            parallelism={},
            shares=Shares(weights=self.weights, usage=usage.at(now), half_life=self.half_life, min_run=self.min_run),
            kept=world.kept,
            now=moment(now),
        )
        world.kept = plan.kept
        return Decision(
            start=tuple(world.runs[release.key] for release in plan.release),
            stop=tuple(world.runs[preempt.job] for preempt in plan.preempt),
        )

    def _in_question(self, world: World) -> Iterable[Run]:
        """Of a long line the heads of each group, and as many as show that a namespace asks for more than its share.
        For those behind them others are preempted a virtual second later."""
        if len(world.line) <= self.whole:
            return world.line
        demands = {name: float(gpus) for name, gpus in world.demands.items() if gpus}
        weights = {name: self.weights.get(name, 1.0) for name in demands}
        due = entitlements(world.capacity, demands=demands, weights=weights)
        shown = {name: math.ceil(gpus) - world.held[name] for name, gpus in due.items()}
        soon = sum(request.gpus for request in world.leaving.values())
        return world.line.heads(world.unused + soon, beyond=BEYOND, shown=shown)


@dataclass(frozen=True, slots=True)
class InOrder:
    """Nothing but an order; nobody is preempted."""

    name: str
    key: Callable[[Run], tuple[float, ...]]
    within: Callable[[Run], float]
    """The same order among runs that are alike."""

    def rank(self, run: Run) -> float:
        return self.within(run)

    def decide(self, world: World, usage: Usage, now: float) -> Decision:
        if not world.unused:
            return Decision(())
        waiting = [(self.key(run), run.index, run) for run in world.line.heads(world.unused, beyond=1)]
        # A heap, since what is free is given away after a few.
        heapq.heapify(waiting)
        free = {name: gpus for name, gpus in world.free.items() if gpus}
        full: set[tuple[int, str]] = set()
        kept: set[str] = set()
        start = []
        while waiting and free:
            _, _, run = heapq.heappop(waiting)
            gpus = run.trace.gpus
            need = (gpus, run.trace.gpu_model)
            if need in full:
                continue
            fitting = world.fitting(run)
            places = [(left, name) for name, left in free.items() if left >= gpus and name in fitting]
            if places:
                left, name = min(places)
                start.append(run)
                free[name] = left - gpus
                if not free[name]:
                    del free[name]
                continue
            full.add(need)
            if kept.isdisjoint(fitting):
                nearest = max(fitting, key=lambda name: (free.get(name, 0), name))
                kept.add(nearest)
                free.pop(nearest, None)
        return Decision(tuple(start))


FIFO = InOrder("first come, first served", lambda run: (run.trace.submitted,), lambda run: run.trace.submitted)
STRICT = InOrder(
    "strict priority",
    lambda run: (RANKS[run.trace.priority], run.trace.submitted),
    lambda run: run.trace.submitted,
)
SHORTEST = InOrder("shortest first", lambda run: (run.left,), lambda run: run.left)
"""Knows how long each will take, which nobody does."""

POLICIES: Mapping[str, InOrder] = {"fifo": FIFO, "priority": STRICT, "shortest": SHORTEST}
"""By the words of `--policy`; "fair" is FairShare."""
