"""Who gets the GPUs: which suspended Jobs are released now, who gives GPUs back, and what every other one waits for.

Interactive runs first, as far as the share of their namespace goes; then by `order`: the namespace and the user who
have had least, then by age. A run that cannot start now, but could on a node once GPUs are freed, keeps what is free
there from those behind it, so that small runs never starve a large one; all other nodes stay open to them. One that no
node can ever hold, or that its sweep's parallelism holds back, keeps nothing from anybody; one that its namespace's
quota holds back keeps what is left of that.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Collection, Iterable, Mapping, Sequence, Set
from dataclasses import dataclass, field
from datetime import datetime, timedelta
from typing import NamedTuple

from orkhaven.api import Priority, Reason
from orkhaven.core.actions import Preempt, SuspendJob
from orkhaven.core.attempts import POD_PHASES_ENDED
from orkhaven.core.devices import NVIDIA
from orkhaven.core.queue.order import Balance, in_turn
from orkhaven.core.queue.places import Places
from orkhaven.core.queue.request import Request
from orkhaven.core.queue.shares import Quota, Shares, entitlements
from orkhaven.core.queue.victims import Victims
from orkhaven.core.views import Key, NodeView, PodView, Why
from orkrun import contract


class Standing(NamedTuple):
    """Where in the line a run is that waits for GPUs, or for its namespace's quota."""

    position: int
    """In its namespace, from 1."""
    seconds: float | None = None
    """Until it starts, roughly; None: not known."""

    @property
    def about(self) -> timedelta | None:
        return None if self.seconds is None else timedelta(seconds=self.seconds)


@dataclass(frozen=True, slots=True, kw_only=True)
class QueuePlan:
    release: tuple[SuspendJob, ...] = ()
    """In order; all with suspend=False."""
    reasons: Mapping[Key, Why] = field(default_factory=dict)
    """By Experiment: what each of `waiting` that is not released waits for."""
    standing: Mapping[Key, Standing] = field(default_factory=dict)
    """By Experiment: of those that are in line."""
    preempt: tuple[Preempt, ...] = ()
    """Running attempts that give their GPUs back. Nothing is released onto these before their pods are gone."""
    kept: Set[Key] = frozenset()
    """Jobs for which a node is kept until it has room for them: for the next decision."""


def plan_queue(
    *,
    nodes: Sequence[NodeView],
    pods: Sequence[PodView],
    foreign_gpus: Mapping[str, Mapping[str, int]],
    waiting: Sequence[Request],
    running: Sequence[Request],
    leaving: Sequence[Request] = (),
    parallelism: Mapping[Key, int],
    stopped: Collection[Key] = (),
    shares: Shares = Shares(),  # noqa: B008 (frozen)
    quotas: Mapping[str, Quota] = {},
    unseen: Set[str] = frozenset(),
    kept: Set[Key] = frozenset(),
    now: datetime,
) -> QueuePlan:
    """Which of `waiting` to release, and who of `running` has to make room.

    `pods`: ours, those that have not ended; one that is bound to a node holds its GPUs there. `foreign_gpus`: by node
    and resource, what pods that are not ours hold. `running`: Jobs that are released and not finished; those without a
    bound pod get a place before anybody waiting. `leaving`: Jobs that are suspended and not wanted again, whose pods
    are not gone yet. `parallelism`: by sweep, how many of its trials may hold a place (one
    that is missing here has no limit). `stopped`: Experiments whose sweep starts no more trials. `quotas`: by
    namespace; one that is missing here has none. `unseen`: nodes of which `foreign_gpus` does not know yet; nothing is
    given out there. `kept`: as the plan before this one said. They come first until they have started: each run that
    ends puts its namespace forward, and if that took what is kept there would never be enough of it.
    """
    live = [pod for pod in pods if pod.phase not in POD_PHASES_ENDED]
    stopping = {_job_of(pod) for pod in live}
    # A Job that is suspended again holds what it has until its pod is gone.
    holding = [*running, *leaving, *(request for request in waiting if request.job in stopping)]
    places = _places(nodes, foreign_gpus, unseen=unseen, live=live, running=running)
    due = _due(places.total, (*running, *waiting), shares)
    balance = Balance(shares, due)
    for request in holding:
        balance.hold(request)
    decision = _Decision(
        places=places,
        balance=balance,
        victims=_victims(live, running, balance=balance, due=due, shares=shares, now=now),
        due=due,
        run_time=shares.run_time.total_seconds() if shares.run_time is not None else None,
        holders=_holders(holding, live),
        parallelism=parallelism,
        stopped=stopped,
        stopping=stopping,
        quotas=quotas,
        quota_left=_quota_left(quotas, holding, live),
        quota_coming=_quota_coming(quotas, live, running),
    )
    for request in in_turn((r for r in waiting if r.priority is Priority.INTERACTIVE), balance):
        if decision.is_urgent(request):
            decision.decide(request, urgent=True)
    for first in (True, False):
        left = [r for r in waiting if r.job not in decision.decided and (not first or r.job in kept)]
        for request in in_turn(left, balance):
            decision.decide(request, urgent=False)
    return decision.plan()


