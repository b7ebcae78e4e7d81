"""What follows from the end of an attempt: again or not, at whose expense, with what changed, and where not."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import timedelta

from orkhaven.api import ExperimentSpec, Reason
from orkhaven.api.experiment import Attempt
from orkhaven.api.retry import MAX_AVOIDED, AvoidedNode, Overrides
from orkhaven.core.actions import Note
from orkhaven.core.attempts import Verdict
from orkhaven.core.experiment.draft import Around, Draft, hashes_of
from orkhaven.core.failures import Action, Cause
from orkhaven.core.outcome import failure_of
from orkhaven.core.overrides import effective, escalated, in_words, is_room
from orkhaven.core.retry import Policy, decide, policy_of
from orkhaven.core.reuse import own_folder
from orkhaven.core.status import clip, whole_seconds

ELSEWHERE = frozenset({Reason.GPU_HARDWARE, Reason.STALLED, Reason.HUNG_AT_START, Reason.VOLUME_TIMEOUT})
"""Causes after which one attempt on a node is enough."""
TWICE = 2
"""Attempts that end on one node for the same cause, whatever that is, before the next one goes elsewhere."""


def settle(draft: Draft, around: Around, verdict: Verdict) -> None:
    """Books the end of the latest attempt. Happens once per attempt: what it decides is in the same status write as the
    attempt's end, so that either both are lost or none."""
    cause = verdict.cause
    if cause is None or cause.reason == Reason.EARLY_STOPPED:
        draft.failure, draft.retry_at = None, None
        return
    if verdict.gave_way:
        _give_way(draft, cause.message)
        return
    draft.failure = failure_of(cause.reason, cause.message, verdict.evidence, advice=cause.suggestion)
    spec = draft.exp.spec
    assert spec is not None, "an attempt was judged"
    changes, hindrance = _changes(cause, spec, draft.overrides, around)
    again = decide(
        cause,
        ended=[attempt.reason for attempt in draft.attempts if attempt.reason is not None],
        retries_used=draft.retries_used,
        limit=spec.retry.limit,
        uid=draft.exp.meta.uid,
        defaults=around.defaults,
        changed=changes is not None,
    )
    if again is None:
        draft.retry_at = None
        if hindrance:
            draft.failure = draft.failure.model_copy(update={"suggestion": f"{hindrance} {draft.failure.suggestion}"})
        return
    draft.retries_used += again.counted
    draft.avoid = avoided_after(cause, draft.attempts, draft.avoid)
    if changes is not None:
        _change(draft, around, spec, changes)
    # By the node's clock, which may be ahead of ours.
    end = min(draft.attempts[-1].end_time or draft.now, draft.now)
    draft.retry_at = whole_seconds(end + timedelta(seconds=again.delay))
    when = "at once" if again.delay == 0 else f"at {draft.retry_at:%H:%M:%S} UTC"
    how = f" {in_words(changes)}" if changes is not None else ""
    where = draft.attempts[-1].node
    elsewhere = f", not on node {where} where another fits" if where in {one.node for one in draft.avoid} else ""
    draft.note_attempt(cause, f"tried again {when}{how}{elsewhere}")


def _give_way(draft: Draft, message: str) -> None:
    """When it comes on again the queue says: ours by the place that it had."""
    # By the node's clock, which may be ahead of ours.
    draft.retry_at = whole_seconds(min(draft.attempts[-1].end_time or draft.now, draft.now))
    draft.failure = None
    where = f"goes on after step {draft.checkpoint.step}" if draft.checkpoint else "goes on from its last checkpoint"
    told = clip(f"attempt {draft.attempts[-1].number} {message}; {where} in its old place in the queue", 1000)
    draft.notes.append(Note(type="Normal", reason=Reason.PREEMPTED, message=told))


def _changes(
    cause: Cause, spec: ExperimentSpec, overrides: Overrides | None, around: Around
) -> tuple[Overrides | None, str]:
    """What the next attempt gets, or None and, where that was asked for but cannot be had, why not."""
    if policy_of(cause) is not Policy.CHANGED:
        return None, ""
    host = cause.reason != Reason.CUDA_OUT_OF_MEMORY
    changes = escalated(spec, overrides, host=host, asked=cause.action is Action.MORE_MEMORY)
    if changes is None:
        return None, ""
    wanted = effective(spec, changes)
    if not is_room(wanted, around.nodes, resource=around.kind.name):
        return None, f"Not tried again with {wanted.resources.memory} of memory: no node has that much."
    return changes, ""


def _change(draft: Draft, around: Around, spec: ExperimentSpec, changes: Overrides) -> None:
    was = draft.overrides.params if draft.overrides else None
    draft.overrides = changes
    if changes.params == was:
        return
    # It is another run now: nothing in the old one's folder is of it.
    draft.param_hash, draft.run_hash = hashes_of(effective(spec, changes), around.defaults)
    draft.checkpoint = None
    if draft.output_folder is not None:
        draft.output_folder = own_folder(draft.run_hash, draft.exp.meta.uid)


def avoided_after(cause: Cause, attempts: Sequence[Attempt], avoid: Sequence[AvoidedNode]) -> list[AvoidedNode]:
    """The nodes that the next attempt goes past, now that the last of `attempts` has ended so. The latest are kept."""
    node = attempts[-1].node
    if node is None or node in {one.node for one in avoid}:
        return list(avoid)
    alike = sum(attempt.node == node and attempt.reason == cause.reason for attempt in attempts)
    at_once = cause.action is Action.OTHER_NODE or (cause.action is None and cause.reason in ELSEWHERE)
    if not at_once and alike < TWICE:
        return list(avoid)
    return [*avoid, AvoidedNode(node=node, reason=str(cause.reason))][-MAX_AVOIDED:]
