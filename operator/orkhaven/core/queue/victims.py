"""Whose GPUs are given to a run that comes before them: the fewest and youngest running ones on one node.

Nobody is preempted whom the queue would let start again before the run that took its place: what is decided twice from
the same facts would move runs to and fro.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence, Set
from datetime import datetime

from orkhaven.api import Priority
from orkhaven.core.queue.order import Balance
from orkhaven.core.queue.places import Coming, Places
from orkhaven.core.queue.request import Request
from orkhaven.core.queue.shares import Shares
from orkhaven.core.views import Key

MOST_TRIES = 16
"""Waiting runs of one decision that room is looked for; the next decision goes on."""

_Given = dict[tuple[str, str | None], int]
"""GPUs by (namespace, user), and by (namespace, None) all of a namespace."""
_Victim = tuple[Request, str]
"""With its node."""
_Group = tuple[str, str, Priority]
"""Namespace, user and priority: what decides, beside its age, whether a run may be preempted."""


class Victims:
    """`node_of`: by Job, of those whose pod is on a node. `due`: GPUs that each namespace may have."""

    def __init__(
        self,
        running: Sequence[Request],
        *,
        node_of: Mapping[Key, str],
        balance: Balance,
        due: Mapping[str, float],
        shares: Shares,
        now: datetime,
    ) -> None:
        self._balance = balance
        self._due = due
        self._settled = (now - shares.min_run).timestamp()
        self._at: dict[tuple[str, str], dict[Key, Request]] = {}
        """By node and kind of GPU."""
        self._groups: dict[_Group, int] = {}
        self._hopeless: set[object] = set()
        self._tries = 0
        for request in running:
            node = node_of.get(request.job)
            if node is None or not request.gpus or request.of_kueue:
                continue
            if request.priority is not Priority.INTERACTIVE:
                self._at.setdefault((node, request.needs.resource), {})[request.job] = request
                group = _group(request)
                self._groups[group] = min(self._groups.get(group, request.gpus), request.gpus)

    def make_room(
        self, waiter: Request, places: Places, *, urgent: bool, over_quota: int | None = None
    ) -> list[Request] | None:
        """Who gives GPUs back for it; nobody where what is about to end is enough. None: it has to wait. What it gets
        is promised to it. `urgent`: an Interactive run within its namespace's share. `over_quota`: so many GPUs more
        have to be given back by runs of its own namespace, wherever these are, and by nobody else; None: its quota has
        room for it."""
        if waiter.priority is Priority.PREEMPTIBLE:
            return None
        if self._tries >= MOST_TRIES:
            return None
        kind = (waiter.job.namespace, waiter.user, waiter.needs.key, urgent, over_quota is not None)
        if kind in self._hopeless:
            return None
        self._tries += 1
        nodes = places.coming(waiter)
        found: list[_Victim] | None = None
        if nodes and nodes[0].missing == 0 and not over_quota:
            node, found = nodes[0].node, []
        else:
            groups = {
                group
                for group, least in self._groups.items()
                if (over_quota is None or group[0] == waiter.job.namespace)
                and self._may(waiter, group, least, urgent=urgent)
            }
            left = {node: self._left(node, waiter, groups, urgent=urgent) for node, _ in self._at} if groups else {}
            best = None
            for at in nodes if groups else ():
                chosen = self._choose(waiter, at, over_quota or 0, left=left, urgent=urgent)
                if chosen is not None and (best is None or _cost(chosen, at) < _cost(*best)):
                    best = (chosen, at)
                if best is not None and at.missing == 0:
                    break  # on the others it would be the same ones
            if best is not None:
                found, (node, _) = best
        if found is None:
            self._hopeless.add(kind)
            return None
        for victim, its_node in found:
            del self._at[its_node, victim.needs.resource][victim.job]
            self._balance.give_back(victim)
        self._balance.hold(waiter)
        places.promise(waiter, node, freed=sum(victim.gpus for victim, its_node in found if its_node == node))
        return [victim for victim, _ in found]

    def _left(self, node: str, waiter: Request, groups: Set[_Group], *, urgent: bool) -> list[_Victim]:
        """Those on a node who may be preempted, as far as one alone goes."""
        return [
            (run, node)
            for run in self._at.get((node, waiter.needs.resource), {}).values()
            if _group(run) in groups and _has_run(run, urgent=urgent, settled=self._settled)
        ]

    def _choose(
        self, waiter: Request, at: Coming, over_quota: int, *, left: Mapping[str, list[_Victim]], urgent: bool
    ) -> list[_Victim] | None:
        """Who has to go so that it fits on a node and into its quota. `left`: by node."""
        given: _Given = {}
        chosen = self._fewest(waiter, at.missing, left.get(at.node, ()), given, urgent=urgent)
        if chosen is None:
            return None
        over_quota -= sum(victim.gpus for victim, _ in chosen)
        if over_quota <= 0:
            return chosen
        beside = [one for runs in left.values() for one in runs if one not in chosen]
        more = self._fewest(waiter, over_quota, beside, given, urgent=urgent)
        return None if more is None else [*chosen, *more]

    def _fewest(
        self, waiter: Request, missing: int, left: Sequence[_Victim], given: _Given, *, urgent: bool
    ) -> list[_Victim] | None:
        """The smallest one that is enough, else the largest and so on. `given` is added to."""
        if sum(run.gpus for run, _ in left) < missing:
            return None
        left = list(left)
        chosen: list[_Victim] = []
        while missing > 0:
            allowed = [
                one for one in left if self._may(waiter, _group(one[0]), one[0].gpus, urgent=urgent, given=given)
            ]
            if not allowed:
                return None
            enough = [one for one in allowed if one[0].gpus >= missing]
            victim = min(enough, key=_first_small) if enough else min(allowed, key=_first_large)
            left.remove(victim)
            chosen.append(victim)
            gone = victim[0]
            missing -= gone.gpus
            for place in ((gone.job.namespace, None), (gone.job.namespace, gone.user)):
                given[place] = given.get(place, 0) + gone.gpus
        return chosen

    def _may(
        self,
        waiter: Request,
        group: _Group,
        gpus: int,
        *,
        urgent: bool,
        given: _Given = {},  # noqa: B006 (only read)
    ) -> bool:
        """Whether the queue still puts the waiting run first when both have changed places. `given`: what of the
        namespace, and of the user, was chosen already."""
        namespace, user, priority = group
        own = waiter.job.namespace
        gone = gpus + given.get((namespace, None), 0)
        if priority is Priority.PREEMPTIBLE and urgent:
            return True
        if priority is Priority.STANDARD:
            if namespace == own:
                return False
            held = self._balance.held
            over = held[namespace] - gone >= self._due.get(namespace, 0.0)
            below = held[own] + waiter.gpus <= self._due.get(own, 0.0)
            if not (over and below):
                return False
            if urgent:
                return True
        if namespace != own:
            ours = self._balance.of_namespace(own, more=waiter.gpus)
            return ours <= self._balance.of_namespace(namespace, more=-gone)
        if user != waiter.user:
            theirs = self._balance.of_user(own, user, more=-gpus - given.get((own, user), 0))
            return self._balance.of_user(own, waiter.user, more=waiter.gpus) <= theirs
        return True


def _has_run(victim: Request, *, urgent: bool, settled: float) -> bool:
    """Whether it has run long enough to be preempted; a Preemptible one always has for an urgent run."""
    if urgent and victim.priority is Priority.PREEMPTIBLE:
        return True
    return victim.released is not None and victim.since <= settled


def _group(request: Request) -> _Group:
    return (request.job.namespace, request.user, request.priority)


def _first_small(victim: _Victim) -> tuple[bool, int, float, Key]:
    request, _ = victim
    return (request.priority is Priority.STANDARD, request.gpus, -request.since, request.job)


def _first_large(victim: _Victim) -> tuple[bool, int, float, Key]:
    request, _ = victim
    return (request.priority is Priority.STANDARD, -request.gpus, -request.since, request.job)


def _cost(chosen: Sequence[_Victim], at: Coming) -> tuple[int, int, int, float]:
    standard = sum(victim.priority is Priority.STANDARD for victim, _ in chosen)
    too_many = sum(victim.gpus for victim, node in chosen if node == at.node) - at.missing
    return (standard, len(chosen), too_many, -min((victim.since for victim, _ in chosen), default=0.0))
