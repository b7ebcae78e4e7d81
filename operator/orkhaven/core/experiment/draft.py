"""The status of an Experiment while it is being decided, and the words for it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass
from datetime import datetime

from orkhaven.api import ExperimentSpec, ExperimentStatus, Reason
from orkhaven.api.experiment import Attempt, State
from orkhaven.api.retry import MAX_AVOIDED
from orkhaven.api.stopping import Prune
from orkhaven.core.actions import Action, ApplyFinalRecord, Note, Plan, ReadPod
from orkhaven.core.devices import GpuResource, named
from orkhaven.core.failures import Cause, Evidence
from orkhaven.core.final import final_fields
from orkhaven.core.identity import job_name, param_hash, run_hash
from orkhaven.core.job import image_of
from orkhaven.core.kueue.workload import Seen
from orkhaven.core.outcome import change_notes, conditions_of, failure_of, to_prune, worth_telling
from orkhaven.core.reuse import Twin
from orkhaven.core.status import clip, whole_seconds
from orkhaven.core.views import Defaults, ExperimentView, JobView, NodeView, PodView, Why

MAX_ATTEMPTS = 10


@dataclass(frozen=True, slots=True, kw_only=True)
class Around:
    """What is around an Experiment whose spec can be read."""

    spec: ExperimentSpec
    """With what retries have changed of it."""
    jobs: Sequence[JobView]
    pods: Sequence[PodView]
    nodes: Mapping[str, NodeView]
    twins: Sequence[Twin]
    left: Sequence[PodView]
    why: Why
    """What it waits for while its Job is suspended."""
    why_until: float | None
    """Seconds until time alone changes that."""
    kueue: Seen
    """What is known of Kueue, which has it where spec.queueName says so."""
    avoided: Set[str]
    """Nodes that all runs go past at present."""
    defaults: Defaults

    @property
    def kind(self) -> GpuResource:
        """What its GPUs are."""
        return named(self.spec.resources.gpu_resource, self.defaults.gpu_resources)

    @property
    def prune(self) -> Prune | None:
        return to_prune(self.spec)


def hashes_of(spec: ExperimentSpec, defaults: Defaults) -> tuple[str, str]:
    """(of the parameters, of the run). Raises ValueError for parameters that are no JSON."""
    run = run_hash(
        params=spec.params, seed=spec.seed, image=image_of(spec, defaults), command=spec.command, data=spec.data
    )
    return param_hash(spec.params), run


class Draft:
    """The status under construction. Lives for one look."""

    def __init__(self, exp: ExperimentView, *, now: datetime) -> None:
        stored = exp.status
        self.exp, self.now = exp, now
        self.actions: list[Action] = []
        self.notes: list[Note] = []
        self.recheck: list[float] = []
        self.state, self.reason, self.message = State.QUEUED, str(Reason.WAITING_FOR_GPUS), ""
        self.accepted = True
        self.reading: ReadPod | None = None
        """What has to be read before anything can be decided."""
        # The run hash names the output folder: it stays what it was when the first attempt started, whatever image is
        # the operator's default by now.
        self.param_hash, self.run_hash = stored.param_hash, stored.run_hash
        self.output_folder = stored.output_folder
        self.reused_from: str | None = None
        self.attempts = list(stored.attempts)
        self.attempt_count = stored.attempt_count
        self.retries_used, self.retry_at = stored.retries_used, stored.retry_at
        self.overrides, self.avoid = stored.overrides, list(stored.avoid or ())
        self.failure, self.checkpoint = stored.failure, stored.checkpoint
        self.gpu_seconds, self.saved_gpu_seconds = stored.gpu_seconds, stored.saved_gpu_seconds
        self.start_time, self.completion_time = stored.start_time, stored.completion_time

    def refuse(self, why: str) -> Plan:
        """A spec that cannot be run. Where attempts exist already (an older version took it), it is only said, not
        ended."""
        self.accepted = False
        self.say(State.FAILED, Reason.INVALID_SPEC, why)
        if self.attempts:
            self.state = self.exp.status.state or State.QUEUED
        else:
            self.failure = failure_of(Reason.INVALID_SPEC, why)
            self.completion_time = whole_seconds(self.now)
        if self.exp.status.reason != Reason.INVALID_SPEC and (self.exp.trial is None or self.attempts):
            self.notes.append(Note(type="Warning", reason=Reason.INVALID_SPEC, message=why))
        return self.plan()

    def read_first(self, read: ReadPod) -> None:
        """Nothing is written until it is known what the attempt died of, so that it is booked once."""
        self.reading = read

    def open(self, number: int, *, avoid: Sequence[str]) -> None:
        """Attempt `number` has a Job, which goes past the nodes `avoid`."""
        self.attempts.append(
            Attempt(
                number=number,
                job=job_name(self.exp.meta.key.name, number),
                memory=self.overrides.memory if self.overrides else None,
                avoid=list(avoid)[:MAX_AVOIDED] or None,
            )
        )
        self.attempts = self.attempts[-MAX_ATTEMPTS:]
        self.attempt_count = max(self.attempt_count, number)
        self.retry_at = self.failure = None

    def rewrite(self, attempt: Attempt) -> None:
        """The latest attempt's record, and the sum with it."""
        before = self.attempts[-1].gpu_seconds or 0.0
        self.gpu_seconds = round(self.gpu_seconds + (attempt.gpu_seconds or 0.0) - before, 1)
        self.attempts[-1] = attempt

    def finish(self, state: State, reason: str, message: str, evidence: Evidence | None) -> None:
        self.say(state, reason, message)
        self.completion_time = (self.attempts[-1].end_time if self.attempts else None) or whole_seconds(self.now)
        self.retry_at = None
        self.keep_record(evidence)

    def keep_record(self, evidence: Evidence | None) -> None:
        record = evidence.record if evidence else None
        if record is not None:
            spec = self.exp.spec
            objective = spec.objective.metric if spec and spec.objective else None
            fields = final_fields(record, self.exp.raw_status, objective=objective)
            if fields:
                self.actions.append(ApplyFinalRecord(self.exp.meta.key, self.exp.meta.uid, fields))

    # --- words --------------------------------------------------------------------------------------------------------

    def say(self, state: State, reason: str, message: str) -> None:
        self.state, self.reason, self.message = state, str(reason), message

    def note_attempt(self, cause: Cause, what_next: str) -> None:
        number = self.attempts[-1].number
        message = clip(f"attempt {number}: {cause.reason}: {cause.message}; {what_next}", 1000)
        about = self.failure.cluster if self.failure is not None else str(cause.reason)
        self.notes.append(Note(type="Warning", reason="AttemptFailed", message=message, about=about))

    def tell_live(self, before: Attempt, attempt: Attempt) -> None:
        if self.state is State.RUNNING and attempt.start_time not in (None, before.start_time):
            message = f"attempt {attempt.number} runs on node {attempt.node}"
            self.notes.append(Note(type="Normal", reason="Started", message=message))
        if self.reason == Reason.PULLING_IMAGE != self.exp.status.reason:
            message = clip(self.message, 1000)
            self.notes.append(Note(type="Warning", reason=self.reason, message=message, about=self.reason))

    # --- the outcome --------------------------------------------------------------------------------------------------

    def plan(self) -> Plan:
        if self.reading is not None:
            return Plan(actions=(self.reading,), requeue_after=self.reading.seconds)
        self.notes += change_notes(
            self.exp.status,
            state=self.state,
            reason=self.reason,
            message=self.message,
            accepted=self.accepted,
        )
        status = ExperimentStatus(
            observed_generation=self.exp.meta.generation,
            conditions=conditions_of(
                self.exp,
                state=self.state,
                reason=self.reason,
                message=self.message,
                accepted=self.accepted,
                now=self.now,
            ),
            state=self.state,
            reason=self.reason,
            message=clip(self.message, 2048),
            param_hash=self.param_hash,
            run_hash=self.run_hash,
            reused_from=self.reused_from,
            output_folder=self.output_folder,
            attempts=self.attempts,
            attempt_count=self.attempt_count,
            retries_used=self.retries_used,
            retry_at=self.retry_at,
            overrides=self.overrides,
            avoid=self.avoid or None,
            failure=self.failure,
            checkpoint=self.checkpoint,
            gpu_seconds=self.gpu_seconds,
            saved_gpu_seconds=self.saved_gpu_seconds,
            start_time=self.start_time,
            completion_time=self.completion_time,
        )
        dumped = status.to_dict()
        if self.overrides is not None and self.overrides.params is not None:
            dumped["overrides"]["params"] = self.overrides.params  # with its nulls, which a plain dump would drop
        return Plan(
            actions=tuple(self.actions),
            status=dumped,
            notes=worth_telling(self.notes, self.exp),
            requeue_after=min(self.recheck) if self.recheck else None,
        )
