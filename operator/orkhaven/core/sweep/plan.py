"""The outcome of one look at a Sweep, from the whole to its parts."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from datetime import datetime, timedelta
from typing import Any

from orkhaven.api import SweepSpec
from orkhaven.api.policy import STOPPED_ON_CLUSTER
from orkhaven.api.retry import AvoidedNode
from orkhaven.api.sweep_status import SweepState
from orkhaven.core.actions import Action, DeleteSweep, Note, Plan, SuspendExperiment
from orkhaven.core.search import Asked, TrialSource, trial_params
from orkhaven.core.search.history import Answer, Ask
from orkhaven.core.status import Conditions, clip, holds, reason_of, whole_seconds
from orkhaven.core.sweep.lineage import lineage
from orkhaven.core.sweep.observed import Observed, is_held
from orkhaven.core.sweep.rerun import MAX_MADE, next_reruns, unseen
from orkhaven.core.sweep.status import SPEC_SUSPEND, dump, notes_of, status_of
from orkhaven.core.sweep.stopping import next_stops
from orkhaven.core.sweep.stops import STOPS
from orkhaven.core.sweep.trials import AGAIN_SECONDS, MAX_CREATIONS, next_trials
from orkhaven.core.views import Defaults, ExperimentView, SweepView

MAX_TRIES = 1000
"""Draws in one plan, about a tenth of a second: where constraints refuse most of them, the search goes on at the
next."""
_REMEMBERED = 512

_sources: OrderedDict[str, tuple[SweepSpec, TrialSource]] = OrderedDict()
"""Trial sources by the sweep's UID, with the spec that they belong to. Only saves time: draws are not drawn again each
second."""


def plan_sweep(
    sweep: SweepView,
    *,
    children: Sequence[ExperimentView],
    defaults: Defaults,
    now: datetime,
    answer: Answer | None = None,
    avoided: Sequence[AvoidedNode] = (),
) -> Plan:
    """What is to be done for `sweep`, and its status.

    `children`: all Experiments that it controls. `answer`: to the `ask` of an earlier plan. `avoided`: nodes
    that all runs go past. A sweep that is being
    deleted gets an empty plan, a finished one at most its own deletion once ttlSecondsAfterFinished has passed.
    """
    if sweep.meta.deleting:
        return Plan()
    if holds(sweep.status.conditions, "Finished") and not unseen(sweep):
        _sources.pop(sweep.meta.uid, None)
        return _retire(sweep, now)
    every = [child for child in children if child.meta.owner_uid == sweep.meta.uid]
    own = lineage(every).first
    if sweep.spec is None:
        return _refuse(sweep, sweep.invalid or "spec: cannot be read", started=bool(own), now=now)
    try:
        source = _source(sweep, sweep.spec, own)
        if not source.look_ahead(len(own) // sweep.spec.search.repeats + MAX_CREATIONS, tries=MAX_TRIES):
            return Plan(requeue_after=0.0)
    except ValueError as error:
        return _refuse(sweep, str(error), started=bool(own), now=now)
    if answer is not None and isinstance(source, Asked):
        repeats = sweep.spec.search.repeats
        combinations = {child.trial // repeats for child in own if child.trial is not None}
        source.hear(answer, made=len(combinations), now=now)
    return _look(Observed(sweep, sweep.spec, source, every, defaults=defaults, now=now, answer=answer, avoided=avoided))


def _source(sweep: SweepView, spec: SweepSpec, children: Sequence[ExperimentView]) -> TrialSource:
    known = _sources.pop(sweep.meta.uid, None)
    if known is None or not (known[0] is spec or known[0] == spec):
        template = sweep.raw_spec.get("template") or {}
        made = {
            child.trial // spec.search.repeats: child.spec.params
            for child in children
            if child.trial is not None and child.spec
        }
        known = (spec, trial_params(spec, template.get("params") or {}, made=made, tries=MAX_TRIES))
    _sources[sweep.meta.uid] = known
    while len(_sources) > _REMEMBERED:
        _sources.popitem(last=False)
    return known[1]


def forget() -> None:
    """As a new process would: what is remembered only saves time, and tests show that it does."""
    _sources.clear()


def _retire(sweep: SweepView, now: datetime) -> Plan:
    ttl = sweep.spec.ttl_seconds_after_finished if sweep.spec else None
    ended = sweep.status.completion_time
    if ttl is None or ended is None:
        return Plan()
    left = (ended + timedelta(seconds=ttl) - now).total_seconds()
    if left > 0:
        return Plan(requeue_after=left)
    return Plan(actions=(DeleteSweep(sweep.meta.key, sweep.meta.uid),))


def _refuse(sweep: SweepView, why: str, *, started: bool, now: datetime) -> Plan:
    """A spec that cannot be expanded. Where trials exist already (an older version took it), it is only said, not
    ended."""
    conditions = Conditions(sweep.status.conditions, generation=sweep.meta.generation, now=now)
    conditions.set("Accepted", "False", reason="InvalidSpec", message=why)
    changes: dict[str, Any] = {"observed_generation": sweep.meta.generation}
    if not started:
        conditions.set("Running", "False", reason="InvalidSpec")
        conditions.set("Finished", "True", reason="InvalidSpec", message=why)
        conditions.set("Succeeded", "False", reason="InvalidSpec", message=why)
        changes |= {"state": SweepState.FAILED, "completion_time": whole_seconds(now)}
    else:
        for old in sweep.status.conditions:
            if old.type != "Accepted":
                conditions.set(old.type, old.status, reason=old.reason, message=old.message)
    note = Note(type="Warning", reason="InvalidSpec", message=clip(why, 1000))
    said = reason_of(sweep.status.conditions, "Accepted") == "InvalidSpec"
    status = sweep.status.model_copy(update={**changes, "conditions": conditions.as_list()})
    return Plan(status=dump(status), notes=() if said else (note,))


def _look(seen: Observed) -> Plan:
    actions: list[Action] = []
    requeue: float | None = None
    ask: Ask | None = None
    reruns, more = seen.reruns, False
    if not seen.over:
        if not seen.spec.suspend:
            again_made, reruns, more = next_reruns(
                seen.sweep, seen.spec, seen.reruns, family=seen.family, most=MAX_MADE
            )
            actions += again_made
        stopped, again = next_stops(seen)
        asked, requeue = _hold_or_resume(seen)
        actions += [*stopped, *asked]
        requeue = again if requeue is None else requeue
        if more:
            # What failed goes before what was never tried, once its selection is in the stored status.
            requeue = 0.0 if reruns.fresh else AGAIN_SECONDS
        elif not seen.spec.suspend and seen.stop is None and seen.tripped is None:
            resumed = sum(not action.suspend for action in asked)
            made, ask, again = next_trials(seen, resumed=resumed - len(stopped))
            actions += made
            requeue = again if again is not None else requeue
        requeue = _and_until(seen, requeue)
    status = status_of(seen, actions, reruns)
    if seen.over and seen.spec.ttl_seconds_after_finished is not None:
        requeue = float(seen.spec.ttl_seconds_after_finished)
    return Plan(
        actions=tuple(actions),
        status=dump(status),
        notes=tuple(notes_of(seen, status)),
        requeue_after=requeue,
        ask=ask,
    )


def _and_until(seen: Observed, requeue: float | None) -> float | None:
    """The next look, at the latest when a node is used again."""
    ends = [(node.until - seen.now).total_seconds() for node in seen.avoided if node.until is not None]
    return min([*ends, *([] if requeue is None else [requeue])], default=None)


def _hold_or_resume(seen: Observed) -> tuple[list[SuspendExperiment], float | None]:
    """Passes a suspension on to the children, and takes back what was passed on: that it was, is in the stored status.
    A child that a person suspended by hand while the sweep runs is left alone. With the seconds until the next look."""
    stored, tally = seen.sweep.status.conditions, seen.tally
    suspended = reason_of(stored, "Suspended") == SPEC_SUSPEND
    stopped = reason_of(stored, "Running") in STOPS
    broken = reason_of(stored, "Suspended") == STOPPED_ON_CLUSTER
    stop = seen.stop or seen.tripped
    if (
        (seen.spec.suspend and not suspended)
        or (seen.stop is not None and not stopped)
        or (seen.tripped is not None and not (seen.spec.suspend or broken or suspended))
    ):
        # First the status write that remembers it: were that lost after a child is suspended, nobody would know
        # later whether a person had done it, and it would stay so for ever.
        return [], 0.0
    if seen.spec.suspend:
        return _ask([child for child in tally.unfinished if not is_held(child)], suspend=True), None
    if stop is not None:
        # Those that run finish; those that wait are not started any more.
        waiting = [child for child in tally.queued if not is_held(child) and stop.holds_back(child)]
        return _ask(waiting, suspend=True), None
    # One that is over, of which what failed is run again: what it held back before it ended goes on too.
    ended = holds(stored, "Finished") and reason_of(stored, "Finished") in STOPS
    if suspended or stopped or broken or ended:
        return _ask([child for child in tally.unfinished if is_held(child)], suspend=False), None
    return [], None


def _ask(children: Sequence[ExperimentView], *, suspend: bool) -> list[SuspendExperiment]:
    return [
        SuspendExperiment(child.meta.key, child.meta.uid, suspend=suspend)
        for child in sorted(children, key=lambda child: (child.trial or 0, child.meta.key.name))
        if not child.meta.deleting
    ]
