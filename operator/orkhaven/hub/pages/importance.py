"""Which parameters matter: Optuna's PED-ANOVA over a sweep's completed trials, remembered for a while.

In a process of its own that ends with the answer: Optuna is a second and 100 MB to import, and the hub takes metrics in
meanwhile. Only where it means something: enough trials, more than one parameter that differs, values that differ.
"""

from __future__ import annotations

import asyncio
import json
import logging
import random
import sys
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from starlette.requests import Request

from orkhaven.hub.context import hub_of
from orkhaven.hub.errors import unavailable
from orkhaven.hub.pages.context import pages_of
from orkhaven.hub.pages.data import asked
from orkhaven.hub.query.fields import field, param

TIMEOUT = 60.0
"""Seconds for one answer; 2,000 trials take two."""
MIN_TRIALS = 20
"""Fewer, and the order of the parameters is an accident."""
MAX_TRIALS = 2_000
"""More are drawn from evenly: the shares do not change, only the seconds."""

log = logging.getLogger(__name__)


@dataclass(frozen=True, slots=True, kw_only=True)
class Importance:
    shares: tuple[tuple[str, float], ...]
    """Largest first; they add up to 1."""
    trials: int
    """That it was computed from."""
    completed: int
    left_out: tuple[str, ...]
    """Parameters that not every trial has."""
    why_none: str = ""


async def importance_of(request: Request, namespace: str, name: str) -> Importance:
    """Raises HttpError."""
    hub, pages = hub_of(request), pages_of(request)
    with asked():
        sweep = hub.queries.sweep(namespace, name)
        schema = await hub.queries.schema(namespace, name)
        refs = [*(param(one) for one in schema.varying), field("objective"), field("state")]
        _, values = await hub.queries.values(namespace, name, refs)
    *found, objective, states = values
    rows = [
        row
        for row, (value, state) in enumerate(zip(objective, states, strict=True))
        if state == "Succeeded" and isinstance(value, int | float) and value - value == 0
    ]
    chosen = {one: [column[row] for row in rows] for one, column in zip(schema.varying, found, strict=True)}
    goal = [float(objective[row]) for row in rows]
    # Grows with each trial that completes: a new number of them is a new question.
    key = (sweep.uid, len(rows))

    async def compute() -> Importance:
        async with pages.computing:
            return await evaluate(chosen, goal, minimize=sweep.objective.minimize)

    return await pages.importances.get(key, compute)


async def evaluate(params: dict[str, list[Any]], objective: Sequence[float], *, minimize: bool) -> Importance:
    """The same trials give the same answer. Raises HttpError 503 where it cannot be computed."""
    completed = len(objective)

    def none(why: str) -> Importance:
        return Importance(shares=(), trials=0, completed=completed, left_out=(), why_none=why)

    if completed < MIN_TRIALS:
        return none(
            f"{completed} completed trial{'s' if completed != 1 else ''}; from {MIN_TRIALS} on it says something."
        )
    whole = {name: values for name, values in params.items() if None not in values}
    left_out = tuple(sorted(params.keys() - whole.keys()))
    differing = {name: values for name, values in whole.items() if len({repr(value) for value in values}) > 1}
    if len(differing) < 2:
        return none("It takes two parameters that differ and that every completed trial has.")
    if len(set(objective)) < 2:
        return none("All completed trials reached the same value.")
    rows = list(range(completed))
    if completed > MAX_TRIALS:
        rows = sorted(random.Random(0).sample(rows, MAX_TRIALS))
    question = {
        "params": {name: [values[row] for row in rows] for name, values in differing.items()},
        "objective": [objective[row] for row in rows],
        "minimize": minimize,
    }
    shares = tuple(await _ask(question))
    return Importance(shares=shares, trials=len(rows), completed=completed, left_out=left_out)


async def _ask(question: dict[str, Any]) -> list[tuple[str, float]]:
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        "orkhaven.hub.pages.shares",
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.PIPE,
    )
    try:
        async with asyncio.timeout(TIMEOUT):
            answer, errors = await process.communicate(json.dumps(question).encode())
    except TimeoutError:
        raise unavailable(f"the importance of the parameters took longer than {TIMEOUT:g} s") from None
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode != 0:
        log.error("importance failed", extra={"stderr": errors.decode(errors="replace")[-2000:]})
        raise unavailable("the importance of the parameters could not be computed; the hub's log says why")
    return [(name, share) for name, share in json.loads(answer)]
