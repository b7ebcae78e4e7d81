"""Generated traces: as much work as was asked for, of the shape that docs/simulate.md cites."""

from __future__ import annotations

from dataclasses import replace
from random import Random

import pytest

from orkhaven.api import Priority
from orkhaven.simulate import Shape, make_trace

MONTH = Shape(days=30, gpus=100)


def test_the_same_seed_gives_the_same_trace() -> None:
    shape = replace(MONTH, days=1)
    assert make_trace(shape, Random(3)) == make_trace(shape, Random(3)) != make_trace(shape, Random(4))


@pytest.mark.parametrize("load", [0.5, 1.2])
def test_the_load_is_what_was_asked_for(load: float) -> None:
    trace = make_trace(replace(MONTH, load=load), Random(1))
    asked = sum(run.gpus * run.duration for run in trace)
    assert asked / (MONTH.gpus * MONTH.days * 86_400) == pytest.approx(load, rel=0.08)


def test_runs_are_many_short_and_few_long_on_one_gpu_and_by_day() -> None:
    trace = make_trace(MONTH, Random(1))
    batch = [run for run in trace if run.priority is not Priority.INTERACTIVE]
    seconds = sorted(run.duration for run in batch)
    assert 15 * 60 < seconds[len(seconds) // 2] < 40 * 60
    assert 3 * 3600 < seconds[int(0.9 * len(seconds))] < 8 * 3600
    assert sum(run.gpus == 1 for run in trace) > 0.6 * len(trace)
    assert {run.gpus for run in trace} == {1, 2, 4, 8}
    night, day = (sum(run.submitted % 86_400 // 3600 in hours for run in trace) for hours in ({2, 3, 4}, {15, 16, 17}))
    assert day > 2 * night
    assert len({run.namespace for run in trace}) == MONTH.namespaces


def test_a_run_is_never_larger_than_a_node() -> None:
    assert {run.gpus for run in make_trace(replace(MONTH, days=1, largest=3), Random(1))} == {1, 2, 3}
