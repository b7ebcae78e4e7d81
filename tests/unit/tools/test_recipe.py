"""The cross-validated recipe: what it trains and what its page makes of the figures."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from ctseg import config
from tools import recipe
from tools.trainings import Job, run_and_tell


def result(subset: str, fold: int, seed: int, dice: float) -> recipe.Result:
    end = dice - 0.1
    return recipe.Result(subset=subset, fold=fold, seed=seed, end=end, flips=dice, best=0.9, minutes=2.0, report=Path())


def test_it_is_every_fold_of_the_example_with_and_without_the_pseudo_labels(tmp_path: Path) -> None:
    jobs = recipe.jobs(tmp_path, seeds=3, processes=2)
    assert len({job.key for job in jobs}) == len(jobs) == 3 * 2 * 5
    parsed = [config.parse(job.params) for job in jobs]
    assert {(one.data.subset, one.data.split.fold) for one in parsed} == {
        (subset, fold) for subset in ("doctor", "both") for fold in range(5)
    }
    assert {one.data.root for one in parsed} == {str(tmp_path)}
    alone = recipe.jobs(tmp_path, seeds=3, processes=2, subsets=("doctor",))
    assert [job.key for job in alone] == [job.key for job in jobs if job.params["data"]["subset"] == "doctor"]


def test_folds_are_weighed_by_their_slices_and_seeds_give_the_deviation() -> None:
    results = [result("doctor", fold, seed, 0.5 + 0.3 * fold + 0.1 * seed) for seed in (0, 1) for fold in (0, 1)]
    lines = recipe.page(results, {0: 2, 1: 1}).splitlines()
    assert "| the doctors' slices | 0.550 ± 0.071 | 0.650 ± 0.071 | 0.900 ± 0.000 | 2.0 (2.0) |" in lines
    assert "| the doctors' slices | 0.550 | 0.850 |" in lines
    assert lines[-1] == "The bar of 0.70 from the doctors' slices alone is not reached."


def test_the_pseudo_labels_are_judged_by_pairs_of_the_same_seed() -> None:
    doctor = [result("doctor", 0, seed, 0.7 + 0.1 * seed) for seed in (0, 1)]
    both = [result("both", 0, seed, 0.8 + 0.1 * seed) for seed in (0, 1)]
    text = recipe.page(doctor + both, {0: 5})
    assert "The bar of 0.70 from the doctors' slices alone is reached." in text
    assert "change the mean by +0.100 ± 0.000 (by seed)" in text


def test_a_training_is_judged_by_its_last_weights_and_its_last_epoch(tmp_path: Path) -> None:
    split = {"folds": 2, "fold": 1}
    params: dict[str, Any] = {
        "model": {"architecture": "FPN", "encoder": "tu-test_efficientnet"},
        "data": {
            "image_size": 32,
            "phantom": {"patients": 4, "slices": 4, "size": 32},
            "split": split,
            "subset": "doctor",
        },
        "epochs": 2,
        "threads": 1,
    }
    (found,) = run_and_tell([Job("x", params, 3)], folder=tmp_path, processes=1, metric=recipe.METRIC)
    params["data"]["subset"] = "doctor"  # of another data set, but what is asked for is what the table names
    judged = recipe.judged(found, tmp_path)
    assert (judged.subset, judged.fold, judged.seed) == ("doctor", 1, 3)
    assert judged.end == found.epochs[-1][recipe.METRIC] <= judged.best
    assert 0 <= judged.flips <= 1
    assert recipe.judged(found, tmp_path) == judged
    told = recipe.card([judged], tmp_path)
    assert told.startswith("# Model card\n\nThe best of the 1 trainings")
    assert f"each at the threshold that all others would choose: {judged.flips:.3f}" in told
    assert "![" not in told
