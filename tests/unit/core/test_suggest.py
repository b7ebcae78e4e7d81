"""Searches that learn from their results: what they are told, what they answer, and that nothing else matters."""

from __future__ import annotations

import math
import random
from collections.abc import Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orkhaven.api.experiment import ExperimentStatus
from orkhaven.api.sweep import SweepSpec
from orkhaven.core.search import Asked, trial_params
from orkhaven.core.search.history import Outcome, Result
from orkhaven.core.search.points import Point, Points
from orkhaven.core.search.sample import Sample, Sizes
from orkhaven.core.search.suggest import Suggester, Unavailable
from orkhaven.core.sweep.asking import Asking, outcome_of

X = {"name": "x", "range": {"min": -5, "max": 5}}
LR = {"name": "lr", "range": {"min": 1e-5, "max": 1e-1, "scale": "Log"}}
BATCH = {"name": "batch", "range": {"min": 2, "max": 16, "scale": "Integer", "step": 2}}
DROP = {"name": "drop", "range": {"min": 0, "max": 0.5, "step": 0.1}}
LOSS = {"name": "loss.name", "values": ["dice", {"of": ["dice", "ce"]}, None, 1]}
GAMMA = {"name": "loss.gamma", "range": {"min": 1, "max": 5}, "when": {"loss.name": ["dice"]}}
POWER = {"name": "loss.power", "values": [1, 2], "when": {"loss.name": ["dice"]}}
POWER_ALONE = {"name": "power", "values": [1, 2]}
DEPTH = {"name": "depth", "values": [3, 4], "when": {"batch": [2, 4]}}
ALL = [X, LR, BATCH, DROP, LOSS, GAMMA, POWER, DEPTH]
RANGES = [X, LR, BATCH, DROP]


def spec_of(algorithm: str, parameters: Sequence[Mapping[str, Any]], **spec: Any) -> SweepSpec:
    return SweepSpec.model_validate(
        {
            "objective": {"metric": "m", "direction": spec.pop("direction", "Minimize")},
            "search": {"algorithm": algorithm, "maxTrials": 1000, "seed": spec.pop("seed", 1)},
            "parameters": parameters,
            **spec,
        }
    )


def bowl(overlay: Mapping[str, Any]) -> float:
    """0 where everything is right."""
    loss = (overlay.get("x", 1.0) - 1) ** 2 + (math.log10(overlay.get("lr", 1e-3)) + 3) ** 2
    loss += ((overlay.get("batch", 8) - 8) / 4) ** 2 + (overlay.get("drop", 0.2) - 0.2) ** 2
    return float(loss + (overlay.get("loss.gamma", 2) - 2) ** 2 / 4)


def searched(spec: SweepSpec, count: int, *, parallelism: int = 1, sign: float = 1.0) -> list[Result]:
    """A whole search, `parallelism` at a time, one process."""
    points, suggester, results = Points(spec.parameters), Suggester(spec), list[Result]()
    for first in range(0, count, parallelism):
        numbers = range(first, min(first + parallelism, count))
        answer = suggester.ask(numbers)
        news = [
            Result(n, answer.points[n], Outcome.COMPLETE, sign * bowl(points.overlay(answer.points[n])))
            for n in numbers
        ]
        suggester.tell(news)
        results += news
    return results


def units(seed: int) -> Any:
    drawn = random.Random(seed)
    values = [drawn.random() for _ in range(64)]
    return values.__getitem__


