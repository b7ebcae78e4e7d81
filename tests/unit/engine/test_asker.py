"""The search process from outside: it answers, it dies, it hangs, it is told again, it ends when nobody asks."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
import textwrap
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search.history import Answer, Ask, Outcome, Result
from orkhaven.core.search.points import Points
from orkhaven.core.search.random import hashed
from orkhaven.core.search.suggest import Suggester
from orkhaven.engine.asker import WorkerAsker

LONG = 120.0


def spec(seed: int = 1, *, algorithm: str = "TPE") -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "objective": {"metric": "m"},
            "search": {"algorithm": algorithm, "maxTrials": 500, "seed": seed},
            "parameters": [
                {"name": "loss", "values": ["dice", None, {"of": [1, 2]}]},
                {"name": "lr", "range": {"min": 1e-5, "max": 1e-1, "scale": "Log"}},
                {"name": "gamma", "range": {"min": 1, "max": 5}, "when": {"loss": ["dice"]}},
            ],
            "constraints": ["lr < 0.05"],
        }
    )


def results(count: int, *, of: SweepSpec | None = None) -> tuple[Result, ...]:
    points = Points((of or spec()).parameters)
    found = [points.at(lambda p, n=n: hashed(0, n, 0, str(p))) for n in range(count)]  # type: ignore[misc]
    return tuple(Result(n, point, Outcome.COMPLETE, n * 37 % 101 / 101) for n, point in enumerate(found))


def question(count: int = 20, *numbers: int, of: SweepSpec | None = None) -> Ask:
    return Ask(spec=of or spec(), results=results(count, of=of), numbers=numbers or (count,))


def here(ask: Ask) -> Answer:
    """What this process would answer, from nothing."""
    suggester = Suggester(ask.spec)
    suggester.tell(ask.results)
    return suggester.ask(ask.numbers)


@asynccontextmanager
async def running(**options: Any) -> AsyncIterator[WorkerAsker]:
    asker = WorkerAsker(**options)
    task = asyncio.create_task(asker.run())
    try:
        yield asker
    finally:
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        assert asker.pid is None


async def answer(asker: WorkerAsker, ask: Ask, sweep: str = "a") -> Answer:
    future: asyncio.Future[Answer] = asyncio.get_running_loop().create_future()
    asker.ask(sweep, ask, future.set_result)
    return await asyncio.wait_for(future, LONG)


async def until(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(LONG):
        while not condition():  # noqa: ASYNC110  The process says nothing when it ends.
            await asyncio.sleep(0.01)


def gone(pid: int) -> bool:
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return True
    return False


async def test_it_answers_as_a_process_that_was_told_everything_at_once_would() -> None:
    async with running() as asker:
        for count in (20, 22, 21, 25):  # a trial goes, others come
            ask = question(count, count, count + 1)
            assert await answer(asker, ask) == here(ask)
        other = question(20, of=spec(seed=2))
        assert await answer(asker, other, "b") == here(other)
        # The same sweep, another spec: maxTrials has risen.
        assert await answer(asker, other, "a") == here(other)
        pid = asker.pid
    assert pid is not None
    assert gone(pid)


async def test_one_that_is_killed_is_started_again_and_told_everything() -> None:
    async with running() as asker:
        await answer(asker, question(20))
        first = asker.pid
        assert first is not None
        os.kill(first, signal.SIGKILL)
        assert await answer(asker, question(21)) == here(question(21))
        assert asker.pid != first


async def test_only_news_is_told(tmp_path: Path) -> None:
    """A program that answers with what it was told."""
    telling = program(
        tmp_path,
        """
        import json, sys
        while head := sys.stdin.buffer.readline():
            question = json.loads(sys.stdin.buffer.read(int(head)))
            told = [sorted(question), question["known"], question["forget"], [one[0] for one in question["results"]]]
            body = json.dumps({"exhausted": json.dumps(told)}).encode()
            sys.stdout.buffer.write(b"%d\\n" % len(body) + body)
            sys.stdout.buffer.flush()
        """,
    )
    fields = ["forget", "known", "numbers", "results", "sweep"]
    async with running(program=telling) as asker:
        asked = [question(3), question(5), question(4)]
        told = [json.loads((await answer(asker, ask)).exhausted or "") for ask in asked]
    assert told == [
        [sorted([*fields, "spec"]), 0, [], [0, 1, 2]],
        [fields, 3, [], [3, 4]],
        [fields, 5, [4], []],
    ]


def program(tmp_path: Path, text: str) -> tuple[str, ...]:
    path = tmp_path / "program.py"
    path.write_text(textwrap.dedent(text))
    return (sys.executable, str(path))


async def test_one_that_hangs_is_killed_and_others_get_their_answers(tmp_path: Path) -> None:
    """Of the sweep `stuck` it never answers."""
    hanging = program(
        tmp_path,
        """
        import json, sys, time
        while head := sys.stdin.buffer.readline():
            question = json.loads(sys.stdin.buffer.read(int(head)))
            if question["sweep"] == "stuck":
                time.sleep(3600)
            body = json.dumps({"points": {str(n): [0, 0.01, 1.5] for n in question["numbers"]}}).encode()
            sys.stdout.buffer.write(b"%d\\n" % len(body) + body)
            sys.stdout.buffer.flush()
        """,
    )
    async with running(program=hanging, seconds=lambda algorithm: 2.0) as asker:
        stuck, fine = await asyncio.gather(answer(asker, question(), "stuck"), answer(asker, question(), "fine"))
        assert stuck.problem == "the search took more than 2 s for the next trials; it is started again"
        assert dict(fine.points) == {20: (0, 0.01, 1.5)}


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("raise SystemExit(3)", "the search process ended (exit code 3)"),
        ("print('Segmentation fault', flush=True); input()", "it said b'Segmentation fault"),
        ("import os, signal; os.kill(os.getpid(), signal.SIGSEGV)", "the search process ended (exit code -11)"),
    ],
    ids=["ends", "talks", "crashes"],
)
async def test_one_that_does_not_work_is_a_problem_and_no_exception(tmp_path: Path, text: str, said: str) -> None:
    async with running(program=program(tmp_path, text)) as asker:
        found = await answer(asker, question())
        assert found.problem is not None
        assert said in found.problem
        assert "it is started again" in found.problem
        # And the asker goes on.
        assert (await answer(asker, question())).problem


async def test_one_that_cannot_be_started_is_a_problem() -> None:
    async with running(program=("/nonexistent/python",)) as asker:
        found = await answer(asker, question())
        assert found.problem is not None
        assert "No such file" in found.problem


async def test_a_sampler_that_raises_costs_its_sweep_one_answer_and_nobody_else() -> None:
    async with running() as asker:
        outside = Result(0, (1, 7.0, None), Outcome.COMPLETE, 1.0)
        bad = Ask(spec=spec(), results=(outside, *results(20)[1:]), numbers=(20,))
        failed = await answer(asker, bad, "bad")
        assert failed.problem is not None
        assert failed.problem.startswith("the search failed: ")
        pid = asker.pid
        assert await answer(asker, question(), "good") == here(question())
        assert await answer(asker, question(), "bad") == here(question())
        assert asker.pid == pid


async def test_it_ends_when_nobody_asks_and_starts_again() -> None:
    async with running(idle_seconds=0.2) as asker:
        assert await answer(asker, question()) == here(question())
        await until(lambda: asker.pid is None)
        assert await answer(asker, question(21)) == here(question(21))


async def test_it_ends_with_the_operator() -> None:
    """A killed operator leaves nothing behind: the process reads the end of its input."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "orkhaven.engine.ask_worker"),
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    assert process.stdin is not None
    process.stdin.close()
    assert await asyncio.wait_for(process.wait(), LONG) == 0
