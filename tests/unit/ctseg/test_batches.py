"""Slices on their way to the device: read in place, joined only where the labels have to be."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from ctseg import batches, config
from ctseg.data.samples import IGNORE, LESION, Samples
from ctseg.training import slices
from tests.unit.ctseg.test_train import assert_same, series, state, tiny, train

CPU = torch.device("cpu")


def made(annotators: tuple[str, ...] = ("a",), *, count: int = 6) -> Samples:
    rng = np.random.default_rng(0)
    masks = rng.choice(np.array([0, LESION, IGNORE], np.uint8), (count, len(annotators), 16, 16))
    masks[1, 0] = IGNORE
    return Samples(
        images=rng.integers(0, 256, (count, 1, 16, 16), dtype=np.uint8),
        masks=masks,
        cases=tuple(f"p{i // 2}" for i in range(count)),
        names=tuple(f"p{i // 2}/{i}" for i in range(count)),
        annotators=annotators,
        patients_known=True,
        source="here",
        spacing=np.full((count, 3), np.nan, np.float32),
    )


def data(rule: str = "majority", **more: Any) -> config.Data:
    return config.Data.model_validate({"annotators": {"rule": rule}, **more})


@pytest.mark.parametrize("resident", [False, True], ids=["in place", "copied to the device"])
@pytest.mark.parametrize("on_disk", [False, True], ids=["in memory", "from a map"])
def test_a_batch_is_the_same_wherever_its_slices_are(tmp_path: Path, resident: bool, on_disk: bool) -> None:
    samples = made()
    images, masks = samples.images, samples.masks
    if on_disk:
        for name in ("images", "masks"):
            np.save(tmp_path / name, getattr(samples, name))
            object.__setattr__(samples, name, np.load(tmp_path / f"{name}.npy", mmap_mode="r"))
    taken = batches.Batches(samples, CPU, rows=[4, 1, 0, 5], resident=resident).take([3, 0])
    valid = (masks[[5, 4]] != IGNORE).astype(np.float32)
    expected = images[[5, 4]].astype(np.float32) / 255, (masks[[5, 4]] == LESION).astype(np.float32), valid
    for one, other in zip(taken, expected, strict=True):
        assert one.dtype == torch.float32
        assert np.array_equal(one.numpy(), other)


@pytest.mark.parametrize(
    ("annotators", "rule"), [(("a",), "majority"), (("a", "b"), "random")], ids=["one annotator", "random"]
)
def test_labels_that_need_no_joining_are_read_in_place(annotators: tuple[str, ...], rule: str) -> None:
    samples = made(annotators)
    learnt = slices.learnt(samples, [3, 2], data(rule), CPU)
    samples.images[3], samples.masks[3] = 51, LESION
    images, target, valid = learnt.take([0], rng=np.random.default_rng(0))
    assert float(images.min()) == float(images.max()) == pytest.approx(0.2)
    assert bool((target == 1).all())
    assert bool(valid.all())


@pytest.mark.parametrize("points", [False, True], ids=["masks", "points"])
def test_joined_labels_go_with_their_slices(points: bool) -> None:
    samples, rows = made(("a", "b", "c")), [5, 0, 2]
    kind = data("union", points={"enabled": points})
    learnt, judged = slices.learnt(samples, rows, kind, CPU), slices.judged(samples, rows, kind, CPU)
    images, target, valid = judged.take([1])
    assert np.array_equal(images[0].numpy() * 255, samples.images[0])
    assert np.array_equal(target[0, 0].numpy() > 0, (samples.masks[0] == LESION).any(0))
    assert float(learnt.take([1])[2].sum()) < float(valid.sum()) if points else torch.equal(learnt.take([1])[1], target)
    assert learnt.cases == judged.cases == ("p2", "p0", "p1")


def test_an_annotator_drawn_at_each_step_is_drawn_again_after_a_resume(tmp_path: Path) -> None:
    samples = made(("a", "b"), count=10)
    samples.masks[:, 1] = np.where(samples.masks[:, 0] == LESION, 0, LESION)  # whoever is drawn decides everything
    params = tiny(epochs=2, data__annotators={"rule": "random"})
    train(tmp_path / "through", samples, params)
    train(tmp_path / "stopped", samples, params, stop_after=1)
    train(tmp_path / "stopped", samples, params)
    assert_same(state(tmp_path / "stopped"), state(tmp_path / "through"))
    assert series(tmp_path / "stopped") == series(tmp_path / "through")
    majority = json.loads(json.dumps(params)) | {"data": params["data"] | {"annotators": {"rule": "majority"}}}
    train(tmp_path / "majority", samples, majority)
    assert series(tmp_path / "majority")[1]["train/loss"] != series(tmp_path / "through")[1]["train/loss"]
