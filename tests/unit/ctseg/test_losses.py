"""Losses against their closed forms."""

from __future__ import annotations

import math

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from ctseg import losses
from ctseg.config import Loss

probabilities = st.floats(0.01, 0.99)


def logit(p: float) -> torch.Tensor:
    return torch.full((2, 1, 4, 4), math.log(p / (1 - p)), dtype=torch.float64)


def target(positives: int) -> torch.Tensor:
    flat = torch.zeros(32, dtype=torch.float64)
    flat[:positives] = 1
    return flat.reshape(2, 1, 4, 4)


@given(probabilities, st.integers(0, 32), st.floats(0.1, 10))
def test_dice_of_a_constant_prediction(p: float, positives: int, smooth: float) -> None:
    value = losses.dice(logit(p), target(positives), smooth=smooth).item()
    assert value == pytest.approx(1 - (2 * p * positives + smooth) / (32 * p + positives + smooth))


@given(probabilities, st.integers(0, 32), st.floats(0.1, 10))
def test_cross_entropy_of_a_constant_prediction(p: float, positives: int, weight: float) -> None:
    value = losses.cross_entropy(logit(p), target(positives), positive_weight=weight).item()
    expected = -(weight * positives * math.log(p) + (32 - positives) * math.log(1 - p)) / 32
    assert value == pytest.approx(expected)


@given(probabilities, st.integers(0, 32), st.floats(0, 5), st.one_of(st.none(), st.floats(0.05, 0.95)))
def test_focal_of_a_constant_prediction(p: float, positives: int, gamma: float, alpha: float | None) -> None:
    value = losses.focal(logit(p), target(positives), gamma=gamma, alpha=alpha).item()
    lesion, background = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    expected = lesion * positives * (1 - p) ** gamma * -math.log(p)
    expected += background * (32 - positives) * p**gamma * -math.log(1 - p)
    assert value == pytest.approx(expected / 32)


def test_focal_without_focus_is_cross_entropy() -> None:
    logits = torch.randn(2, 1, 8, 8, generator=torch.Generator().manual_seed(0))
    mask = (torch.rand(2, 1, 8, 8, generator=torch.Generator().manual_seed(1)) > 0.5).float()
    assert losses.focal(logits, mask, gamma=0, alpha=None).item() == pytest.approx(
        losses.cross_entropy(logits, mask, positive_weight=1).item()
    )


@pytest.mark.parametrize("name", ["dice", "cross_entropy", "focal", "dice_ce", "dice_focal"])
@pytest.mark.parametrize("positives", [0, 7, 32])
def test_every_loss_is_small_for_the_right_answer_and_has_finite_gradients(name: str, positives: int) -> None:
    loss = losses.build(Loss.model_validate({"name": name}))
    mask = target(positives).float()
    right = ((mask * 2 - 1) * 30).requires_grad_()
    wrong = (-right).detach().requires_grad_()
    good, bad = loss(right, mask), loss(wrong, mask)
    assert good.item() < 1e-3 < bad.item()
    (good + bad).backward()
    assert right.grad is not None
    assert wrong.grad is not None
    assert torch.isfinite(right.grad).all()
    assert torch.isfinite(wrong.grad).all()


def test_a_combination_is_the_weighted_sum_of_its_terms() -> None:
    logits, mask = logit(0.3), target(9).float()
    combined = losses.build(
        Loss.model_validate({"combination": [{"name": "dice", "weight": 0.5}, {"name": "focal", "weight": 3}]})
    )
    expected = 0.5 * losses.dice(logits, mask, smooth=1) + 3 * losses.focal(logits, mask, gamma=2, alpha=None)
    assert combined(logits, mask).item() == pytest.approx(expected.item(), rel=1e-5)
