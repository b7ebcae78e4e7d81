"""The latest attempt: what it is at, what follows from its end, and the Job of the next one."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

from orkhaven.api import Reason
from orkhaven.api.experiment import CheckpointStatus, State
from orkhaven.api.retry import MAX_AVOIDED
from orkhaven.core.actions import CreateJob, DeleteJob
from orkhaven.core.attempts import Observed, Phase, alive, book, close, gone_at, gpus_of, held_on, judge, pruned
from orkhaven.core.experiment.draft import Around, Draft
from orkhaven.core.experiment.settle import settle
from orkhaven.core.failures import Evidence
from orkhaven.core.job import build_job
from orkhaven.core.kueue.attempt import cannot_stop, flavor_of, go_on, relabel, stop, with_eviction
from orkhaven.core.outcome import failure_of, lingers, result_words
from orkhaven.core.queue import needs_of, past
from orkhaven.core.retry import no_later
from orkhaven.core.reuse import in_folder
from orkhaven.core.status import clip, whole_seconds
from orkhaven.core.views import JobView

LOOK_AGAIN_SECONDS = 10.0
"""While an earlier attempt's pod is still there: its node may stop to answer, which is no event of this experiment."""


def look(draft: Draft, around: Around, seen: Observed) -> None:
    """The latest attempt has not ended as far as the status knows."""
    verdict = judge(seen, draft.exp, around.spec, nodes=around.nodes, defaults=around.defaults, now=draft.now)
    if around.prune is not None and verdict.phase is Phase.WAITING:
        # What ended by itself before it could be stopped has another verdict, and keeps its result.
        verdict = pruned(verdict, seen.job, around.prune.message)
    verdict = with_eviction(verdict, draft.attempts[-1], seen, around.kueue.workload)
    if verdict.read is not None:
        draft.read_first(verdict.read)
        return
    before = draft.attempts[-1]
    attempt = book(
        before,
        seen.pod,
        gpus=gpus_of(seen, around.spec),
        model_label=around.kind.model_label,
        nodes=around.nodes,
        over=verdict.phase is Phase.ENDED,
        gone=gone_at(seen.job, grace=around.defaults.termination_grace_seconds, now=draft.now),
        now=draft.now,
    )
    attempt = attempt.model_copy(
        update={"gpu_model": flavor_of(attempt, around.kueue, gpus=around.spec.resources.gpus)}
    )
    if seen.job is not None and seen.job.avoid != tuple(attempt.avoid or ()):
        # It was told of more nodes when it was released.
        attempt = attempt.model_copy(update={"avoid": list(seen.job.avoid)[:MAX_AVOIDED] or None})
    draft.rewrite(attempt)
    draft.start_time = draft.start_time or attempt.start_time
    record = verdict.evidence.record if verdict.evidence else None
    if record is not None and record.checkpoint is not None:
        draft.checkpoint = CheckpointStatus(step=record.checkpoint[0], path=clip(record.checkpoint[1], 1024))
    if verdict.recheck is not None:
        draft.recheck.append(verdict.recheck)
    if verdict.phase is Phase.ENDED:
        draft.attempts[-1] = close(attempt, verdict, now=draft.now)
        settle(draft, around, verdict)
        after(draft, around, seen, recorded=False, evidence=verdict.evidence)
    elif verdict.phase is Phase.WAITING:
        _in_queue(draft, around, seen.job)
        _wait(draft, around)
    else:
        draft.say(verdict.state, verdict.reason, verdict.message)
        draft.tell_live(before, attempt)
        if (around.spec.suspend or around.prune) and seen.job is not None and not seen.job.suspended:
            asked = stop(seen.job, around.kueue)
            draft.actions += [asked] if asked is not None else []
            hindrance = cannot_stop(seen.job, around.kueue)
            if hindrance is not None:
                draft.message = hindrance
            elif seen.pod is not None:
                draft.reason, draft.message = Reason.SUSPENDING, "saves a checkpoint and stops"
        if around.prune is not None and draft.reason == Reason.SUSPENDING:
            draft.message = f"saves a checkpoint and ends; {around.prune.message}"


def after(draft: Draft, around: Around, seen: Observed, *, recorded: bool, evidence: Evidence | None = None) -> None:
    """The latest attempt has ended. What still runs of it goes first, but only once its end is in the stored
    status."""
    if recorded:
        draft.rewrite(held_on(draft.attempts[-1], seen.pod, gpus=gpus_of(seen, around.spec)))
    attempt = draft.attempts[-1]
    if seen.job is not None and lingers(seen.job, seen.pod):
        # One that gave its GPUs back has a Job left, which is suspended, and nothing that runs.
        waits = attempt.reason == Reason.PREEMPTED and draft.retry_at is not None
        state = State.QUEUED if waits else draft.exp.status.state or State.STARTING
        draft.say(state, attempt.reason or Reason.STATUS_UNKNOWN, attempt.message or "ended")
        if not recorded:
            draft.recheck.append(0.0)
            if attempt.reason == Reason.EARLY_STOPPED:
                draft.keep_record(evidence)  # at the end its pod will be gone
        elif not seen.job.meta.deleting:
            draft.actions.append(DeleteJob(seen.job.meta.key, seen.job.meta.uid))
    elif attempt.reason == Reason.COMPLETED:
        draft.finish(State.SUCCEEDED, Reason.COMPLETED, result_words(around.spec, draft.exp.status, evidence), evidence)
    elif _let_go_on(draft, around):
        begin(draft, around, attempt.number + 1)
    elif attempt.reason == Reason.EARLY_STOPPED:
        draft.finish(State.PRUNED, Reason.EARLY_STOPPED, attempt.message or "stopped early", evidence)
    elif draft.retry_at is not None:
        begin(draft, around, attempt.number + 1)
    else:
        failure = draft.failure or failure_of(attempt.reason or "", attempt.message or "")
        draft.finish(State.FAILED, failure.reason, failure.message, evidence)


