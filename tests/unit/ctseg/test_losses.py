"""Losses against their closed forms, against other implementations, and what all of them promise."""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import pytest
import segmentation_models_pytorch as smp
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

from ctseg import losses
from ctseg.config.loss import LOSSES, TERMS, Loss

Batch = tuple[torch.Tensor, torch.Tensor, torch.Tensor]

probabilities = st.floats(0.01, 0.99)
few = settings(max_examples=20)


def build(name: str, **options: Any) -> losses.LossFunction:
    return losses.build(Loss.model_validate({"name": name, **options}))


def logit(p: float) -> torch.Tensor:
    return torch.full((2, 1, 4, 4), math.log(p / (1 - p)), dtype=torch.float64)


def target(positives: int) -> torch.Tensor:
    """Two slices of 16 pixels; the lesion fills the first before it begins in the second."""
    flat = torch.zeros(32, dtype=torch.float64)
    flat[:positives] = 1
    return flat.reshape(2, 1, 4, 4)


def of_batch(loss: losses.LossFunction, logits: torch.Tensor, mask: torch.Tensor) -> float:
    valid = torch.ones_like(mask)
    return losses.mean(loss(logits, mask, valid), valid).item()


def batch(seed: int, *, slices: int = 3, side: int = 6, soft: bool = False, ignored: float = 0.0) -> Batch:
    generator = torch.Generator().manual_seed(seed)
    logits = 2 * torch.randn(slices, 1, side, side, generator=generator, dtype=torch.float64)
    mask = torch.rand(slices, 1, side, side, generator=generator, dtype=torch.float64)
    valid = (torch.rand(slices, 1, side, side, generator=generator) >= ignored).double()
    return logits, mask if soft else (mask > 0.6).double(), valid


# --- closed forms for a constant prediction ---------------------------------------------------------------------------


@few
@given(probabilities, st.integers(0, 32), st.floats(0.1, 10))
def test_dice_of_a_constant_prediction(p: float, positives: int, smooth: float) -> None:
    value = of_batch(build("dice", smooth=smooth), logit(p), target(positives))
    assert value == pytest.approx(1 - (2 * p * positives + smooth) / (32 * p + positives + smooth))


@few
@given(probabilities, st.integers(0, 16), st.floats(0.1, 10))
def test_dice_over_slices_is_each_slices_own(p: float, positives: int, smooth: float) -> None:
    mask = target(positives)
    value = build("dice", smooth=smooth, over="slice")(logit(p), mask, torch.ones_like(mask))
    assert value[0].item() == pytest.approx(1 - (2 * p * positives + smooth) / (16 * p + positives + smooth))
    assert value[1].item() == pytest.approx(1 - smooth / (16 * p + smooth))


@few
@given(probabilities, st.integers(0, 32), st.floats(0, 3), st.floats(0.1, 3), st.floats(1, 3))
def test_tversky_and_focal_tversky_of_a_constant_prediction(
    p: float, positives: int, a: float, b: float, gamma: float
) -> None:
    tp, fp, fn = p * positives, p * (32 - positives), (1 - p) * positives
    expected = 1 - (tp + 1) / (tp + a * fp + b * fn + 1)
    weights = {"false_positives": a, "false_negatives": b}
    assert of_batch(build("tversky", **weights), logit(p), target(positives)) == pytest.approx(expected)
    focal = of_batch(build("focal_tversky", gamma=gamma, **weights), logit(p), target(positives))
    assert focal == pytest.approx(expected ** (1 / gamma) if expected > 1e-6 else 0, abs=1e-4)


@few
@given(probabilities, st.integers(0, 32), st.floats(0.1, 10), st.floats(0, 0.9))
def test_cross_entropy_of_a_constant_prediction(p: float, positives: int, weight: float, smoothing: float) -> None:
    loss = build("cross_entropy", positive_weight=weight, label_smoothing=smoothing)
    high, low = 1 - smoothing / 2, smoothing / 2
    lesion = -weight * high * math.log(p) - low * math.log(1 - p)
    background = -weight * low * math.log(p) - high * math.log(1 - p)
    expected = (positives * lesion + (32 - positives) * background) / 32
    assert of_batch(loss, logit(p), target(positives)) == pytest.approx(expected)


