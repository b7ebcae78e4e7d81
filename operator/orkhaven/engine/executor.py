"""Carries out a plan's actions and hands every answer to the store at once. Decides nothing."""

from __future__ import annotations

import asyncio
import functools
import logging
from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import Any, TypeVar

from orkhaven.api.failures import LABEL_CLUSTER
from orkhaven.core.actions import (
    Action,
    ActivateWorkload,
    ApplyFinalRecord,
    CreateExperiment,
    CreateJob,
    DeleteExperiment,
    DeleteJob,
    DeleteSweep,
    LabelExperiment,
    LabelJob,
    Preempt,
    PruneExperiment,
    ReadPod,
    SuspendExperiment,
    SuspendJob,
)
from orkhaven.core.kueue.labels import ANNOTATION_HELD
from orkhaven.core.parse import ANNOTATION_AVOID, ANNOTATION_PREEMPTED
from orkhaven.core.views import Heard, Key
from orkhaven.engine.ports import RECORD_MANAGER, WORKLOADS, Body, Gateway, Kind, Reader
from orkhaven.engine.store import Store
from orkhaven.errors import ApiError, Invalid, NotFound
from orkhaven.logs import about

log = logging.getLogger(__name__)

_ANY_NODE: Body = {
    "requiredDuringSchedulingIgnoredDuringExecution": None,
    "preferredDuringSchedulingIgnoredDuringExecution": None,
}
"""Of a merge patch: what is not said in it would stay."""


T = TypeVar("T")


async def side_by_side(do: Callable[[T], Awaitable[None]], things: Sequence[T], *, at_once: int) -> None:
    """`do` for each, begun in their order, at most `at_once` at a time.

    Raises what the first of them raised, once all that were under way have ended; no other is begun after it.
    """
    workers = min(at_once, len(things))
    if workers <= 1:
        for thing in things:
            await do(thing)
        return
    left, failed = iter(things), list[BaseException]()

    async def work() -> None:
        for thing in left:
            if failed:
                return
            try:
                await do(thing)
            except BaseException as error:  # noqa: BLE001 (raised below, once nothing is under way)
                failed.append(error)

    await asyncio.gather(*(work() for _ in range(workers)))
    if failed:
        raise failed[0]


