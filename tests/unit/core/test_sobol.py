"""Sobol's sequence: the points of the books, and more even than chance once they are scrambled and rounded."""

from __future__ import annotations

import subprocess
import sys
from typing import Any

import numpy as np
import pytest
from scipy.stats import qmc

from orkhaven.core.search.sobol import BITS, DIMENSIONS, scrambled, sobol
from tests.unit.core.test_search import everything, search


def test_before_scrambling_they_are_scipy_s_points() -> None:
    """An independent implementation with the same direction numbers."""
    theirs = qmc.Sobol(DIMENSIONS, scramble=False, bits=BITS).random(512)
    ours = [[sobol(number, dimension) / 2**BITS for dimension in range(DIMENSIONS)] for number in range(512)]
    assert np.array_equal(theirs, np.array(ours))


@pytest.mark.parametrize("seed", [0, 7])
def test_scrambling_keeps_one_point_in_every_cell(seed: int) -> None:
    for dimension in range(DIMENSIONS):
        cells = sorted(int(scrambled(number, dimension, seed=seed) * 128) for number in range(128))
        assert cells == list(range(128)), dimension
    pairs = {(int(scrambled(n, 0, seed=seed) * 16), int(scrambled(n, 1, seed=seed) * 16)) for n in range(256)}
    assert len(pairs) == 256, "a (0, 8, 2)-net: each of 16 x 16 squares has one"


@pytest.mark.parametrize("dimensions", [1, 2, 5, 10])
def test_64_trials_cover_a_space_better_than_random_ones(dimensions: int) -> None:
    parameters = [{"name": f"p{i}", "range": {"min": 0, "max": 1}} for i in range(dimensions)]

    def discrepancy(algorithm: str, seed: int) -> float:
        body = {"algorithm": algorithm, "maxTrials": 64, "seed": seed}
        return float(qmc.discrepancy([list(p.values()) for p in everything(search(parameters, search=body))]))

    for seed in range(5):
        assert discrepancy("Sobol", seed) < discrepancy("Random", seed) / 1.5


def _mixed(seed: int = 7, count: int = 40) -> Any:
    parameters = [
        {"name": "only", "values": ["x"]},
        {"name": "lr", "range": {"min": 1e-5, "max": 1e-2, "scale": "Log"}},
        {"name": "n", "range": {"min": 1, "max": 8, "scale": "Integer"}},
        {"name": "d", "range": {"min": 0, "max": 0.5, "step": 0.125}},
        {"name": "loss", "values": ["dice", "focal"]},
        {"name": "gamma", "range": {"min": 1, "max": 5}, "when": {"loss": ["focal"]}},
    ]
    return search(parameters, search={"algorithm": "Sobol", "maxTrials": count, "seed": seed})


def test_every_value_is_one_of_its_parameter_and_each_part_gets_its_share() -> None:
    drawn = everything(_mixed())
    assert all(1e-5 <= p["lr"] <= 1e-2 and p["only"] == "x" for p in drawn)
    assert {p["d"] for p in drawn} == {0, 0.125, 0.25, 0.375, 0.5}
    assert all(isinstance(p["n"], int) and 1 <= p["n"] <= 8 for p in drawn)
    assert all((p["loss"] == "focal") is ("gamma" in p) for p in drawn)
    assert sum(p["loss"] == "focal" for p in drawn[:32]) == 16
    assert [sum(p["n"] == n for p in drawn[:32]) for n in range(1, 9)] == [4] * 8
    assert sum(p["lr"] < 10**-3.5 for p in drawn[:32]) == 16


def test_golden_points() -> None:
    """Names of children come from these values: they may never change."""
    assert everything(_mixed(count=3)) == GOLDEN


def test_another_process_draws_the_same() -> None:
    program = "from tests.unit.core.test_sobol import _mixed; print([_mixed().params(i) for i in (39, 0)])"
    out = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True).stdout
    assert out.strip() == repr([_mixed().params(39), _mixed().params(0)])


def test_more_trials_leave_the_first_ones_and_another_seed_none() -> None:
    assert everything(_mixed(count=70))[:40] == everything(_mixed())
    assert everything(_mixed(seed=8)) != everything(_mixed())


GOLDEN: list[dict[str, Any]] = [
    {"only": "x", "lr": 0.0010152, "n": 4, "d": 0.5, "loss": "dice"},
    {"only": "x", "lr": 2.28816e-05, "n": 5, "d": 0.125, "loss": "focal", "gamma": 4.9211},
    {"only": "x", "lr": 0.000108574, "n": 2, "d": 0.25, "loss": "dice"},
]
