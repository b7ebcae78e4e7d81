"""Trainings of a study: one that fails is told and stops no other, one that is finished is not run again."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from tools import trainings
from tools.trainings import Job, Trained

TINY: dict[str, Any] = {
    "model": {"architecture": "FPN", "encoder": "tu-test_efficientnet"},
    "data": {"image_size": 32, "phantom": {"patients": 3, "slices": 4, "size": 32}},
    "epochs": 1,
    "threads": 1,
}


def test_a_failed_job_stops_no_other_and_what_is_finished_is_not_run_again(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    jobs = [Job("wrong", {**TINY, "loss": {"name": "dice_ce", "gamma": -2}}, 0), Job("good", TINY, 0)]
    wrong, good = trainings.run(jobs, folder=tmp_path, processes=2)
    assert isinstance(wrong, str)
    assert wrong.startswith("wrong seed 0: ended with 64")
    assert "loss.gamma" in wrong
    assert isinstance(good, Trained)
    assert [set(epoch) >= {"val/dice", "train/loss"} for epoch in good.epochs] == [True]
    assert good.cpu_seconds > 0.5
    monkeypatch.setattr(trainings.sys, "executable", "/nowhere/python")
    assert list(trainings.run(jobs[1:], folder=tmp_path, processes=1)) == [good]
    other = next(trainings.run([Job("good", TINY, 1)], folder=tmp_path, processes=1))
    assert isinstance(other, str), "another seed is another job"


def test_the_figure_of_a_training_is_the_mean_of_its_last_epochs() -> None:
    found = Trained(Job("x", TINY, 0), [{"d": value} for value in (0.9, 0.1, 0.3, 0.5)], 1.0)
    assert (found.last("d", 3), found.best("d")) == (pytest.approx(0.3), 0.9)
