"""`ports.Asker` by a process of its own: it imports Optuna, which is a second and 100 MB, and computes while the
operator goes on with everything else.

The process starts with the first question and ends when nothing was asked for a while. It is told of each sweep's
trials once, and then of what is news. What it remembers only saves time: whenever it dies, is killed because it takes
too long, or does not know a sweep any more, it is told everything again.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import sys
from collections import OrderedDict, deque
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from orkhaven.api.search import Algorithm
from orkhaven.core.search.history import Answer, Ask, Result

log = logging.getLogger(__name__)

SECONDS = {Algorithm.TPE: 60.0, Algorithm.CMAES: 60.0, Algorithm.GP: 300.0}
"""For one answer of at most 16 trials, the import of Optuna and reading 10,000 trials included; after that the process
counts as stuck. A tenth of it is a lot already."""
IDLE_SECONDS = 120.0
"""Without a question; then the process ends, and its memory is free. Trials take longer than its start."""
ENDING_SECONDS = 1.0
"""For one that has closed its output to be gone."""
SWEEPS = 64
"""Sweeps that it is told of, the last ones that asked; of another one it is told anew."""
PROGRAM = (sys.executable, "-m", "orkhaven.engine.ask_worker")
MAX_ANSWER = 64 * 1024 * 1024


class _Died(Exception):
    """The process is gone, or says what is no answer."""


@dataclass(slots=True)
class _Told:
    """What the process knows of a sweep."""

    ask: Ask
    results: dict[int, Result] = field(default_factory=dict)


@dataclass(frozen=True, slots=True)
class _Question:
    sweep: str
    ask: Ask
    done: Callable[[Answer], None]


class WorkerAsker:
    """One per engine; `run` does the work."""

    def __init__(
        self,
        *,
        program: tuple[str, ...] = PROGRAM,
        seconds: Callable[[Algorithm], float] = SECONDS.__getitem__,
        idle_seconds: float = IDLE_SECONDS,
    ) -> None:
        self._program, self._seconds, self._idle_seconds = program, seconds, idle_seconds
        self._questions: deque[_Question] = deque()
        self._news = asyncio.Event()
        self._process: asyncio.subprocess.Process | None = None
        self._told: OrderedDict[str, _Told] = OrderedDict()

    @property
    def pid(self) -> int | None:
        """Of the process, while there is one."""
        return self._process.pid if self._process is not None else None

    def ask(self, sweep: str, ask: Ask, done: Callable[[Answer], None]) -> None:
        self._questions.append(_Question(sweep, ask, done))
        self._news.set()

    async def run(self) -> None:
        """Answer until cancelled: one question after the other, in their order."""
        try:
            while True:
                if not self._questions:
                    self._news.clear()
                    try:
                        # Not wait_for, see Engine._work: it may lose a cancellation.
                        async with asyncio.timeout(self._idle_seconds if self._process else None):
                            await self._news.wait()
                    except TimeoutError:
                        await self._stop()
                    continue
                question = self._questions.popleft()
                question.done(await self._answer(question))
        finally:
            await self._stop()

    async def _answer(self, question: _Question) -> Answer:
        limit = self._seconds(question.ask.spec.search.algorithm)
        # The second attempt is for a process that has died since it was asked last, which is not this question's fault.
        for attempt in (1, 2):
            fresh = self._process is None
            try:
                async with asyncio.timeout(limit):
                    return await self._exchange(question)
            except TimeoutError:
                why = f"the search took more than {limit:g} s for the next trials"
                await self._stop()
                break
            except (OSError, EOFError, _Died) as error:
                code = await self._stop()
                why = f"the search process ended (exit code {code}): {error or 'no answer'}"
                if fresh or attempt == 2:
                    break
        log.warning("no answer from the search", extra={"sweep": question.sweep, "error": why})
        return Answer(problem=f"{why}; it is started again")

    async def _exchange(self, question: _Question) -> Answer:
        process = await self._started()
        for _ in range(2):
            request, told = self._request(question)
            reply = await _talk(process, request)
            if not reply.get("again"):
                self._told[question.sweep] = told
                self._told.move_to_end(question.sweep)
                while len(self._told) > SWEEPS:
                    self._told.popitem(last=False)
                return _read(reply)
            self._told.pop(question.sweep, None)
        raise _Died("it does not take what it is told")

    def _request(self, question: _Question) -> tuple[dict[str, Any], _Told]:
        """What is news, and what the process knows after it."""
        ask, known = question.ask, self._told.get(question.sweep)
        request: dict[str, Any] = {"sweep": question.sweep, "numbers": ask.numbers}
        if known is None or not (known.ask.spec is ask.spec or known.ask.spec == ask.spec):
            known = _Told(ask)
            request["spec"] = ask.spec.model_dump(
                mode="json", by_alias=True, include={"objective", "search", "parameters", "constraints"}
            )
        now = {result.number: result for result in ask.results}
        before = known.results
        request["known"] = len(before)
        request["forget"] = [number for number in before if number not in now]
        request["results"] = [
            (one.number, one.point, one.outcome.value, one.value, one.step)
            for number, one in now.items()
            if (held := before.get(number)) is not one and held != one
        ]
        return request, _Told(ask, now)

    async def _started(self) -> asyncio.subprocess.Process:
        if self._process is None or self._process.returncode is not None:
            self._told.clear()
            # One thread: it shares the pod's CPU with the operator, and the matrices are small.
            threads = dict.fromkeys(("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS"), "1")
            self._process = await asyncio.create_subprocess_exec(
                *self._program,
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                env={**os.environ, **threads},
            )
            log.info("search process started", extra={"search_pid": self._process.pid})
        return self._process

    async def _stop(self) -> int | None:
        """Its exit code."""
        process, self._process = self._process, None
        self._told.clear()
        if process is None:
            return None
        assert process.stdout is not None
        if process.stdout.at_eof():
            # It is ending by itself: a signal at that moment takes its exit code away from whom it is told to.
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(ENDING_SECONDS):
                    return await process.wait()
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        return await process.wait()


async def _talk(process: asyncio.subprocess.Process, request: dict[str, Any]) -> dict[str, Any]:
    assert process.stdin is not None
    assert process.stdout is not None
    body = json.dumps(request).encode()
    process.stdin.write(b"%d\n" % len(body) + body)
    await process.stdin.drain()
    head = await process.stdout.readline()
    if not head.strip().isdigit() or int(head) > MAX_ANSWER:
        raise _Died(f"it said {head[:80]!r}" if head else "")
    reply: dict[str, Any] = json.loads(await process.stdout.readexactly(int(head)))
    return reply


def _read(reply: dict[str, Any]) -> Answer:
    return Answer(
        points={int(number): tuple(point) for number, point in reply.get("points", {}).items()},
        exhausted=reply.get("exhausted"),
        problem=reply.get("problem"),
        unavailable=reply.get("unavailable"),
    )