@few
@given(probabilities, st.integers(0, 32), st.floats(0, 5), st.one_of(st.none(), st.floats(0.05, 0.95)))
def test_focal_of_a_constant_prediction(p: float, positives: int, gamma: float, alpha: float | None) -> None:
    value = of_batch(build("focal", gamma=gamma, alpha=alpha), logit(p), target(positives))
    lesion, background = (1.0, 1.0) if alpha is None else (alpha, 1 - alpha)
    expected = lesion * positives * (1 - p) ** gamma * -math.log(p)
    expected += background * (32 - positives) * p**gamma * -math.log(1 - p)
    assert value == pytest.approx(expected / 32)


@few
@given(probabilities, st.integers(0, 32), st.floats(0.05, 1))
def test_gce_of_a_constant_prediction(p: float, positives: int, q: float) -> None:
    expected = (positives * (1 - p**q) + (32 - positives) * (1 - (1 - p) ** q)) / q / 32
    assert of_batch(build("gce", q=q), logit(p), target(positives)) == pytest.approx(expected)


@few
@given(probabilities, st.integers(0, 32), st.floats(0, 6), st.floats(0.1, 1), st.floats(-8, -1))
def test_sce_of_a_constant_prediction(p: float, positives: int, a: float, b: float, zero: float) -> None:
    lesion = -a * math.log(p) - b * (1 - p) * zero
    background = -a * math.log(1 - p) - b * p * zero
    expected = (positives * lesion + (32 - positives) * background) / 32
    loss = build("sce", forward=a, reverse=b, log_zero=zero)
    assert of_batch(loss, logit(p), target(positives)) == pytest.approx(expected)


@few
@given(probabilities, st.integers(1, 31), st.floats(1, 2))
def test_nr_dice_of_a_constant_prediction(p: float, positives: int, gamma: float) -> None:
    negatives = 32 - positives
    wrong = positives * (1 - p) ** gamma + negatives * p**gamma
    lesion = wrong / (32 * p**2 + positives + 1e-5)
    background = wrong / (32 * (1 - p) ** 2 + negatives + 1e-5)
    value = of_batch(build("nr_dice", gamma=gamma), logit(p), target(positives))
    assert value == pytest.approx((lesion + background) / 2)


@few
@given(probabilities, st.integers(0, 32))
def test_mae_of_a_constant_prediction(p: float, positives: int) -> None:
    expected = (positives * (1 - p) + (32 - positives) * p) / 32
    assert of_batch(build("mae"), logit(p), target(positives)) == pytest.approx(expected)


@few
@given(probabilities, st.integers(0, 32), st.floats(0, 1))
def test_bootstrapping_of_a_constant_prediction(p: float, positives: int, beta: float) -> None:
    entropy = (positives * -math.log(p) + (32 - positives) * -math.log(1 - p)) / 32
    soft = -p * math.log(p) - (1 - p) * math.log(1 - p)
    hard = -math.log(p) if p > 0.5 else -math.log(1 - p)
    for value, own in ((False, soft), (True, hard)):
        loss = build("bootstrap", beta=beta, hard=value)
        assert of_batch(loss, logit(p), target(positives)) == pytest.approx(beta * entropy + (1 - beta) * own)


@few
@given(probabilities, st.integers(1, 31))
def test_mcc_of_a_constant_prediction_is_no_correlation(p: float, positives: int) -> None:
    assert of_batch(build("mcc"), logit(p), target(positives)) == pytest.approx(1, abs=1e-4)


@pytest.mark.parametrize("over", ["batch", "slice"])
def test_mcc_without_a_lesion_is_defined(over: str) -> None:
    assert math.isfinite(of_batch(build("mcc", over=over), logit(0.3), target(0)))
    assert math.isfinite(of_batch(build("mcc", over=over), logit(1e-9), target(0)))