def _places(
    nodes: Sequence[NodeView],
    foreign_gpus: Mapping[str, Mapping[str, int]],
    *,
    unseen: Set[str],
    live: Sequence[PodView],
    running: Sequence[Request],
) -> Places:
    """What is left once all that were released have a place."""
    places = Places(nodes, foreign_gpus, unseen=unseen)
    released = {request.job for request in running}
    placed = set()
    for pod in live:
        if pod.node is None:
            continue
        placed.add(_job_of(pod))
        places.take(pod.node, pod.gpus, pod.resource)
        if _ends_soon(pod, released):
            places.expect(pod.node, pod.gpus, pod.resource)
    # Those whose pods are still to come. Where the scheduler will put them is known best of those that were told.
    for request in sorted(running, key=lambda run: (run.meant_for is None, run.order)):
        if request.gpus and request.job not in placed and not places.put(request):
            places.keep(request, also=True)
    return places


def _ends_soon(pod: PodView, released: Set[Key]) -> bool:
    """Whether it was told to stop, by whomever. A pod to look around in has no Job in the queue and ends when it is
    left."""
    told = _job_of(pod) not in released and contract.LABEL_DEBUG not in pod.meta.labels
    return pod.meta.deleting or told


def _due(total: int, requests: Iterable[Request], shares: Shares) -> dict[str, float]:
    """GPUs that each namespace may have."""
    demands: dict[str, float] = defaultdict(float)
    for request in requests:
        demands[request.job.namespace] += request.gpus
    return entitlements(total, demands=demands, weights={name: shares.weight(name) for name in demands})


def _victims(
    live: Sequence[PodView],
    running: Sequence[Request],
    *,
    balance: Balance,
    due: Mapping[str, float],
    shares: Shares,
    now: datetime,
) -> Victims:
    node_of = {_job_of(pod): pod.node for pod in live if pod.node is not None and not pod.meta.deleting}
    return Victims(running, node_of=node_of, balance=balance, due=due, shares=shares, now=now)


def _holders(holding: Sequence[Request], live: Sequence[PodView]) -> dict[Key, set[Key]]:
    """By sweep: Jobs of its trials that have a place."""
    holders: dict[Key, set[Key]] = {}
    for request in holding:
        if request.sweep is not None:
            holders.setdefault(request.sweep, set()).add(request.job)
    for pod in live:
        sweep = pod.meta.labels.get(contract.LABEL_SWEEP)
        if sweep:
            holders.setdefault(Key(pod.meta.key.namespace, sweep), set()).add(_job_of(pod))
    return holders


def _quota_left(quotas: Mapping[str, Quota], holding: Sequence[Request], live: Sequence[PodView]) -> dict[str, int]:
    """By namespace. Every pod counts, as it does for the API server: also one to look around in, or of a Job that is
    being deleted; and every Job that was released and has none yet."""
    left = {namespace: quota.limit - quota.used_by_others for namespace, quota in quotas.items()}
    there = {_job_of(pod) for pod in live}
    held = [(pod.meta.key.namespace, pod.resource, pod.gpus) for pod in live]
    held += [(run.job.namespace, run.needs.resource, run.gpus) for run in holding if run.job not in there]
    for namespace, resource, gpus in held:
        if namespace in left and resource == NVIDIA:
            left[namespace] -= gpus
    return left


