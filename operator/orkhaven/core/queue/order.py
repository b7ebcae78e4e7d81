"""Whose turn it is: the namespace that has had least for its weight, in it the user who has had least, then by age.

What is held now counts as much as if it had been held all along, so that a batch is spread as it is given out: each run
that starts moves its namespace and its user back.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping
from operator import attrgetter
from typing import Any

from orkhaven.api import Priority
from orkhaven.core.queue.request import Request
from orkhaven.core.queue.shares import Shares

_HALF = 0.5
"""GPUs. With the next one half counted nobody is favoured: before it, whoever has a small weight, for which one GPU is
much, would have more than its share; after it, less. Of a share of less than that only the share itself counts: else
a namespace that is due a tenth of a GPU would never have one, instead of one for a tenth of the time."""


class Balance:
    """What namespaces and users have had and hold, while GPUs are given out."""

    def __init__(self, shares: Shares, due: Mapping[str, float]) -> None:
        self._shares = shares
        self._horizon = shares.horizon
        self._due = due
        self._used: dict[str, float] = defaultdict(float)
        for (namespace, _), seconds in shares.usage.items():
            self._used[namespace] += seconds
        self.held: dict[str, int] = defaultdict(int)
        """By namespace."""
        self.urgent: dict[str, int] = defaultdict(int)
        """By namespace: what of it Interactive runs hold."""
        self._users: dict[tuple[str, str], int] = defaultdict(int)
        self.version = 0
        """Rises whenever something is given or taken."""

    def hold(self, request: Request) -> None:
        self._move(request, request.gpus)

    def give_back(self, request: Request) -> None:
        self._move(request, -request.gpus)

    def _move(self, request: Request, gpus: int) -> None:
        namespace = request.job.namespace
        self.version += 1
        self.held[namespace] += gpus
        self._users[namespace, request.user] += gpus
        if request.priority is Priority.INTERACTIVE:
            self.urgent[namespace] += gpus

    def of_namespace(self, namespace: str, *, more: float = 0) -> float:
        """GPU-seconds for its weight; `more`: GPUs that it would hold beside."""
        had = self._used.get(namespace, 0.0) + self._horizon * (self.held.get(namespace, 0) + more)
        return had / self._shares.weight(namespace)

    def next_of_namespace(self, namespace: str) -> float:
        """By which it has its turn."""
        return self.of_namespace(namespace, more=min(_HALF, self._due.get(namespace, _HALF)))

    def next_of_user(self, namespace: str, user: str) -> float:
        return self.of_user(namespace, user, more=_HALF)

    def of_user(self, namespace: str, user: str, *, more: float = 0) -> float:
        who = namespace, user
        return self._shares.usage.get(who, 0.0) + self._horizon * (self._users.get(who, 0) + more)


def in_turn(waiting: Iterable[Request], balance: Balance) -> Iterator[Request]:
    """All of them. What the balance says when the next one is asked for decides which that is: by the score of a
    namespace, and in it of a user; among equals the oldest run."""
    lines: dict[str, dict[str, list[Request]]] = {}
    for request in waiting:
        lines.setdefault(request.job.namespace, {}).setdefault(request.user, []).append(request)
    namespaces: _Heap = []
    for namespace, users in lines.items():
        line: _Heap = []
        for user, runs in users.items():
            runs.sort(key=attrgetter("order"), reverse=True)
            line.append([balance.next_of_user(namespace, user), runs[-1].order, user, runs])
        heapq.heapify(line)
        namespaces.append([balance.next_of_namespace(namespace), line[0][1], namespace, line])
    heapq.heapify(namespaces)
    version = balance.version
    while namespaces:
        first = namespaces[0]
        _, _, namespace, line = first
        mine = line[0]
        _, _, user, runs = mine
        yield runs.pop()
        # Only of those whose turn it was may the score have risen, and only if they were given something: ten thousand
        # that get nothing are gone through without a look at the others.
        given = balance.version != version
        version = balance.version
        if runs:
            mine[1] = runs[-1].order
            if given:
                mine[0] = balance.next_of_user(namespace, user)
            _settle(line)
        else:
            heapq.heappop(line)
        if line:
            first[1] = line[0][1]
            if given:
                first[0] = balance.next_of_namespace(namespace)
            _settle(namespaces)
        else:
            heapq.heappop(namespaces)


_Heap = list[list[Any]]
"""Of [score, order of the run at the head, name, what is in line]."""


def _settle(heap: _Heap) -> None:
    """Its first has changed."""
    first, count = heap[0], len(heap)
    if (count > 1 and heap[1] < first) or (count > 2 and heap[2] < first):
        heapq.heapreplace(heap, first)
