"""Whether a sweep starts no more trials, and why: its goal is reached, too many trials have failed, or one cause is
behind most of the last failures.

The sweep asks when it is looked at, and the queue in between: a GPU that is free by the trial that decided it would be
given to the next one meanwhile. Both count by the same functions, over one Experiment for each trial (see `lineage`).
A failed trial that is selected to be run again does not count as failed while its new Experiment is not made yet.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence, Set
from dataclasses import dataclass

from orkhaven.api import SweepSpec
from orkhaven.api.experiment import Direction, State
from orkhaven.api.meta import Condition
from orkhaven.api.policy import STOPPED_ON_CLUSTER
from orkhaven.api.reasons import CLUSTER_REASONS
from orkhaven.api.stopping import StoppingAlgorithm
from orkhaven.api.sweep_status import LeaderboardRow
from orkhaven.core.leaderboard import leaderboard
from orkhaven.core.status import holds
from orkhaven.core.sweep.breaker import tripped
from orkhaven.core.sweep.lineage import is_rerun, lineage
from orkhaven.core.sweep.rerun import waiting_again
from orkhaven.core.views import ExperimentView, SweepView

TOO_MANY_FAILED = "MaxFailedTrials"
GOAL_REACHED = "GoalReached"
STOPS = frozenset({TOO_MANY_FAILED, GOAL_REACHED})
"""Reasons of the condition Running while a sweep that starts no more trials waits for those that run."""


@dataclass(frozen=True, slots=True)
class Stop:
    """Why no more trials are started."""

    reason: str
    message: str

    def holds_back(self, child: ExperimentView) -> bool:
        """Whether this child, which waits, is not started. What a person had run again is, except where one cause
        is behind most failures: it would fail of that too."""
        return self.reason == STOPPED_ON_CLUSTER or not is_rerun(child)


def stop_of(
    spec: SweepSpec, *, best: LeaderboardRow | None, failed: Sequence[ExperimentView], again: Set[int]
) -> Stop | None:
    """Why the sweep ends before its last trial. `best`: who leads; `failed`: the trials that have failed, of which
    those in `again` (numbers) are about to be run once more."""
    objective = spec.objective
    if objective.goal is not None and best is not None and _reaches(best.value, objective.goal, objective.direction):
        with_repeats = f", the mean of {best.n} repeats" if spec.search.repeats > 1 else ""
        return Stop(
            GOAL_REACHED,
            f"{objective.metric} {best.value:.6g} of {best.experiment}{with_repeats} reaches objective.goal "
            f"{objective.goal:.6g}: no more trials are started",
        )
    limit = spec.failure_policy.max_failed_trials
    if limit is None or len(failed) <= limit:
        return None
    left = [child for child in failed if child.trial not in again] if again else failed
    own = sum(child.status.reason not in CLUSTER_REASONS for child in left)
    if own <= limit:
        return None
    others = len(left) - own
    beside = f" ({others} more failed of what is the cluster's, and do not count)" if others else ""
    return Stop(
        TOO_MANY_FAILED,
        f"{own} trials failed{beside}, more than failurePolicy.maxFailedTrials ({limit}): no more are started",
    )


def may_stop(spec: SweepSpec) -> bool:
    """Whether the end of a trial may be the end of the sweep, as far as that can be told between two looks at it."""
    policy = spec.failure_policy
    return _goal_of_each(spec) is not None or policy.stop_on_cluster is not None or policy.max_failed_trials is not None


def _goal_of_each(spec: SweepSpec) -> float | None:
    """The goal that a trial can reach alone. Of repeats the mean decides, which only the sweep's own look makes up."""
    return spec.objective.goal if spec.search.repeats == 1 else None


def starts_no_more(sweep: SweepView, children: Iterable[ExperimentView]) -> Stop | None:
    """The same between two looks at the sweep, from what is stored and its children as they are now."""
    spec, conditions = sweep.spec, sweep.status.conditions
    # What was held back, a person may let go on once the sweep is over.
    if spec is None or holds(conditions, "Finished") or not may_stop(spec):
        return None
    goal = _goal_of_each(spec)
    family = lineage(tuple(children))
    failed, reached = [], []
    # Ten thousand of them several times a second: a tuple compares by identity, a set hashes each.
    states = tuple(ranked(spec))
    for child in family.current:
        state = child.status.state
        if state is State.FAILED:
            failed.append(child)
        elif (
            goal is not None
            and state in states
            and child.status.objective is not None
            and _reaches(child.status.objective.value, goal, spec.objective.direction)
        ):
            reached.append(child)
    best = leaderboard(reached, direction=spec.objective.direction, names=(), states=ranked(spec), rows=1)
    again = waiting_again(sweep, family) if failed else frozenset()
    stop = stop_of(spec, best=best[0] if best else None, failed=failed, again=again)
    return stop or stopped_on_cluster(spec, family.current, stored=conditions)


def stopped_on_cluster(
    spec: SweepSpec, children: Sequence[ExperimentView], *, stored: Sequence[Condition]
) -> Stop | None:
    """Why the circuit breaker has stopped the sweep. `children`: one for each trial; `stored`: its conditions."""
    found = tripped(spec.failure_policy.stop_on_cluster, children, stored=stored)
    return Stop(STOPPED_ON_CLUSTER, found.message) if found is not None else None


def ranked(spec: SweepSpec) -> frozenset[State]:
    """Ends that have a rank: Succeeded, and where trials are stopped because they do not get better any more Pruned
    too, since these have their result. What was stopped because others were better has none."""
    patient = spec.early_stopping is not None and spec.early_stopping.algorithm is StoppingAlgorithm.PATIENCE
    return frozenset({State.SUCCEEDED, State.PRUNED}) if patient else frozenset({State.SUCCEEDED})


def _reaches(value: float, goal: float, direction: Direction) -> bool:
    return value >= goal if direction is Direction.MAXIMIZE else value <= goal
