"""The replay: events in virtual time, a decision where something happened, and what follows from it.

At each moment first pods end and runs are submitted, then the policy decides, at most once a virtual second as the
operator does, then kube-scheduler binds what was released. There is no API server here: a release takes no time.
"""

from __future__ import annotations

import heapq
import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from datetime import timedelta

from orkhaven.core.views import NodeView
from orkhaven.simulate.measure import Measured, Recorder
from orkhaven.simulate.policies import Decision, Policy
from orkhaven.simulate.trace import TraceRun
from orkhaven.simulate.usage import Usage
from orkhaven.simulate.world import Run, World

DAY = 86_400.0


@dataclass(frozen=True, slots=True, kw_only=True)
class Options:
    """How the virtual cluster behaves. Times in seconds."""

    every: float = 1.0
    """From one decision to the next, at least."""
    tick: float = 60.0
    """After which it is decided again while someone waits, though nothing happened: time itself may have changed it."""
    grace: float = 15.0
    """From SIGTERM to the end of the pod: a checkpoint is written."""
    restart: float = 60.0
    """From a pod's start until a run that goes on from a checkpoint works again."""
    checkpoint_every: float | None = None
    """Where training does not write a checkpoint at SIGTERM: from one to the next. None: it does."""
    packed: bool = True
    """Whether kube-scheduler fills nodes (NodeResourcesFit with MostAllocated) or spreads pods, as it does unless told
    otherwise."""
    half_life: timedelta = timedelta(days=2)
    weights: Mapping[str, float] = field(default_factory=dict)


def replay(
    trace: Sequence[TraceRun],
    nodes: Sequence[NodeView],
    policy: Policy,
    options: Options = Options(),
    *,
    said: Callable[[float], None] = lambda seconds: None,
) -> Measured:
    """Until all have ended. `said` hears of the virtual time at each decision, for a progress bar."""
    return _Replay(trace, nodes, policy, options, said).run()


class _Replay:
    def __init__(
        self,
        trace: Sequence[TraceRun],
        nodes: Sequence[NodeView],
        policy: Policy,
        options: Options,
        said: Callable[[float], None],
    ) -> None:
        self._policy = policy
        self._options = options
        self._said = said
        self._world = World(nodes, policy.rank, packed=options.packed)
        self._usage = Usage(options.half_life)
        runs = [Run(index, one) for index, one in enumerate(trace)]
        self._coming = [run for run in runs if self._world.fitting(run)]
        self._runs, self._misfits = len(runs), len(runs) - len(self._coming)
        self._coming.reverse()
        until = self._coming[0].trace.submitted if self._coming else 0.0
        warm = min(DAY, until / 4)
        self._recorder = Recorder(capacity=self._world.capacity, until=until, warm_up=warm, weights=options.weights)
        self._events: list[tuple[float, int, int, Run]] = []
        """Ends of pods: when, run, attempt (one that was preempted meanwhile has ended otherwise)."""
        self._marks = [(until, "last"), (warm, "warm")]
        self._decisions = 0

    def run(self) -> Measured:
        world, options = self._world, self._options
        decided, due = -math.inf, math.inf
        while True:
            now = min(self._next(), due)
            if now == math.inf:
                break
            self._mark(before=now)
            if self._happened(now):
                due = min(due, max(now, decided + options.every))
            if due > now:
                continue
            decision = self._policy.decide(world, self._usage, now)
            self._decisions += 1
            self._said(now)
            decided = now
            acted = self._carry_out(decision, now)
            # After an act there is more news at once: the operator sees its own writes.
            due = now + (options.every if acted else options.tick) if len(world.line) else math.inf
            if not acted and self._next() == math.inf:
                break
        self._mark(before=math.inf)
        return self._recorder.result(
            self._policy.name,
            runs=self._runs,
            fits_no_node=self._misfits,
            unfinished=len(world.line),
            decisions=self._decisions,
        )

    def _next(self) -> float:
        event = self._events[0][0] if self._events else math.inf
        return min(event, self._coming[-1].trace.submitted) if self._coming else event

    def _mark(self, *, before: float) -> None:
        while self._marks and self._marks[-1][0] < before:
            at, name = self._marks.pop()
            self._recorder.mark(name, at)

    def _happened(self, now: float) -> bool:
        news = False
        while self._events and self._events[0][0] <= now:
            _, _, attempt, run = heapq.heappop(self._events)
            if run.attempt == attempt and run.bound is not None:
                self._pod_ended(run, now)
                news = True
        while self._coming and self._coming[-1].trace.submitted <= now:
            run = self._coming.pop()
            self._recorder.submitted(run, now)
            self._world.wait(run, now)
            news = True
        return news

    def _pod_ended(self, run: Run, now: float) -> None:
        preempted = run.request.job in self._world.leaving
        bound_at = run.since
        self._usage.hold(run.trace.namespace, run.trace.user, -run.trace.gpus, now)
        self._world.end(run)
        if not preempted:
            self._recorder.freed(run, now, lost=run.overhead)
            self._recorder.ended(run, now)
            return
        held = now - bound_at
        done = max(held - self._options.grace - run.overhead, 0.0)
        if self._options.checkpoint_every is not None:
            done -= done % self._options.checkpoint_every
        # Its work may have been over within the grace period; then it is a moment that is left.
        done = min(done, run.left)
        self._recorder.freed(run, now, lost=held - done)
        run.left -= done
        run.overhead = self._options.restart
        self._world.wait(run, now)
        self._recorder.waits(run, now)

    def _carry_out(self, decision: Decision, now: float) -> bool:
        for run in decision.stop:
            self._recorder.preemptions += 1
            if self._world.stop(run):
                heapq.heappush(self._events, (now + self._options.grace, run.index, run.attempt, run))
            else:
                self._world.wait(run, now)
        for run in decision.start:
            self._world.release(run, now)
        for run in self._world.bind(now):
            self._recorder.waits(run, now, by=-1)
            self._recorder.started(run, now)
            self._usage.hold(run.trace.namespace, run.trace.user, run.trace.gpus, now)
            heapq.heappush(self._events, (now + run.overhead + run.left, run.index, run.attempt, run))
        return bool(decision.start or decision.stop)
