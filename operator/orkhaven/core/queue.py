"""Who gets the GPUs: which suspended Jobs are released now, and what every other one waits for.

First come, first served by creation, then by number in the sweep, then by name. A run that cannot start now, but could
on a node once GPUs are freed, keeps what is free there from those behind it, so that small runs never starve a large
one; all other nodes stay open to them. One that no node can ever hold, or that its sweep's parallelism holds back,
keeps nothing from anybody.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field, replace
from datetime import datetime
from typing import Any

from orkhaven.api import ExperimentSpec, Reason
from orkhaven.api.container import Toleration
from orkhaven.core.actions import SuspendJob
from orkhaven.core.attempts import POD_PHASES_ENDED
from orkhaven.core.job import memory_mib, node_affinity
from orkhaven.core.outcome import is_finished, to_prune
from orkhaven.core.views import ExperimentView, JobView, Key, NodeView, PodView, Why
from orkrun import contract


@dataclass(frozen=True, slots=True, kw_only=True)
class Needs:
    """What a run needs of a node."""

    gpus: int
    gpu_models: tuple[str, ...] = ()
    min_gpu_memory_mib: int | None = None
    node_selector: Mapping[str, str] = field(default_factory=dict)
    tolerations: tuple[Toleration, ...] = ()
    avoid: tuple[str, ...] = ()
    """Nodes that it may not go to, sorted."""

    def affinity(self) -> dict[str, Any]:
        return node_affinity(models=self.gpu_models, least_mib=self.min_gpu_memory_mib, avoid=self.avoid)


def needs_of(spec: ExperimentSpec, *, avoid: Iterable[str] = ()) -> Needs:
    return Needs(
        gpus=spec.resources.gpus,
        gpu_models=tuple(spec.resources.gpu_models),
        min_gpu_memory_mib=memory_mib(spec.resources.min_gpu_memory),
        node_selector=spec.node_selector,
        tolerations=tuple(spec.tolerations),
        avoid=tuple(sorted(avoid)),
    )


def could_run(needs: Needs, nodes: Mapping[str, NodeView]) -> bool:
    """Whether a node could run it, were it empty."""
    return any(node.gpus >= needs.gpus and _unfit(needs, node) is None for node in nodes.values())


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
    needs: Needs
    said: tuple[str, ...] | None = None
    """Nodes that its Job goes past already; None: what it says cannot be changed any more."""

    @property
    def gpus(self) -> int:
        return self.needs.gpus


Waiting = Request
"""A Job that is suspended, of an Experiment that is neither suspended nor finished."""


def request_of(exp: ExperimentView, job: JobView) -> Request | None:
    """What the Job of an attempt needs; None where the spec cannot be read."""
    if exp.spec is None:
        return None
    sweep = exp.meta.labels.get(contract.LABEL_SWEEP)
    return Request(
        job=job.meta.key,
        uid=job.meta.uid,
        experiment=exp.meta.key,
        sweep=Key(exp.meta.key.namespace, sweep) if sweep else None,
        created=exp.meta.created,
        trial=exp.trial or 0,
        needs=needs_of(exp.spec, avoid=job.avoid),
        said=job.avoid if job.started is None else None,
    )


def past(needs: Needs, nodes: Mapping[str, NodeView], *, own: Set[str], all_runs: Set[str]) -> tuple[str, ...]:
    """The nodes that a Job may not go to: of those that its run goes past (`own`) and those that all runs do. Only
    where another node could run it: on a cluster of one node a run is better tried again there than never."""
    for wanted in (own | all_runs, own):
        avoid = tuple(sorted(wanted))
        if avoid and could_run(replace(needs, avoid=avoid), nodes):
            return avoid
    return ()


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
    return not is_booked(exp, job)


def is_booked(exp: ExperimentView, job: JobView) -> bool:
    """Whether the status says how the attempt of this Job ended."""
    status = exp.status
    last = status.attempts[-1] if status.attempts else None
    # Before the status write that follows a Job's creation, the Job itself is the only record of its attempt.
    open_ = last is None or job.attempt > last.number or (job.attempt == last.number and last.reason is None)
    return is_finished(status) or not open_


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlan:
    release: tuple[SuspendJob, ...] = ()
    """In order; all with suspend=False."""
    reasons: Mapping[Key, Why] = field(default_factory=dict)
    """By Experiment: what each of `waiting` that is not released waits for."""


def plan_queue(
    *,
    nodes: Sequence[NodeView],
    pods: Sequence[PodView],
    foreign_gpus: Mapping[str, int],
    waiting: Sequence[Request],
    running: Sequence[Request],
    parallelism: Mapping[Key, int],
    stopped: Collection[Key] = (),
    now: datetime,
) -> QueuePlan:
    """Which of `waiting` to release.

    `pods`: ours, those that have not ended; one that is bound to a node holds its GPUs there. `foreign_gpus`: by node,
    what pods that are not ours hold. `running`: Jobs that are released and not finished; those without a bound pod get
    a place before anybody waiting. `parallelism`: by sweep, how many of its trials may hold a place (one that is
    missing here has no limit). `stopped`: Experiments whose sweep starts no more trials.
    """
    del now  # Order is by creation; nothing depends on the time yet.
    live = [pod for pod in pods if pod.phase not in POD_PHASES_ENDED]
    bound = [pod for pod in live if pod.node is not None]
    places = _Places(nodes, foreign_gpus)
    for pod in bound:
        places.take(pod.node or "", pod.gpus)
    placed = {_job_of(pod) for pod in bound}
    for request in sorted(running, key=_order):
        if request.gpus and request.job not in placed and not places.put(request):
            places.keep(request)
    # A trial whose Job is suspended again holds its place until its pod is gone.
    holders: dict[Key, set[Key]] = {}
    jobs_with_pods = {_job_of(pod) for pod in live}
    for request in (*running, *(r for r in waiting if r.job in jobs_with_pods)):
        if request.sweep is not None:
            holders.setdefault(request.sweep, set()).add(request.job)
    for pod in live:
        sweep = pod.meta.labels.get(contract.LABEL_SWEEP)
        if sweep:
            holders.setdefault(Key(pod.meta.key.namespace, sweep), set()).add(_job_of(pod))

    release: list[SuspendJob] = []
    reasons: dict[Key, Why] = {}
    for request in sorted(waiting, key=_order):
        why = _why_not(request, places, holders, parallelism, stopped, stopping=request.job in jobs_with_pods)
        if why is not None:
            reasons[request.experiment] = why
            continue
        news = request.said is not None and set(request.needs.avoid) != set(request.said)
        avoid = request.needs.avoid if news else ()
        affinity = request.needs.affinity() if news else None
        release.append(SuspendJob(request.job, request.uid, suspend=False, avoid=avoid, affinity=affinity))
        if request.sweep is not None:
            holders.setdefault(request.sweep, set()).add(request.job)
    return QueuePlan(release=tuple(release), reasons=reasons)


def _why_not(
    request: Request,
    places: _Places,
    holders: Mapping[Key, set[Key]],
    parallelism: Mapping[Key, int],
    stopped: Collection[Key],
    *,
    stopping: bool,
) -> Why | None:
    """None: it starts, and its place is taken."""
    if request.gpus:
        misfit = places.misfit(request)
        if misfit is not None:
            return Why(Reason.NO_FITTING_NODE, misfit)
    if stopping:
        return Why(Reason.WAITING_FOR_GPUS, "waits until its pod, which was told to stop, has ended")
    if request.sweep is not None and request.experiment in stopped:
        return Why(Reason.WAITING_FOR_GPUS, f"is not started: sweep {request.sweep.name} starts no more trials")
    if request.sweep is not None and request.sweep in parallelism:
        limit = parallelism[request.sweep]
        held = len(holders.get(request.sweep, ()))
        if held >= limit:
            return Why(
                Reason.WAITING_FOR_GPUS,
                f"waits for another trial to end: sweep {request.sweep.name} has parallelism {limit}"
                if limit
                else f"waits because sweep {request.sweep.name} has parallelism 0",
            )
    if not request.gpus or places.put(request):
        return None
    places.keep(request)
    return Why(Reason.WAITING_FOR_GPUS, places.wait_message(request))


def _order(request: Request) -> tuple[datetime, int, str, str]:
    # A sweep makes dozens of trials within the second that a timestamp tells: its own order is that of their numbers.
    return (request.created, request.trial, request.experiment.namespace, request.experiment.name)


def _job_of(pod: PodView) -> Key:
    return Key(pod.meta.key.namespace, pod.job_name or "")


class _Places:
    """Free GPUs by node, while they are given out."""

    def __init__(self, nodes: Sequence[NodeView], foreign: Mapping[str, int]) -> None:
        self._nodes = {node.meta.key.name: node for node in nodes}
        self._free = {name: node.gpus - foreign.get(name, 0) for name, node in self._nodes.items()}
        self._kept: set[str] = set()
        """Nodes whose free GPUs are kept for a run that waits for more of them."""
        self._known: dict[object, list[str]] = {}
        """Fitting nodes by need: a sweep's trials all need the same."""

    def take(self, node: str, gpus: int) -> None:
        if node in self._free:
            self._free[node] -= gpus

    def put(self, request: Request) -> bool:
        """Takes the tightest place that is free now; among equals the GPU with the least memory."""
        free = [
            (self._free[name] - request.gpus, self._nodes[name].gpu_memory_mib or 0, name)
            for name in self._fitting(request)
            if name not in self._kept and self._free[name] >= request.gpus
        ]
        if not free:
            return False
        self.take(min(free)[2], request.gpus)
        return True

    def keep(self, request: Request) -> None:
        """Keeps the node that is nearest to having room for it from all that come later."""
        nearest = [(-self._free[name], name) for name in self._fitting(request) if name not in self._kept]
        if nearest:
            self._kept.add(min(nearest)[1])

    def _fitting(self, request: Request) -> list[str]:
        """Nodes that could run it were they empty."""
        needs = request.needs
        need = (
            needs.gpus,
            needs.gpu_models,
            needs.min_gpu_memory_mib,
            tuple(sorted(needs.node_selector.items())),
            tuple(tuple(toleration.to_dict().items()) for toleration in needs.tolerations),
            needs.avoid,
        )
        if need not in self._known:
            nodes = self._nodes.items()
            fitting = [name for name, node in nodes if node.gpus >= needs.gpus and _unfit(needs, node) is None]
            self._known[need] = fitting
        return self._known[need]

    def wait_message(self, request: Request) -> str:
        fitting = self._fitting(request)
        total = sum(self._nodes[name].gpus for name in fitting)
        free = sum(max(self._free[name], 0) for name in fitting if name not in self._kept)
        kept = sum(max(self._free[name], 0) for name in fitting if name in self._kept)
        held = f", {kept} kept for the next in line" if kept else ""
        return f"waits for {_wanted(request.needs)}: {free} of {total} free{held}"

    def misfit(self, request: Request) -> str | None:
        """Why no node can ever run it, in the words of the first requirement that leaves none; None: one can."""
        if self._fitting(request):
            return None
        needs = request.needs
        head = f"no node has {_wanted(needs)}"
        with_gpus = [node for node in self._nodes.values() if node.gpus]
        if not with_gpus:
            return f"{head}: no node has GPUs at all"
        models = ", ".join(sorted({node.gpu_model or "unnamed" for node in with_gpus}))
        largest = max(node.gpus for node in with_gpus)
        if largest < request.gpus:
            return f"{head}: the largest node has {largest}"
        reasons = sorted({why for node in with_gpus if node.gpus >= needs.gpus and (why := _unfit(needs, node))})
        return f"{head}: {'; '.join(reasons[:4])} (GPUs here: {models})"


