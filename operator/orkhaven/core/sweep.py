"""One look at a Sweep: which trials are made next, what its children add up to, and when it is over.

A sweep is over when every trial has ended, or when more than failurePolicy.maxFailedTrials have failed and none is
running any more. It Succeeded if all trials ended, at least one of them succeeded, and no more than maxFailedTrials
failed; else it Failed. Nothing is remembered but the status: trials are numbered, children carry their number, and a
number without a child is made again.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from itertools import count
from typing import Any

from orkhaven.api import GROUP, VERSION, SweepSpec, SweepStatus
from orkhaven.api.experiment import State
from orkhaven.api.sweep import GpuHours, SweepState, TrialCounts
from orkhaven.core.actions import Action, CreateExperiment, DeleteSweep, Note, Plan, SuspendExperiment
from orkhaven.core.failures.clusters import failure_clusters
from orkhaven.core.identity import LABEL_DIGITS, child_name, param_hash
from orkhaven.core.leaderboard import leaderboard
from orkhaven.core.search import TrialSource, trial_params
from orkhaven.core.status import Conditions, clip, holds, reason_of, whole_seconds
from orkhaven.core.views import Defaults, ExperimentView, SweepView
from orkrun import contract

MAX_CREATIONS = 50
"""Experiments made in one plan: a plan is carried out in one go, and others want their turn."""
AGAIN_SECONDS = 1.0
TOO_MANY_FAILED = "MaxFailedTrials"
MAX_TRIES = 1000
"""Draws in one plan, about a tenth of a second: where constraints refuse most of them, the search goes on at the
next."""
SAMPLE = 32
"""Children that are asked in which order they were made."""
_REMEMBERED = 512

_sources: OrderedDict[str, tuple[SweepSpec, TrialSource]] = OrderedDict()
"""Trial sources by the sweep's UID, with the spec that they belong to. Only saves time: draws are not drawn again each
second."""


def plan_sweep(sweep: SweepView, *, children: Sequence[ExperimentView], defaults: Defaults, now: datetime) -> Plan:
    """What is to be done for `sweep`, and its status.

    `children`: all Experiments that it controls. A sweep that is being deleted gets an empty plan, a finished one at
    most its own deletion once ttlSecondsAfterFinished has passed.
    """
    if sweep.meta.deleting:
        return Plan()
    if holds(sweep.status.conditions, "Finished"):
        _sources.pop(sweep.meta.uid, None)
        return _retire(sweep, now)
    own = [child for child in children if child.meta.owner_uid == sweep.meta.uid]
    if sweep.spec is None:
        return _refuse(sweep, sweep.invalid or "spec: cannot be read", started=bool(own), now=now)
    try:
        source = _source(sweep, sweep.spec, own)
        if not source.look_ahead(len(own) + MAX_CREATIONS, tries=MAX_TRIES):
            return Plan(requeue_after=0.0)
    except ValueError as error:
        return _refuse(sweep, str(error), started=bool(own), now=now)
    return _Look(sweep, sweep.spec, source, own, defaults, now).plan()


def _source(sweep: SweepView, spec: SweepSpec, children: Sequence[ExperimentView]) -> TrialSource:
    known = _sources.pop(sweep.meta.uid, None)
    if known is None or not (known[0] is spec or known[0] == spec):
        template = sweep.raw_spec.get("template") or {}
        made = {child.trial: child.spec.params for child in children if child.trial is not None and child.spec}
        sample = {trial: made[trial] for trial in sorted(made)[:SAMPLE]}
        known = (spec, trial_params(spec, template.get("params") or {}, made=sample, tries=MAX_TRIES))
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
    return Plan(status=_dump(status), notes=() if said else (note,))


@dataclass(slots=True)
class _Tally:
    """Children by what they are at."""

    succeeded: list[ExperimentView] = field(default_factory=list)
    failed: list[ExperimentView] = field(default_factory=list)
    queued: list[ExperimentView] = field(default_factory=list)
    running: list[ExperimentView] = field(default_factory=list)
    suspended: list[ExperimentView] = field(default_factory=list)

    @classmethod
    def of(cls, children: Sequence[ExperimentView]) -> _Tally:
        tally = cls()
        for child in children:
            state = child.status.state
            if state is State.SUCCEEDED:
                tally.succeeded.append(child)
            elif state is State.FAILED:
                tally.failed.append(child)
            elif state is State.RUNNING or state is State.STARTING:
                tally.running.append(child)
            elif state is State.SUSPENDED:
                tally.suspended.append(child)
            else:
                tally.queued.append(child)
        return tally

    @property
    def ended(self) -> int:
        return len(self.succeeded) + len(self.failed)


class _Look:
    """One plan under construction."""

    def __init__(
        self,
        sweep: SweepView,
        spec: SweepSpec,
        source: TrialSource,
        children: Sequence[ExperimentView],
        defaults: Defaults,
        now: datetime,
    ) -> None:
        self.sweep, self.spec, self.source, self.children = sweep, spec, source, children
        self.defaults, self.now = defaults, now
        self.tally = _Tally.of(children)
        self.total = max(source.total, len(children))
        limit = spec.failure_policy.max_failed_trials
        self.gave_up = limit is not None and len(self.tally.failed) > limit
        self.actions: list[Action] = []
        self.requeue: float | None = None

    def plan(self) -> Plan:
        over = self._over()
        if not over:
            self._hold_or_resume()
            if not self.spec.suspend and not self.gave_up:
                self._expand()
        status = self._status(over=over)
        if over and self.spec.ttl_seconds_after_finished is not None:
            self.requeue = float(self.spec.ttl_seconds_after_finished)
        return Plan(
            actions=tuple(self.actions),
            status=_dump(status),
            notes=tuple(self._notes(status)),
            requeue_after=self.requeue,
        )

    def _over(self) -> bool:
        if self.gave_up:
            # What was held back before it started stays Suspended, for a person to resume.
            return not self.tally.running and not self.tally.queued
        return self.tally.ended >= self.total and len(self.children) >= self.total

    def _hold_or_resume(self) -> None:
        """Passes a suspension on to the children, and takes back what was passed on: that it was, is in the stored
        status. A child that a person suspended by hand while the sweep runs is left alone."""
        stored = self.sweep.status.conditions
        remembered = holds(stored, "Suspended"), reason_of(stored, "Running") == TOO_MANY_FAILED
        if (self.spec.suspend and not remembered[0]) or (self.gave_up and not remembered[1]):
            # First the status write that remembers it: were that lost after a child is suspended, nobody would know
            # later whether a person had done it, and it would stay so for ever.
            self.requeue = 0.0
        elif self.spec.suspend:
            wanted = [c for c in (*self.tally.queued, *self.tally.running, *self.tally.suspended) if not _asked(c)]
            self._ask(wanted, suspend=True)
        elif self.gave_up:
            # Those that run finish; those that wait are not started any more.
            self._ask([child for child in self.tally.queued if not _asked(child)], suspend=True)
        elif any(remembered):
            held = [c for c in (*self.tally.queued, *self.tally.running, *self.tally.suspended) if _asked(c)]
            self._ask(held, suspend=False)

    def _ask(self, children: Sequence[ExperimentView], *, suspend: bool) -> None:
        for child in sorted(children, key=lambda child: (child.trial or 0, child.meta.key.name)):
            if not child.meta.deleting:
                self.actions.append(SuspendExperiment(child.meta.key, child.meta.uid, suspend=suspend))

    def _expand(self) -> None:
        """Makes the next trials: so many as keep `parallelism` GPUs busy, and a few that wait for the next free one."""
        if self.spec.parallelism == 0:
            return
        busy = sum(not _asked(child) for child in (*self.tally.queued, *self.tally.running, *self.tally.suspended))
        resumed = sum(isinstance(action, SuspendExperiment) and not action.suspend for action in self.actions)
        room = self.spec.parallelism + self.defaults.lookahead - busy - resumed
        if room > MAX_CREATIONS:
            room, self.requeue = MAX_CREATIONS, AGAIN_SECONDS
        if room <= 0 or len(self.children) >= self.source.total:
            return
        there = {child.trial for child in self.children}
        taken = {child.meta.key.name for child in self.children}
        for index in count():
            if room <= 0 or index >= self.source.total:
                break
            if index not in there:
                body = self._child(index, taken)
                taken.add(body["metadata"]["name"])
                self.actions.append(CreateExperiment(body))
                room -= 1

    def _child(self, index: int, taken: set[str]) -> dict[str, Any]:
        # The template as the user wrote it: a model's dump would drop the nulls among the parameters.
        template = dict(self.sweep.raw_spec.get("template") or {})
        params = self.source.params(index)
        key = self.sweep.meta.key
        return {
            "apiVersion": f"{GROUP}/{VERSION}",
            "kind": "Experiment",
            "metadata": {
                "name": child_name(key.name, params=params, seed=self.spec.template.seed, taken=taken),
                "namespace": key.namespace,
                "labels": {
                    contract.LABEL_MANAGED_BY: contract.MANAGED_BY,
                    contract.LABEL_SWEEP: key.name,
                    contract.LABEL_TRIAL: str(index),
                    contract.LABEL_PARAM_HASH: param_hash(params)[:LABEL_DIGITS],
                },
                "ownerReferences": [
                    {
                        "apiVersion": f"{GROUP}/{VERSION}",
                        "kind": "Sweep",
                        "name": key.name,
                        "uid": self.sweep.meta.uid,
                        "controller": True,
                        "blockOwnerDeletion": False,
                    }
                ],
            },
            "spec": {**template, "params": params, "objective": self.spec.objective.to_dict()},
        }

    # --- status -------------------------------------------------------------------------------------------------------

    def _status(self, *, over: bool) -> SweepStatus:
        tally, stored = self.tally, self.sweep.status
        created = len(self.children)
        well = over and not self.gave_up and bool(tally.succeeded)
        names = self.source.names
        board = leaderboard(tally.succeeded, direction=self.spec.objective.direction, names=names)
        state = self._state(over=over, well=well)
        progress = f"{tally.ended}/{self.total}"
        return SweepStatus(
            observed_generation=self.sweep.meta.generation,
            conditions=self._conditions(state, over=over, well=well),
            state=state,
            trials=TrialCounts(
                total=self.total,
                created=created,
                queued=len(tally.queued),
                running=len(tally.running),
                suspended=len(tally.suspended),
                succeeded=len(tally.succeeded),
                failed=len(tally.failed),
            ),
            progress=progress,
            best=board[0] if board else None,
            leaderboard=board,
            failure_clusters=failure_clusters(tally.failed),
            gpu_hours=GpuHours(
                succeeded=_hours(tally.succeeded),
                failed=_hours(tally.failed),
                running=_hours([*tally.queued, *tally.running, *tally.suspended]),
                total=_hours(self.children),
            ),
            start_time=stored.start_time or self._started(),
            completion_time=self._ended() if over else None,
        )

    def _started(self) -> datetime | None:
        making = any(isinstance(action, CreateExperiment) for action in self.actions)
        first = min((child.meta.created for child in self.children), default=None)
        return first or (whole_seconds(self.now) if making else None)

    def _ended(self) -> datetime:
        ends = [end for child in self.children if (end := child.status.completion_time) is not None]
        return max(ends, default=whole_seconds(self.now))

    def _state(self, *, over: bool, well: bool) -> SweepState:
        if over:
            return SweepState.SUCCEEDED if well else SweepState.FAILED
        if self.spec.suspend and not self.tally.running and not self.tally.queued:
            return SweepState.SUSPENDED
        making = any(isinstance(action, CreateExperiment) for action in self.actions)
        return SweepState.RUNNING if self.children or making else SweepState.PENDING

    def _conditions(self, state: SweepState, *, over: bool, well: bool) -> Any:
        conditions = Conditions(self.sweep.status.conditions, generation=self.sweep.meta.generation, now=self.now)
        conditions.set("Accepted", "True", reason="Accepted")
        gave_up = (
            f"{len(self.tally.failed)} trials failed, more than failurePolicy.maxFailedTrials "
            f"({self.spec.failure_policy.max_failed_trials}): no more are started"
        )
        if over:
            conditions.set("Running", "False", reason="Finished")
        elif self.gave_up:
            conditions.set("Running", "True", reason=TOO_MANY_FAILED, message=gave_up)
        elif self.spec.suspend:
            draining = bool(self.tally.running)
            conditions.set("Running", "True" if draining else "False", reason="Suspending" if draining else "Suspended")
        else:
            conditions.set("Running", "True" if state is SweepState.RUNNING else "False", reason=state.value)
        held = self.spec.suspend and not over
        conditions.set("Suspended", "True" if held else "False", reason="SpecSuspend" if held else "NotSuspended")
        if not over:
            conditions.set("Finished", "False", reason="NotFinished")
            conditions.set("Succeeded", "Unknown", reason="NotFinished")
            return conditions.as_list()
        if self.gave_up:
            reason, message = TOO_MANY_FAILED, gave_up
        elif well:
            reason, message = "Completed", f"{len(self.tally.succeeded)} of {self.total} trials succeeded"
        else:
            reason, message = "AllTrialsFailed", f"none of {self.total} trials succeeded"
        if self.source.shortfall and not self.gave_up:
            message += f"; no more of {self.spec.search.max_trials} were found: {self.source.shortfall}"
        conditions.set("Finished", "True", reason=reason, message=message)
        conditions.set("Succeeded", "True" if well else "False", reason=reason, message=message)
        return conditions.as_list()

    def _notes(self, status: SweepStatus) -> list[Note]:
        """Events for what a user wants to know, once each: what was before is in the stored status."""
        stored = self.sweep.status
        notes = []
        if stored.start_time is None and status.start_time is not None:
            message = f"{self.total} trials, at most {self.spec.parallelism} at a time"
            notes.append(Note(type="Normal", reason="Started", message=message))
        known = {cluster.reason for cluster in stored.failure_clusters}
        for cluster in status.failure_clusters:
            if cluster.reason not in known:
                message = f"{cluster.reason} in {cluster.samples[0]}: {cluster.message}. {cluster.suggestion}"
                notes.append(Note(type="Warning", reason="TrialFailed", message=clip(message, 1000)))
        if status.state is SweepState.SUSPENDED is not stored.state:
            notes.append(Note(type="Normal", reason="Suspended", message="all GPUs are given back"))
        if status.state in (SweepState.SUCCEEDED, SweepState.FAILED):
            best = f"; best {status.best.value:.6g} by {status.best.experiment}" if status.best else ""
            message = f"{len(self.tally.succeeded)} succeeded, {len(self.tally.failed)} failed{best}"
            kind = "Normal" if status.state is SweepState.SUCCEEDED else "Warning"
            notes.append(Note(type=kind, reason=status.state.value, message=message))
        return notes


def _asked(child: ExperimentView) -> bool:
    """Whether the child is asked to suspend."""
    return child.spec is not None and child.spec.suspend


def _hours(children: Sequence[ExperimentView]) -> float:
    return round(sum(child.status.gpu_seconds for child in children) / 3600, 3)


def _dump(status: SweepStatus) -> dict[str, Any]:
    """As the API server takes it. Rows keep the nulls among their parameters, which a plain dump would drop."""
    dumped = status.to_dict()
    rows = [*status.leaderboard, *([status.best] if status.best else [])]
    for row, entry in zip(rows, [*dumped["leaderboard"], *([dumped["best"]] if status.best else [])], strict=True):
        entry["params"] = row.params
    return dumped
