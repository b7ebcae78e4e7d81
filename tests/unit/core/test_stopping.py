"""Early stopping as a function of what all runs have reached: formulas by table, what always holds by property."""

from __future__ import annotations

import json
import math
import random
import statistics
import time
from collections import Counter
from collections.abc import Iterable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.api.experiment import Direction
from orkhaven.api.stopping import MAX_RUNGS, EarlyStopping
from orkhaven.core.stopping import Run, Stop, bracket_of, bracket_weights, decide

MAX, MIN = Direction.MAXIMIZE, Direction.MINIMIZE
TABLE = Path(__file__).parents[2] / "recorded" / "trainings.json"


def rule(algorithm: str, **fields: Any) -> EarlyStopping:
    return EarlyStopping.model_validate({"algorithm": algorithm, **fields})


ASHA = rule("ASHA", minSteps=1, reductionFactor=3)
MEDIAN = rule("Median", minSteps=1, startupTrials=3)
HYPERBAND = rule("Hyperband", minSteps=1, maxSteps=27)
COMPARING = [ASHA, MEDIAN, HYPERBAND]


def run(trial: int, *values: float | None, running: bool = True, ladder: EarlyStopping = ASHA, **fields: Any) -> Run:
    """One that has passed as many rungs as there are values."""
    rungs = dict(zip(ladder.ladder(), values, strict=False))
    return Run(name=f"t{trial:03}", trial=trial, running=running, rungs=rungs, step=max(rungs, default=0), **fields)


def stopped(stops: Iterable[Stop]) -> list[int]:
    return [int(stop.name[1:]) for stop in stops]


@pytest.mark.parametrize(
    ("stopping", "ladder"),
    [
        (rule("ASHA", minSteps=5), [5 * 3**k for k in range(MAX_RUNGS)]),
        (rule("ASHA", minSteps=1, reductionFactor=16), [16**k for k in range(8)]),
        (rule("Hyperband", minSteps=1, maxSteps=27), [1, 3, 9]),
        (rule("Hyperband", minSteps=2, maxSteps=20, reductionFactor=2), [2, 4, 8, 16]),
        (rule("Median", minSteps=5), [5, 8, 11, 17, 25, 38, 57, 85, 128, 192, 288, 432, 649, 973, 1460, 2189]),
        (rule("Median"), [1, 2, 3, 5, 8, 11, 17, 26, 38, 58, 86, 130, 195, 292, 438]),
        (rule("Patience", patience=3), []),
    ],
    ids=["ASHA", "ASHA of 16", "Hyperband", "Hyperband of 2", "Median", "Median from 1", "Patience"],
)
def test_a_ladder_rises_and_has_at_most_sixteen_rungs(stopping: EarlyStopping, ladder: list[int]) -> None:
    assert stopping.ladder() == ladder


