"""The order of a Grid: shuffled without a list, and never changed under a sweep that runs."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from orkhaven.core.search import trial_params
from orkhaven.core.search.order import Shuffle
from tests.unit.core.test_search import everything, search
from tests.unit.core.world import SweepWorld, make_sweep

PARAMETERS = [{"name": "a", "values": list(range(5))}, {"name": "b", "values": list("xyzw")}]


@given(st.integers(1, 400), st.integers(0, 2**31 - 1))
@settings(max_examples=40, deadline=None)
def test_every_number_stands_at_one_place(count: int, seed: int) -> None:
    shuffle = Shuffle(count, seed)
    order = [shuffle[place] for place in range(count)]
    assert sorted(order) == list(range(count))
    assert [shuffle.place_of(number) for number in order] == list(range(count))


@given(st.integers(1, 10**200), st.integers(0, 99), st.data())
@settings(deadline=None)
def test_the_way_back_is_known_at_any_size(count: int, seed: int, data: st.DataObject) -> None:
    place = data.draw(st.integers(0, count - 1))
    shuffle = Shuffle(count, seed)
    assert 0 <= shuffle[place] < count
    assert shuffle.place_of(shuffle[place]) == place


def test_golden_order() -> None:
    """Names of children come from it: it may never change."""
    assert [Shuffle(12, 7)[place] for place in range(12)] == GOLDEN
    assert [Shuffle(10**12, 0)[place] for place in range(3)] == GOLDEN_LARGE


def test_a_grid_is_shuffled_unless_it_says_otherwise() -> None:
    shuffled, sequential = search(PARAMETERS), search(PARAMETERS, search={"order": "Sequential"})
    assert everything(sequential)[:3] == [{"a": 0, "b": "x"}, {"a": 0, "b": "y"}, {"a": 0, "b": "z"}]
    assert everything(shuffled) != everything(sequential)
    assert sorted(map(str, everything(shuffled))) == sorted(map(str, everything(sequential)))
    assert everything(search(PARAMETERS, search={"order": "Shuffled"})) == everything(shuffled)
    assert everything(search(PARAMETERS, search={"seed": 1})) != everything(shuffled)


def test_the_first_trials_are_from_all_over_the_space() -> None:
    first = everything(search([{"name": "a", "values": list(range(1000))}], search={"maxTrials": 50}))
    assert len({p["a"] // 250 for p in first}) == 4


def test_more_trials_leave_the_first_ones() -> None:
    few = everything(search(PARAMETERS, search={"maxTrials": 6}))
    assert everything(search(PARAMETERS))[:6] == few


def test_a_million_million_in_any_order_costs_nothing() -> None:
    parameters = [{"name": f"p{i}", "values": list(range(1000))} for i in range(4)]
    source = search(parameters, search={"maxTrials": 1000})
    assert source.total == 1000
    assert len({str(p) for p in everything(source)}) == 1000


class TestUpgrade:
    """A version that knew no order numbered its trials in sequence."""

    def begun(self, count: int) -> SweepWorld:
        world = SweepWorld(
            make_sweep(
                uid=f"uid-begun-{count}",
                parameters=PARAMETERS,
                parallelism=count,
                search={"algorithm": "Grid", "order": "Sequential"},
            )
        )
        world.defaults = type(world.defaults)(image="i", output_claim="o", lookahead=0)
        world.settle()
        world.sweep["spec"]["search"] = {"algorithm": "Grid", "seed": 0}
        return world

    @pytest.mark.parametrize("made", [1, 2, 7, 19, 20])
    def test_a_sweep_that_it_began_goes_on_in_sequence_and_runs_nothing_twice(self, made: int) -> None:
        world = self.begun(made)
        before = dict(world.children)
        world.patch(parallelism=20)
        world.settle()
        assert len(world.children) == 20
        assert before.items() <= world.children.items()
        tried = [str(child["spec"]["params"]) for child in world.children.values()]
        assert len(set(tried)) == 20

    def test_one_that_it_only_accepted_is_shuffled(self) -> None:
        world = self.begun(0)
        world.patch(parallelism=20)
        world.settle()
        tried = [world.children[name]["spec"]["params"] for name in world.by_trial()]
        assert tried == everything(search(PARAMETERS))

    @pytest.mark.parametrize("made", [1, 2, 7, 19])
    def test_a_shuffled_one_stays_shuffled(self, made: int) -> None:
        shuffled = everything(search(PARAMETERS))
        children: dict[int, Any] = dict(enumerate(shuffled[:made]))
        view = SweepWorld(make_sweep(parameters=PARAMETERS)).view()
        assert view.spec is not None
        source = trial_params(view.spec, {}, made=children)
        assert [source.params(index) for index in range(source.total)] == shuffled


GOLDEN = [6, 9, 4, 0, 11, 7, 1, 5, 3, 2, 8, 10]
GOLDEN_LARGE = [540915870106, 276055843190, 856492546048]
