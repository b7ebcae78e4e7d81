"""The loop: what was learnt marks keys, workers take keys and reconcile them.

Owns the store, the work queue and who is marked by what. The rest of the cluster comes in through `observe` and
`forget`, from whatever watches; decisions are made in `reconciler`.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from datetime import datetime, timedelta
from typing import Any, NamedTuple

from orkhaven.api import ExperimentStatus, Reason
from orkhaven.api.experiment import TERMINAL_STATES
from orkhaven.core.actions import ReadPod
from orkhaven.core.kueue.workload import Kueue, WorkloadView
from orkhaven.core.queue import Shares
from orkhaven.core.queue.usage import Usage
from orkhaven.core.reuse import run_of
from orkhaven.core.views import Defaults, ExperimentView, Heard, Key, NodeView, PodView
from orkhaven.engine.dispatcher import Dispatcher
from orkhaven.engine.executor import Executor
from orkhaven.engine.outcome import Outcome
from orkhaven.engine.parsers import PARSERS
from orkhaven.engine.ports import Asker, Body, Clock, EventSink, Gateway, Kind, Meters, Random, Reader
from orkhaven.engine.reconciler import Reconciler
from orkhaven.engine.rule_book import RuleBook
from orkhaven.engine.sharing import SharingBook
from orkhaven.engine.store import Store, experiment_of_pod
from orkhaven.engine.workqueue import WorkQueue
from orkhaven.errors import ApiError, LeaseLost
from orkhaven.logs import about

log = logging.getLogger(__name__)

QUEUE = "Queue"
"""Not a kind: the one decision about who gets the GPUs."""


class Task(NamedTuple):
    """A key of the work queue."""

    kind: str
    key: Key


QUEUE_TASK = Task(QUEUE, Key("", "gpus"))


@dataclass(frozen=True, slots=True, kw_only=True)
class Tuning:
    """Numbers of the loop, in seconds; see `config.OperatorSettings` for why."""

    workers: int = 8
    writes_at_once: int = 16
    """Of one plan. One after the other, fifty new trials took longer than their predecessors ran, and the sweep's
    status waited for the last. 1: in their order, without an event loop."""
    sweep_interval: float = 1.0
    queue_interval: float = 0.2
    usage_half_life: float = 2 * 86400.0
    min_run: float = 300.0
    backoff_base: float = 0.5
    backoff_max: float = 60.0


class Engine:
    """Single-threaded: everything runs in one event loop."""

    def __init__(
        self,
        gateway: Gateway,
        *,
        clock: Clock,
        events: EventSink,
        meters: Meters,
        asker: Asker,
        reader: Reader,
        defaults: Defaults,
        random: Random,
        tuning: Tuning | None = None,
        namespaces: Sequence[str] = (),
    ) -> None:
        """`namespaces`: whose rules for causes are read; empty: all."""
        self.tuning = tuning or Tuning()
        self.store = Store(
            run_of=lambda view: run_of(view, defaults), blaming=lambda namespace: self.rules.blaming(namespace)
        )
        self._clock = clock
        self._meters = meters
        self._gateway = gateway
        intervals = {Kind.SWEEP.value: self.tuning.sweep_interval, QUEUE: self.tuning.queue_interval}
        self.queue: WorkQueue[Task] = WorkQueue(
            interval=lambda task: intervals.get(task.kind, 0.0),
            base=self.tuning.backoff_base,
            longest=self.tuning.backoff_max,
            random=random,
        )
        self.usage = Usage(timedelta(seconds=self.tuning.usage_half_life))
        self.sharing = SharingBook(
            gateway, self.store, events=events, namespaces=namespaces, changed=lambda: self.add(QUEUE_TASK)
        )
        self.rules = RuleBook(defaults, gateway, events=events, namespaces=namespaces, changed=self._blame_anew)
        executor = Executor(gateway, self.store, reader=reader, learn=self.learn, heard=self.hear)

        def look_at_sweep(key: Key) -> None:
            self.add(Task(Kind.SWEEP, key))

        self.dispatcher = Dispatcher(
            self.store,
            executor,
            clock=clock,
            defaults=self.rules.defaults,
            shares=self._shares,
            quotas=lambda: self.sharing.quotas,
            again=look_at_sweep,
            at_once=self.tuning.writes_at_once,
        )
        self.reconciler = Reconciler(
            gateway,
            self.store,
            executor=executor,
            dispatcher=self.dispatcher,
            clock=clock,
            events=events,
            meters=meters,
            asker=asker,
            defaults=self.rules.defaults,
            learn=self.learn,
            again=look_at_sweep,
            at_once=self.tuning.writes_at_once,
        )
        self._wake = asyncio.Event()

    # --- what is learnt --------------------------------------------------------------------------------------------

    def learn(self, kind: Kind, body: Body) -> None:
        """A body that a call returned."""
        self.observe(kind, PARSERS[kind](body))

    def known(self, kind: Kind, body: Mapping[str, Any]) -> Any | None:
        """What is held of this version of it, or of a newer one."""
        return self.store.known(kind, body)

    def observe(self, kind: Kind, view: Any) -> bool:
        """Something was seen. Whether it was news."""
        change = self.store.upsert(kind, view)
        if change is None:
            return False
        old, new = change
        if kind is Kind.NODE and old is not None and _same_node(old, new):
            # A heartbeat.
            return True
        if kind is Kind.POD and old is not None and _same_pod(old, new):
            return True
        if kind is Kind.EXPERIMENT:
            self.usage.learn(new)
        if kind is Kind.WORKLOAD and old is not None and _same_workload(old, new):
            return True
        if old is not None and old.meta.uid != new.meta.uid:
            self.usage.forget(old.meta.uid, self._clock.now())
            self._mark(kind, old)
        if kind is Kind.EXPERIMENT and (old is None or _is_news_for_twins(old, new)):
            self._mark_twins(new)
        self._mark(kind, new)
        return True

    def forget(self, kind: Kind, key: Key, uid: str) -> bool:
        """Something was deleted. Whether it was news."""
        known = self.store.experiment(key) if kind is Kind.EXPERIMENT else None
        twins = self.store.twins(known) if known is not None and known.meta.uid == uid else []
        gone = self.store.delete(kind, key, uid)
        if gone is None:
            return False
        self.usage.forget(uid, self._clock.now())
        for twin in twins:
            if twin.status.state not in TERMINAL_STATES:
                self.add(Task(Kind.EXPERIMENT, twin.meta.key))
        self._mark(kind, gone)
        return True

    def hear(self, want: ReadPod, heard: Heard) -> None:
        """What was read of a pod."""
        self.store.hear(want.key, want.uid, heard)
        self.add(Task(Kind.EXPERIMENT, want.experiment))

    def _blame_anew(self) -> None:
        """Other rules say which failures are a node's."""
        self.store.blame_anew()
        self.add(QUEUE_TASK)

    def set_foreign_gpus(self, foreign: dict[str, dict[str, int]], *, seen: frozenset[str] | None) -> None:
        """Devices by node and resource that pods of others hold. `seen`: uids of the nodes of which that is known;
        None: it never is, and they count as none."""
        before = self.dispatcher.foreign_gpus, self.dispatcher.unseen()
        self.dispatcher.foreign_gpus, self.dispatcher.seen = foreign, seen
        if before != (foreign, self.dispatcher.unseen()):
            self.add(QUEUE_TASK)

    def decide_anew(self) -> None:
        """Who gets the GPUs, though nothing is new but the time."""
        self.add(QUEUE_TASK)

    def _shares(self, now: datetime) -> Shares:
        return Shares(
            weights=self.sharing.weights,
            usage=self.usage.at(now),
            half_life=timedelta(seconds=self.tuning.usage_half_life),
            min_run=timedelta(seconds=self.tuning.min_run),
            run_time=self.usage.run_time,
        )

    def set_kueue(self, kueue: Kueue) -> None:
        """Whether Kueue is there. Runs that wait for it are told."""
        if kueue is self.reconciler.kueue:
            return
        log.info("Kueue's Workloads", extra={"state": str(kueue)})
        self.reconciler.kueue = kueue
        for view in self.store.experiments():
            if view.spec is not None and view.spec.queue_name and view.status.state not in TERMINAL_STATES:
                self.add(Task(Kind.EXPERIMENT, view.meta.key))

    def mark_all(self) -> None:
        """Everything is to be looked at, the queue first: what runs wait for is told by it."""
        self.add(QUEUE_TASK)
        for kind in (Kind.EXPERIMENT, Kind.SWEEP):
            for key in self.store.all(kind):
                self.add(Task(kind, key))

    def add(self, task: Task, *, delay: float = 0.0) -> None:
        self.queue.add(task, now=self._clock.monotonic(), delay=delay)
        self._wake.set()

    def _mark(self, kind: Kind, view: Any) -> None:
        """Who has to look again because of it."""
        key: Key = view.meta.key
        if kind is Kind.SWEEP:
            self.add(Task(Kind.SWEEP, key))
            return
        if kind is Kind.WORKLOAD:
            # Of a Job that is not known yet: that Job's own arrival has it looked at.
            job = self.store.job(Key(key.namespace, view.meta.owner_name or ""))
            if job is not None and job.meta.uid == view.meta.owner_uid and job.meta.owner_name is not None:
                self.add(Task(Kind.EXPERIMENT, Key(key.namespace, job.meta.owner_name)))
            return
        self.add(QUEUE_TASK)
        if kind is Kind.EXPERIMENT:
            self.add(Task(Kind.EXPERIMENT, key))
            if view.meta.owner_name is not None:
                self.add(Task(Kind.SWEEP, Key(key.namespace, view.meta.owner_name)))
        elif kind is Kind.JOB and view.meta.owner_name is not None:
            self.add(Task(Kind.EXPERIMENT, Key(key.namespace, view.meta.owner_name)))
        elif kind is Kind.POD and (experiment := experiment_of_pod(view)) is not None:
            self.add(Task(Kind.EXPERIMENT, experiment))
        elif kind is Kind.NODE:
            # NotReady or gone: evidence for the runs that were on it.
            for pod in self.store.all_pods():
                if pod.node == key.name and (experiment := experiment_of_pod(pod)) is not None:
                    self.add(Task(Kind.EXPERIMENT, experiment))

    def _mark_twins(self, view: ExperimentView) -> None:
        """Identical runs may wait for it."""
        for twin in self.store.twins(view):
            if twin.status.state not in TERMINAL_STATES:
                self.add(Task(Kind.EXPERIMENT, twin.meta.key))

    # --- what is done ----------------------------------------------------------------------------------------------

    async def process_next(self) -> Task | None:
        """Reconcile the next key that is due. None: nothing is due. Raises LeaseLost, and nothing else."""
        popped = self.queue.pop(now=self._clock.monotonic())
        if popped is None:
            return None
        task, waited = popped
        self._meters.waited(task.kind, waited)
        started = self._clock.monotonic()
        result = "error"
        try:
            outcome = await self._reconcile(task)
            result = outcome.result
            if outcome.retry:
                self.queue.failed(task, now=self._clock.monotonic(), at_least=outcome.again_after or 0.0)
            else:
                self.queue.done(task, now=self._clock.monotonic(), again_after=outcome.again_after)
        except BaseException:
            # LeaseLost or the end of the process: nothing may be lost that a later worker should do.
            self.queue.failed(task, now=self._clock.monotonic())
            raise
        finally:
            self._meters.reconciled(task.kind, result, self._clock.monotonic() - started)
        for dirty in outcome.also:
            self.add(Task(Kind.EXPERIMENT, dirty))
        return task

    async def _reconcile(self, task: Task) -> Outcome:
        try:
            if task == QUEUE_TASK:
                return await self.dispatcher.decide()
            if task.kind == Kind.SWEEP:
                return await self.reconciler.sweep(task.key)
            return await self.reconciler.experiment(task.key)
        except LeaseLost:
            raise
        except ApiError as error:
            log.warning("not done, will be tried again", extra=about(task.kind, *task.key, error=str(error)))
            return Outcome(result=f"error-{error.code}", retry=True)
        except Exception:
            # A bug in a decision must cost one object its progress, not all of them.
            log.exception("a decision failed; this is a bug in Orkhaven", extra=about(task.kind, *task.key))
            return Outcome(result="bug", retry=True)

    async def start(self) -> None:
        """Everything is new. Who waits for what comes first, so that no run's message says less after a restart."""
        outcome = await self._reconcile(QUEUE_TASK)
        if outcome.retry:
            self.add(QUEUE_TASK, delay=self.tuning.backoff_base)
        self.mark_all()

    async def run(self) -> None:
        """Work until cancelled, or until a write was refused because the lease is lost."""
        try:
            await self.start()
        except LeaseLost:
            return
        try:
            async with asyncio.TaskGroup() as group:
                for number in range(self.tuning.workers):
                    group.create_task(self._work(), name=f"worker-{number}")
        except* LeaseLost:
            log.warning("stopped: the lease is not held any more")

    async def _work(self) -> None:
        while True:
            if await self.process_next() is not None:
                # A fake or a cached answer may never suspend; let the feed and the probes have their turn.
                await asyncio.sleep(0)
                continue
            self._wake.clear()
            due = self.queue.next_due()
            wait = None if due is None else max(0.0, due - self._clock.monotonic())
            try:
                # Not wait_for: that of Python 3.11 takes a cancellation that meets the wake-up for no more than that.
                async with asyncio.timeout(wait):
                    await self._wake.wait()
            except TimeoutError:
                continue


def _same_node(old: NodeView, new: NodeView) -> bool:
    """Whether only the resource version differs."""
    return replace(old, meta=new.meta) == new and old.meta.labels == new.meta.labels


def _open_attempt(status: ExperimentStatus) -> tuple[int, bool]:
    return status.attempt_count, bool(status.attempts and status.attempts[-1].reason is None)


def _is_news_for_twins(old: ExperimentView, new: ExperimentView) -> bool:
    def seen(view: ExperimentView) -> tuple[object, ...]:
        status = view.status
        fits = status.reason != Reason.NO_FITTING_NODE
        return status.state, fits, _open_attempt(status), status.run_hash, view.meta.deleting, view.meta.uid

    return seen(old) != seen(new)


def _same_workload(old: WorkloadView, new: WorkloadView) -> bool:
    return replace(old, meta=new.meta) == new and old.meta.uid == new.meta.uid


def _same_pod(old: PodView, new: PodView) -> bool:
    return replace(old, meta=new.meta) == new and old.meta.deleting == new.meta.deleting
