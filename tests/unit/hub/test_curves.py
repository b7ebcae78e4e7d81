"""Thinning out and averaging curves."""

from __future__ import annotations

import math
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orkhaven.hub.query.curves import Curve, bands, thin

VALUES = st.lists(st.one_of(st.none(), st.just(math.inf), st.floats(-1e6, 1e6)), max_size=300)


def curve(name: str, *y: float | None) -> Curve:
    return Curve(experiment=name, x=[float(x) for x in range(1, len(y) + 1)], y=list(y), total=len(y))


@given(VALUES, st.integers(3, 100))
def test_a_thinned_curve_is_part_of_the_whole_in_its_order(y: list[float | None], limit: int) -> None:
    kept = thin([float(x) for x in range(len(y))], y, limit)
    assert kept == sorted(set(kept))
    assert len(kept) <= limit
    assert set(kept) <= set(range(len(y)))
    assert (len(kept) == len(y)) or len(y) > limit


@given(st.lists(st.floats(-1e6, 1e6), min_size=10, max_size=500), st.integers(3, 9))
def test_first_and_last_stay_and_nothing_is_wasted(y: list[float], limit: int) -> None:
    kept = thin([float(x) for x in range(len(y))], y, limit)
    assert (kept[0], kept[-1], len(kept)) == (0, len(y) - 1, limit)


def test_a_peak_stays() -> None:
    y = [0.0] * 10_000
    y[4321], y[8765] = 5.0, -5.0
    assert {4321, 8765} <= set(thin([float(x) for x in range(len(y))], y, 100))


def test_a_gap_stays_a_gap_of_one_point() -> None:
    y: list[float | None] = [*([1.0] * 500), *([None] * 200), *([2.0] * 500)]
    kept = thin([float(x) for x in range(len(y))], y, 100)
    assert [index for index in kept if y[index] is None] == [500]
    assert {0, 499, 700, 1199} <= set(kept)


def test_it_picks_what_the_published_algorithm_picks() -> None:
    """By hand: three buckets of two between the ends, the largest triangles."""
    x = [float(at) for at in range(8)]
    y = [0.0, 1.0, 5.0, 2.0, -3.0, 1.0, 2.5, 0.0]
    assert thin(x, y, 5) == [0, 2, 4, 6, 7]


def test_bands_leave_out_what_is_no_number_and_count_who_is_left() -> None:
    runs: list[tuple[Any, Curve]] = [
        ("unet", curve("a", 1.0, None, 3.0)),
        ("unet", curve("b", 3.0, 2.0)),
        ("fpn", curve("c", math.inf, 1.0)),
    ]
    fpn, unet = bands(runs, points=100)
    assert (fpn.label, fpn.x, fpn.mean, fpn.std, fpn.n) == ("fpn", [2], [1], [0], [1])
    assert (unet.x, unet.mean, unet.low, unet.high, unet.n) == ([1, 2, 3], [2, 2, 3], [1, 2, 3], [3, 2, 3], [2, 1, 1])
    assert unet.std == pytest.approx([2**0.5, 0, 0])
    assert unet.experiments == ("a", "b")


def test_values_of_other_types_are_other_groups() -> None:
    made = bands([(True, curve("a", 1.0)), (None, curve("b", 1.0)), (1, curve("c", 1.0))], points=10)
    assert [(band.label, band.value) for band in made] == [("1", 1), ("none", None), ("true", True)]
