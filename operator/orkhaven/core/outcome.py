"""What is said of an Experiment once it is known what it is at: conditions, the words for how it ended, Events.

Decides nothing: `experiment` does, and hands over state, reason and message.
"""

from __future__ import annotations

from collections.abc import Iterable
from datetime import datetime

from orkhaven.api import ExperimentSpec, ExperimentStatus, Reason
from orkhaven.api.experiment import TERMINAL_STATES, FailureStatus, State
from orkhaven.api.meta import Condition
from orkhaven.api.stopping import Prune
from orkhaven.core.actions import Note
from orkhaven.core.failures import Evidence, fingerprint, suggestion
from orkhaven.core.status import Conditions, clip, clip_end, holds
from orkhaven.core.views import ExperimentView, JobView, PodView
from orkrun import contract

EXCERPT_LINES = 25
EXCERPT_CHARACTERS = 2048
"""Kept in etcd with each failed run; the whole log is in the hub."""


def is_finished(status: ExperimentStatus) -> bool:
    """Whether nothing about it changes any more."""
    return status.state in TERMINAL_STATES or holds(status.conditions, "Finished")


def is_over(exp: ExperimentView) -> bool:
    """As `is_finished`, but that a person lets a pruned run go on."""
    prune = exp.spec.prune if exp.spec else None
    resumed = exp.status.state is State.PRUNED and prune is not None and prune.resume
    return is_finished(exp.status) and not resumed


def to_prune(spec: ExperimentSpec) -> Prune | None:
    """Why the run is to end as Pruned; None: it is not."""
    return spec.prune if spec.prune is not None and not spec.prune.resume else None


def conditions_of(
    exp: ExperimentView, *, state: State, reason: str, message: str, accepted: bool, now: datetime
) -> list[Condition]:
    conditions = Conditions(exp.status.conditions, generation=exp.meta.generation, now=now)
    done = state in TERMINAL_STATES
    if accepted:
        conditions.set("Accepted", "True", reason="Accepted")
    else:
        conditions.set("Accepted", "False", reason=Reason.INVALID_SPEC, message=message)
    for kind, its_state in (("Running", State.RUNNING), ("Suspended", State.SUSPENDED)):
        conditions.set(kind, "True" if state is its_state else "False", reason=reason)
    conditions.set("Finished", "True" if done else "False", reason=reason, message=message if done else "")
    if done:
        well = state is State.SUCCEEDED
        # The message stands in Finished, once: it may be long, and ten thousand of these are kept.
        conditions.set("Succeeded", "True" if well else "False", reason=reason)
    else:
        conditions.set("Succeeded", "Unknown", reason="NotFinished")
    return conditions.as_list()


def result_words(spec: ExperimentSpec, status: ExperimentStatus, evidence: Evidence | None) -> str:
    """The message of a run that succeeded."""
    record = evidence.record if evidence else None
    note = f"; {clip(record.note, contract.NOTE_LIMIT)}" if record is not None and record.note else ""
    name = spec.objective.metric if spec.objective else None
    if name is None:
        return f"done{note}"
    if record is not None and record.objective is not None:
        return f"{name} {record.objective[0]:.6g} at step {record.objective[1]}{note}"
    known = status.objective
    return f"{name} {known.value:.6g} at step {known.step}{note}" if known else f"done{note}"


def failure_of(reason: str, message: str, evidence: Evidence | None = None, *, advice: str = "") -> FailureStatus:
    """`advice`: of a rule of the user's, instead of ours."""
    record = evidence.record if evidence else None
    excerpt = record.excerpt if record else "\n".join((evidence.text if evidence else "").splitlines()[-EXCERPT_LINES:])
    mark = fingerprint(reason, message, evidence)
    return FailureStatus(
        reason=str(reason),
        message=clip(message, 1024),
        excerpt=clip_end(excerpt, EXCERPT_CHARACTERS) if excerpt else None,
        location=clip(record.location, 512) if record and record.location else None,
        suggestion=advice or suggestion(reason, message, evidence),
        cluster=mark.id,
        signature=mark.signature,
    )


EXPECTED = frozenset({"Started", State.SUCCEEDED.value, State.PRUNED.value})
"""What is no Event of a sweep's trial: ten thousand trials would make twenty thousand of them, that cost as much as a
status each and say what the trial's status and the sweep's say."""


def worth_telling(notes: Iterable[Note], exp: ExperimentView) -> tuple[Note, ...]:
    """Those that become Events."""
    return tuple(note for note in notes if exp.trial is None or note.reason not in EXPECTED)


def change_notes(stored: ExperimentStatus, *, state: State, reason: str, message: str, accepted: bool) -> list[Note]:
    """Events for what a user wants to know, once each: the state before is the stored one."""
    notes = []
    told = (State.SUCCEEDED, State.FAILED, State.PRUNED, State.SKIPPED, State.SUSPENDED)
    if state is not stored.state and state in told and accepted:
        kind = "Warning" if state is State.FAILED else "Normal"
        said = f"{reason}: {message}" if state is State.FAILED else message
        word = reason if reason == Reason.REUSED else state.value
        notes.append(Note(type=kind, reason=word, message=clip(said, 1000)))
    if reason in (Reason.NO_FITTING_NODE, Reason.WAITING_FOR_TWIN) and reason != stored.reason:
        kind = "Warning" if reason == Reason.NO_FITTING_NODE else "Normal"
        notes.append(Note(type=kind, reason=reason, message=clip(message, 1000)))
    return notes


def lingers(job: JobView, pod: PodView | None) -> bool:
    """Whether something of an ended attempt would run on, or could be released again. A Job whose pod has ended gets
    its condition within seconds by itself."""
    over = job.finished is not None or (not job.suspended and pod is not None and pod.phase in ("Succeeded", "Failed"))
    return not over
