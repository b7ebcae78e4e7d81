"""Searches: every index another trial, the same in every process, whatever the size of the space."""

from __future__ import annotations

import itertools
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.api import SweepSpec
from orkhaven.core.identity import canonical_json
from orkhaven.core.search import TrialSource, trial_params


def search(parameters: list[dict[str, Any]] | None = None, *, template: Any = None, **spec: Any) -> TrialSource:
    body = {"objective": {"metric": "m"}, **({"parameters": parameters} if parameters else {}), **spec}
    return trial_params(SweepSpec.model_validate(body), template or {})


def everything(source: TrialSource) -> list[dict[str, Any]]:
    return [source.params(index) for index in range(source.total)]


@st.composite
def parameter_lists(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Up to five parameters of few values, each on the condition of some before it."""
    parameters: list[dict[str, Any]] = []
    values = st.lists(st.sampled_from([0, 1, 1.0, "1", None, "a", [1]]), min_size=1, max_size=4)
    for index in range(draw(st.integers(1, 5))):
        parameter: dict[str, Any] = {"name": f"p{index}", "values": draw(values)}
        when = {}
        for earlier in parameters:
            if draw(st.integers(0, 2)) == 0:
                some = st.lists(st.sampled_from([*earlier["values"], "none of them"]), min_size=1, max_size=3)
                when[earlier["name"]] = draw(some)
        parameters.append(parameter | ({"when": when} if when else {}))
    return parameters


def by_hand(parameters: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """All combinations the slow way: the product of all values, conditions applied, doubles dropped."""
    found: dict[bytes, dict[str, Any]] = {}
    for values in itertools.product(*[p["values"] for p in parameters]):
        params: dict[str, Any] = {}
        for parameter, value in zip(parameters, values, strict=True):
            wanted = parameter.get("when", {})
            if all(
                name in params and canonical_json(params[name]) in map(canonical_json, allowed)
                for name, allowed in wanted.items()
            ):
                params[parameter["name"]] = value
        found.setdefault(canonical_json(params), params)
    return list(found.values())


class TestGrid:
    @given(parameter_lists())
    @settings(deadline=None)
    def test_it_is_the_product_with_nothing_twice_and_in_its_order(self, parameters: list[dict[str, Any]]) -> None:
        source = search(parameters, search={"order": "Sequential"})
        expected = by_hand(parameters)
        assert source.total == len(expected)
        assert sorted(map(canonical_json, everything(source))) == sorted(map(canonical_json, expected))
        if not any("when" in p for p in parameters):
            assert everything(source) == expected

    def test_a_million_million_is_counted_not_made(self) -> None:
        parameters = [{"name": f"p{i}", "values": list(range(1000))} for i in range(8)]
        parameters.append({"name": "q", "values": [1, 2], "when": {"p0": [7], "p7": [1, 2]}})
        source = search(parameters, search={"order": "Sequential"})
        assert source.total == 1000**8 + 2 * 1000**6
        assert source.params(source.total - 1) == {f"p{i}": 999 for i in range(8)}

    def test_max_trials_takes_the_first(self) -> None:
        parameters = [{"name": "a", "values": [1, 2, 3]}]
        assert everything(search(parameters, search={"maxTrials": 2, "order": "Sequential"})) == [{"a": 1}, {"a": 2}]

    def test_integer_ranges_are_values_too(self) -> None:
        integers = {"name": "a", "range": {"min": 1, "max": 3, "scale": "Integer"}}
        source = search([integers], search={"order": "Sequential"})
        assert [(p["a"], type(p["a"])) for p in everything(source)] == [(1, int), (2, int), (3, int)]


class TestSteps:
    @pytest.mark.parametrize(
        ("span", "numbers"),
        [
            ({"min": 0.1, "max": 0.5, "step": 0.1}, [0.1, 0.2, 0.3, 0.4, 0.5]),
            ({"min": 0, "max": 1, "step": 0.4}, [0.0, 0.4, 0.8]),
            ({"min": -1e-3, "max": 1e-3, "step": 1e-3}, [-0.001, 0.0, 0.001]),
            ({"min": 1, "max": 8, "step": 3, "scale": "Integer"}, [1, 4, 7]),
            ({"min": 3, "max": 3, "step": 3, "scale": "Integer"}, [3]),
        ],
        ids=str,
    )
    def test_a_grid_takes_what_the_steps_reach(self, span: dict[str, Any], numbers: list[float]) -> None:
        tried = [p["a"] for p in everything(search([{"name": "a", "range": span}]))]
        assert sorted(tried) == numbers
        assert {type(number) for number in tried} == {type(numbers[0])}

    @given(st.integers(-100, 100), st.integers(1, 60), st.integers(1, 60), st.sampled_from([0, 2, 5]))
    @settings(max_examples=50, deadline=None)
    def test_random_draws_each_of_them_once_and_nothing_else(
        self, low: int, width: int, step: int, digits: int
    ) -> None:
        step = min(step, width)
        span = {key: value / 10**digits for key, value in (("min", low), ("max", low + width), ("step", step))}
        source = search([{"name": "a", "range": span}], search={"algorithm": "Random", "maxTrials": 1000})
        tried = sorted(p["a"] for p in everything(source))
        assert len(set(tried)) == len(tried) == width // step + 1
        assert all(span["min"] <= a <= span["max"] for a in tried)
        assert all(abs((a - span["min"]) / span["step"] - i) < 1e-6 for i, a in enumerate(tried))

    def test_a_thousand_million_steps_are_no_list(self) -> None:
        span = {"min": 0, "max": 1, "step": 1e-9}
        drawn = everything(search([{"name": "a", "range": span}], search={"algorithm": "Random", "maxTrials": 50}))
        assert all(a["a"] == round(a["a"], 9) for a in drawn)


class TestTemplate:
    def test_dotted_names_reach_into_it_and_leave_the_rest(self) -> None:
        template = {"optimizer": {"lr": 1, "momentum": None}, "epochs": 3}
        parameters = [{"name": "optimizer.lr", "values": [0.1]}, {"name": "a.b.c", "values": [2]}]
        source = search(parameters, template=template)
        assert everything(source) == [{"optimizer": {"lr": 0.1, "momentum": None}, "epochs": 3, "a": {"b": {"c": 2}}}]
        assert template == {"optimizer": {"lr": 1, "momentum": None}, "epochs": 3}

    def test_trials_share_no_object(self) -> None:
        source = search([{"name": "a", "values": [{"x": 1}]}], template={"t": {}})
        one, other = source.params(0), source.params(0)
        one["a"]["x"] = one["t"]["y"] = 2
        assert other == {"a": {"x": 1}, "t": {}}

    def test_a_name_that_leads_through_a_value_is_refused_with_its_path(self) -> None:
        with pytest.raises(ValueError, match=r'spec\.template\.params\.model: is "Unet".* model\.encoder'):
            search([{"name": "model.encoder", "values": [1]}], template={"model": "Unet"})

    def test_only_what_differs_is_named(self) -> None:
        parameters = [
            {"name": "a", "values": [1, 2]},
            {"name": "b", "values": [1, 1.0]},
            {"name": "c", "values": [3], "when": {"a": [1]}},
        ]
        assert search(parameters).names == ("a", "c")


class TestRandom:
    @given(parameter_lists(), st.integers(0, 5))
    @settings(max_examples=60, deadline=None)
    def test_a_finite_space_is_drawn_whole_and_nothing_twice(self, parameters: list[dict[str, Any]], seed: int) -> None:
        source = search(parameters, search={"algorithm": "Random", "maxTrials": 100_000, "seed": seed})
        expected = sorted(map(canonical_json, by_hand(parameters)))
        assert sorted(map(canonical_json, everything(source))) == expected

    def test_the_same_seed_gives_the_same_trials_in_any_order_and_another_seed_others(self) -> None:
        def source(seed: int, count: int = 50) -> TrialSource:
            ranges = [
                {"name": "lr", "range": {"min": 1e-5, "max": 1e-2, "scale": "Log"}},
                {"name": "n", "range": {"min": 1, "max": 8, "scale": "Integer"}},
                {"name": "d", "range": {"min": 0, "max": 0.5}},
            ]
            return search(ranges, search={"algorithm": "Random", "maxTrials": count, "seed": seed})

        forward = everything(source(7))
        backward = source(7)
        assert [backward.params(index) for index in reversed(range(50))] == forward[::-1]
        assert everything(source(7, 80))[:50] == forward, "more trials leave the first ones as they are"
        assert forward != everything(source(8))
        assert all(1e-5 <= p["lr"] <= 1e-2 and 1 <= p["n"] <= 8 and 0 <= p["d"] <= 0.5 for p in forward)
        assert 10 < sum(p["lr"] < 10**-3.5 for p in forward) < 40, "evenly on the logarithm"

    def test_golden_draws(self) -> None:
        """Names of children come from these values: they may never change."""
        parameters = [
            {"name": "lr", "range": {"min": 1e-4, "max": 1e-1, "scale": "Log"}},
            {"name": "b", "values": [4, 8]},
        ]
        source = search(parameters, search={"algorithm": "Random", "maxTrials": 3, "seed": 7})
        assert everything(source) == [
            {"lr": 0.0754686, "b": 8},
            {"lr": 0.00272448, "b": 4},
            {"lr": 0.000432797, "b": 8},
        ]

    def test_a_tight_range_does_not_run_out(self) -> None:
        tight = [{"name": "a", "range": {"min": 0.5, "max": 0.500001}}]
        drawn = everything(search(tight, search={"algorithm": "Random", "maxTrials": 300, "seed": 1}))
        assert len({p["a"] for p in drawn}) == 300

    def test_a_parameter_more_leaves_the_draws_of_the_others_alone(self) -> None:
        lr = {"name": "lr", "range": {"min": 0, "max": 1}}
        one = everything(search([lr], search={"algorithm": "Random", "maxTrials": 9}))
        two = everything(search([lr, {"name": "b", "values": [1, 2]}], search={"algorithm": "Random", "maxTrials": 9}))
        assert [p["lr"] for p in one] == [p["lr"] for p in two]


class TestList:
    def test_trials_as_they_stand_nested_or_dotted(self) -> None:
        source = search(
            trials=[{"a": {"b": 1}}, {"a.b": 2, "c": None}, {}, {"a": {"b": 1.0}}, {"a": {}}],
            search={"algorithm": "List"},
            template={"a": {"b": 0, "k": 1}},
        )
        assert everything(source) == [
            {"a": {"b": 1, "k": 1}},
            {"a": {"b": 2, "k": 1}, "c": None},
            {"a": {"b": 0, "k": 1}},
        ]
        assert source.names == ("a.b", "c")

    def test_a_place_set_twice_is_refused(self) -> None:
        with pytest.raises(ValueError, match=r"spec\.trials\[1\]: a\.b and a set the same place"):
            search(trials=[{}, {"a": 1, "a.b": 2}], search={"algorithm": "List"})
