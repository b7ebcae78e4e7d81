"""The noise study: what it runs, what its page says, and that a failed run is told and stops no other."""

from __future__ import annotations

import dataclasses
from pathlib import Path
from typing import Any

import pytest

from ctseg import config
from tools import study


def row(recipe: str, level: float, dice: float, *, rule: str = "one", seed: int = 0) -> dict[str, Any]:
    return {"recipe": recipe, "level": level, "rule": rule, "seed": seed, "dice": dice}


def test_every_cell_is_a_valid_training_and_is_there_once() -> None:
    cells = list(study.cells(study.LEVELS))
    for cell in cells:
        config.parse(cell.params(study.FULL))
    assert len({(cell.recipe.name, cell.level, cell.rule) for cell in cells}) == len(cells)
    rules = {cell.rule for cell in cells if cell.recipe is study.ROBUST and cell.level == max(study.LEVELS)}
    assert rules == set(study.RULES)


def test_the_table_has_a_mean_with_its_deviation_and_no_figure_where_nothing_ran() -> None:
    found = [row("dice_ce", 0.4, dice, seed=seed) for seed, dice in enumerate((0.6, 0.7, 0.8))]
    lines = study.table(found, study.FULL, study.LEVELS).splitlines()
    assert "| dice_ce | one | - | - | 0.700 ± 0.100 |" in lines


@pytest.mark.parametrize(
    ("robust", "said"),
    [(0.86, "at most half of it"), (0.83, "more than half of it"), (0.92, "loses nothing")],
    ids=str,
)
def test_the_verdict_compares_what_both_lose_of_the_plain_one_without_noise(robust: float, said: str) -> None:
    found = [row("dice_ce", 0.0, 0.9), row("dice_ce", 0.4, 0.8), row("robust", 0.4, robust, rule="staple")]
    assert said in study.table(found, study.FULL, study.LEVELS).splitlines()[-1]


def test_where_noise_costs_nothing_the_page_says_that_there_is_nothing_to_keep() -> None:
    found = [row("dice_ce", 0.0, 0.9), row("dice_ce", 0.4, 0.89), row("robust", 0.4, 0.9)]
    assert "too little" in study.table(found, study.FULL, study.LEVELS)


def test_a_failed_run_stops_no_other_and_what_is_finished_is_not_run_again(tmp_path: Path) -> None:
    wrong = study.Recipe("wrong", {"loss": {"name": "dice_ce", "gamma": -2}})
    good = study.Cell(study.PLAIN, 0.4, "staple")
    todo = [(study.Cell(wrong, 0.0, "one"), 0), (good, 0)]
    size = dataclasses.replace(study.QUICK, epochs=1)
    results, failures = study.run_all(todo, size, folder=tmp_path, processes=2)
    assert [(found["recipe"], found["rule"]) for found in results] == [("dice_ce", "staple")]
    assert len(failures) == 1
    assert failures[0].startswith("wrong 0% one seed 0: ")
    assert "loss.gamma" in failures[0]
    assert study.run_one(good, size, seed=0, folder=tmp_path) == results[0]
