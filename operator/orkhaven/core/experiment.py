"""One look at an Experiment: which attempt it is at, what is to be done, and its full status.

Everything is decided from what is seen now. The only memory is the status itself: an attempt's end is written before
anything is deleted that proves it, so that a crash at any point loses no cause and counts no attempt twice. `jobs` and
`pods` have to be all of this experiment's (pods by its label, whatever became of their Jobs) from a store that has
been filled once.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from datetime import datetime, timedelta

from orkhaven.api import ExperimentSpec, ExperimentStatus, Reason
from orkhaven.api.experiment import Attempt, CheckpointStatus, Dedupe, State
from orkhaven.core.actions import Action, ApplyFinalRecord, CreateJob, DeleteJob, Note, Plan, SuspendJob
from orkhaven.core.attempts import Observed, Phase, Verdict, alive, book, close, judge, observe, pruned
from orkhaven.core.failures import Cause, Evidence
from orkhaven.core.final import final_fields
from orkhaven.core.identity import job_name, param_hash, run_hash
from orkhaven.core.job import build_job, image_of
from orkhaven.core.outcome import (
    change_notes,
    conditions_of,
    failure_of,
    is_over,
    lingers,
    result_words,
    to_prune,
    worth_telling,
)
from orkhaven.core.retention import retire
from orkhaven.core.retry import decide
from orkhaven.core.reuse import (
    Step,
    Twin,
    answer,
    copied_fields,
    dedupe_of,
    in_folder,
    own_folder,
    source_of,
    worker_of,
)
from orkhaven.core.status import clip, whole_seconds
from orkhaven.core.views import Defaults, ExperimentView, JobView, NodeView, PodView, Why

MAX_ATTEMPTS = 10
LOOK_AGAIN_SECONDS = 10.0
"""While an earlier attempt's pod is still there: its node may stop to answer, which is no event of this experiment."""


def plan_experiment(
    exp: ExperimentView,
    *,
    jobs: Sequence[JobView],
    pods: Sequence[PodView],
    nodes: Mapping[str, NodeView],
    waiting: Why | str | None,
    twins: Sequence[Twin] = (),
    left: Sequence[PodView] = (),
    defaults: Defaults,
    now: datetime,
) -> Plan:
    """What is to be done for `exp`, and its status.

    `nodes`: by name. `waiting`: what the queue says it waits for (`QueuePlan.reasons`); None: it has not looked yet.
    `twins`: the namespace's other Experiments with its run hash; `left`: pods of deleted ones. One that is being
    deleted gets an empty plan, a finished one at most the removal of what it leaves behind: its status never changes.
    """
    if exp.meta.deleting:
        return Plan()
    if is_over(exp):
        return retire(exp, jobs=jobs, defaults=defaults, now=now)
    planner = _Planner(exp, nodes=nodes, defaults=defaults, now=now)
    if exp.spec is None:
        return planner.refuse(exp.invalid or "spec: cannot be read")
    try:
        hashes = (
            param_hash(exp.spec.params),
            run_hash(
                params=exp.spec.params,
                seed=exp.spec.seed,
                image=image_of(exp.spec, defaults),
                command=exp.spec.command,
                data=exp.spec.data,
            ),
        )
    except ValueError as error:
        return planner.refuse(f"spec.params: {error}")
    own = [job for job in jobs if job.meta.owner_uid == exp.meta.uid]
    why = Why(Reason.WAITING_FOR_GPUS, waiting) if isinstance(waiting, str) else waiting
    return planner.run(exp.spec, hashes, jobs=own, pods=pods, twins=twins, left=left, why=why)