class Executor:
    """One per engine."""

    def __init__(
        self,
        gateway: Gateway,
        store: Store,
        *,
        reader: Reader,
        learn: Callable[[Kind, Body], None],
        heard: Callable[[ReadPod, Heard], None],
    ) -> None:
        """`learn` takes the body that a call returned, `heard` what was read of a pod."""
        self._gateway = gateway
        self._store = store
        self._reader = reader
        self._learn = learn
        self._heard = heard

    async def execute(self, action: Action) -> None:
        """Raises `errors.ApiError`. Every action may be repeated."""
        match action:
            case CreateExperiment(body):
                await self._create(Kind.EXPERIMENT, body)
            case CreateJob(body):
                await self._create(Kind.JOB, body)
            case SuspendJob():
                await self._suspend_job(action)
            case Preempt():
                await self._preempt(action)
            case LabelJob(key, uid, labels):
                known = self._store.job(key)
                version = known.meta.resource_version if known is not None and known.meta.uid == uid else None
                told: Body = {"metadata": {"labels": dict(labels)}}
                body = await self._gateway.patch(Kind.JOB, *key, told, uid=uid, resource_version=version)
                self._learn(Kind.JOB, body)
                log.info("labelled", extra=about(Kind.JOB, *key, labels=dict(labels)))
            case ActivateWorkload(key, uid, version, active):
                body = await self._gateway.patch(WORKLOADS[version], *key, activation(active), uid=uid)
                self._learn(Kind.WORKLOAD, body)
                log.info("activated" if active else "deactivated", extra=about(Kind.WORKLOAD, *key))
            case SuspendExperiment(key, uid, suspend):
                # Without a resource version: the hub writes progress all the time, and the wish holds whatever that is.
                body = await self._gateway.patch(Kind.EXPERIMENT, *key, {"spec": {"suspend": suspend}}, uid=uid)
                self._learn(Kind.EXPERIMENT, body)
                log.info("suspended" if suspend else "resumed", extra=about(Kind.EXPERIMENT, *key))
            case PruneExperiment(key, uid, version, step, message):
                prune = {"step": step, "message": message, "resume": False}
                body = await self._gateway.patch(
                    Kind.EXPERIMENT, *key, {"spec": {"prune": prune}}, uid=uid, resource_version=version
                )
                self._learn(Kind.EXPERIMENT, body)
                log.info("told to end early", extra=about(Kind.EXPERIMENT, *key, why=message))
            case LabelExperiment(key, uid, cluster):
                label: Body = {"metadata": {"labels": {LABEL_CLUSTER: cluster}}}
                self._learn(Kind.EXPERIMENT, await self._gateway.patch(Kind.EXPERIMENT, *key, label, uid=uid))
            case DeleteJob(key, uid):
                await self._gateway.delete(Kind.JOB, *key, uid=uid)
                self._store.mark_deleting(Kind.JOB, key, uid)
                log.info("deleted", extra=about(Kind.JOB, *key))
            case DeleteExperiment(key, uid):
                await self._gateway.delete(Kind.EXPERIMENT, *key, uid=uid)
                self._store.mark_deleting(Kind.EXPERIMENT, key, uid)
                log.info("deleted: its time after the end has passed", extra=about(Kind.EXPERIMENT, *key))
            case DeleteSweep(key, uid):
                await self._gateway.delete(Kind.SWEEP, *key, uid=uid)
                self._store.mark_deleting(Kind.SWEEP, key, uid)
                log.info("deleted: its time after the end has passed", extra=about(Kind.SWEEP, *key))
            case ApplyFinalRecord(key, uid, status):
                experiment = self._store.experiment(key)
                if experiment is None or experiment.meta.uid != uid:
                    raise NotFound(f"Experiment {key} was deleted meanwhile")
                body = await self._gateway.apply_status(
                    Kind.EXPERIMENT,
                    *key,
                    status,
                    field_manager=RECORD_MANAGER,
                    uid=uid,
                    resource_version=experiment.meta.resource_version,
                )
                self._learn(Kind.EXPERIMENT, body)
            case ReadPod():
                # Not waited for: a worker that waits for a kubelet looks at nothing else.
                self._reader.read(action, functools.partial(self._heard, action))

    async def refresh(self, kind: Kind, key: Key, uid: str) -> None:
        """Read one object again, past whatever the watch has not delivered yet."""
        try:
            self._learn(kind, await self._gateway.get(kind, *key))
        except NotFound:
            self._store.delete(kind, key, uid)
        except ApiError as error:
            log.debug("not refreshed", extra=about(kind, *key, error=str(error)))

    async def _create(self, kind: Kind, body: Body) -> None:
        self._learn(kind, await self._gateway.create(kind, body))
        log.info("created", extra=about(kind, body["metadata"]["namespace"], body["metadata"]["name"]))

    def _version(self, key: Key, uid: str) -> int | None:
        """A Job that was decided about is unchanged or it is not touched: a release decided from a stale view could
        start what has just been suspended, and one that has ended meanwhile has no GPUs to give back."""
        known = self._store.job(key)
        return known.meta.resource_version if known is not None and known.meta.uid == uid else None

    async def _preempt(self, action: Preempt) -> None:
        # The reason in the same write: whoever comes after a crash has to know that this attempt is over.
        change: Body = {
            "metadata": {"annotations": {ANNOTATION_PREEMPTED: action.message}},
            "spec": {"suspend": True},
        }
        version = self._version(action.job, action.uid)
        body = await self._gateway.patch(Kind.JOB, *action.job, change, uid=action.uid, resource_version=version)
        self._learn(Kind.JOB, body)
        log.info("preempted", extra=about(Kind.JOB, *action.job, why=action.message))

    async def _suspend_job(self, action: SuspendJob) -> None:
        key, uid, suspend = action.key, action.uid, action.suspend
        version = self._version(key, uid)
        change: Body = {"spec": {"suspend": suspend}}
        # A Job that has never run may still be told where to go, in the same write that lets it go.
        placed = placed_release(action.avoid, action.affinity) if action.affinity is not None else {}
        try:
            body = await self._gateway.patch(Kind.JOB, *key, placed or change, uid=uid, resource_version=version)
        except Invalid as error:
            if not placed:
                raise
            # Where it goes is a wish; that the run starts is not.
            log.warning("released without its node affinity", extra=about(Kind.JOB, *key, error=str(error)))
            body = await self._gateway.patch(Kind.JOB, *key, change, uid=uid, resource_version=version)
        self._learn(Kind.JOB, body)
        log.info("suspended" if suspend else "released", extra=about(Kind.JOB, *key))


def activation(active: bool) -> Body:
    """The merge patch that lets Kueue have a Workload, or not; with the mark that it was us."""
    annotations = {ANNOTATION_HELD: None if active else "true"}
    return {"metadata": {"annotations": annotations}, "spec": {"active": active}}


def placed_release(avoid: Sequence[str], affinity: Mapping[str, Any]) -> Body:
    """The merge patch that lets a suspended Job go, with the nodes that it goes past and the node affinity that says
    so."""
    return {
        "metadata": {"annotations": {ANNOTATION_AVOID: ",".join(avoid) or None}},
        "spec": {"suspend": False, "template": {"spec": {"affinity": {"nodeAffinity": {**_ANY_NODE, **affinity}}}}},
    }
