"""Starts `grep_worker`, feeds it a log, and ends it where it takes too long."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from orkhaven.hub.logs.store import Piece

WORKER = Path(__file__).with_name("grep_worker.py")
SECONDS = 5
"""CPU seconds of a search; 16 MiB of log take about one."""
WALL_SECONDS = 15.0
MEMORY = 256 * 1024 * 1024
MAX_LINE = 16 * 1024
"""Bytes of a line that are searched and shown."""
AT_ONCE = 2
"""Searches under way; others wait."""


class GrepError(Exception):
    """What is wrong with the pattern, in a sentence."""


class Grep:
    """Of one event loop."""

    def __init__(self) -> None:
        self._slots = asyncio.Semaphore(AT_ONCE)

    async def search(
        self, pattern: str, pieces: Iterator[Piece], *, ignore_case: bool, context: int, limit: int
    ) -> dict[str, Any]:
        """{"matches": [{offset, text, start, end, before, after}], "more"}. Raises GrepError, SQLAlchemyError."""
        wanted = {
            "pattern": pattern,
            "ignoreCase": ignore_case,
            "context": context,
            "limit": limit,
            "maxLine": MAX_LINE,
            "cpuSeconds": SECONDS,
            "memoryBytes": MEMORY,
        }
        async with self._slots:
            process = await asyncio.create_subprocess_exec(
                *(sys.executable, "-I", "-S", str(WORKER)),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={},
            )
            try:
                async with asyncio.timeout(WALL_SECONDS):
                    feeding = asyncio.create_task(_feed(process, wanted, pieces))
                    try:
                        assert process.stdout is not None
                        out = await process.stdout.read()
                        await process.wait()
                    finally:
                        feeding.cancel()
                        (problem,) = await asyncio.gather(feeding, return_exceptions=True)
            except TimeoutError:
                raise _too_slow() from None
            finally:
                if process.returncode is None:
                    with contextlib.suppress(ProcessLookupError):
                        process.kill()
                    await process.wait()
        if not out:
            if isinstance(problem, Exception) and not isinstance(problem, OSError):
                raise problem
            raise _too_slow()
        answer: dict[str, Any] = json.loads(out)
        if "error" in answer:
            raise GrepError(f"not a regular expression that can be searched for: {answer['error']}")
        return answer


async def _feed(process: asyncio.subprocess.Process, wanted: dict[str, Any], pieces: Iterator[Piece]) -> None:
    assert process.stdin is not None
    process.stdin.write(json.dumps(wanted).encode() + b"\n")
    while (piece := await asyncio.to_thread(next, pieces, None)) is not None:
        process.stdin.write(b"%d %d\n" % (piece.start, len(piece.data)) + piece.data)
        await process.stdin.drain()  # raises where the worker has what it wants and is gone
    process.stdin.close()


def _too_slow() -> GrepError:
    return GrepError(
        f"the search took more than {SECONDS} seconds of CPU: a pattern with repetitions inside repetitions, such as "
        "(a+)+, can take for ever; write it without"
    )