def _let_go_on(draft: Draft, around: Around) -> bool:
    """Whether a person lets a pruned run go on; it may have been pruned while it waited for its next attempt."""
    if around.prune is not None or around.spec.prune is None:
        return False
    return draft.attempts[-1].reason == Reason.EARLY_STOPPED or draft.exp.status.state is State.PRUNED


def begin(draft: Draft, around: Around, number: int) -> None:
    """Makes the Job of attempt `number`, unless something has to be waited for."""
    last = draft.attempts[-1] if draft.attempts else None
    because = f"attempt {last.number} ended with {last.reason}: {last.message}" if last else ""
    if around.prune is not None:
        draft.failure = None
        draft.finish(State.PRUNED, Reason.EARLY_STOPPED, around.prune.message or "stopped early", None)
        return
    if around.spec.suspend:
        draft.say(State.SUSPENDED, Reason.SUSPENDED, f"suspended; {because}" if because else "suspended")
        return
    if draft.retry_at is not None:
        draft.retry_at = whole_seconds(no_later(draft.retry_at, now=draft.now, defaults=around.defaults))
    if draft.retry_at is not None and draft.retry_at > draft.now:
        draft.recheck.append((draft.retry_at - draft.now).total_seconds())
        message = f"attempt {number} starts at {draft.retry_at:%H:%M:%S} UTC; {because}"
        draft.say(State.QUEUED, Reason.WAITING_FOR_RETRY, message)
        return
    # Two attempts at once would write into one folder, and hold twice the GPUs.
    if any(job.finished is None for job in around.jobs) or any(alive(pod, around.nodes) for pod in around.pods):
        draft.recheck.append(LOOK_AGAIN_SECONDS)
        message = f"waits until attempt {number - 1} is gone altogether; {because}"
        draft.say(State.QUEUED, Reason.WAITING_FOR_RETRY, message)
        return
    stored = draft.exp.status.attempts
    if last is not None and (not stored or stored[-1].number < last.number or stored[-1].reason is None):
        # Were the status write lost after the next Job is made, that Job would hide how this attempt ended.
        draft.recheck.append(0.0)
        draft.say(State.QUEUED, Reason.WAITING_FOR_RETRY, f"attempt {number} starts next; {because}")
        return
    if number > 1:
        other = in_folder(
            draft.exp, around.spec, twins=around.twins, defaults=around.defaults, folder=draft.output_folder
        )
        if other is not None:
            message = f"attempt {number} waits until {other}, the same run, has left their folder; {because}"
            draft.say(State.QUEUED, Reason.WAITING_FOR_TWIN, message)
            return
    own = {one.node for one in draft.avoid}
    avoid = past(needs_of(around.spec, kind=around.kind), around.nodes, own=own, all_runs=around.avoided)
    shun = sorted((own | around.avoided).difference(avoid))
    body = _job(draft, around, number, avoid=avoid, shun=shun)
    if body is None:
        return
    draft.actions.append(CreateJob(body))
    draft.open(number, avoid=avoid)
    _wait(draft, around)


def _job(
    draft: Draft, around: Around, number: int, *, avoid: Sequence[str], shun: Sequence[str]
) -> dict[str, object] | None:
    try:
        return build_job(
            replace(draft.exp, spec=around.spec),
            attempt=number,
            defaults=around.defaults,
            param_hash=draft.param_hash or "",
            run_hash=draft.run_hash or "",
            folder=draft.output_folder,
            avoid=avoid,
            shun=shun,
        )
    except ValueError as error:
        draft.accepted = False
        draft.failure = failure_of(Reason.INVALID_SPEC, str(error))
        draft.finish(State.FAILED, Reason.INVALID_SPEC, str(error), None)
        return None


def _in_queue(draft: Draft, around: Around, job: JobView | None) -> None:
    """What Kueue has to be told about a Job that waits."""
    if job is None or job.meta.deleting:
        return
    # A queue that is written wrong may be put right while the run waits in it.
    going = relabel(job, around.spec, around.defaults) or go_on(around.kueue)
    asked = stop(job, around.kueue) if around.spec.suspend else going
    draft.actions += [asked] if asked is not None else []


def _wait(draft: Draft, around: Around) -> None:
    """The Job is there and suspended."""
    if around.spec.suspend:
        where = f" after step {draft.checkpoint.step}" if draft.checkpoint else ""
        draft.say(State.SUSPENDED, Reason.SUSPENDED, f"suspended{where}; spec.suspend: false goes on from there")
    else:
        draft.say(State.QUEUED, around.why.reason, around.why.message)
        draft.recheck += [around.why_until] if around.why_until is not None else []
