"""What became of a sweep: counters, leaders, causes of failure, conditions, and the Events that tell of changes."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime
from typing import Any, Literal

from orkhaven.api import SweepStatus
from orkhaven.api.meta import Condition
from orkhaven.api.policy import CANARY_FAILED, STOPPED_ON_CLUSTER
from orkhaven.api.search import Algorithm
from orkhaven.api.sweep_status import FailureCluster, GpuHours, SweepState, TrialCounts
from orkhaven.core.actions import Action, CreateExperiment, Note
from orkhaven.core.failures.clusters import failure_clusters
from orkhaven.core.ledger import hours_preempted, hours_saved
from orkhaven.core.search.listing import duplicates_message, listed_duplicates
from orkhaven.core.status import Conditions, clip, holds, reason_of, whole_seconds
from orkhaven.core.sweep.observed import Observed
from orkhaven.core.sweep.rerun import Reruns, rerun_notes
from orkhaven.core.sweep.stops import GOAL_REACHED
from orkhaven.core.views import ExperimentView

SPEC_SUSPEND = "SpecSuspend"
DUPLICATE_TRIALS = "DuplicateTrials"
SEARCH_UNAVAILABLE = "SearchUnavailable"


def status_of(seen: Observed, actions: Sequence[Action], reruns: Reruns) -> SweepStatus:
    """`actions`: what is about to be done; `reruns`: as they are then."""
    tally, stored = seen.tally, seen.sweep.status
    making = any(isinstance(action, CreateExperiment) for action in actions)
    created = len(seen.children)
    board = seen.board
    clusters = failure_clusters(tally.failed, succeeded=tally.succeeded, names=seen.source.names)
    state = _state(seen, making=making)
    progress = f"{tally.ended}/{seen.total}"
    return SweepStatus(
        observed_generation=seen.sweep.meta.generation,
        conditions=_conditions(seen, state),
        state=state,
        trials=TrialCounts(
            total=seen.total,
            created=created,
            queued=len(tally.queued),
            running=len(tally.running),
            suspended=len(tally.suspended),
            succeeded=len(tally.succeeded),
            failed=len(tally.failed),
            reused=tally.reused,
            skipped=len(tally.skipped),
            pruned=len(tally.pruned),
            replaced=len(seen.family.replaced),
        ),
        progress=progress,
        best=board[0] if board else None,
        leaderboard=board,
        reruns=list(reruns.records),
        avoided_nodes=list(seen.avoided) if seen.avoided and not seen.over else None,
        failure_clusters=clusters.listed,
        other_failures=clusters.others,
        gpu_hours=GpuHours(
            succeeded=_hours(tally.succeeded),
            failed=_hours([*tally.failed, *seen.family.replaced]),
            pruned=_hours(tally.pruned),
            running=_hours(tally.unfinished),
            preempted=hours_preempted([*seen.children, *seen.family.replaced]) or None,
            saved=hours_saved(seen.children) or None,
            total=_hours([*seen.children, *seen.family.replaced]),
        ),
        start_time=stored.start_time or _started(seen, making=making),
        completion_time=_ended(seen) if seen.over else None,
    )


def _started(seen: Observed, *, making: bool) -> datetime | None:
    first = min((child.meta.created for child in seen.children), default=None)
    return first or (whole_seconds(seen.now) if making else None)


def _ended(seen: Observed) -> datetime:
    ends = [end for child in seen.children if (end := child.status.completion_time) is not None]
    return max(ends, default=whole_seconds(seen.now))


def _state(seen: Observed, *, making: bool) -> SweepState:
    if seen.over:
        return SweepState.SUCCEEDED if seen.well else SweepState.FAILED
    if (seen.spec.suspend or seen.tripped or seen.canary.failed) and not seen.tally.running and not seen.tally.queued:
        return SweepState.SUSPENDED
    return SweepState.RUNNING if seen.children or making else SweepState.PENDING


def _conditions(seen: Observed, state: SweepState) -> list[Condition]:
    conditions = Conditions(seen.sweep.status.conditions, generation=seen.sweep.meta.generation, now=seen.now)
    trouble = None if seen.over else seen.source.trouble
    if trouble is not None and trouble.reason == SEARCH_UNAVAILABLE:
        conditions.set("Accepted", "False", reason=trouble.reason, message=trouble.message)
    else:
        conditions.set("Accepted", "True", reason="Accepted", message=accepted_message(seen))
    if seen.over:
        conditions.set("Running", "False", reason="Finished")
    elif seen.stop is not None:
        conditions.set("Running", "True", reason=seen.stop.reason, message=seen.stop.message)
    elif seen.spec.suspend:
        draining = bool(seen.tally.running)
        conditions.set("Running", "True" if draining else "False", reason="Suspending" if draining else "Suspended")
    else:
        running: Literal["True", "False"] = "True" if state is SweepState.RUNNING else "False"
        why, said = (state.value, _waits(seen)) if trouble is None else (trouble.reason, trouble.message)
        conditions.set("Running", running, reason=why, message=said)
    _suspended(seen, conditions)
    if seen.spec.objective.goal is not None:
        reached = seen.stop is not None and seen.stop.reason == GOAL_REACHED
        reason = GOAL_REACHED if reached else "NotReached"
        message = seen.stop.message if reached and seen.stop else ""
        conditions.set("GoalReached", "True" if reached else "False", reason=reason, message=message)
    if not seen.over:
        conditions.set("Finished", "False", reason="NotFinished")
        conditions.set("Succeeded", "Unknown", reason="NotFinished")
        return conditions.as_list()
    pruned = f", {len(seen.tally.pruned)} were stopped early" if seen.tally.pruned else ""
    if seen.stop is not None:
        reason, message = seen.stop.reason, seen.stop.message
    elif seen.well:
        reason, message = (
            "Completed",
            f"{len(seen.tally.succeeded)} of {seen.total} trials succeeded{_spared(seen)}{pruned}",
        )
    elif seen.tally.pruned:
        reason, message = "NoTrialSucceeded", f"none of {seen.total} trials succeeded{pruned}"
    else:
        reason, message = "AllTrialsFailed", f"none of {seen.total} trials succeeded"
    if seen.source.shortfall and seen.stop is None:
        message += f"; no more of {seen.spec.search.max_trials} were found: {seen.source.shortfall}"
    conditions.set("Finished", "True", reason=reason, message=message)
    conditions.set("Succeeded", "True" if seen.well else "False", reason=reason, message=message)
    return conditions.as_list()


def _suspended(seen: Observed, conditions: Conditions) -> None:
    if seen.spec.suspend and not seen.over:
        conditions.set("Suspended", "True", reason=SPEC_SUSPEND)
    elif seen.tripped is not None and not seen.over:
        conditions.set("Suspended", "True", reason=STOPPED_ON_CLUSTER, message=seen.tripped.message)
    elif seen.canary.failed and not seen.over:
        conditions.set("Suspended", "True", reason=CANARY_FAILED, message=_of_canary(seen))
    else:
        conditions.set("Suspended", "False", reason="NotSuspended")


def _waits(seen: Observed) -> str:
    canary = seen.canary
    if canary.sings or canary.failed:
        return ""
    metric = seen.spec.objective.metric
    return f"{canary.reported} of {canary.wanted} canary trials have reported {metric}; the rest waits for them"


def _of_canary(seen: Observed) -> str:
    first = seen.canary.failed[0]
    name, failure = first.meta.key.name, first.status.failure
    why = f"{first.status.reason}: {first.status.message}" + (f" ({failure.suggestion})" if failure else "")
    return (
        f"canary trial {name} failed, no other is started. {why}. Once that is mended, delete experiment {name}: it is "
        "made again; canary: 0 goes on without it"
    )


def notes_of(seen: Observed, status: SweepStatus) -> list[Note]:
    """Events for what a user wants to know, once each: what was before is in the stored status."""
    stored = seen.sweep.status
    notes = []
    if stored.start_time is None and status.start_time is not None:
        message = f"{seen.total} trials, at most {seen.spec.parallelism} at a time"
        notes.append(Note(type="Normal", reason="Started", message=message))
    if not stored.conditions and (twice := accepted_message(seen)):
        notes.append(Note(type="Warning", reason=DUPLICATE_TRIALS, message=clip(twice, 1000)))
    trouble = None if seen.over else seen.source.trouble
    if trouble is not None and reason_of(stored.conditions, "Running") != trouble.reason:
        notes.append(Note(type="Warning", reason=trouble.reason, message=clip(trouble.message, 1000)))
    notes += rerun_notes(stored.reruns, status.reruns)
    # One Event a cluster, not a failure.
    known = {cluster.id or cluster.reason for cluster in stored.failure_clusters}
    for cluster in status.failure_clusters:
        if not known & {cluster.id, cluster.reason}:
            notes.append(Note(type="Warning", reason="TrialFailed", message=clip(_of_cluster(cluster), 1000)))
    if seen.tally.pruned and not stored.trials.pruned:
        first = min(seen.tally.pruned, key=lambda child: child.meta.key.name)
        message = f"{first.meta.key.name} is the first that was stopped early: {first.status.message}"
        notes.append(Note(type="Normal", reason="TrialPruned", message=clip(message, 1000)))
    if status.state is SweepState.SUSPENDED is not stored.state and seen.spec.suspend:
        notes.append(Note(type="Normal", reason="Suspended", message="all GPUs are given back"))
    if reason_of(status.conditions, "Suspended") == CANARY_FAILED != reason_of(stored.conditions, "Suspended"):
        notes.append(Note(type="Warning", reason=CANARY_FAILED, message=clip(_of_canary(seen), 1000)))
    if reason_of(status.conditions, "Suspended") == STOPPED_ON_CLUSTER != reason_of(stored.conditions, "Suspended"):
        message = seen.tripped.message if seen.tripped else ""
        notes.append(Note(type="Warning", reason=STOPPED_ON_CLUSTER, message=clip(message, 1000)))
    notes += _avoided_notes(seen, status)
    if seen.stop is not None and seen.stop.reason == GOAL_REACHED and not holds(stored.conditions, "GoalReached"):
        notes.append(Note(type="Normal", reason=GOAL_REACHED, message=clip(seen.stop.message, 1000)))
    if status.state in (SweepState.SUCCEEDED, SweepState.FAILED):
        best = f"; best {status.best.value:.6g} by {status.best.experiment}" if status.best else ""
        pruned = f", {len(seen.tally.pruned)} stopped early" if seen.tally.pruned else ""
        message = f"{len(seen.tally.succeeded)} succeeded, {len(seen.tally.failed)} failed{_spared(seen)}{pruned}{best}"
        kind = "Normal" if status.state is SweepState.SUCCEEDED else "Warning"
        notes.append(Note(type=kind, reason=status.state.value, message=message))
    return notes


def _of_cluster(cluster: FailureCluster) -> str:
    trials = "1 trial" if cluster.count == 1 else f"{cluster.count} trials"
    such = f"{trials} so far ({', '.join(cluster.samples)})"
    return f"{cluster.reason}, cluster {cluster.id}, {such}: {cluster.message.rstrip('.')}. {cluster.suggestion}"


def _avoided_notes(seen: Observed, status: SweepStatus) -> list[Note]:
    known = {one.node for one in seen.sweep.status.avoided_nodes or ()}
    return [
        Note(
            type="Warning",
            reason="NodeAvoided",
            message=f"node {one.node}: {one.reason} in {one.experiments} experiments within an hour; runs go past it "
            f"until {one.until:%H:%M:%S} UTC, where another node fits",
        )
        for one in status.avoided_nodes or ()
        if one.node not in known
    ]


def _spared(seen: Observed) -> str:
    """What identical runs saved."""
    counts = ((seen.tally.reused, "taken over from identical runs"), (len(seen.tally.skipped), "skipped"))
    return "".join(f", {count} {words}" for count, words in counts if count)


def accepted_message(seen: Observed) -> str:
    """Trials of a List that are the same, said once: what the list says never changes."""
    stored = next((c for c in seen.sweep.status.conditions if c.type == "Accepted" and c.status == "True"), None)
    if stored is not None:
        return stored.message
    if seen.spec.search.algorithm is not Algorithm.LIST:
        return ""
    template = seen.sweep.raw_spec.get("template") or {}
    return duplicates_message(listed_duplicates(seen.spec.trials, template.get("params") or {}))


def _hours(children: Sequence[ExperimentView]) -> float:
    return round(sum(child.status.gpu_seconds for child in children) / 3600, 3)


def dump(status: SweepStatus) -> dict[str, Any]:
    """As the API server takes it. Rows keep the nulls among their parameters, which a plain dump would drop."""
    dumped = status.to_dict()
    rows = [*status.leaderboard, *([status.best] if status.best else [])]
    for row, entry in zip(rows, [*dumped["leaderboard"], *([dumped["best"]] if status.best else [])], strict=True):
        entry["params"] = row.params
    return dumped