class TestHalving:
    @pytest.mark.parametrize("count", range(1, 13))
    def test_so_many_go_on_as_the_factor_says_and_none_is_stopped_by_too_few(self, count: int) -> None:
        stops = decide(ASHA, [run(n, n / 100) for n in range(count)], direction=MAX)
        assert count - len(stops) == (count // 3 or count)

    def test_equals_of_the_last_that_goes_on_go_on(self) -> None:
        runs = [run(n, value) for n, value in enumerate([0.5, 0.5, 0.5, 0.4, 0.5, 0.3])]
        assert stopped(decide(ASHA, runs, direction=MAX)) == [3, 5]

    def test_a_run_is_judged_at_its_last_rung_only(self) -> None:
        # The first is the worst of all at rung 1, which it has long passed, and the only one at rung 3.
        runs = [run(0, 0.1, 0.15), *(run(n, 0.5 + n / 100) for n in range(1, 6))]
        assert stopped(decide(ASHA, runs, direction=MAX)) == [1, 2, 3]

    def test_stopped_and_succeeded_ones_count_and_are_not_stopped_again(self) -> None:
        runs = [run(0, 0.9, running=False), run(1, 0.1, running=False), run(2, 0.2)]
        assert stopped(decide(ASHA, runs, direction=MAX)) == [2]

    def test_a_run_that_a_person_lets_go_on_is_spared_at_that_rung_and_not_at_the_next(self) -> None:
        others = [run(n, 0.5, 0.6) for n in range(1, 6)]
        assert stopped(decide(ASHA, [run(0, 0.1, spared=1), *others], direction=MAX)) == []
        assert stopped(decide(ASHA, [run(0, 0.1, 0.2, spared=1), *others], direction=MAX)) == [0]

    def test_it_says_at_which_rung_and_why(self) -> None:
        runs = [run(n, value) for n, value in enumerate([0.61, 0.7, 0.8])]
        assert decide(ASHA, runs, direction=MAX) == [
            Stop("t000", 1, "rung 1: 0.61 is not the best of 3 trials (0.8 or better goes on)"),
            Stop("t001", 1, "rung 1: 0.7 is not the best of 3 trials (0.8 or better goes on)"),
        ]

    def test_a_value_noted_at_another_step_than_a_rung_of_the_rule_is_passed_over(self) -> None:
        odd = replace(run(0), rungs={2: 0.1})
        assert decide(ASHA, [odd, run(1, 0.5), run(2, 0.6), run(3, 0.7)], direction=MAX) == decide(
            ASHA, [run(1, 0.5), run(2, 0.6), run(3, 0.7)], direction=MAX
        )


class TestMedian:
    @pytest.mark.parametrize(
        ("direction", "values", "expected"),
        [
            (MAX, [0.1, 0.2, 0.3, 0.4], [0, 1]),
            (MIN, [0.1, 0.2, 0.3, 0.4], [2, 3]),
            (MAX, [0.1, 0.2, 0.3], [0]),
            (MAX, [0.2, 0.2, 0.2], []),
            (MAX, [0.1, 0.9], []),
            (MAX, [None, 0.2, 0.3], [0]),
            (MAX, [None, None, 0.3], []),
            (MAX, [None, None, None], []),
            (MAX, [1.7e308, 1.6e308, -1.7e308, 1.7e308], [1, 2]),
        ],
        ids=str,
    )
    def test_what_is_worse_than_the_median_is_stopped(
        self, direction: Direction, values: list[float | None], expected: list[int]
    ) -> None:
        runs = [run(n, value, ladder=MEDIAN) for n, value in enumerate(values)]
        assert stopped(decide(MEDIAN, runs, direction=direction)) == expected

    def test_it_says_so(self) -> None:
        runs = [run(n, value, ladder=MEDIAN) for n, value in enumerate([0.61, 0.7, 0.9])]
        (stop,) = decide(MEDIAN, runs, direction=MAX)
        assert stop == Stop("t000", 1, "rung 1: 0.61 is below the median 0.7 of 3 trials")
        (stop,) = decide(MEDIAN, [run(0, None), *runs[1:]], direction=MAX)
        assert stop.message == "rung 1: no finite value, which is worse than the median 0.7 of 3 trials"


class TestHyperband:
    @pytest.mark.parametrize(
        ("stopping", "weights"),
        [
            (HYPERBAND, [27, 12, 6, 4]),  # as in Li et al. 2018, table 1, for R = 27 and eta = 3
            (rule("Hyperband", minSteps=1, maxSteps=81), [81, 34, 15, 8, 5]),  # their table 1 itself
            (rule("Hyperband", minSteps=2, maxSteps=20), [9, 5, 3]),
        ],
        ids=["27", "81", "20 from 2"],
    )
    def test_brackets_get_the_papers_shares(self, stopping: EarlyStopping, weights: list[int]) -> None:
        assert bracket_weights(stopping) == weights

    def test_after_any_number_of_trials_each_bracket_has_close_to_its_share(self) -> None:
        weights = bracket_weights(HYPERBAND)
        counts: Counter[int] = Counter()
        for trial in range(500):
            counts[bracket_of(weights, trial)] += 1
            for bracket, weight in enumerate(weights):
                assert abs(counts[bracket] - (trial + 1) * weight / sum(weights)) < 3

    def test_runs_of_different_brackets_are_never_compared(self) -> None:
        weights = bracket_weights(HYPERBAND)
        runs = [run(n, n / 100, n / 100, n / 100, ladder=HYPERBAND) for n in range(60)]
        left = set(range(60)) - set(stopped(decide(HYPERBAND, runs, direction=MAX)))
        for bracket in range(len(weights)):
            mine = [n for n in range(60) if bracket_of(weights, n) == bracket]
            expected = mine if bracket == 3 else mine[-(len(mine) // 3) :]  # the last one never stops anybody
            assert left & set(mine) == set(expected)

    def test_a_later_bracket_does_not_stop_at_an_early_rung(self) -> None:
        weights = bracket_weights(HYPERBAND)
        runs = [run(n, n / 100, ladder=HYPERBAND) for n in range(60)]
        assert {bracket_of(weights, n) for n in stopped(decide(HYPERBAND, runs, direction=MAX))} == {0}


class TestPatience:
    @pytest.mark.parametrize(
        ("step", "best", "fields", "expected"),
        [
            (12, (0.5, 9), {}, []),
            (14, (0.5, 9), {}, [0]),
            (9, (0.5, 1), {}, []),  # before minSteps
            (10, (0.5, 1), {}, [0]),
            (40, None, {"reported": False}, []),
            (40, None, {}, [0]),
            (40, (0.5, 9), {"spared": 38}, []),
            (43, (0.5, 9), {"spared": 38}, [0]),
            (40, (0.5, 9), {"running": False}, []),
            (3, (0.5, 9), {}, []),  # resumed from a checkpoint before its best
        ],
        ids=["3 steps", "5 steps", "too early", "minSteps", "nothing", "NaN", "resumed", "again", "ended", "went back"],
    )
    def test_no_better_value_for_so_many_steps(
        self, step: int, best: tuple[float, int] | None, fields: dict[str, Any], expected: list[int]
    ) -> None:
        patience = rule("Patience", patience=5, minSteps=10)
        one = replace(run(0), step=step, best=best, **fields)
        assert stopped(decide(patience, [one, run(1, 0.9)], direction=MAX)) == expected

    def test_it_says_so(self) -> None:
        (stop,) = decide(rule("Patience", patience=5), [replace(run(0), step=14, best=(0.5, 9))], direction=MAX)
        assert stop == Stop("t000", 14, "step 14: no better than 0.5 of step 9 for 5 steps")


class TestRepeats:
    def test_repeats_of_one_set_are_judged_by_their_mean(self) -> None:
        # Set 0 is 0.9 and 0.1, set 1 is 0.6 twice, set 2 is 0.4: means 0.5, 0.6, 0.4.
        values = [(0, 0.9), (0, 0.1), (1, 0.6), (1, 0.6), (2, 0.4)]
        runs = [replace(run(trial, value), name=f"t{n:03}") for n, (trial, value) in enumerate(values)]
        stops = decide(ASHA, runs, direction=MAX)
        assert stopped(stops) == [0, 1, 4]
        assert stops[0].message.startswith("rung 1: 0.5, the mean of 2 repeats, is not the best of 3 trials")

    def test_one_diverged_repeat_makes_its_set_the_worst(self) -> None:
        values: list[tuple[int, float | None]] = [(0, 0.9), (0, None), (1, 0.6), (2, 0.4)]
        runs = [replace(run(trial, value), name=f"t{n:03}") for n, (trial, value) in enumerate(values)]
        assert stopped(decide(ASHA, runs, direction=MAX)) == [0, 1, 3]


# --- what always holds ------------------------------------------------------------------------------------------------

VALUES = st.one_of(
    st.none(), st.floats(-1e9, 1e9, allow_nan=False), st.sampled_from([0.0, 0.5, 1.0, math.inf, math.nan])
)


@st.composite
def crowds(draw: st.DrawFn) -> list[Run]:
    sizes = draw(st.lists(st.tuples(st.integers(0, 3), st.booleans()), max_size=40))
    return [
        run(n, *draw(st.lists(VALUES, min_size=rungs, max_size=rungs)), running=running)
        for n, (rungs, running) in enumerate(sizes)
    ]


def cost(value: float | None, direction: Direction) -> float:
    if value is None or not math.isfinite(value):
        return math.inf
    return -value if direction is MAX else value


@pytest.mark.parametrize("stopping", COMPARING, ids=lambda rule: rule.algorithm)
@given(runs=crowds(), direction=st.sampled_from(Direction), shuffled=st.randoms(use_true_random=False))
def test_the_order_in_which_runs_are_looked_at_decides_nothing(
    stopping: EarlyStopping, runs: list[Run], direction: Direction, shuffled: Any
) -> None:
    mixed = list(runs)
    shuffled.shuffle(mixed)
    assert decide(stopping, mixed, direction=direction) == decide(stopping, runs, direction=direction)


@pytest.mark.parametrize("stopping", COMPARING, ids=lambda rule: rule.algorithm)
@given(runs=crowds())
def test_a_mirrored_direction_decides_the_same(stopping: EarlyStopping, runs: list[Run]) -> None:
    mirrored = [
        replace(one, rungs={step: None if value is None else -value for step, value in one.rungs.items()})
        for one in runs
    ]
    one, other = decide(stopping, runs, direction=MAX), decide(stopping, mirrored, direction=MIN)
    assert [(stop.name, stop.step) for stop in one] == [(stop.name, stop.step) for stop in other]


@pytest.mark.parametrize("stopping", COMPARING, ids=lambda rule: rule.algorithm)
@given(runs=crowds(), direction=st.sampled_from(Direction))
def test_the_best_of_all_at_a_rung_is_never_stopped(
    stopping: EarlyStopping, runs: list[Run], direction: Direction
) -> None:
    stops = {stop.name: stop.step for stop in decide(stopping, runs, direction=direction)}
    for step in stopping.ladder():
        passed = [one for one in runs if step in one.rungs]
        least = min((cost(one.rungs[step], direction) for one in passed), default=None)
        for one in passed:
            if cost(one.rungs[step], direction) == least:
                assert stops.get(one.name) != step


@pytest.mark.parametrize("stopping", COMPARING, ids=lambda rule: rule.algorithm)
@given(runs=crowds(), direction=st.sampled_from(Direction))
def test_only_running_ones_that_passed_a_rung_are_stopped_and_at_their_last(
    stopping: EarlyStopping, runs: list[Run], direction: Direction
) -> None:
    by_name = {one.name: one for one in runs}
    for stop in decide(stopping, runs, direction=direction):
        assert by_name[stop.name].running
        assert stop.step == max(set(by_name[stop.name].rungs) & set(stopping.ladder()))


@pytest.mark.parametrize("stopping", COMPARING, ids=lambda rule: rule.algorithm)
@given(runs=crowds(), direction=st.sampled_from(Direction), rng=st.randoms(use_true_random=False))
def test_stopping_one_by_one_in_any_order_stops_the_same(
    stopping: EarlyStopping, runs: list[Run], direction: Direction, rng: Any
) -> None:
    """An operator that dies between any two of its writes, and decides anew, ends with the same trials stopped."""
    want = decide(stopping, runs, direction=direction)
    left, found = list(runs), []
    while stops := decide(stopping, left, direction=direction):
        one = rng.choice(stops)
        found.append(one)
        left = [replace(r, running=False) if r.name == one.name else r for r in left]
    assert sorted(found, key=lambda stop: stop.name) == want


@settings(max_examples=30)
@given(runs=crowds(), direction=st.sampled_from(Direction))
def test_the_median_is_the_median(runs: list[Run], direction: Direction) -> None:
    """Against the standard library."""
    stops = set(stopped(decide(MEDIAN, runs, direction=direction)))
    for step in MEDIAN.ladder():
        costs = [cost(one.rungs[step], direction) for one in runs if step in one.rungs]
        if len(costs) < MEDIAN.startup:
            continue
        middle = statistics.median(costs)
        for one in runs:
            if one.running and one.rungs and max(one.rungs) == step and cost(one.rungs[step], direction) > middle:
                assert one.trial in stops


# --- on a table -------------------------------------------------------------------------------------------------------


def replay(stopping: EarlyStopping, curves: list[list[float]], *, parallelism: int) -> tuple[float, float]:
    """(best value of those that ran to their end, share of all epochs): each round, every running one does one
    epoch."""
    ladder, done = stopping.ladder(), [0] * len(curves)
    gone: set[int] = set()
    waiting, going = list(range(len(curves))), list[int]()
    while waiting or going:
        while waiting and len(going) < parallelism:
            going.append(waiting.pop(0))
        for n in going:
            done[n] += 1
        going = [n for n in going if done[n] < len(curves[n])]
        runs = []
        for n, steps in enumerate(done):
            seen = curves[n][:steps]
            leader = (max(seen), seen.index(max(seen)) + 1) if seen else None
            rungs = {rung: max(seen[:rung]) for rung in ladder if rung <= steps}
            running = n in going
            runs.append(Run(name=f"t{n:03}", trial=n, running=running, rungs=rungs, step=steps, best=leader))
        out = set(stopped(decide(stopping, runs, direction=MAX)))
        gone |= out
        going = [n for n in going if n not in out]
    ended = [max(curves[n]) for n in range(len(curves)) if n not in gone or stopping.patience]
    return max(ended), sum(done) / sum(map(len, curves))


@pytest.mark.parametrize("order", range(3))
@pytest.mark.parametrize("parallelism", [4, 16])
@pytest.mark.parametrize(
    ("stopping", "share"),
    [
        (rule("ASHA", minSteps=3), 0.4),
        (rule("Hyperband", minSteps=3, maxSteps=27), 0.6),
        (rule("Median", minSteps=3), 0.45),
        (rule("Patience", minSteps=3, patience=8), 0.9),
    ],
    ids=["ASHA", "Hyperband", "Median", "Patience"],
)
def test_each_finds_the_best_of_recorded_trainings_for_fewer_epochs(
    stopping: EarlyStopping, share: float, parallelism: int, order: int
) -> None:
    """Real ones (tools/record.py), begun in another order each time."""
    curves = [training["values"] for training in json.loads(TABLE.read_text())["trainings"]]
    random.Random(order).shuffle(curves)
    best, spent = replay(stopping, curves, parallelism=parallelism)
    assert best >= max(map(max, curves)) - 0.01
    assert spent <= share


def test_ten_thousand_trials_cost_as_much_each_as_a_thousand() -> None:
    """n log n: ten times as many cost at most 40 times as much, of CPU time."""

    def seconds(count: int) -> float:
        """Of the quickest of five looks: what else the machine does is in the others."""
        runs = [run(n, *(math.sin(n * k) for k in range(1, 5)), running=n % 20 == 0) for n in range(count)]
        spent = []
        for _ in range(5):
            begun = time.process_time()
            decide(ASHA, runs, direction=MAX)
            spent.append(time.process_time() - begun)
        return min(spent)

    seconds(1000)
    assert seconds(10_000) < 40 * seconds(1000)
