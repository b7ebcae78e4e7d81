"""What a sweep's children add up to, once per look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orkhaven.api import Reason, SweepSpec
from orkhaven.api.experiment import State
from orkhaven.api.retry import AvoidedNode
from orkhaven.core.leaderboard import leaderboard
from orkhaven.core.outcome import to_prune
from orkhaven.core.search import TrialSource
from orkhaven.core.search.history import Answer
from orkhaven.core.sweep.lineage import lineage
from orkhaven.core.sweep.rerun import look_at
from orkhaven.core.sweep.stops import TOO_MANY_FAILED, ranked, stop_of, stopped_on_cluster
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
            states=ranked(spec),
        )
        """Who leads, best first."""
        self.stop = stop_of(
            spec,
            best=self.board[0] if self.board else None,
            failed=self.tally.failed,
            again=self.reruns.waiting,
        )
        self.tripped = stopped_on_cluster(spec, children, stored=sweep.status.conditions) if self.stop is None else None
        """Why the circuit breaker has stopped it."""
        self.canary = Canary.of(children, min(spec.canary, self.total))

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


def waits_for_twin(child: ExperimentView) -> bool:
    """Whether the child waits for the result of an identical run, and so for no GPU."""
    return child.status.reason == Reason.WAITING_FOR_TWIN and child.status.state is State.QUEUED


def is_held(child: ExperimentView) -> bool:
    """Whether the child is asked to suspend."""
    return child.spec is not None and child.spec.suspend


def is_leaving(child: ExperimentView) -> bool:
    """Whether the child is asked to end early."""
    return child.spec is not None and to_prune(child.spec) is not None