def test_lovasz_on_the_corners_of_the_cube_is_the_jaccard_loss() -> None:
    # Berman et al. 2018: the hinge at error 1 for wrong pixels and 0 for right ones.
    mask = target(5)
    wrong = torch.zeros_like(mask)
    wrong.flatten()[[0, 1, 9]] = 1  # two missed, one false: 3 wrong of a union of 6
    logits = (2 * mask - 1) * (1 - wrong)
    value = build("lovasz")(logits, mask, torch.ones_like(mask))
    assert value[0].item() == pytest.approx(3 / 6)
    assert value[1].item() == 0


def test_the_weights_of_infnet_are_highest_at_the_border() -> None:
    _, _, valid = batch(0, slices=1, side=40)
    mask = torch.zeros_like(valid)
    mask[..., 10:25, 5:30] = 1
    logits = torch.randn(mask.shape, generator=torch.Generator().manual_seed(0), dtype=torch.float64)
    weights = 1 + 5 * (F.avg_pool2d(mask, kernel_size=31, stride=1, padding=15) - mask).abs()
    entropy = F.binary_cross_entropy_with_logits(logits, mask, reduction="none")
    p = torch.sigmoid(logits)
    inter, union = (p * mask * weights).sum(), ((p + mask) * weights).sum()
    expected = (weights * entropy).sum() / weights.sum() + 1 - (inter + 1) / (union - inter + 1)
    assert build("wbce_wiou")(logits, mask, valid).item() == pytest.approx(expected.item())


# --- against other implementations, on hard and whole labels ----------------------------------------------------------

OTHERS: dict[str, tuple[dict[str, Any], Callable[[], Any]]] = {
    "dice": ({"smooth": 1.0}, lambda: smp.losses.DiceLoss("binary", smooth=0.5)),
    "jaccard": ({"smooth": 2.0}, lambda: smp.losses.JaccardLoss("binary", smooth=2.0)),
    "tversky": ({"smooth": 1.0}, lambda: smp.losses.TverskyLoss("binary", smooth=1.0, alpha=0.3, beta=0.7)),
    "focal_tversky": (
        {"gamma": 4 / 3},
        lambda: smp.losses.TverskyLoss("binary", smooth=1.0, alpha=0.3, beta=0.7, gamma=0.75),
    ),
    "lovasz": ({}, lambda: smp.losses.LovaszLoss("binary", per_image=True)),
    "mcc": ({}, lambda: lambda z, t: smp.losses.MCCLoss()(torch.sigmoid(z), t)),
    # There, a target t becomes t (1 - s) + (1 - t) s: twice as smooth.
    "cross_entropy": ({"label_smoothing": 0.4}, lambda: smp.losses.SoftBCEWithLogitsLoss(smooth_factor=0.2)),
    "focal": ({"gamma": 3.0, "alpha": 0.25}, lambda: smp.losses.FocalLoss("binary", gamma=3.0, alpha=0.25)),
}


@pytest.mark.parametrize("name", OTHERS)
@pytest.mark.parametrize("seed", [0, 1])
def test_the_batchs_loss_is_that_of_segmentation_models_pytorch(name: str, seed: int) -> None:
    logits, mask, valid = batch(seed)
    options, other = OTHERS[name]
    expected = other()(logits.float(), mask.float())
    assert losses.mean(build(name, **options)(logits, mask, valid), valid).item() == pytest.approx(
        expected.item(), rel=1e-5
    )


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "lovasz", "mcc"])
def test_one_slices_loss_is_that_of_segmentation_models_pytorch(name: str) -> None:
    logits, mask, valid = batch(2)
    options, other = OTHERS[name]
    over = {} if name == "lovasz" else {"over": "slice"}
    value = build(name, **options, **over)(logits, mask, valid)
    for i in range(len(logits)):
        assert value[i].item() == pytest.approx(
            other()(logits[i : i + 1].float(), mask[i : i + 1].float()).item(), rel=1e-5
        )


