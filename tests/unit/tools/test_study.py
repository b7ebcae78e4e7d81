"""The noise study: what it runs and what its page says."""

from __future__ import annotations

import pytest

from ctseg import config
from tools import study

RECIPES = {recipe.name: recipe for recipe in study.RECIPES}


def row(recipe: str, level: float, dice: float, *, rule: str = "one") -> study.Row:
    return study.Row(study.Cell(RECIPES[recipe], level, rule), dice)


def test_every_cell_is_a_valid_training_and_is_there_once() -> None:
    cells = list(study.cells(study.LEVELS))
    for cell in cells:
        config.parse(cell.params(study.FULL))
    assert len({(cell.recipe.name, cell.level, cell.rule) for cell in cells}) == len(cells)
    rules = {cell.rule for cell in cells if cell.recipe is study.ROBUST and cell.level == max(study.LEVELS)}
    assert rules == set(study.RULES)


def test_the_table_has_a_mean_with_its_deviation_and_no_figure_where_nothing_ran() -> None:
    found = [row("dice_ce", 0.4, dice) for dice in (0.6, 0.7, 0.8)]
    lines = study.table(found, study.FULL, study.LEVELS).splitlines()
    assert "| dice_ce | one | - | - | 0.700 ± 0.100 |" in lines


@pytest.mark.parametrize(
    ("robust", "said"),
    [(0.86, "at most half of that"), (0.83, "more than half of that"), (0.92, "loses nothing")],
    ids=str,
)
def test_the_verdict_compares_what_both_lose_of_the_plain_one_without_noise(robust: float, said: str) -> None:
    found = [row("dice_ce", 0.0, 0.9), row("dice_ce", 0.4, 0.8), row("robust", 0.4, robust, rule="staple")]
    assert said in study.table(found, study.FULL, study.LEVELS).splitlines()[-1]
