"""Initial points: tried first, filled up, never tried again, and part of the space."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.core.identity import canonical_json
from orkhaven.core.search import TrialSource
from tests.unit.core.test_search import by_hand, everything, parameter_lists, search

ALGORITHMS = ["Grid", "Random", "Sobol"]
LR = {"name": "optimizer.lr", "values": [1e-4, 1e-3, 1e-2]}
BATCH = {"name": "batch_size", "range": {"min": 2, "max": 16, "scale": "Integer"}}
LOSS = {"name": "loss", "values": ["dice", "focal"]}
GAMMA = {"name": "gamma", "values": [1, 2, 3], "when": {"loss": ["focal"]}}


def source(algorithm: str, points: list[dict[str, Any]], *parameters: dict[str, Any], **spec: Any) -> TrialSource:
    body = {"algorithm": algorithm, "maxTrials": 1000, "seed": 7}
    return search(list(parameters or (LR, BATCH, LOSS, GAMMA)), search=body, initialPoints=points, **spec)


@pytest.mark.parametrize("algorithm", ALGORITHMS)
class TestPoints:
    def test_whole_ones_stand_first_in_their_order(self, algorithm: str) -> None:
        points = [
            {"optimizer.lr": 1e-2, "batch_size": 16, "loss": "focal", "gamma": 3},
            {"optimizer.lr": 1e-4, "batch_size": 2.0, "loss": "dice"},
        ]
        first, second, *rest = everything(source(algorithm, points))
        assert first == {"optimizer": {"lr": 1e-2}, "batch_size": 16, "loss": "focal", "gamma": 3}
        assert second == {"optimizer": {"lr": 1e-4}, "batch_size": 2, "loss": "dice"}
        assert isinstance(second["batch_size"], int)
        assert first not in rest
        assert second not in rest
        assert len(rest) == 3 * 15 * 4 - 2

    def test_what_one_leaves_out_is_filled_up(self, algorithm: str) -> None:
        first, second, third, *_ = everything(source(algorithm, [{"batch_size": 16}, {"gamma": 2}, {}]))
        assert first["batch_size"] == 16
        assert first["optimizer"]["lr"] in LR["values"]
        assert (second["gamma"], second["loss"]) == (2, "focal"), "its condition is met for it"
        assert set(third) >= {"optimizer", "batch_size", "loss"}

    def test_the_same_twice_is_one(self, algorithm: str) -> None:
        whole = {"optimizer.lr": 1e-3, "batch_size": 4, "loss": "dice"}
        tried = everything(source(algorithm, [whole, {**whole, "batch_size": 4.0}]))
        assert len(tried) == len({canonical_json(p) for p in tried}) == 3 * 15 * 4

    def test_they_keep_the_constraints_they_are_filled_up_under(self, algorithm: str) -> None:
        texts = ["batch_size <= 4 or optimizer.lr > 1e-3"]
        tried = everything(source(algorithm, [{"batch_size": 16}, {"optimizer.lr": 1e-4}], constraints=texts))
        assert (tried[0]["batch_size"], tried[0]["optimizer"]["lr"]) == (16, 1e-2)
        assert (tried[1]["batch_size"] <= 4, tried[1]["optimizer"]["lr"]) == (True, 1e-4)

    @pytest.mark.parametrize(
        ("point", "message"),
        [
            ({"lr": 1e-3}, "no parameter of this search is called lr; there are optimizer.lr, batch_size, loss, gamma"),
            ({"batchsize": 4}, "no parameter of this search is called batchsize; did you mean batch_size?"),
            ({"optimizer.lr": 5}, "5 is none of its values: 0.0001, 0.001, 0.01"),
            ({"optimizer.lr": "1e-3"}, '"1e-3" is none of its values'),
            ({"batch_size": 17}, "17 is none of its values: whole numbers from 2 to 16"),
            ({"batch_size": 2.5}, "2.5 is none of its values"),
            ({"batch_size": True}, "true is none of its values"),
            ({"loss": "dice", "gamma": 2}, 'gamma is only set where loss is "focal", not "dice"'),
            ({"batch_size": 16, "optimizer.lr": 1e-4}, "breaks spec.constraints[0]: batch_size <= 4 or optimizer.lr"),
        ],
    )
    def test_one_outside_the_space_is_refused(self, algorithm: str, point: dict[str, Any], message: str) -> None:
        with pytest.raises(ValueError, match=r"^spec\.initialPoints\[1\]") as caught:
            source(algorithm, [{}, point], constraints=["batch_size <= 4 or optimizer.lr > 1e-3"])
        assert message in str(caught.value)


def test_filling_up_looks_at_a_bounded_number_of_combinations() -> None:
    parameters = [{"name": name, "values": list(range(250))} for name in "abc"]
    whole = [{"a": n, "b": n + 1, "c": n} for n in range(100)]
    assert source("Grid", whole, *parameters, constraints=["a < b"]).params(99) == whole[99]
    with pytest.raises(ValueError, match=r"spec\.initialPoints\[1\]: too many combinations were looked at"):
        source("Grid", [{"c": n} for n in range(100)], *parameters, constraints=["a < b"])
    wide = [{"name": name, "range": {"min": 0, "max": 1}} for name in "abc"]
    with pytest.raises(ValueError, match=r"spec\.initialPoints\[0\]: no combination with these values was found"):
        source("Random", [{"c": 1}], *wide, constraints=["a < 1e-9 or c < 1"])


@pytest.mark.parametrize("algorithm", ["Random", "Sobol"])
def test_a_continuous_value_is_taken_as_it_is_written(algorithm: str) -> None:
    lr = {"name": "lr", "range": {"min": 1e-5, "max": 1e-2, "scale": "Log"}}
    plain = everything(search([lr], search={"algorithm": algorithm, "maxTrials": 9}))
    first = everything(search([lr], search={"algorithm": algorithm, "maxTrials": 10}, initialPoints=[{"lr": 3e-4}]))
    assert first == [{"lr": 3e-4}, *plain], "the others are those that it would draw anyway"


@given(parameter_lists(), st.sampled_from(ALGORITHMS), st.sampled_from(["Shuffled", "Sequential"]), st.data())
@settings(max_examples=100, deadline=None)
def test_all_of_the_space_is_tried_once_and_the_points_first(
    parameters: list[dict[str, Any]], algorithm: str, order: str, data: st.DataObject
) -> None:
    space = by_hand(parameters)
    points = data.draw(st.lists(st.sampled_from(space), max_size=6))
    body = {"algorithm": algorithm, "maxTrials": 2000} | ({"order": order} if algorithm == "Grid" else {})
    tried = everything(search(parameters, search=body, initialPoints=points))
    wanted = list(dict.fromkeys(map(canonical_json, points)))
    assert [canonical_json(p) for p in tried[: len(wanted)]] == wanted
    assert sorted(map(canonical_json, tried)) == sorted(map(canonical_json, space))