def test_ignored_pixels_are_left_out_as_in_the_original_lovasz() -> None:
    logits, mask, valid = batch(3, ignored=0.4)
    other = smp.losses.LovaszLoss("binary", per_image=True, ignore_index=255)
    expected = other(logits.float(), torch.where(valid > 0, mask, 255.0).float())
    assert losses.mean(build("lovasz")(logits, mask, valid), valid).item() == pytest.approx(expected.item())


# --- relations between them -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("one", "other", "tolerance"),
    [
        (("focal", {"gamma": 0}), ("cross_entropy", {}), 1e-9),
        (("gce", {"q": 1e-7}), ("cross_entropy", {}), 1e-5),
        (("gce", {"q": 1}), ("mae", {}), 1e-9),
        (("bootstrap", {"beta": 1}), ("cross_entropy", {}), 1e-9),
        (("sce", {"forward": 1, "reverse": 0}), ("cross_entropy", {}), 1e-9),
        (("sce", {"forward": 0, "reverse": 1, "log_zero": -1}), ("mae", {}), 1e-9),
        (("tversky", {"false_positives": 0.5, "false_negatives": 0.5, "smooth": 0.5}), ("dice", {}), 1e-9),
        (("tversky", {"false_positives": 1, "false_negatives": 1}), ("jaccard", {}), 1e-9),
        (("focal_tversky", {"gamma": 1}), ("tversky", {}), 1e-9),
    ],
    ids=str,
)
def test_one_loss_is_another_at_the_end_of_its_range(
    one: tuple[str, dict[str, Any]], other: tuple[str, dict[str, Any]], tolerance: float
) -> None:
    given = batch(4, ignored=0.2)
    first, second = (build(name, **options)(*given) for name, options in (one, other))
    assert torch.allclose(first, second, atol=tolerance)


@pytest.mark.parametrize("name", ["dice", "jaccard", "tversky", "cross_entropy", "mae", "wbce_wiou", "nr_dice"])
def test_the_best_answer_to_a_soft_target_is_the_target(name: str) -> None:
    _, mask, valid = batch(5, soft=True)
    mask = mask * 0.9 + 0.05
    loss = build(name)
    best = loss(torch.logit(mask), mask, valid).mean()
    for other in (mask * 0.9, mask * 0.9 + 0.1, (mask > 0.5) * 0.98 + 0.01, mask.flip(3)):
        assert loss(torch.logit(other), mask, valid).mean() > best


def test_a_combination_is_the_weighted_sum_of_its_terms_with_their_options() -> None:
    given = batch(6, ignored=0.1)
    terms = [{"name": "dice", "weight": 0.5, "over": "slice"}, {"name": "focal", "weight": 3, "gamma": 1}]
    combined = losses.build(Loss.model_validate({"combination": terms}))
    expected = 0.5 * build("dice", over="slice")(*given) + 3 * build("focal", gamma=1)(*given)
    assert torch.allclose(combined(*given), expected)


def test_a_named_pair_is_the_sum_of_both() -> None:
    given = batch(7)
    for name, parts in LOSSES.items():
        assert torch.allclose(build(name)(*given), sum((build(part)(*given) for part in parts), torch.zeros(3)))


# --- what every loss promises -----------------------------------------------------------------------------------------

VARIANTS: list[tuple[str, dict[str, Any]]] = [
    *((name, {}) for name in TERMS),
    *((name, {"over": "slice"}) for name, options in TERMS.items() if "over" in options),
    ("focal", {"gamma": 0.3, "alpha": 0.25}),
    ("bootstrap", {"hard": True, "beta": 0.8}),
    ("nr_dice", {"gamma": 1}),
]
every = pytest.mark.parametrize(("name", "options"), VARIANTS, ids=str)


