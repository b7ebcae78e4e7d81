"""A Job in the queue: what it asks for, and whether it is to be asked for at all."""

from __future__ import annotations

import sys
from collections.abc import Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime

from orkhaven.api import Priority
from orkhaven.core.devices import WHOLE, GpuResource, named
from orkhaven.core.kueue.labels import queue_of
from orkhaven.core.outcome import is_finished, to_prune
from orkhaven.core.queue.needs import Needs, needs_of, past
from orkhaven.core.views import ExperimentView, JobView, Key, NodeView
from orkrun import contract

_RANK = {Priority.INTERACTIVE: 0, Priority.STANDARD: 1, Priority.PREEMPTIBLE: 2}

Order = tuple[int, datetime, int, str, str]


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """A Job that wants GPUs, or holds them. Made by `request_of`."""

    job: Key
    uid: str
    """Of the Job."""
    experiment: Key
    sweep: Key | None = None
    created: datetime
    """Of the Experiment, so that a new attempt does not go to the end of the queue."""
    trial: int = 0
    """Its number in its sweep."""
    user: str = ""
    """Who made the Experiment; empty: not known."""
    priority: Priority = Priority.STANDARD
    released: datetime | None = None
    """Since when its Job may run; None while it is suspended, or has just been released."""
    needs: Needs
    of_kueue: bool = False
    """Kueue released it: its GPUs are not ours to give to another."""
    said: tuple[str, ...] | None = None
    """Nodes that its Job goes past already; None: what it says cannot be changed any more."""
    meant_for: str | None = None
    """The node that it was released for; None: it was not, or that is not said."""
    order: Order = field(init=False, repr=False, compare=False)
    """Among the runs of one user."""
    alike: str = field(init=False, repr=False, compare=False)
    """The same for all runs of a user that need the same and are as urgent. A string, since that knows its hash."""
    gpus: int = field(init=False, repr=False, compare=False)
    since: float = field(init=False, repr=False, compare=False)
    """`released` in seconds of Unix time; 0 where that is None."""

    def __post_init__(self) -> None:
        # A sweep makes dozens of trials within the second that a timestamp tells: its own order is that of their
        # numbers.
        key = self.experiment
        order = (_RANK[self.priority], self.created, self.trial, key.namespace, key.name)
        object.__setattr__(self, "order", order)
        alike = sys.intern(f"{self.job.namespace}/{self.user}/{self.priority}/{self.needs.key}")
        object.__setattr__(self, "alike", alike)
        object.__setattr__(self, "gpus", self.needs.gpus)
        object.__setattr__(self, "since", self.released.timestamp() if self.released is not None else 0.0)


def request_of(exp: ExperimentView, job: JobView, kinds: Sequence[GpuResource] = (WHOLE,)) -> Request | None:
    """What the Job of an attempt needs; None where the spec cannot be read. `kinds`: of GPUs, as the settings name
    them."""
    if exp.spec is None:
        return None
    # The spec may ask for something else by now; what its pod will hold, the Job says.
    kind = named(job.resource or exp.spec.resources.gpu_resource, kinds)
    sweep = exp.meta.labels.get(contract.LABEL_SWEEP)
    return Request(
        job=job.meta.key,
        uid=job.meta.uid,
        experiment=exp.meta.key,
        sweep=Key(exp.meta.key.namespace, sweep) if sweep else None,
        created=exp.meta.created,
        trial=exp.trial or 0,
        user=exp.created_by,
        priority=exp.spec.priority,
        released=None if job.suspended else job.started,
        needs=needs_of(exp.spec, kind=kind, gpus=job.gpus, avoid=job.avoid),
        of_kueue=queue_of(job.meta.labels) is not None,
        said=job.avoid if job.started is None else None,
        meant_for=None if job.suspended else job.meant_for,
    )


def left_by_its_run(job: JobView) -> Request:
    """The request of a Job whose Experiment is gone, and which will be: until then it holds its GPUs, pod or not."""
    needs = Needs(gpus=job.gpus, kind=named(job.resource, (WHOLE,)))
    return Request(job=job.meta.key, uid=job.meta.uid, experiment=job.meta.key, created=job.meta.created, needs=needs)


def going_past(request: Request, exp: ExperimentView, *, all_runs: Set[str], nodes: Mapping[str, NodeView]) -> Request:
    """The request of a Job that has never run as things are now: nodes may have become suspect since it was made, be
    trusted again, or be all that is left."""
    if request.said is None:
        return request
    own = {one.node for one in exp.status.avoid or ()}
    if not (own or all_runs or request.said):
        return request
    return replace(request, needs=replace(request.needs, avoid=past(request.needs, nodes, own=own, all_runs=all_runs)))


def wants_release(exp: ExperimentView, job: JobView) -> bool:
    """Whether this Job belongs among `waiting`: the suspended Job of the latest attempt of a run that wants to go
    on."""
    status = exp.status
    if exp.spec is None or exp.spec.suspend or exp.meta.deleting or is_finished(status):
        return False
    if to_prune(exp.spec) is not None:
        return False
    if not job.suspended or job.meta.deleting or job.finished is not None or job.meta.owner_uid != exp.meta.uid:
        return False
    if job.preempted_for:
        return False  # the next attempt is what waits
    if exp.spec.queue_name or queue_of(job.meta.labels) is not None:
        return False  # Kueue releases it
    return not is_booked(exp, job)


def is_booked(exp: ExperimentView, job: JobView) -> bool:
    """Whether the status says how the attempt of this Job ended."""
    status = exp.status
    last = status.attempts[-1] if status.attempts else None
    # Before the status write that follows a Job's creation, the Job itself is the only record of its attempt.
    open_ = last is None or job.attempt > last.number or (job.attempt == last.number and last.reason is None)
    return is_finished(status) or not open_
