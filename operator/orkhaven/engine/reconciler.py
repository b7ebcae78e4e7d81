"""One look at one object: views from the store, a plan from the core, then actions, status and Events.

Decides nothing itself. The status is written once, at the end, and only where it says something else than the stored
one; Events come after that write, so that none tells of what did not happen.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime
from typing import Any

from orkhaven.api import ExperimentStatus
from orkhaven.api.retry import AvoidedNode
from orkhaven.core import ledger
from orkhaven.core.actions import (
    Action,
    CreateExperiment,
    CreateJob,
    Note,
    Plan,
    Preempt,
    PruneExperiment,
    ReadPod,
    SuspendJob,
)
from orkhaven.core.debug import plan_debug
from orkhaven.core.experiment import plan_experiment
from orkhaven.core.kueue.workload import Kueue, Seen
from orkhaven.core.nodes import avoided_nodes, same_until
from orkhaven.core.outcome import is_over
from orkhaven.core.queue import Quota, Shares
from orkhaven.core.reuse import Twin
from orkhaven.core.search.history import Answer, Ask
from orkhaven.core.status import holds
from orkhaven.core.sweep import plan_sweep
from orkhaven.core.views import Defaults, ExperimentView, Heard, JobView, Key, SweepView
from orkhaven.engine.admission import Requests, plan_admission
from orkhaven.engine.executor import Executor, side_by_side
from orkhaven.engine.ports import OPERATOR_MANAGER, Asker, Body, Clock, EventSink, Gateway, Kind, Meters, Reader
from orkhaven.engine.status import differs
from orkhaven.engine.store import Store
from orkhaven.engine.told import Waiting
from orkhaven.errors import ApiError, Conflict, Forbidden, Invalid, NotFound, Unavailable
from orkhaven.logs import about

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Outcome:
    """How one look ended."""

    result: str
    """For the meters: unchanged, changed, conflict, gone, refused, error-<code>, bug."""
    again_after: float | None = None
    """Seconds until it has to be looked at again; with `retry` the least that the back-off waits."""
    retry: bool = False
    """It could not be done: back off and try again."""
    also: tuple[Key, ...] = field(default=())
    """Experiments that have to be looked at because of it."""


GONE = Outcome(result="gone")


@dataclass(frozen=True, slots=True)
class _Avoided:
    """Nodes that all runs go past, as long as nothing else is known: every look at a run asks, and after a thousand
    failures there is much to go through."""

    version: int
    """Of the blames."""
    until: datetime | None
    nodes: list[AvoidedNode]


class Reconciler:
    """One per engine. Never runs twice at once for the same object; the work queue sees to that."""

    def __init__(
        self,
        gateway: Gateway,
        store: Store,
        *,
        clock: Clock,
        events: EventSink,
        meters: Meters,
        asker: Asker,
        reader: Reader,
        defaults: Callable[[str], Defaults],
        learn: Callable[[Kind, Body], None],
        heard: Callable[[ReadPod, Heard], None],
        again: Callable[[Key], None],
        at_once: int,
        shares: Callable[[datetime], Shares],
        quotas: Callable[[], Mapping[str, Quota]],
    ) -> None:
        """`again`: has a sweep looked at. `defaults`: those of a namespace. `at_once`: writes of one plan under way at
        a time. `shares`: what is due to whom, `quotas`: by namespace."""
        self._shares = shares
        self._quotas = quotas
        self._gateway = gateway
        self._store = store
        self._clock = clock
        self._events = events
        self._meters = meters
        self._defaults = defaults
        self._asker = asker
        self._learn = learn
        self._again = again
        self._at_once = at_once
        self._asking: set[str] = set()
        """Uids of the sweeps whose question is not answered yet: one at a time."""
        self._answers: dict[str, Answer] = {}
        """By uid, until the next look."""
        self._executor = Executor(gateway, store, reader=reader, learn=learn, heard=heard)
        self._requests = Requests()
        self._waiting = Waiting()
        self._kept: Set[Key] = frozenset()
        """Jobs for which the last decision keeps a node."""
        self._beginning: set[str] = set()
        """Uids of experiments whose first Job is being made, or may have been: the store shows it only later, and a
        twin must not begin in the same folder meanwhile. After a restart the list of Jobs shows it."""
        self._told: dict[str, str] = {}
        """Nodes that all runs go past, and why, as the sweeps were told."""
        self._avoided: _Avoided | None = None
        self.kueue = Kueue.MISSING
        """As the last list of its Workloads said."""
        self.foreign_gpus: dict[str, dict[str, int]] = {}
        """Devices by node and resource that pods of others hold, as the last list said."""
        self.seen: frozenset[str] | None = frozenset()
        """Uids of the nodes that this list was about; None: there is none, and never will be."""

    @property
    def anyone_waits(self) -> bool:
        """Whether a run waits for GPUs."""
        return bool(self._waiting)

    def unseen(self) -> frozenset[str]:
        """Nodes with GPUs of which it is not known yet what others hold there: they have come since, or the GPUs of the
        first node have. Nothing is released to them before."""
        if self.seen is None:
            return frozenset()
        nodes, seen = self._store.nodes(), self.seen
        return frozenset(name for name, node in nodes.items() if node.devices and node.meta.uid not in seen)

    async def sweep(self, key: Key) -> Outcome:
        """Raises ApiError."""
        view = self._store.sweep(key)
        if view is None or view.meta.deleting:
            return GONE
        plan = plan_sweep(
            view,
            children=self._store.children(view),
            defaults=self._defaults(key.namespace),
            now=self._clock.now(),
            answer=self._answers.pop(view.meta.uid, None),
            avoided=self.avoided(),
        )
        outcome = await self._carry_out(Kind.SWEEP, view, plan)
        if plan.ask is not None and not outcome.retry:
            self._ask(view, plan.ask)
        return outcome

    def _ask(self, view: SweepView, ask: Ask) -> None:
        """The answer comes with a later look; until then nobody waits for it."""
        uid = view.meta.uid
        if uid in self._asking:
            return

        def answered(answer: Answer) -> None:
            self._asking.discard(uid)
            there = self._store.sweep(view.meta.key)
            if there is not None and there.meta.uid == uid:
                self._answers[uid] = answer
                self._again(view.meta.key)

        self._asking.add(uid)
        self._asker.ask(uid, ask, answered)

    async def experiment(self, key: Key) -> Outcome:
        """Raises ApiError."""
        view = self._store.experiment(key)
        if view is None or view.meta.deleting:
            self._waiting.forget(key)
            return GONE
        jobs = await self._jobs(view)
        plan = plan_experiment(
            view,
            jobs=jobs,
            pods=self._store.pods(key),
            nodes=self._store.nodes(),
            waiting=self._waiting.why(key),
            twins=self._twins(view),
            left=self._store.left_behind(view),
            avoided=frozenset(node.node for node in self.avoided()),
            kueue=self._kueue_of(view, jobs),
            defaults=self._defaults(key.namespace),
            now=self._clock.now(),
        )
        outcome = await self._carry_out_attempt(view, plan)
        self._waiting.looked(view, plan, at=self._clock.monotonic())
        defaults = self._defaults(key.namespace)
        debug = plan_debug(view, job=self._store.debug_job(view), defaults=defaults, now=self._clock.now())
        if debug == Plan():
            return outcome
        # On its own: whatever is refused of it, the run goes its way.
        return _both(outcome, await self._carry_out(Kind.EXPERIMENT, view, debug))

    def _kueue_of(self, view: ExperimentView, jobs: Sequence[JobView]) -> Seen:
        latest = max(jobs, key=lambda job: job.attempt, default=None)
        return Seen(
            kueue=self.kueue,
            workload=self._store.workload(latest) if latest is not None else None,
            may_retell=self._waiting.may_retell(view, at=self._clock.monotonic()),
        )

    async def _jobs(self, view: ExperimentView) -> list[JobView]:
        """Its Jobs. That of its open attempt is asked for where it is not known: the watch of Jobs may be behind that
        of Experiments, as on a standby that has just taken over, and an attempt taken for lost would get a second one
        beside it. Raises ApiError.
        """
        jobs = self._store.jobs(view)
        last = view.status.attempts[-1] if view.status.attempts else None
        if last is None or last.reason is not None or any(job.attempt == last.number for job in jobs):
            return jobs
        try:
            self._learn(Kind.JOB, await self._gateway.get(Kind.JOB, view.meta.key.namespace, last.job))
        except NotFound:
            return jobs
        return self._store.jobs(view)

    async def _carry_out_attempt(self, view: ExperimentView, plan: Plan) -> Outcome:
        if not any(isinstance(action, CreateJob) for action in plan.actions):
            return await self._carry_out(Kind.EXPERIMENT, view, plan)
        self._beginning.add(view.meta.uid)
        outcome = await self._carry_out(Kind.EXPERIMENT, view, plan)
        if not outcome.retry:
            self._beginning.discard(view.meta.uid)
        return outcome

    def avoided(self) -> list[AvoidedNode]:
        """Nodes that all runs go past at present."""
        now, known = self._clock.now(), self._avoided
        if known is not None and known.version == self._store.blamed and (known.until is None or now < known.until):
            return known.nodes
        blames = list(self._store.blames())
        self._avoided = _Avoided(self._store.blamed, same_until(blames, now=now), avoided_nodes(blames, now=now))
        return self._avoided.nodes

    def _twins(self, view: ExperimentView) -> list[Twin]:
        if is_over(view):
            return []
        return [Twin(exp=twin, begun=self._has_begun(twin)) for twin in self._store.twins(view)]

    def _has_begun(self, view: ExperimentView) -> bool:
        return bool(view.status.attempts or view.meta.uid in self._beginning or self._store.jobs(view))

    async def queue(self) -> Outcome:
        """Who gets the GPUs, and where not. Raises ApiError."""
        now, suspect = self._clock.now(), self.avoided()
        avoided = {node.node: node.reason for node in suspect}
        if avoided != self._told:
            # Every sweep that runs says it.
            self._told = avoided
            for key, sweep in self._store.all(Kind.SWEEP).items():
                if not holds(sweep.status.conditions, "Finished"):
                    self._again(key)
        plan = plan_admission(
            self._store,
            self._requests,
            foreign_gpus=self.foreign_gpus,
            avoided=frozenset(avoided),
            shares=self._shares(now),
            quotas=self._quotas(),
            unseen=self.unseen(),
            kinds=self._defaults("").gpu_resources,
            kept=self._kept,
            now=now,
        )
        self._kept = plan.kept
        changed = self._waiting.decided(plan, stored=self._store.experiment, now=now)
        failed: list[Key] = []

        async def switch(action: SuspendJob | Preempt) -> None:
            try:
                await self._executor.execute(action)
            except (Conflict, NotFound):
                # Changed since: one Job's race must not keep the others waiting. Read it, then decide anew.
                key = action.job if isinstance(action, Preempt) else action.key
                failed.append(key)
                await self._refresh(Kind.JOB, key, action.uid)

        # Those that give way first: they take their grace period to do it.
        switches: tuple[SuspendJob | Preempt, ...] = (*plan.preempt, *plan.release)
        await side_by_side(switch, switches, at_once=self._at_once)
        result = "conflict" if failed else "changed" if switches else "unchanged"
        # Who waits may have a place when a node is used again.
        ends = [(node.until - now).total_seconds() for node in suspect if node.until is not None]
        again = min(ends, default=None) if self._waiting else None
        return Outcome(result=result, retry=bool(failed), again_after=again, also=tuple(sorted(changed)))

    async def _carry_out(self, kind: Kind, view: SweepView | ExperimentView, plan: Plan) -> Outcome:
        key, uid = view.meta.key, view.meta.uid
        log.debug("plan", extra=about(kind, *key, actions=[type(a).__name__ for a in plan.actions]))
        overtaken: list[Action] = []

        async def execute(action: Action) -> None:
            if not await self._execute(action):
                overtaken.append(action)

        try:
            # In order, but what is the same for many (fifty new trials) side by side.
            for _, alike in itertools.groupby(plan.actions, key=type):
                await side_by_side(execute, tuple(alike), at_once=self._at_once)
            wrote = await self._write_status(kind, view, plan)
        except Unavailable as error:
            if error.status != 429:
                log.warning("not done, will be tried again", extra=about(kind, *key, error=str(error)))
            return Outcome(result=f"error-{error.code}", retry=True, again_after=error.retry_after)
        except (Conflict, NotFound) as error:
            # Decided from a view that is not true any more.
            log.debug("conflict, will look again", extra=about(kind, *key, error=str(error)))
            await self._refresh(kind, key, uid)
            if isinstance(error, Conflict) and str(error).find(" exists and ") >= 0:
                self._events.post(kind, view.meta, Note(type="Warning", reason="NameTaken", message=str(error)))
            return Outcome(result="conflict", retry=True)
        except (Invalid, Forbidden) as error:
            # The server refuses it and will again, until somebody changes something: say so where they look.
            what = _refused(plan)
            log.warning("refused by the API server", extra=about(kind, *key, error=str(error)))
            self._events.post(
                kind,
                view.meta,
                Note(type="Warning", reason="Refused", message=f"The API server refused {what}: {error}"),
            )
            return Outcome(result="refused", retry=True, again_after=5.0)
        for note in plan.notes:
            self._events.post(kind, view.meta, note)
            log.info(note.message, extra=about(kind, *key, reason=note.reason))
        if overtaken:
            return Outcome(result="conflict", retry=True)
        return Outcome(result="changed" if wrote or plan.actions else "unchanged", again_after=plan.requeue_after)

    async def _execute(self, action: Action) -> bool:
        """False: what it is about has changed since, and was read again; one trial's race must not keep the others
        waiting."""
        try:
            await self._executor.execute(action)
        except (Conflict, NotFound):
            if not isinstance(action, PruneExperiment):
                raise
            await self._refresh(Kind.EXPERIMENT, action.key, action.uid)
            return False
        return True

    async def _write_status(self, kind: Kind, view: SweepView | ExperimentView, plan: Plan) -> bool:
        if plan.status is None or not differs(kind, view.raw_status, plan.status):
            return False
        current: SweepView | ExperimentView | None
        current = self._store.sweep(view.meta.key) if kind is Kind.SWEEP else self._store.experiment(view.meta.key)
        if current is None or current.meta.uid != view.meta.uid:
            raise NotFound(f"{kind} {view.meta.key} was deleted meanwhile")
        version = view.meta.resource_version
        if current is not view and _same_owned(kind, current, view):
            # Only the hub's part changed, e.g. by the final record of this same plan: what was decided still holds.
            version = current.meta.resource_version
        body = await self._gateway.apply_status(
            kind,
            *view.meta.key,
            plan.status,
            field_manager=OPERATOR_MANAGER,
            uid=view.meta.uid,
            resource_version=version,
        )
        self._learn(kind, body)
        if isinstance(view, ExperimentView):
            written = self._store.experiment(view.meta.key)
            if written is not None and written.meta.uid == view.meta.uid:
                self._count(view, written.status)
        return True

    def _count(self, view: ExperimentView, written: ExperimentStatus) -> None:
        namespace = view.meta.key.namespace
        for attempt in ledger.ended(view.status, written):
            self._meters.attempt_ended(attempt.reason)
            self._meters.gpu_seconds(namespace, attempt.spent, attempt.gpu_seconds)
        self._meters.gpu_seconds_saved(namespace, ledger.saved(view.status, written))

    async def _refresh(self, kind: Kind, key: Key, uid: str) -> None:
        """Read one object again, past whatever the watch has not delivered yet."""
        try:
            self._learn(kind, await self._gateway.get(kind, *key))
        except NotFound:
            self._store.delete(kind, key, uid)
        except ApiError as error:
            log.debug("not refreshed", extra=about(kind, *key, error=str(error)))


def _both(one: Outcome, other: Outcome) -> Outcome:
    """Of two plans about one object."""
    again = [outcome.again_after for outcome in (one, other) if outcome.again_after is not None]
    worst = other if other.retry and not one.retry else one
    if worst.result == "unchanged":
        worst = other
    return Outcome(
        result=worst.result,
        again_after=min(again) if again else None,
        retry=one.retry or other.retry,
        also=(*one.also, *other.also),
    )


def _same_owned(kind: Kind, one: Any, other: Any) -> bool:
    """Whether two views of an object differ in nothing that the operator decides from, the hub's fields aside."""
    return bool(
        one.meta.generation == other.meta.generation
        and one.meta.deleting == other.meta.deleting
        and not differs(kind, one.raw_status, other.raw_status)
    )


def _refused(plan: Plan) -> str:
    """What a plan wanted, in a word."""
    made: list[Action] = [a for a in plan.actions if isinstance(a, CreateExperiment | CreateJob)]
    if not made:
        return "a change"
    first = made[0]
    assert isinstance(first, CreateExperiment | CreateJob)
    return f"{first.body['kind']} {first.body['metadata']['name']}"
