"""What a sweep's children add up to, once per look."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime

from orkhaven.api import SweepSpec
from orkhaven.api.experiment import State
from orkhaven.core.search import TrialSource
from orkhaven.core.search.history import Answer
from orkhaven.core.views import Defaults, ExperimentView, SweepView


@dataclass(slots=True)
class Tally:
    """Children by what they are at."""

    succeeded: list[ExperimentView] = field(default_factory=list)
    failed: list[ExperimentView] = field(default_factory=list)
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
            elif state is State.RUNNING or state is State.STARTING:
                tally.running.append(child)
            elif state is State.SUSPENDED:
                tally.suspended.append(child)
            else:
                tally.queued.append(child)
        return tally

    @property
    def ended(self) -> int:
        return len(self.succeeded) + len(self.failed)

    @property
    def unfinished(self) -> tuple[ExperimentView, ...]:
        return (*self.queued, *self.running, *self.suspended)


class Observed:
    """A sweep with its children as they are now."""

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
    ) -> None:
        self.answer = answer
        """To what was asked at an earlier look."""
        self.sweep, self.spec, self.source, self.children = sweep, spec, source, children
        self.defaults, self.now = defaults, now
        self.tally = Tally.of(children)
        self.total = max(source.total, len(children))
        limit = spec.failure_policy.max_failed_trials
        self.gave_up = limit is not None and len(self.tally.failed) > limit
        """More have failed than failurePolicy.maxFailedTrials."""

    @property
    def over(self) -> bool:
        if self.gave_up:
            # What was held back before it started stays Suspended, for a person to resume.
            return not self.tally.running and not self.tally.queued
        return self.tally.ended >= self.total and len(self.children) >= self.total

    @property
    def well(self) -> bool:
        """Whether a sweep that is over has succeeded."""
        return self.over and not self.gave_up and bool(self.tally.succeeded)


def is_held(child: ExperimentView) -> bool:
    """Whether the child is asked to suspend."""
    return child.spec is not None and child.spec.suspend