class _Planner:
    """The status under construction. Lives for one call."""

    def __init__(
        self, exp: ExperimentView, *, nodes: Mapping[str, NodeView], defaults: Defaults, now: datetime
    ) -> None:
        stored = exp.status
        self.exp, self.nodes, self.defaults, self.now = exp, nodes, defaults, now
        self.actions: list[Action] = []
        self.notes: list[Note] = []
        self.recheck: list[float] = []
        self.state, self.reason, self.message = State.QUEUED, str(Reason.WAITING_FOR_GPUS), ""
        self.accepted = True
        # The run hash names the output folder: it stays what it was when the first attempt started, whatever image is
        # the operator's default by now.
        self.param_hash, self.run_hash = stored.param_hash, stored.run_hash
        self.output_folder = stored.output_folder
        self.reused_from: str | None = None
        self.attempts = list(stored.attempts)
        self.attempt_count = stored.attempt_count
        self.retries_used, self.retry_at = stored.retries_used, stored.retry_at
        self.failure, self.checkpoint = stored.failure, stored.checkpoint
        self.gpu_seconds = stored.gpu_seconds
        self.start_time, self.completion_time = stored.start_time, stored.completion_time

    # --- the flow -----------------------------------------------------------------------------------------------------

    def refuse(self, why: str) -> Plan:
        """A spec that cannot be run. Where attempts exist already (an older version took it), it is only said, not
        ended."""
        self.accepted = False
        self._say(State.FAILED, Reason.INVALID_SPEC, why)
        if self.attempts:
            self.state = self.exp.status.state or State.QUEUED
        else:
            self.failure = failure_of(Reason.INVALID_SPEC, why)
            self.completion_time = whole_seconds(self.now)
        if self.exp.status.reason != Reason.INVALID_SPEC:
            self.notes.append(Note(type="Warning", reason=Reason.INVALID_SPEC, message=why))
        return self._plan()

    def run(
        self,
        spec: ExperimentSpec,
        hashes: tuple[str, str],
        *,
        jobs: Sequence[JobView],
        pods: Sequence[PodView],
        twins: Sequence[Twin],
        left: Sequence[PodView],
        why: Why | None,
    ) -> Plan:
        self.param_hash = hashes[0]
        self.run_hash = self.run_hash or hashes[1]
        if not self.exp.status.attempts and dedupe_of(spec, self.defaults) is Dedupe.NEVER:
            self.output_folder = own_folder(self.run_hash, self.exp.meta.uid)
        self.spec, self.jobs, self.pods, self.twins = spec, jobs, pods, twins
        self.prune = to_prune(spec)
        if self.exp.status.state is State.PRUNED:
            self.completion_time = None  # a person lets it go on
        self.why = why or Why(Reason.WAITING_FOR_GPUS, "waits for its turn in the queue")
        number = max([job.attempt for job in jobs] + [attempt.number for attempt in self.attempts], default=0)
        if number == 0:
            self._first(left)
        else:
            if not self.attempts or self.attempts[-1].number < number:
                self._open(number)  # its Job was made, but the status write after it was lost
            seen = observe(number, jobs=jobs, pods=pods, job_name=self.attempts[-1].job)
            if self.attempts[-1].reason is None:
                self._look(seen)
            else:
                self._after(seen, recorded=True)
        return self._plan()

    def _first(self, left: Sequence[PodView]) -> None:
        """Nothing was begun yet, and need not be where an identical run has its result."""
        if self.spec.suspend or self.prune is not None:
            self._begin(1)
            return
        stored = self.exp.status
        if stored.reused_from is not None:
            source = source_of(self.spec, self.twins, stored.reused_from)
            if source is not None or (stored.objective is not None and self.spec.objective is not None):
                self._take_over(stored.reused_from, source)
                return
            # It is gone before anything was copied.
            self.output_folder = self.checkpoint = None
        seen = answer(self.exp, self.spec, twins=self.twins, defaults=self.defaults, now=self.now)
        if seen.twin is not None and seen.step is Step.REUSE:
            # Written down before the rest, so that nothing is copied of which nobody would know later why.
            status = seen.twin.status
            self.reused_from = worker_of(seen.twin)
            self.checkpoint, self.output_folder = status.checkpoint, status.output_folder
            self.recheck.append(0.0)
            self._say(State.QUEUED, Reason.REUSED, f"takes over the result of {self.reused_from}, the same run")
        elif seen.twin is not None and seen.step is Step.SKIP:
            state = seen.twin.status.state or State.QUEUED
            self._finish(State.SKIPPED, Reason.DUPLICATE, f"the same run as {seen.twin.meta.key.name} ({state})", None)
        elif seen.twin is not None:
            if seen.recheck is not None:
                self.recheck.append(seen.recheck)
            state, name = seen.twin.status.state or State.QUEUED, seen.twin.meta.key.name
            self._say(State.QUEUED, Reason.WAITING_FOR_TWIN, f"waits for the result of {name} ({state}), the same run")
        elif seen.own_folder and self.output_folder is None:
            # Written down first: a Job whose folder is not known later could not be gone on with.
            self.output_folder = own_folder(self.run_hash or "", self.exp.meta.uid)
            self.recheck.append(0.0)
        elif self.output_folder is None and any(alive(pod, self.nodes) for pod in left):
            self.recheck.append(LOOK_AGAIN_SECONDS)
            message = "waits until the pod of a deleted run has ended: it may still write into the same folder"
            self._say(State.QUEUED, Reason.WAITING_FOR_TWIN, message)
        else:
            self._begin(1)

    def _take_over(self, name: str, source: ExperimentView | None) -> None:
        """The second half: the result, then the end. `source` None: it is gone, but its result is here already."""
        self.reused_from = name
        fields = copied_fields(source, self.exp.raw_status) if source is not None else {}
        known = source.status.objective if source is not None else self.exp.status.objective
        metric = self.spec.objective.metric if self.spec.objective else None
        value = f"{metric} {known.value:.6g} at step {known.step}, " if known is not None and metric else ""
        self._finish(State.SUCCEEDED, Reason.REUSED, f"{value}taken over from {name}, the same run", None)
        if fields:
            self.actions.append(ApplyFinalRecord(self.exp.meta.key, self.exp.meta.uid, fields))

    def _look(self, seen: Observed) -> None:
        """The latest attempt has not ended as far as the status knows."""
        verdict = judge(seen, self.exp, self.spec, nodes=self.nodes, defaults=self.defaults, now=self.now)
        if self.prune is not None and verdict.phase is Phase.WAITING:
            # What ended by itself before it could be stopped has another verdict, and keeps its result.
            verdict = pruned(verdict, seen.job, self.prune.message)
        before = self.attempts[-1]
        attempt = book(
            before,
            seen.pod,
            gpus=self.spec.resources.gpus,
            nodes=self.nodes,
            over=verdict.phase is Phase.ENDED,
            now=self.now,
        )
        self.gpu_seconds = round(self.gpu_seconds + (attempt.gpu_seconds or 0) - (before.gpu_seconds or 0), 1)
        self.attempts[-1] = attempt
        self.start_time = self.start_time or attempt.start_time
        record = verdict.evidence.record if verdict.evidence else None
        if record is not None and record.checkpoint is not None:
            self.checkpoint = CheckpointStatus(step=record.checkpoint[0], path=clip(record.checkpoint[1], 1024))
        if verdict.recheck is not None:
            self.recheck.append(verdict.recheck)
        if verdict.phase is Phase.ENDED:
            self.attempts[-1] = close(attempt, verdict, now=self.now)
            self._settle(verdict)
            self._after(seen, recorded=False, evidence=verdict.evidence)
        elif verdict.phase is Phase.WAITING:
            self._wait()
        else:
            self._say(verdict.state, verdict.reason, verdict.message)
            self._tell_live(before, attempt)
            if (self.spec.suspend or self.prune) and seen.job is not None and not seen.job.suspended:
                self.actions.append(SuspendJob(seen.job.meta.key, seen.job.meta.uid, suspend=True))
                if seen.pod is not None:
                    self.reason, self.message = Reason.SUSPENDING, "saves a checkpoint and stops"
            if self.prune is not None and self.reason == Reason.SUSPENDING:
                self.message = f"saves a checkpoint and ends; {self.prune.message}"

    def _settle(self, verdict: Verdict) -> None:
        """Books the end of the latest attempt: again or not, and at whose expense. Happens once per attempt."""
        cause = verdict.cause
        if cause is None or cause.reason is Reason.EARLY_STOPPED:
            self.failure, self.retry_at = None, None
            return
        self.failure = failure_of(cause.reason, cause.message, verdict.evidence)
        ended = [attempt.reason for attempt in self.attempts if attempt.reason is not None]
        again = decide(
            cause,
            ended=ended,
            retries_used=self.retries_used,
            limit=self.spec.retry.limit,
            uid=self.exp.meta.uid,
            defaults=self.defaults,
        )
        if again is None:
            self.retry_at = None
            return
        self.retries_used += again.counted
        end = self.attempts[-1].end_time or self.now
        self.retry_at = whole_seconds(end + timedelta(seconds=again.delay))
        when = "at once" if again.delay == 0 else f"at {self.retry_at:%H:%M:%S} UTC"
        self._note_attempt(cause, f"tried again {when}")

    def _after(self, seen: Observed, *, recorded: bool, evidence: Evidence | None = None) -> None:
        """The latest attempt has ended. What still runs of it goes first, but only once its end is in the stored
        status."""
        attempt = self.attempts[-1]
        if seen.job is not None and lingers(seen.job, seen.pod):
            state = self.exp.status.state or State.STARTING
            self._say(state, attempt.reason or Reason.STATUS_UNKNOWN, attempt.message or "ended")
            if not recorded:
                self.recheck.append(0.0)
                if attempt.reason == Reason.EARLY_STOPPED:
                    self._keep_record(evidence)  # at the end its pod will be gone
            elif not seen.job.meta.deleting:
                self.actions.append(DeleteJob(seen.job.meta.key, seen.job.meta.uid))
        elif attempt.reason == Reason.COMPLETED:
            self._finish(
                State.SUCCEEDED, Reason.COMPLETED, result_words(self.spec, self.exp.status, evidence), evidence
            )
        elif attempt.reason == Reason.EARLY_STOPPED and self.prune is None and self.spec.prune is not None:
            self._begin(attempt.number + 1)  # a person lets it go on
        elif attempt.reason == Reason.EARLY_STOPPED:
            self._finish(State.PRUNED, Reason.EARLY_STOPPED, attempt.message or "stopped early", evidence)
        elif self.retry_at is not None:
            self._begin(attempt.number + 1)
        else:
            failure = self.failure or failure_of(attempt.reason or "", attempt.message or "")
            self._finish(State.FAILED, failure.reason, failure.message, evidence)

    def _begin(self, number: int) -> None:
        """Makes the Job of attempt `number`, unless something has to be waited for."""
        last = self.attempts[-1] if self.attempts else None
        because = f"attempt {last.number} ended with {last.reason}: {last.message}" if last else ""
        if self.prune is not None:
            self.failure = None
            self._finish(State.PRUNED, Reason.EARLY_STOPPED, self.prune.message or "stopped early", None)
            return
        if self.spec.suspend:
            self._say(State.SUSPENDED, Reason.SUSPENDED, f"suspended; {because}" if because else "suspended")
            return
        if self.retry_at is not None and self.retry_at > self.now:
            self.recheck.append((self.retry_at - self.now).total_seconds())
            message = f"attempt {number} starts at {self.retry_at:%H:%M:%S} UTC; {because}"
            self._say(State.QUEUED, Reason.WAITING_FOR_RETRY, message)
            return
        # Two attempts at once would write into one folder, and hold twice the GPUs.
        if any(job.finished is None for job in self.jobs) or any(alive(pod, self.nodes) for pod in self.pods):
            self.recheck.append(LOOK_AGAIN_SECONDS)
            message = f"waits until attempt {number - 1} is gone altogether; {because}"
            self._say(State.QUEUED, Reason.WAITING_FOR_RETRY, message)
            return
        stored = self.exp.status.attempts
        if last is not None and (not stored or stored[-1].number < last.number or stored[-1].reason is None):
            # Were the status write lost after the next Job is made, that Job would hide how this attempt ended.
            self.recheck.append(0.0)
            self._say(State.QUEUED, Reason.WAITING_FOR_RETRY, f"attempt {number} starts next; {because}")
            return
        if number > 1 and self.output_folder is None:
            other = in_folder(self.exp, self.spec, twins=self.twins, defaults=self.defaults)
            if other is not None:
                message = f"attempt {number} waits until {other}, the same run, has left their folder; {because}"
                self._say(State.QUEUED, Reason.WAITING_FOR_TWIN, message)
                return
        body = self._job(number)
        if body is None:
            return
        self.actions.append(CreateJob(body))
        self._open(number)
        self._wait()

    def _job(self, number: int) -> dict[str, object] | None:
        broken = {a.node for a in self.attempts if a.reason == Reason.GPU_HARDWARE and a.node is not None}
        try:
            return build_job(
                self.exp,
                attempt=number,
                defaults=self.defaults,
                param_hash=self.param_hash or "",
                run_hash=self.run_hash or "",
                folder=self.output_folder,
                avoid_nodes=sorted(broken),
            )
        except ValueError as error:
            self.accepted = False
            self.failure = failure_of(Reason.INVALID_SPEC, str(error))
            self._finish(State.FAILED, Reason.INVALID_SPEC, str(error), None)
            return None

    def _open(self, number: int) -> None:
        self.attempts.append(Attempt(number=number, job=job_name(self.exp.meta.key.name, number)))
        self.attempts = self.attempts[-MAX_ATTEMPTS:]
        self.attempt_count = max(self.attempt_count, number)
        self.retry_at = self.failure = None

    def _wait(self) -> None:
        """The Job is there and suspended."""
        if self.spec.suspend:
            where = f" after step {self.checkpoint.step}" if self.checkpoint else ""
            self._say(State.SUSPENDED, Reason.SUSPENDED, f"suspended{where}; spec.suspend: false goes on from there")
        else:
            self._say(State.QUEUED, self.why.reason, self.why.message)

    def _finish(self, state: State, reason: str, message: str, evidence: Evidence | None) -> None:
        self._say(state, reason, message)
        self.completion_time = (self.attempts[-1].end_time if self.attempts else None) or whole_seconds(self.now)
        self.retry_at = None
        self._keep_record(evidence)

    def _keep_record(self, evidence: Evidence | None) -> None:
        record = evidence.record if evidence else None
        if record is not None:
            objective = self.spec.objective.metric if self.spec.objective else None
            fields = final_fields(record, self.exp.raw_status, objective=objective)
            if fields:
                self.actions.append(ApplyFinalRecord(self.exp.meta.key, self.exp.meta.uid, fields))

    # --- words --------------------------------------------------------------------------------------------------------

    def _say(self, state: State, reason: str, message: str) -> None:
        self.state, self.reason, self.message = state, str(reason), message

    def _note_attempt(self, cause: Cause, what_next: str) -> None:
        number = self.attempts[-1].number
        message = clip(f"attempt {number}: {cause.reason}: {cause.message}; {what_next}", 1000)
        self.notes.append(Note(type="Warning", reason="AttemptFailed", message=message))

    def _tell_live(self, before: Attempt, attempt: Attempt) -> None:
        if self.state is State.RUNNING and attempt.start_time not in (None, before.start_time):
            message = f"attempt {attempt.number} runs on node {attempt.node}"
            self.notes.append(Note(type="Normal", reason="Started", message=message))
        if self.reason == Reason.PULLING_IMAGE != self.exp.status.reason:
            self.notes.append(Note(type="Warning", reason=self.reason, message=clip(self.message, 1000)))

    # --- the outcome --------------------------------------------------------------------------------------------------

    def _plan(self) -> Plan:
        self.notes += change_notes(
            self.exp.status, state=self.state, reason=self.reason, message=self.message, accepted=self.accepted
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
            failure=self.failure,
            checkpoint=self.checkpoint,
            gpu_seconds=self.gpu_seconds,
            start_time=self.start_time,
            completion_time=self.completion_time,
        )
        return Plan(
            actions=tuple(self.actions),
            status=status.to_dict(),
            notes=worth_telling(self.notes, self.exp),
            requeue_after=min(self.recheck) if self.recheck else None,
        )