def _unfit(needs: Needs, node: NodeView) -> str | None:
    """What about the node, apart from the number of its GPUs, is not as it should be."""
    name = node.meta.key.name
    if needs.gpu_models and node.gpu_model not in needs.gpu_models:
        return "not one of these models"
    if needs.min_gpu_memory_mib is not None and (node.gpu_memory_mib or 0) < needs.min_gpu_memory_mib:
        return "too little memory per GPU" if node.gpu_memory_mib else "the node says nothing of its GPUs' memory"
    for label, value in needs.node_selector.items():
        if node.meta.labels.get(label) != value:
            return f"no node has {label}={value}"
    if name in needs.avoid:
        return f"node {name} is avoided, since attempts failed there"
    if not node.ready:
        return f"node {name} is not ready"
    if not node.schedulable:
        return f"node {name} is cordoned"
    for key, value, effect in node.taints:
        if not any(_tolerates(toleration, key, value, effect) for toleration in needs.tolerations):
            return f"node {name} has the taint {key}{f'={value}' if value else ''}:{effect}"
    return None


def _tolerates(toleration: Toleration, key: str, value: str, effect: str) -> bool:
    if toleration.effect not in (None, effect):
        return False
    if toleration.operator == "Exists":
        return toleration.key in (None, "", key)
    return toleration.key == key and (toleration.value or "") == value


def _wanted(needs: Needs) -> str:
    words = f"{needs.gpus} GPU{'s' if needs.gpus != 1 else ''}"
    if needs.gpu_models:
        words += " of model " + " or ".join(needs.gpu_models)
    if needs.min_gpu_memory_mib is not None:
        gib = needs.min_gpu_memory_mib / 1024
        words += f" with at least {gib:g}Gi" if gib >= 1 else f" with at least {needs.min_gpu_memory_mib}Mi"
    if needs.node_selector:
        words += " on a node with " + ", ".join(f"{k}={v}" for k, v in sorted(needs.node_selector.items()))
    return words + (" on one node" if needs.gpus > 1 else "")