class TestPoints:
    @given(st.integers(0, 10**6))
    def test_a_combination_is_one_point_and_a_point_one_combination(self, seed: int) -> None:
        points = Points(spec_of("TPE", ALL).parameters)
        point = points.at(units(seed))
        overlay = points.overlay(point)
        assert points.of_overlay(overlay) == point
        nested: dict[str, Any] = {"loss": {}, "other": 3}
        for name, value in overlay.items():
            head, _, tail = name.partition(".")
            (nested[head] if tail else nested)[tail or head] = value
        assert points.of(nested) == point
        assert ("loss.gamma" in overlay) == (overlay["loss.name"] == "dice")
        assert ("depth" in overlay) == (overlay["batch"] in (2, 4))

    def test_what_the_template_has_where_a_parameter_is_left_out_is_not_its_value(self) -> None:
        points = Points(spec_of("TPE", [LOSS, GAMMA]).parameters)
        assert points.of({"loss": {"name": 1, "gamma": 2.0}}) == (3, None)
        assert points.of({"loss": {"name": "dice", "gamma": 2.0}}) == (0, 2.0)

    @pytest.mark.parametrize(
        "params",
        [{}, {"x": "1"}, {"x": True}, {"x": 6}, {"x": None}, {"y": 1}],
        ids=str,
    )
    def test_what_is_not_of_the_space_is_no_point(self, params: dict[str, Any]) -> None:
        assert Points(spec_of("TPE", [X]).parameters).of(params) is None

    @given(st.integers(0, 10**6))
    def test_the_unit_cube_and_back(self, seed: int) -> None:
        points = Points(spec_of("TPE", RANGES).parameters)
        point = points.at(units(seed))
        assert points.at(lambda p: points.to_unit(p, point[p] or 0)) == point

    def test_what_is_set_together_is_one_branch(self) -> None:
        assert Points(spec_of("TPE", ALL).parameters).branches() == [(0, 1, 2, 3, 4), (5, 6), (7,)]


class TestSample:
    SIZES = Sizes(best=5, newest=4, rest=6, running=3)

    def _of(self, count: int, order: Sequence[int] | None = None) -> Sample:
        sample = Sample(self.SIZES, minimize=True)
        for number in order or range(count):
            outcome = Outcome.RUNNING if number % 10 == 9 else Outcome.PRUNED if number % 10 == 8 else Outcome.COMPLETE
            value = None if outcome is Outcome.RUNNING else float(number * 37 % 101)
            sample.add(Result(number, (number,), outcome, value))
        return sample

    def test_a_short_history_is_all_of_it(self) -> None:
        assert [result.number for result in self._of(12).chosen()] == list(range(12))

    def test_the_best_and_the_newest_are_always_there(self) -> None:
        chosen = self._of(200).chosen()
        ended = [one for one in chosen if one.outcome is not Outcome.RUNNING]
        assert len(ended) == 15
        every = [one for one in range(200) if one % 10 < 8]
        best = sorted(every, key=lambda n: (n * 37 % 101, n))[:5]
        assert {one.number for one in chosen} >= {*best, 195, 196, 197, 198}
        assert [one.number for one in chosen if one.outcome is Outcome.RUNNING] == [179, 189, 199]

    @given(st.permutations(range(60)))
    def test_the_order_in_which_it_was_learnt_does_not_matter(self, order: list[int]) -> None:
        assert self._of(60, order).chosen() == self._of(60).chosen()

    def test_what_is_taken_away_was_never_there(self) -> None:
        sample = self._of(60)
        for number in range(40, 60):
            sample.remove(number)
        sample.remove(1000)
        assert sample.chosen() == self._of(40).chosen()

    def test_one_more_trial_changes_little(self) -> None:
        before, after = ({one.number for one in self._of(count).chosen()} for count in (500, 501))
        assert len(before ^ after) <= 4