def _quota_coming(quotas: Mapping[str, Quota], live: Sequence[PodView], running: Sequence[Request]) -> dict[str, int]:
    """By namespace that has a quota: GPUs of its pods that are about to end."""
    coming = dict.fromkeys(quotas, 0)
    released = {request.job for request in running} if quotas else set()
    for pod in live if quotas else ():
        namespace = pod.meta.key.namespace
        if namespace in coming and pod.resource == NVIDIA and _ends_soon(pod, released):
            coming[namespace] += pod.gpus
    return coming


@dataclass(slots=True, kw_only=True)
class _Decision:
    """What is left to be given while it is, and what was decided."""

    places: Places
    balance: Balance
    victims: Victims
    due: Mapping[str, float]
    run_time: float | None
    """Seconds that a run takes, by those that ended last."""
    holders: dict[Key, set[Key]]
    parallelism: Mapping[Key, int]
    stopped: Collection[Key]
    stopping: Collection[Key]
    quotas: Mapping[str, Quota]
    quota_left: dict[str, int]
    quota_coming: dict[str, int]
    """Of pods that are about to end, less what those who wait for the quota need."""
    decided: set[Key] = field(default_factory=set)
    _release: list[SuspendJob] = field(default_factory=list)
    _preempt: list[Preempt] = field(default_factory=list)
    _reasons: dict[Key, Why] = field(default_factory=dict)
    _standing: dict[Key, Standing] = field(default_factory=dict)
    _kept: set[Key] = field(default_factory=set)
    _shut: set[str] = field(default_factory=set)
    """By `Request.alike`: no place is free, nobody gives way, no node is kept. It stays so while
    GPUs are given out, and ten thousand that are alike may be in line."""
    _closed: set[str] = field(default_factory=set)
    """Namespaces whose quota is kept for the first run that waits for it."""
    _in_line: dict[str, int] = field(default_factory=lambda: defaultdict(int))
    """By namespace: how many wait for GPUs or its quota."""
    _ahead: int = 0
    """GPUs of all that wait for GPUs."""

    def is_urgent(self, request: Request) -> bool:
        """Whether it goes before all others: one of a namespace always, more within its share. Else everything would
        be Interactive, and the others' turn would never come."""
        namespace = request.job.namespace
        held = self.balance.urgent[namespace]
        return not held or held + request.gpus <= self.due.get(namespace, 0.0)

    def decide(self, request: Request, *, urgent: bool) -> None:
        self.decided.add(request.job)
        shut = request.alike in self._shut
        why = (
            (None if shut else self._misfit(request))
            or self._held_back(request)
            or self._over_quota(request, urgent=urgent)
        )
        node = None
        if why is None and shut:
            why = self._wait(request)
        elif why is None and request.gpus and (node := self.places.put(request)) is None:
            kept = self._make_room(request, urgent=urgent)
            if not kept and not urgent:
                self._shut.add(request.alike)
            why = self._wait(request)
        if why is not None:
            self._reasons[request.experiment] = why
            return
        self.balance.hold(request)
        if request.job.namespace in self.quota_left and request.needs.resource == NVIDIA:
            self.quota_left[request.job.namespace] -= request.gpus
        if request.sweep is not None:
            self.holders.setdefault(request.sweep, set()).add(request.job)
        self._release.append(self._released(request, node))

    def _released(self, request: Request, node: str | None) -> SuspendJob:
        """`node`: where it is put; None: it needs no GPUs."""
        needs = request.needs
        # The scheduler spreads what it is not told to pack, also onto a node that is kept for a large run.
        prefer = node if node is not None and len(self.places.fitting(request)) > 1 else None
        if request.said is None or (prefer is None and set(needs.avoid) == set(request.said)):
            return SuspendJob(request.job, request.uid, suspend=False)
        return SuspendJob(
            request.job, request.uid, suspend=False, avoid=needs.avoid, affinity=needs.affinity(prefer=prefer)
        )

    def _misfit(self, request: Request) -> Why | None:
        misfit = self.places.misfit(request) if request.gpus else None
        return Why(Reason.NO_FITTING_NODE, misfit) if misfit is not None else None

    def _held_back(self, request: Request) -> Why | None:
        """What is no matter of its turn."""
        if request.job in self.stopping:
            return Why(Reason.WAITING_FOR_GPUS, "waits until its pod, which was told to stop, has ended")
        sweep = request.sweep
        if sweep is None:
            return None
        if request.experiment in self.stopped:
            return Why(Reason.WAITING_FOR_GPUS, f"is not started: sweep {sweep.name} starts no more trials")
        limit = self.parallelism.get(sweep)
        if limit is not None and len(self.holders.get(sweep, ())) >= limit:
            return Why(
                Reason.WAITING_FOR_GPUS,
                f"waits for another trial to end: sweep {sweep.name} has parallelism {limit}"
                if limit
                else f"waits because sweep {sweep.name} has parallelism 0",
            )
        return None

    def _over_quota(self, request: Request, *, urgent: bool) -> Why | None:
        namespace = request.job.namespace
        quota = self.quotas.get(namespace)
        if quota is None or not request.gpus or request.needs.resource != NVIDIA:
            return None
        if request.gpus > quota.limit:
            words = f"quota of namespace {namespace}: {quota.limit} GPUs, and it needs {request.gpus}"
            return Why(Reason.WAITING_FOR_GPUS, words)
        left = self.quota_left[namespace]
        if request.gpus <= left and namespace not in self._closed:
            return None
        if request.gpus <= quota.limit - quota.used_by_others:
            # What is left is kept for it: else the small ones behind it would take that again and again.
            self._closed.add(namespace)
            self._make_room_in_quota(request, left=left, urgent=urgent)
        self._stand(request)
        kept = f", {left} kept for the next in line" if left > 0 and namespace in self._closed else ""
        used = f"quota of namespace {namespace}: {quota.limit - left} of {quota.limit} GPUs are used{kept}"
        return Why(Reason.WAITING_FOR_GPUS, used)

    def _make_room(self, request: Request, *, urgent: bool) -> bool:
        """Whether a node is kept for it from now on."""
        found = self.victims.make_room(request, self.places, urgent=urgent)
        if found is not None:
            self._give_way(found, request)
        elif not self.places.keep(request):
            return False
        self._kept.add(request.job)
        return True

    def _make_room_in_quota(self, request: Request, *, left: int, urgent: bool) -> None:
        """Runs of its own namespace may have to give it what the quota allows."""
        namespace = request.job.namespace
        coming = left + self.quota_coming[namespace]
        found = self.victims.make_room(request, self.places, urgent=urgent, over_quota=max(request.gpus - coming, 0))
        # Whoever is behind in this line gets none of what is left, and none of what comes, before it has all it needs.
        self.quota_coming[namespace] -= request.gpus
        if found is not None:
            self._give_way(found, request)
            self.quota_coming[namespace] += sum(victim.gpus for victim in found)
            self._kept.add(request.job)

    def _give_way(self, victims: Sequence[Request], request: Request) -> None:
        for victim in victims:
            count = f"{victim.gpus} GPU{'s' if victim.gpus != 1 else ''}"
            message = f"gives {count} to {request.experiment} ({request.priority})"
            self._preempt.append(Preempt(victim.job, victim.uid, victim.experiment, message))

    def _wait(self, request: Request) -> Why:
        self._stand(request)
        return self.places.wait(request)

    def _stand(self, request: Request) -> None:
        namespace = request.job.namespace
        self._in_line[namespace] = position = self._in_line[namespace] + 1
        self._ahead += request.gpus
        seconds = None
        if self.run_time is not None:
            seconds = self.run_time * min(self._ahead / (self.places.size(request) or 1), 1e6)
        self._standing[request.experiment] = Standing(position, seconds)

    def plan(self) -> QueuePlan:
        return QueuePlan(
            release=tuple(self._release),
            reasons=self._reasons,
            standing=self._standing,
            preempt=tuple(self._preempt),
            kept=frozenset(self._kept),
        )


def _job_of(pod: PodView) -> Key:
    return Key(pod.meta.key.namespace, pod.job_name or "")
