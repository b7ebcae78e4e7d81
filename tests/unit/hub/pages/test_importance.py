"""Which parameters matter, and when that is not said."""

from __future__ import annotations

import random
from typing import Any

import pytest

from orkhaven.hub.pages.importance import evaluate


async def test_the_parameter_that_makes_the_difference_comes_first() -> None:
    rng = random.Random(1)
    lr = [10 ** rng.uniform(-5, -1) for _ in range(200)]
    noise = [rng.choice(["a", "b", "c"]) for _ in lr]
    found = await evaluate({"noise": noise, "lr": lr}, [-abs(value - 0.001) for value in lr], minimize=False)
    assert [name for name, _ in found.shares] == ["lr", "noise"]
    assert found.trials == found.completed == 200
    assert sum(share for _, share in found.shares) == pytest.approx(1)


SILENT: dict[str, tuple[dict[str, list[Any]], list[float], str]] = {
    "few": ({"a": [1] * 19, "b": [2] * 19}, [1.0] * 19, "19 completed trials; from 20 on"),
    "one parameter": (
        {"a": list(range(30)), "b": [1] * 30},
        [float(n) for n in range(30)],
        "two parameters that differ",
    ),
    "conditional": (
        {"a": list(range(30)), "b": [None, *range(29)]},
        [float(n) for n in range(30)],
        "that every completed trial has",
    ),
    "same value": ({"a": list(range(30)), "b": list(range(30))}, [1.0] * 30, "reached the same value"),
}


@pytest.mark.parametrize(("params", "objective", "why"), SILENT.values(), ids=SILENT.keys())
async def test_where_it_means_nothing_it_says_why(
    params: dict[str, list[Any]], objective: list[float], why: str
) -> None:
    found = await evaluate(params, objective, minimize=False)
    assert found.shares == ()
    assert why in found.why_none
