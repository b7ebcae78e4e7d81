"""Before the first attempt: whether anything has to be run at all, where an identical run is there."""

from __future__ import annotations

from orkhaven.api import Reason
from orkhaven.api.experiment import State
from orkhaven.core.actions import ApplyFinalRecord
from orkhaven.core.attempts import alive
from orkhaven.core.experiment.attempt import LOOK_AGAIN_SECONDS, begin
from orkhaven.core.experiment.draft import Around, Draft
from orkhaven.core.outcome import is_finished
from orkhaven.core.reuse import (
    Step,
    answer,
    copied_fields,
    cost_of,
    gone_on_from,
    in_folder,
    own_folder,
    source_of,
    worker_of,
)
from orkhaven.core.views import ExperimentView


def first(draft: Draft, around: Around) -> None:
    """Nothing was begun yet, and need not be where an identical run has its result."""
    if around.spec.suspend or around.prune is not None:
        begin(draft, around, 1)
        return
    stored = draft.exp.status
    if stored.reused_from is not None:
        source = source_of(around.spec, around.twins, stored.reused_from)
        if source is not None or (stored.objective is not None and around.spec.objective is not None):
            _take_over(draft, around, stored.reused_from, source)
            return
        # It is gone before anything was copied.
        draft.output_folder = draft.checkpoint = None
    if around.spec.resume_from is not None and _goes_on(draft, around, around.spec.resume_from):
        return
    seen = answer(draft.exp, around.spec, twins=around.twins, defaults=around.defaults, now=draft.now)
    if seen.twin is not None and seen.step is Step.REUSE:
        # Written down before the rest, so that nothing is copied of which nobody would know later why.
        status = seen.twin.status
        draft.reused_from = worker_of(seen.twin)
        draft.checkpoint, draft.output_folder = status.checkpoint, status.output_folder
        draft.recheck.append(0.0)
        draft.say(State.QUEUED, Reason.REUSED, f"takes over the result of {draft.reused_from}, the same run")
    elif seen.twin is not None and seen.step is Step.SKIP:
        state = seen.twin.status.state or State.QUEUED
        draft.finish(State.SKIPPED, Reason.DUPLICATE, f"the same run as {seen.twin.meta.key.name} ({state})", None)
    elif seen.twin is not None:
        if seen.recheck is not None:
            draft.recheck.append(seen.recheck)
        state, name = seen.twin.status.state or State.QUEUED, seen.twin.meta.key.name
        draft.say(State.QUEUED, Reason.WAITING_FOR_TWIN, f"waits for the result of {name} ({state}), the same run")
    elif seen.own_folder and draft.output_folder is None:
        # Written down first: a Job whose folder is not known later could not be gone on with.
        draft.output_folder = own_folder(draft.run_hash or "", draft.exp.meta.uid)
        draft.recheck.append(0.0)
    elif draft.output_folder is None and any(alive(pod, around.nodes) for pod in around.left):
        draft.recheck.append(LOOK_AGAIN_SECONDS)
        message = "waits until the pod of a deleted run has ended: it may still write into the same folder"
        draft.say(State.QUEUED, Reason.WAITING_FOR_TWIN, message)
    else:
        begin(draft, around, 1)


def _goes_on(draft: Draft, around: Around, name: str) -> bool:
    """Begins where the Experiment that spec.resumeFrom names has left off. False: that is gone, or another run, and
    nothing was done."""
    old = gone_on_from(around.spec, twins=around.twins, defaults=around.defaults)
    if old is None:
        return False
    stored, status = draft.exp.status, old.status
    if not is_finished(status):
        message = f"waits for the end of {name}, from which it goes on ({status.state or State.QUEUED})"
        draft.say(State.QUEUED, Reason.WAITING_FOR_TWIN, message)
        return True
    if (stored.output_folder, stored.checkpoint) != (status.output_folder, status.checkpoint):
        # Written down first: a Job whose folder is not known later could not be gone on with.
        draft.output_folder, draft.checkpoint = status.output_folder, status.checkpoint
        draft.recheck.append(0.0)
        draft.say(State.QUEUED, around.why.reason, f"goes on where {name} has left off")
        return True
    other = in_folder(draft.exp, around.spec, twins=around.twins, defaults=around.defaults, folder=draft.output_folder)
    if other is not None:
        message = f"waits until {other}, the same run, has left their folder"
        draft.say(State.QUEUED, Reason.WAITING_FOR_TWIN, message)
    elif any(alive(pod, around.nodes) for pod in around.left):
        draft.recheck.append(LOOK_AGAIN_SECONDS)
        message = "waits until the pod of a deleted run has ended: it may still write into the same folder"
        draft.say(State.QUEUED, Reason.WAITING_FOR_TWIN, message)
    else:
        begin(draft, around, 1)
    return True


def _take_over(draft: Draft, around: Around, name: str, source: ExperimentView | None) -> None:
    """The second half: the result, then the end. `source` None: it is gone, but its result is here already."""
    draft.reused_from = name
    if source is not None:
        draft.saved_gpu_seconds = cost_of(source)
    fields = copied_fields(source, draft.exp.raw_status) if source is not None else {}
    known = source.status.objective if source is not None else draft.exp.status.objective
    metric = around.spec.objective.metric if around.spec.objective else None
    value = f"{metric} {known.value:.6g} at step {known.step}, " if known is not None and metric else ""
    draft.finish(State.SUCCEEDED, Reason.REUSED, f"{value}taken over from {name}, the same run", None)
    if fields:
        draft.actions.append(ApplyFinalRecord(draft.exp.meta.key, draft.exp.meta.uid, fields))
