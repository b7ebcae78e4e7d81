"""One look at one object: views from the store, a plan from the core, then actions, status and Events.

Decides nothing itself. The status is written once, at the end, and only where it says something else than the stored
one; Events come after that write, so that none tells of what did not happen.
"""

from __future__ import annotations

import itertools
import logging
from collections.abc import Callable, Sequence
from typing import Any

from orkhaven.api import ExperimentStatus
from orkhaven.core import ledger
from orkhaven.core.actions import (
    Action,
    CreateExperiment,
    CreateJob,
    Note,
    Plan,
    PruneExperiment,
)
from orkhaven.core.debug import plan_debug
from orkhaven.core.experiment import plan_experiment
from orkhaven.core.kueue.workload import Kueue, Seen
from orkhaven.core.outcome import is_over
from orkhaven.core.reuse import Twin
from orkhaven.core.search.history import Answer, Ask
from orkhaven.core.sweep import plan_sweep
from orkhaven.core.views import Defaults, ExperimentView, JobView, Key, SweepView
from orkhaven.engine.dispatcher import Dispatcher
from orkhaven.engine.executor import Executor, side_by_side
from orkhaven.engine.outcome import GONE, Outcome, both
from orkhaven.engine.ports import OPERATOR_MANAGER, Asker, Body, Clock, EventSink, Gateway, Kind, Meters
from orkhaven.engine.status import differs
from orkhaven.engine.store import Store
from orkhaven.errors import Conflict, Forbidden, Invalid, NotFound, Unavailable
from orkhaven.logs import about

log = logging.getLogger(__name__)


class Reconciler:
    """One per engine. Never runs twice at once for the same object; the work queue sees to that."""

    def __init__(
        self,
        gateway: Gateway,
        store: Store,
        *,
        executor: Executor,
        dispatcher: Dispatcher,
        clock: Clock,
        events: EventSink,
        meters: Meters,
        asker: Asker,
        defaults: Callable[[str], Defaults],
        learn: Callable[[Kind, Body], None],
        again: Callable[[Key], None],
        at_once: int,
    ) -> None:
        """`again`: has a sweep looked at. `defaults`: those of a namespace. `at_once`: writes of one plan under way at
        a time."""
        self._gateway = gateway
        self._store = store
        self._executor = executor
        self._dispatcher = dispatcher
        self._waiting = dispatcher.waiting
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
        self._beginning: set[str] = set()
        """Uids of experiments whose first Job is being made, or may have been: the store shows it only later, and a
        twin must not begin in the same folder meanwhile. After a restart the list of Jobs shows it."""
        self.kueue = Kueue.MISSING
        """As the last list of its Workloads said."""

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
            avoided=self._dispatcher.avoided(),
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
            avoided=frozenset(node.node for node in self._dispatcher.avoided()),
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
        return both(outcome, await self._carry_out(Kind.EXPERIMENT, view, debug))

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

    def _twins(self, view: ExperimentView) -> list[Twin]:
        if is_over(view):
            return []
        return [Twin(exp=twin, begun=self._has_begun(twin)) for twin in self._store.twins(view)]

    def _has_begun(self, view: ExperimentView) -> bool:
        return bool(view.status.attempts or view.meta.uid in self._beginning or self._store.jobs(view))

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
            await self._executor.refresh(kind, key, uid)
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
            await self._executor.refresh(Kind.EXPERIMENT, action.key, action.uid)
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
