"""Which trials of a sweep are told to end early: its children as `core.stopping` sees them.

The decision is kept in the child's `spec.prune` and in nothing else: a child that has it is not decided about again,
and a lost or repeated look at the sweep finds it there.
"""

from __future__ import annotations

from orkhaven.api.experiment import State
from orkhaven.core.actions import PruneExperiment
from orkhaven.core.status import clip
from orkhaven.core.stopping import Run, decide
from orkhaven.core.sweep.observed import Observed, is_held, is_leaving
from orkhaven.core.views import ExperimentView

MAX_STOPS = 50
"""Trials told in one plan; the rest follows with the next."""
AGAIN_SECONDS = 0.0
_GOING = (State.RUNNING, State.STARTING, State.QUEUED)


def next_stops(seen: Observed) -> tuple[list[PruneExperiment], float | None]:
    """The running ones that are to end, and seconds until the next look where there are more. A suspended one keeps
    its place: whoever suspended it means to go on with it."""
    rule = seen.spec.early_stopping
    if rule is None or seen.spec.suspend:
        return [], None
    going = {child.meta.key.name for child in (*seen.tally.running, *seen.tally.queued) if _may_stop(child)}
    if not going:
        return [], None
    runs = [
        run_of(
            child,
            trial=-number if child.trial is None else child.trial // seen.repeats,
            running=child.meta.key.name in going,
        )
        for number, child in enumerate(seen.children, 1)
        if child.status.state is not State.FAILED
    ]
    stops = decide(rule, runs, direction=seen.spec.objective.direction)
    by_name = {child.meta.key.name: child.meta for child in (*seen.tally.running, *seen.tally.queued)}
    told = [
        PruneExperiment(meta.key, meta.uid, meta.resource_version, stop.step, clip(stop.message, 512))
        for stop in stops[:MAX_STOPS]
        for meta in (by_name[stop.name],)
    ]
    return told, AGAIN_SECONDS if len(stops) > MAX_STOPS else None


def _may_stop(child: ExperimentView) -> bool:
    progress = child.status.progress
    if progress is not None and progress.total_steps is not None and progress.step >= progress.total_steps:
        return False  # there is nothing left to save: it writes its results
    return child.status.state in _GOING and not is_held(child) and not is_leaving(child) and not child.meta.deleting


def run_of(child: ExperimentView, *, trial: int, running: bool) -> Run:
    """What its status says. A run that reports its objective, but never a finite number, has no status.objective: that
    it has a metric of this name and nothing to say of it tells how far it came all the same."""
    status, spec = child.status, child.spec
    step = status.progress.step if status.progress else 0
    reached = status.objective
    rungs = {rung.step: rung.value for rung in reached.rungs} if reached else {}
    metric = spec.objective.metric if spec and spec.objective else None
    reported = reached is not None or (metric is not None and metric in (status.metrics or {}))
    if reached is None and reported and spec is not None:
        rungs = dict.fromkeys((rung for rung in spec.rungs if rung <= step), None)
    prune = spec.prune if spec else None
    return Run(
        name=child.meta.key.name,
        trial=trial,
        running=running,
        rungs=rungs,
        step=step,
        best=(reached.value, reached.step) if reached else None,
        reported=reported,
        spared=prune.step if prune is not None and prune.resume else 0,
    )
