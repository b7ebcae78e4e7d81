"""Whose turn it is: the namespace that has had least for its weight, in it the user who has had least, then by age.

What is held now counts as much as if it had been held all along, so that a batch is spread as it is given out: each run
that starts moves its namespace and its user back.
"""

from __future__ import annotations

import heapq
from collections import defaultdict
from collections.abc import Callable, Iterable, Iterator
from operator import attrgetter
from typing import Any, Protocol

from orkhaven.api import Priority
from orkhaven.core.queue.request import Order, Request
from orkhaven.core.queue.shares import Shares

_HALF = 0.5
"""GPUs. With the next one half counted nobody is favoured: before it, whoever has a small weight, for which one GPU is
much, would have more than its share; after it, less."""


class Balance:
    """What namespaces and users have had and hold, while GPUs are given out."""

    def __init__(self, shares: Shares) -> None:
        self._shares = shares
        self._horizon = shares.horizon
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

    def of_user(self, namespace: str, user: str, *, more: float = 0) -> float:
        who = namespace, user
        return self._shares.usage.get(who, 0.0) + self._horizon * (self._users.get(who, 0) + more)


def in_turn(waiting: Iterable[Request], balance: Balance) -> Iterator[Request]:
    """All of them. What the balance says when the next one is asked for decides which that is."""
    lines: dict[str, dict[str, list[Request]]] = {}
    for request in waiting:
        lines.setdefault(request.job.namespace, {}).setdefault(request.user, []).append(request)
    scored = [
        (lambda ns=namespace: balance.of_namespace(ns, more=_HALF), _users(namespace, users, balance))
        for namespace, users in lines.items()
    ]
    namespaces = _Merged(scored, balance)
    while not namespaces.empty:
        yield namespaces.head
        namespaces.advance()


def _users(namespace: str, users: dict[str, list[Request]], balance: Balance) -> _Merged:
    scored = [
        (lambda who=user: balance.of_user(namespace, who, more=_HALF), _Runs(runs)) for user, runs in users.items()
    ]
    return _Merged(scored, balance)


class _Line(Protocol):
    @property
    def empty(self) -> bool: ...

    @property
    def head(self) -> Request: ...

    @property
    def order(self) -> Order: ...

    def advance(self) -> None: ...


class _Runs:
    """Of one user."""

    def __init__(self, runs: list[Request]) -> None:
        self._left = sorted(runs, key=attrgetter("order"), reverse=True)

    @property
    def empty(self) -> bool:
        return not self._left

    @property
    def head(self) -> Request:
        return self._left[-1]

    @property
    def order(self) -> Order:
        return self._left[-1].order

    def advance(self) -> None:
        self._left.pop()


class _Merged:
    """Of several lines always the head of that with the lowest score; among equals the oldest run."""

    def __init__(self, lines: Iterable[tuple[Callable[[], float], _Line]], balance: Balance) -> None:
        self._balance = balance
        self._version = balance.version
        self._heap: list[list[Any]] = [[score(), line.order, line, score] for score, line in lines]
        """Score, order of its head, line, how its score is found."""
        heapq.heapify(self._heap)

    @property
    def empty(self) -> bool:
        return not self._heap

    @property
    def head(self) -> Request:
        return self._heap[0][2].head  # type: ignore[no-any-return]

    @property
    def order(self) -> Order:
        return self._heap[0][1]  # type: ignore[no-any-return]

    def advance(self) -> None:
        heap = self._heap
        first = heap[0]
        line = first[2]
        line.advance()
        if line.empty:
            heapq.heappop(heap)
            return
        # Only the score of the line whose head has had its turn may have risen, and only if that was given something:
        # ten thousand that get nothing are gone through without a look at the others.
        if self._version != self._balance.version:
            self._version = self._balance.version
            first[0] = first[3]()
        first[1] = line.order
        if any(other < first for other in heap[1:3]):
            heapq.heapreplace(heap, first)
