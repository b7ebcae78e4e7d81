"""What a sweep's children add up to, once per look."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orkhaven.api import Reason, SweepSpec
from orkhaven.api.experiment import Direction, State
from orkhaven.api.reasons import CLUSTER_REASONS
from orkhaven.api.retry import AvoidedNode
from orkhaven.api.stopping import StoppingAlgorithm
from orkhaven.core.leaderboard import leaderboard
from orkhaven.core.outcome import to_prune
from orkhaven.core.search import TrialSource
from orkhaven.core.search.history import Answer
from orkhaven.core.status import holds
from orkhaven.core.sweep.breaker import tripped
from orkhaven.core.sweep.lineage import lineage
from orkhaven.core.sweep.rerun import look_at
from orkhaven.core.views import Defaults, ExperimentView, SweepView


@dataclass(slots=True)
class Tally:
    """Children by what they are at."""

    succeeded: list[ExperimentView] = field(default_factory=list)
    failed: list[ExperimentView] = field(default_factory=list)
    skipped: list[ExperimentView] = field(default_factory=list)
    """Not run, because an identical run is there."""
    pruned: list[ExperimentView] = field(default_factory=list)
    queued: list[ExperimentView] = field(default_factory=list)
    running: list[ExperimentView] = field(default_factory=list)
    suspended: list[ExperimentView] = field(default_factory=list)

    @classmethod
    def of(cls, children: Sequence[ExperimentView]) -> Tally:
        tally = cls()
        for child in children:
            state = child.status.state
            if state is State.SUCCEEDED:
                tally.succeeded.append(child)
            elif state is State.FAILED:
                tally.failed.append(child)
            elif state is State.SKIPPED:
                tally.skipped.append(child)
            elif state is State.PRUNED:
                tally.pruned.append(child)
            elif state is State.RUNNING or state is State.STARTING:
                tally.running.append(child)
            elif state is State.SUSPENDED:
                tally.suspended.append(child)
            else:
                tally.queued.append(child)
        return tally

    @property
    def ended(self) -> int:
        return len(self.succeeded) + len(self.failed) + len(self.skipped) + len(self.pruned)

    @property
    def reused(self) -> int:
        """Of those that succeeded."""
        return sum(child.status.reason == Reason.REUSED for child in self.succeeded)

    @property
    def unfinished(self) -> tuple[ExperimentView, ...]:
        return (*self.queued, *self.running, *self.suspended)


TOO_MANY_FAILED = "MaxFailedTrials"
GOAL_REACHED = "GoalReached"
STOPS = frozenset({TOO_MANY_FAILED, GOAL_REACHED})
"""Reasons of the condition Running while a sweep that starts no more trials waits for those that run."""


def starts_no_more(sweep: SweepView, children: Iterable[ExperimentView]) -> bool:
    """Whether it is decided that no more trials are started, for the moment until the sweep itself is looked at and
    holds them back: a GPU that is free by the trial that decided it would be given to the next one meanwhile.

    Of repeats the mean decides, which is not made up here.
    """
    spec, conditions = sweep.spec, sweep.status.conditions
    # What was held back, a person may let go on once the sweep is over.
    if spec is None or holds(conditions, "Finished"):
        return False
    limit, objective = spec.failure_policy.max_failed_trials, spec.objective
    goal = objective.goal if spec.search.repeats == 1 else None
    if limit is None and goal is None:
        return False
    # Ten thousand of them several times a second: a tuple compares by identity, a set hashes each.
    failed, ranked = 0, tuple(_ranked(spec))
    for child in children:
        status = child.status
        state = status.state
        if state is State.FAILED:
            failed += 1
        elif (
            goal is not None
            and state in ranked
            and status.objective is not None
            and _reaches(status.objective.value, goal, objective.direction)
        ):
            return True
    return limit is not None and failed > limit


@dataclass(frozen=True, slots=True)
class Stop:
    """Why no more trials are started."""

    reason: str
    message: str


class Observed:
    """A sweep with its children as they are now. `children`: one for each trial, see `lineage`."""

    def __init__(
        self,
        sweep: SweepView,
        spec: SweepSpec,
        source: TrialSource,
        children: Sequence[ExperimentView],
        *,
        defaults: Defaults,
        now: datetime,
        answer: Answer | None = None,
        avoided: Sequence[AvoidedNode] = (),
    ) -> None:
        self.avoided = avoided
        """Nodes that all runs go past."""
        self.answer = answer
        """To what was asked at an earlier look."""
        self.family = lineage(children)
        children = self.family.current
        self.sweep, self.spec, self.source, self.children = sweep, spec, source, children
        self.reruns = look_at(sweep, spec, self.family, now=now)
        self.defaults, self.now = defaults, now
        self.repeats = spec.search.repeats
        self.tally = Tally.of(children)
        self.total = max(source.total * self.repeats, len(children))
        self.board = leaderboard(
            children,
            direction=spec.objective.direction,
            names=source.names,
            repeats=self.repeats,
            states=_ranked(spec),
        )
        """Who leads, best first."""
        self.stop = self._stop()
        self.tripped = (
            tripped(spec.failure_policy.stop_on_cluster, children, stored=sweep.status.conditions)
            if self.stop is None
            else None
        )
        """Why the circuit breaker has stopped it."""
        self.canary = Canary.of(children, min(spec.canary, self.total))

    def _stop(self) -> Stop | None:
        objective, best = self.spec.objective, self.board[0] if self.board else None
        if (
            objective.goal is not None
            and best is not None
            and _reaches(best.value, objective.goal, objective.direction)
        ):
            with_repeats = f", the mean of {best.n} repeats" if self.repeats > 1 else ""
            return Stop(
                GOAL_REACHED,
                f"{objective.metric} {best.value:.6g} of {best.experiment}{with_repeats} reaches objective.goal "
                f"{objective.goal:.6g}: no more trials are started",
            )
        limit = self.spec.failure_policy.max_failed_trials
        again = self.reruns.waiting
        left = [child for child in self.tally.failed if child.trial not in again] if again else self.tally.failed
        failed = sum(child.status.reason not in CLUSTER_REASONS for child in left)
        if limit is not None and failed > limit:
            others = len(left) - failed
            beside = f" ({others} more failed of what is the cluster's, and do not count)" if others else ""
            return Stop(
                TOO_MANY_FAILED,
                f"{failed} trials failed{beside}, more than failurePolicy.maxFailedTrials ({limit}): no more are "
                "started",
            )
        return None

    @property
    def over(self) -> bool:
        if self.reruns.pending is not None:
            return False
        if self.stop is not None:
            # What was held back before it started stays Suspended, for a person to resume.
            return not self.tally.running and not self.tally.queued
        return self.tally.ended >= self.total and len(self.children) >= self.total

    @property
    def well(self) -> bool:
        """Whether a sweep that is over has succeeded."""
        given_up = self.stop is not None and self.stop.reason == TOO_MANY_FAILED
        tally = self.tally
        spared = tally.skipped and not tally.failed and not tally.pruned
        return self.over and not given_up and bool(tally.succeeded or self.board or spared)


@dataclass(frozen=True, slots=True)
class Canary:
    """The trials that go first."""

    wanted: int
    """Trials 0 to wanted - 1."""
    reported: int
    """How many of them have reported the objective."""
    failed: tuple[ExperimentView, ...]
    """Those that ended without."""

    @classmethod
    def of(cls, children: Sequence[ExperimentView], wanted: int) -> Canary:
        if not wanted:
            return cls(0, 0, ())
        own = [child for child in children if child.trial is not None and child.trial < wanted]
        # For one that is skipped an identical run speaks.
        silent = [c for c in own if c.status.objective is None and c.status.state is not State.SKIPPED]
        failed = [child for child in silent if child.status.state in (State.FAILED, State.PRUNED)]
        failed.sort(key=lambda child: child.trial or 0)
        return cls(wanted, len(own) - len(silent), tuple(failed))

    @property
    def sings(self) -> bool:
        """Whether all others may start."""
        return self.reported >= self.wanted


def _ranked(spec: SweepSpec) -> frozenset[State]:
    """Ends that have a rank: Succeeded, and where trials are stopped because they do not get better any more Pruned
    too, since these have their result. What was stopped because others were better has none."""
    patient = spec.early_stopping is not None and spec.early_stopping.algorithm is StoppingAlgorithm.PATIENCE
    return frozenset({State.SUCCEEDED, State.PRUNED}) if patient else frozenset({State.SUCCEEDED})


def _reaches(value: float, goal: float, direction: Direction) -> bool:
    return value >= goal if direction is Direction.MAXIMIZE else value <= goal


def waits_for_twin(child: ExperimentView) -> bool:
    """Whether the child waits for the result of an identical run, and so for no GPU."""
    return child.status.reason == Reason.WAITING_FOR_TWIN and child.status.state is State.QUEUED


def is_held(child: ExperimentView) -> bool:
    """Whether the child is asked to suspend."""
    return child.spec is not None and child.spec.suspend


def is_leaving(child: ExperimentView) -> bool:
    """Whether the child is asked to end early."""
    return child.spec is not None and to_prune(child.spec) is not None