@pytest.mark.parametrize(
    ("algorithm", "parameters"),
    [("TPE", ALL), ("CMAES", RANGES), ("GP", [X, LR, LOSS, GAMMA])],
    ids=["TPE", "CMAES", "GP"],
)
class TestAlgorithms:
    def test_a_new_process_answers_the_same(self, algorithm: str, parameters: list[Any]) -> None:
        spec = spec_of(algorithm, parameters)
        results = searched(spec, 24, parallelism=3)
        running = [Result(one.number, one.point, Outcome.RUNNING) for one in results[-2:]]
        known = [*results[:-2], *running]
        # One that learnt it as it came, late, twice, with what is not true any more; and one that is told it at once.
        old, new = Suggester(spec), Suggester(spec)
        old.tell([Result(one.number, one.point, Outcome.RUNNING) for one in results])
        old.ask([24, 25])
        old.tell([Result(30, results[0].point, Outcome.COMPLETE, -9.0)])
        for one in random.Random(0).sample(known, len(known)):
            old.tell([one])
        old.forget([30, 77])
        new.tell(known)
        assert old.ask([24, 25, 26]) == new.ask([24, 25, 26])
        assert len(set(new.ask([24, 25, 26]).points.values())) == 3

    def test_another_seed_or_another_result_is_another_point(self, algorithm: str, parameters: list[Any]) -> None:
        spec = spec_of(algorithm, parameters)
        results = searched(spec, 14)
        other = [*results[:5], Result(5, results[5].point, Outcome.COMPLETE, -50.0), *results[6:]]
        answers = []
        for seed, told in ((1, results), (2, results), (1, other)):
            suggester = Suggester(spec_of(algorithm, parameters, seed=seed))
            suggester.tell(told)
            answers.append(suggester.ask([20]).points[20])
        assert answers[2] != answers[0]
        # The maximum of a Gaussian process's expected improvement may be one point for all seeds.
        assert answers[1] != answers[0] or algorithm == "GP"

    def test_it_finds_what_is_good_whichever_direction(self, algorithm: str, parameters: list[Any]) -> None:
        count = 40 if algorithm == "GP" else 80
        down = searched(spec_of(algorithm, parameters), count, parallelism=2)
        up = searched(spec_of(algorithm, parameters, direction="Maximize"), count, parallelism=2, sign=-1.0)
        assert [one.point for one in up] == [one.point for one in down]
        values = [one.value or 0.0 for one in down]
        assert min(values) < 0.6
        # The later half is better than the earlier one, by far.
        assert sorted(values[count // 2 :])[count // 4] < sorted(values[: count // 2])[count // 4] / 2

    def test_the_constraints_hold_and_nothing_is_tried_twice(self, algorithm: str, parameters: list[Any]) -> None:
        spec = spec_of(algorithm, parameters, constraints=["x < 0", "lr > 0.001 or x < -3"])
        points = Points(spec.parameters)
        results = searched(spec, 30, parallelism=5)
        assert len({one.point for one in results}) == 30
        for overlay in (points.overlay(one.point) for one in results):
            assert overlay["x"] < 0
            assert overlay["lr"] > 0.001 or overlay["x"] < -3

    def test_failures_teach_nothing_and_are_not_tried_again(self, algorithm: str, parameters: list[Any]) -> None:
        spec = spec_of(algorithm, parameters)
        results = searched(spec, 20)
        failed = [Result(100 + n, p, Outcome.FAILED) for n, p in enumerate(_others(spec, 5))]
        plain, with_failures = Suggester(spec), Suggester(spec)
        plain.tell(results)
        with_failures.tell([*results, *failed])
        (point,) = plain.ask([20]).points.values()
        assert with_failures.ask([20]).points[20] == point
        with_failures.tell([Result(105, point, Outcome.FAILED)])
        assert with_failures.ask([20]).points[20] != point


def _others(spec: SweepSpec, count: int) -> list[Point]:
    points = Points(spec.parameters)
    return [points.at(units(seed)) for seed in range(count)]


class TestSpaces:
    def test_a_small_space_is_tried_whole_and_then_said_to_be(self) -> None:
        spec = spec_of("TPE", [BATCH, LOSS, DEPTH], constraints=["batch <= 6"])
        found = searched(spec, 20)
        suggester = Suggester(spec)
        suggester.tell(found)
        assert len({one.point for one in found}) == 20  # 2 batches x 4 x 2 depths + 1 batch x 4
        answer = suggester.ask([20])
        assert (dict(answer.points), answer.exhausted) == ({}, "all 20 combinations were tried")

    def test_a_constraint_that_nothing_keeps_ends_after_a_bounded_search(self) -> None:
        suggester = Suggester(spec_of("TPE", [X], constraints=["x > 4.9999999"]))
        suggester.tell([Result(n, (5.0 - n / 10**8,), Outcome.COMPLETE, 1.0) for n in range(12)])
        answer = suggester.ask([12, 13])
        assert not answer.points
        assert answer.exhausted == "10,000 draws in a row broke a constraint or had been made already"

    def test_running_trials_keep_others_away(self) -> None:
        """As a constant liar: where many run, a further one is less likely."""
        spec = spec_of("TPE", [X])
        ended = [
            Result(n, (x,), Outcome.COMPLETE, (x - 1) ** 2) for n, x in enumerate([-5.0 + n / 3 for n in range(30)])
        ]
        running = [Result(100 + n, (1.0 + n / 1000,), Outcome.RUNNING) for n in range(60)]
        near = []
        for told in (ended, [*ended, *running]):
            suggester = Suggester(spec)
            suggester.tell(told)
            drawn = [point[0] or 0.0 for n in range(200, 240) for point in suggester.ask([n]).points.values()]
            near.append(sum(abs(x - 1) < 0.5 for x in drawn))
        assert near[1] < near[0] / 2

    def test_pruned_trials_count_by_where_they_were_stopped(self) -> None:
        spec = spec_of("TPE", [X])
        good = [Result(n, (3 + n / 100,), Outcome.PRUNED, 0.0, 50) for n in range(10)]
        bad = [Result(10 + n, (-3 - n / 100,), Outcome.PRUNED, 0.0, 1) for n in range(30)]
        suggester = Suggester(spec)
        suggester.tell([*good, *bad])
        drawn = [point[0] or 0.0 for n in range(100, 120) for point in suggester.ask([n]).points.values()]
        assert sum(x > 0 for x in drawn) > 15

    def test_what_is_not_installed_is_said(self, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setitem(__import__("sys").modules, "orkhaven.core.search.gp", None)
        with pytest.raises(Unavailable, match=r"search\.algorithm GP needs the Python package .*operator's image"):
            Suggester(spec_of("GP", [X]))


class TestSource:
    def test_the_first_are_known_and_the_others_are_not(self) -> None:
        spec = spec_of("TPE", ALL, initialPoints=[{"x": 1.0}, {"x": 2.0}])
        source, again = trial_params(spec, {"epochs": 3}), trial_params(spec, {"epochs": 3})
        assert isinstance(source, Asked)
        assert (source.total, source.known) == (1000, 10)
        assert [source.params(n)["x"] for n in (0, 1)] == [1.0, 2.0]
        assert [source.params(n) for n in range(10)] == [again.params(n) for n in range(10)]
        with pytest.raises(LookupError, match="trial 10 depends on the results of others"):
            source.params(10)
        with pytest.raises(IndexError):
            source.params(1000)

    def test_a_small_space_is_no_more_than_it_has(self) -> None:
        source = trial_params(spec_of("TPE", [BATCH]), {})
        assert isinstance(source, Asked)
        assert (source.total, source.known) == (8, 8)

    def test_a_space_without_a_combination_is_refused(self) -> None:
        with pytest.raises(
            ValueError, match=r"spec\.constraints\[0\]: none of the 8 combinations keeps it: batch > 16"
        ):
            trial_params(spec_of("TPE", [BATCH], constraints=["batch > 16"]), {})

    def test_a_path_that_leads_nowhere_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"spec\.template\.params\.loss: is 3"):
            trial_params(spec_of("TPE", [LOSS]), {"loss": 3})

    def test_no_two_numbers_have_one_name(self) -> None:
        source = trial_params(spec_of("TPE", [X]), {})
        assert isinstance(source, Asked)
        asking = Asking(source, spec_of("TPE", [X]), sweep="s", uid="1")
        names = [asking.name(number) for number in (5, 0, 20, *range(2000))]
        assert names[0] == asking.name(5)
        assert len(set(names)) == 2000
        assert asking.name(3) != Asking(source, spec_of("TPE", [X]), sweep="s", uid="2").name(3)


@pytest.mark.parametrize(
    ("status", "want"),
    [
        ({}, (Outcome.RUNNING, None, 0)),
        ({"state": "Suspended", "objective": {"value": 1, "step": 2}}, (Outcome.RUNNING, None, 0)),
        ({"state": "Succeeded", "objective": {"value": 0.5, "step": 2}}, (Outcome.COMPLETE, 0.5, 2)),
        ({"state": "Succeeded"}, (Outcome.FAILED, None, 0)),
        ({"state": "Succeeded", "objective": {"value": math.nan, "step": 2}}, (Outcome.FAILED, None, 0)),
        ({"state": "Succeeded", "objective": {"value": math.inf, "step": 2}}, (Outcome.FAILED, None, 0)),
        ({"state": "Failed", "objective": {"value": 0.5, "step": 2}}, (Outcome.FAILED, None, 0)),
    ],
    ids=["new", "held", "ended", "without", "NaN", "infinite", "failed"],
)
def test_what_a_trial_teaches(status: dict[str, Any], want: tuple[Outcome, float | None, int]) -> None:
    assert outcome_of(ExperimentStatus.model_validate(status), metric="m") == want
