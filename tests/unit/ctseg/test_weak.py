"""Points made from masks, and consistency under mirrors and quarter turns."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch

from ctseg import losses, weak
from ctseg.config.loss import Loss
from ctseg.config.weak import Consistency, Points
from ctseg.data.samples import IGNORE, LESION


def plane(*boxes: tuple[int, int, int, int], side: int = 32) -> np.ndarray[Any, np.dtype[np.uint8]]:
    mask = np.zeros((1, 1, side, side), np.uint8)
    for top, bottom, left, right in boxes:
        mask[..., top:bottom, left:right] = LESION
    return mask


def made(mask: np.ndarray[Any, np.dtype[np.uint8]], **config: Any) -> np.ndarray[Any, np.dtype[np.uint8]]:
    return weak.points(mask, names=[f"s{i}" for i in range(len(mask))], config=Points(enabled=True, **config))


def test_each_lesion_has_its_centroid_and_the_background_as_many_points() -> None:
    mask = plane((2, 7, 3, 10), (20, 23, 20, 25), (12, 13, 28, 29))
    result = made(mask)[0, 0]
    assert sorted(zip(*np.nonzero(result == LESION), strict=True)) == [(4, 6), (12, 28), (21, 22)]
    assert (result == 0).sum() == 3
    assert (mask[0, 0][result == 0] == 0).all()
    assert (result == IGNORE).sum() == 32 * 32 - 6


def test_a_point_always_lies_on_its_lesion() -> None:
    mask = plane((4, 20, 4, 20))
    mask[..., 6:20, 6:20] = 0  # an L: its centroid is outside
    rows, columns = np.nonzero(mask[0, 0])
    assert mask[0, 0, round(rows.mean()), round(columns.mean())] == 0
    (point,) = zip(*np.nonzero(made(mask)[0, 0] == LESION), strict=True)
    assert mask[0, 0, point[0], point[1]] == LESION
    distances = np.hypot(rows - rows.mean(), columns - columns.mean())
    assert np.hypot(point[0] - rows.mean(), point[1] - columns.mean()) == distances.min()


def test_what_was_not_labelled_gets_no_point() -> None:
    mask = plane((2, 7, 3, 10))
    mask[..., 10:, :] = IGNORE
    result = made(mask)[0, 0]
    assert (result[10:] == IGNORE).all()
    assert (made(np.full((1, 2, 8, 8), IGNORE, np.uint8)) == IGNORE).all()


def test_soft_labels_are_lesion_above_one_half() -> None:
    mask = plane()
    mask[0, 0, 5, 5], mask[0, 0, 9, 9] = 128, 120
    result = made(mask)[0, 0]
    assert np.argwhere(result == LESION).tolist() == [[5, 5]]


@pytest.mark.parametrize("empty", [0, 1, 4])
def test_a_slice_without_a_lesion_gets_the_points_that_were_asked_for(empty: int) -> None:
    result = made(plane(), empty=empty)
    assert (result == 0).sum() == empty
    assert (result == IGNORE).sum() == result.size - empty


def test_a_slice_that_is_all_lesion_has_no_background_to_point_at() -> None:
    assert np.unique(made(plane((0, 32, 0, 32)))).tolist() == [LESION, IGNORE]


def test_points_depend_on_seed_and_name_and_not_on_the_order() -> None:
    masks = np.concatenate([plane((2, 7, 3, 10)), plane((20, 30, 20, 30))])
    config = Points(enabled=True)
    both = weak.points(masks, names=["a", "b"], config=config)
    assert np.array_equal(weak.points(masks[::-1], names=["b", "a"], config=config)[::-1], both)
    assert not np.array_equal(weak.points(masks, names=["a", "c"], config=config)[1], both[1])
    assert not np.array_equal(weak.points(masks, names=["a", "b"], config=Points(enabled=True, seed=2)), both)


# --- consistency ------------------------------------------------------------------------------------------------------


def images(*, side: tuple[int, int] = (8, 8)) -> torch.Tensor:
    return torch.rand(3, 1, *side, generator=torch.Generator().manual_seed(0), dtype=torch.float64)


@pytest.mark.parametrize(("kind", "expected"), [("flip", 1), ("rotate", 3), ("both", 4)])
def test_a_transform_is_undone_by_its_way_back(kind: str, expected: int) -> None:
    batch, seen = images(), set()
    for seed in range(40):
        generator = torch.Generator().manual_seed(seed)
        there, back = weak.transform(Consistency(weight=1, transform=kind), generator=generator, square=True)  # type: ignore[arg-type]
        assert torch.equal(back(there(batch)), batch)
        assert not torch.equal(there(batch), batch)
        seen.add(tuple(there(batch).flatten().tolist()))
    assert len(seen) == expected


@pytest.mark.parametrize("kind", ["flip", "rotate", "both"])
def test_a_batch_that_is_not_square_keeps_its_shape(kind: str) -> None:
    batch = images(side=(8, 12))
    for seed in range(10):
        generator = torch.Generator().manual_seed(seed)
        there, _ = weak.transform(Consistency(weight=1, transform=kind), generator=generator, square=False)  # type: ignore[arg-type]
        assert there(batch).shape == batch.shape


def test_a_network_that_does_the_same_to_every_pixel_is_consistent() -> None:
    batch = images()
    loss = losses.build(Loss.model_validate({"name": "bce"}))
    target, valid = (batch > 0.5).double(), torch.ones_like(batch)
    logits = 3 * batch - 1
    for kind in ("flip", "rotate", "both"):
        value = weak.consistency(
            lambda x: 3 * x - 1,
            batch,
            target,
            valid,
            logits,
            loss,
            torch.Generator().manual_seed(1),
            Consistency.model_validate({"weight": 5, "transform": kind}),
        )
        # Nothing but the loss of the transformed slices, which is that of the slices.
        assert torch.allclose(value, loss(logits, target, valid))


def test_the_difference_is_the_mean_over_all_pixels_labelled_or_not() -> None:
    batch = images()
    loss = losses.build(Loss.model_validate({"name": "bce"}))
    slope = torch.linspace(-1, 1, 8, dtype=torch.float64)

    def sided(x: torch.Tensor) -> torch.Tensor:
        """Answers by the place: left less, right more."""
        return x * 0 + slope

    target, valid = torch.zeros_like(batch), torch.zeros_like(batch)
    valid[0, 0, 0, 0] = 1
    given = (batch, target, valid, sided(batch), loss, torch.Generator(), Consistency(weight=2))
    value = weak.consistency(sided, *given)
    # |(-s) - s| on average, twice; the labelled slice has its point's loss besides, times 3 slices / 1 labelled.
    difference = 2 * (2 * slope.abs().mean())
    point = 3 * torch.nn.functional.softplus(-slope[0])
    assert torch.allclose(value, torch.stack([difference + point, difference, difference]))


def test_both_answers_learn() -> None:
    batch = images()
    loss = losses.build(Loss.model_validate({"name": "bce"}))
    scale = torch.linspace(0, 1, 8, dtype=torch.float64).requires_grad_()
    other = torch.linspace(0, 2, 8, dtype=torch.float64).requires_grad_()
    zero = torch.zeros_like(batch)
    config = Consistency(weight=1)
    weak.consistency(
        lambda x: x * scale, batch, zero, zero, batch * other, loss, torch.Generator(), config
    ).sum().backward()
    assert scale.grad is not None
    assert other.grad is not None
    assert scale.grad.abs().sum() > 0
    assert other.grad.abs().sum() > 0