@every
@pytest.mark.parametrize("junk", [float("nan"), float("inf"), -1e30, 0.5])
def test_nothing_at_a_pixel_without_a_label_matters(name: str, options: dict[str, Any], junk: float) -> None:
    loss = build(name, **options)
    logits, mask, valid = batch(8, ignored=0.3, side=5)
    valid[1] = 0
    other = torch.where(valid > 0, logits, junk)
    results = []
    for z, t in ((logits, mask), (other, torch.where(valid > 0, mask, junk))):
        z = z.clone().requires_grad_()
        value = loss(z, t, valid)
        losses.mean(value, valid).backward()  # type: ignore[no-untyped-call]
        assert z.grad is not None
        assert (z.grad[valid == 0] == 0).all()
        results.append((value.detach(), z.grad))
    assert results[0][0][1] == 0
    assert torch.equal(results[0][0], results[1][0])
    assert torch.equal(results[0][1], results[1][1])


@every
def test_the_gradient_is_the_slope(name: str, options: dict[str, Any]) -> None:
    loss = build(name, **options)
    logits, mask, valid = batch(9, slices=2, side=4, ignored=0.2, soft=name not in ("lovasz",))
    assert torch.autograd.gradcheck(lambda z: loss(z, mask, valid), (logits.requires_grad_(),))


@every
@pytest.mark.parametrize("positives", [0, 7, 32])
@pytest.mark.parametrize("size", [30.0, 200.0, 6e4])
def test_at_any_size_of_logits_value_and_gradient_are_finite(
    name: str, options: dict[str, Any], positives: int, size: float
) -> None:
    loss = build(name, **options)
    mask = target(positives).float()
    valid = torch.ones_like(mask)
    values = []
    for sign in (1, -1):
        logits = (sign * (mask * 2 - 1) * size).requires_grad_()
        value = losses.mean(loss(logits, mask, valid), valid)
        value.backward()  # type: ignore[no-untyped-call]
        assert logits.grad is not None
        assert torch.isfinite(logits.grad).all()
        values.append(value.item())
    # MCC without both classes is no correlation whatever the answer.
    if name != "mcc" or (positives == 7 and options.get("over") != "slice"):
        assert values[0] < 1e-3 < values[1]
        assert math.isfinite(values[1])


@every
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_half_precision_is_computed_in_single(name: str, options: dict[str, Any], dtype: torch.dtype) -> None:
    loss = build(name, **options)
    # 300 x 300 pixels: more than float16 can count to.
    logits = torch.randn(1, 1, 300, 300, generator=torch.Generator().manual_seed(0)).to(dtype)
    mask = torch.zeros(1, 1, 300, 300)
    mask[..., 20:290, 20:290] = 1
    valid = torch.ones_like(mask)
    half, single = loss(logits, mask, valid), loss(logits.float(), mask, valid)
    assert half.dtype == torch.float32
    assert torch.equal(half, single)


@every
def test_without_any_label_nothing_is_learnt(name: str, options: dict[str, Any]) -> None:
    logits, mask, valid = batch(10)
    logits.requires_grad_()
    value = losses.mean(build(name, **options)(logits, mask, torch.zeros_like(valid)), torch.zeros_like(valid))
    assert value.item() == 0
    value.backward()  # type: ignore[no-untyped-call]
    assert logits.grad is not None
    assert (logits.grad == 0).all()


@every
def test_a_slice_without_a_label_changes_no_others(name: str, options: dict[str, Any]) -> None:
    loss = build(name, **options)
    logits, mask, valid = batch(11)
    valid[2] = 0
    with_it = losses.mean(loss(logits, mask, valid), valid)
    without = losses.mean(loss(logits[:2], mask[:2], valid[:2]), valid[:2])
    assert with_it.item() == pytest.approx(without.item())


def test_shapes_that_would_broadcast_are_refused() -> None:
    logits, mask, valid = batch(12)
    with pytest.raises(ValueError, match="one shape"):
        build("dice")(logits, mask[:, 0], valid)


def test_noise_robust_dice_pushes_a_slice_without_a_lesion_down() -> None:
    # The formula by itself is 1 for p = 1 and 1 / sqrt(p) for small p: it would teach the model to see lesions there.
    for over in ("batch", "slice"):
        loss = build("nr_dice", over=over)
        values = [of_batch(loss, logit(p), target(0)) for p in (0.9, 0.5, 0.1, 0.01)]
        assert values == sorted(values, reverse=True)
