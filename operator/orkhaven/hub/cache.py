"""A bounded cache of answers and refusals, where many who ask at once share one question."""

from __future__ import annotations

import asyncio
from collections import OrderedDict
from collections.abc import Awaitable, Callable, Hashable
from typing import Generic, TypeVar

from orkhaven.hub.errors import HttpError

T = TypeVar("T")


class SharedCache(Generic[T]):
    """Of one event loop. Answers live `success_seconds`; refusals (HttpError below 500) `failure_seconds`; a failure
    to ask (HttpError of 500 and more, or any other exception) is never remembered.
    """

    def __init__(
        self, *, success_seconds: float, failure_seconds: float, size: int, clock: Callable[[], float]
    ) -> None:
        self._success_seconds = success_seconds
        self._failure_seconds = failure_seconds
        self._size = size
        self._clock = clock
        self._known: OrderedDict[Hashable, tuple[float, T | HttpError]] = OrderedDict()
        self._asking: dict[Hashable, asyncio.Task[T]] = {}

    async def get(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        """What `ask` returns or raises, or did so lately."""
        entry = self._known.get(key)
        if entry is not None:
            until, answer = entry
            if self._clock() < until:
                if isinstance(answer, HttpError):
                    raise answer
                return answer
            del self._known[key]
        task = self._asking.get(key)
        if task is None:
            # A task of its own: the first who asked may go away without taking the answer from the others.
            task = self._asking[key] = asyncio.ensure_future(self._ask(key, ask))
        return await asyncio.shield(task)

    async def _ask(self, key: Hashable, ask: Callable[[], Awaitable[T]]) -> T:
        try:
            answer = await ask()
        except HttpError as error:
            if error.status < 500:
                self._keep(key, error, seconds=self._failure_seconds)
            raise
        else:
            self._keep(key, answer, seconds=self._success_seconds)
            return answer
        finally:
            del self._asking[key]

    def _keep(self, key: Hashable, answer: T | HttpError, *, seconds: float) -> None:
        if seconds <= 0:
            return
        self._known[key] = (self._clock() + seconds, answer)
        self._known.move_to_end(key)
        while len(self._known) > self._size:
            self._known.popitem(last=False)
