"""The cross-validated recipe: what it trains and what its page makes of the figures."""

from __future__ import annotations

from pathlib import Path

from ctseg import config
from tools import recipe
from tools.trainings import Job, Trained


def trained(subset: str, fold: int, seed: int, dice: float) -> Trained:
    params = {"data": {"subset": subset, "split": {"folds": 2, "fold": fold}}}
    epochs = [{recipe.METRIC: 0.9}] + [{recipe.METRIC: dice}] * recipe.TAIL
    return Trained(Job("x", params, seed), epochs, 120.0)


def test_it_is_every_fold_of_the_example_with_and_without_the_pseudo_labels(tmp_path: Path) -> None:
    jobs = recipe.jobs(tmp_path, seeds=3, processes=2)
    assert len({job.key for job in jobs}) == len(jobs) == 3 * 2 * 5
    parsed = [config.parse(job.params) for job in jobs]
    assert {(one.data.subset, one.data.split.fold) for one in parsed} == {
        (subset, fold) for subset in ("doctor", "both") for fold in range(5)
    }
    assert {one.data.root for one in parsed} == {str(tmp_path)}


def test_folds_are_weighed_by_their_slices_and_seeds_give_the_deviation() -> None:
    results = [trained("doctor", fold, seed, 0.5 + 0.3 * fold + 0.1 * seed) for seed in (0, 1) for fold in (0, 1)]
    lines = recipe.page(results, {0: 2, 1: 1}).splitlines()
    assert "| the doctors' slices | 0.650 ± 0.071 | 0.900 ± 0.000 | 2.0 (2.0) |" in lines
    assert lines[-1] == "The bar of 0.70 is not reached at the end of the training."


def test_the_pseudo_labels_are_judged_by_pairs_of_the_same_seed() -> None:
    doctor = [trained("doctor", 0, seed, 0.6 + 0.1 * seed) for seed in (0, 1)]
    both = [trained("both", 0, seed, 0.7 + 0.1 * seed) for seed in (0, 1)]
    text = recipe.page(doctor + both, {0: 5})
    assert "The bar of 0.70 is reached at the end of the training." in text
    assert "change the mean by +0.100 ± 0.000 (by seed)" in text
