"""Augmentation: labels stay on what they label, and what is not labelled stays so."""

from __future__ import annotations

from itertools import pairwise
from typing import Any, NamedTuple

import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st
from torch.nn import functional as F

import orkrun
from ctseg import config
from ctseg.augment import augment
from ctseg.config.augmentation import AUGMENTATIONS

FIELDS: dict[str, Any] = {
    **{"flip": True, "rotate": 30, "scale": 0.2, "elastic": 0.05},
    **{"intensity": 0.3, "gamma": 0.5, "noise": 0.1, "window": 0.2},
}
GEOMETRY, GREYS = ("flip", "rotate", "scale", "elastic"), ("intensity", "gamma", "noise", "window")
each_field = pytest.mark.parametrize("field", FIELDS)


class Batch(NamedTuple):
    images: torch.Tensor
    target: torch.Tensor
    valid: torch.Tensor


def blocks(size: int = 32, channels: int = 1, count: int = 6) -> torch.Tensor:
    """Squares of 4 pixels, 0 or 1: large enough for most pixels to have only their like around them."""
    coarse = torch.rand(count, channels, size // 4, size // 4, generator=torch.Generator().manual_seed(9)) > 0.5
    return F.interpolate(coarse.float(), scale_factor=4, mode="nearest")


def varied(images: torch.Tensor, target: torch.Tensor, valid: torch.Tensor, *, seed: int = 0, **fields: Any) -> Batch:
    settings = config.Augmentation.model_validate({"preset": "none", "probability": 1} | fields)
    return Batch(*augment(images, target, valid, config=settings, generator=torch.Generator().manual_seed(seed)))


def plain(seed: int = 0, **fields: Any) -> Batch:
    """The image is its own mask, all of it labelled."""
    return varied(blocks(), blocks(), torch.ones(6, 1, 32, 32), seed=seed, **fields)


def test_preset_none_changes_nothing() -> None:
    assert all(map(torch.equal, plain(), (blocks(), blocks(), torch.ones(6, 1, 32, 32))))


@each_field
def test_each_field_changes_something_the_same_way_for_the_same_seed(field: str) -> None:
    # Grey values between 0 and 1, which the exponent moves.
    images, labels = blocks() * 0.5 + 0.2, torch.ones(6, 1, 32, 32)
    once, again, other = (varied(images, labels, labels, seed=seed, **{field: FIELDS[field]}) for seed in (0, 0, 1))
    assert all(map(torch.equal, once, again))
    assert not torch.equal(once.images, images)
    assert not torch.equal(once.images, other.images)
    assert 0 <= float(once.images.min()) <= float(once.images.max()) <= 1


@pytest.mark.parametrize("field", GREYS)
def test_grey_values_change_without_their_labels(field: str) -> None:
    changed = plain(**{field: FIELDS[field]})
    assert torch.equal(changed.target, blocks())
    assert changed.valid.all()


@given(
    seed=st.integers(0, 2**32),
    flip=st.booleans(),
    rotate=st.floats(0, 180),
    scale=st.floats(0, 0.5),
    elastic=st.floats(0, 0.05),
)
@settings(max_examples=30)
def test_an_image_that_is_its_own_mask_stays_so(
    seed: int, flip: bool, rotate: float, scale: float, elastic: float
) -> None:
    images, target, valid = plain(seed=seed, flip=flip, rotate=rotate, scale=scale, elastic=elastic)
    # Where the four pixels around are alike the interpolated grey value is theirs, and so has to be the label.
    sure = ((images < 1e-5) | (images > 1 - 1e-5)) & (valid == 1)
    assert torch.equal(images[sure].round(), target[sure])
    assert set(target.unique().tolist()) | set(valid.unique().tolist()) <= {0.0, 1.0}


@given(seed=st.integers(0, 2**32), field=st.sampled_from(["rotate", "scale", "elastic"]))
@settings(max_examples=20)
def test_what_comes_from_outside_is_not_labelled_and_what_was_not_labelled_stays_so(seed: int, field: str) -> None:
    # A picture of ones: whatever is not one any more came from outside, in part or as a whole.
    ones = torch.ones(6, 1, 32, 32)
    value = {"rotate": 45, "scale": 0.5, "elastic": 0.2}[field]
    images, target, valid = varied(ones, ones, ones, seed=seed, **{field: value})
    assert torch.equal(target, valid)
    assert not valid[images < 0.2].any()
    assert valid[images > 1 - 1e-4].all()
    nothing = varied(ones, ones, torch.zeros_like(ones), seed=seed, **{field: value})
    assert not nothing.valid.any()


@pytest.mark.parametrize("field", [name for name in FIELDS if name != "flip"])
def test_each_slice_is_changed_with_the_probability_given_and_else_is_as_it_was(field: str) -> None:
    images, ones = torch.rand(400, 1, 8, 8, generator=torch.Generator().manual_seed(1)), torch.ones(400, 1, 8, 8)
    value = {field: FIELDS[field] / 4 if field == "elastic" else FIELDS[field]}
    for probability, low, high in ((0.0, 0, 0), (0.25, 70, 130), (1.0, 380, 400)):
        changed = varied(images, ones, ones, probability=probability, **value).images
        touched = ((changed - images).abs().flatten(1).amax(1) > 1e-4).sum()
        assert low <= int(touched) <= high


def test_soft_labels_stay_values_that_somebody_gave() -> None:
    soft = torch.randint(0, 255, (6, 1, 32, 32), generator=torch.Generator().manual_seed(3)).float() / 254
    target = varied(soft, soft, torch.ones_like(soft), rotate=30, elastic=0.05).target
    assert set(target.unique().tolist()) <= {0.0, *soft.unique().tolist()}


def test_mirroring_twice_is_nothing_and_the_axes_commute() -> None:
    once = plain(flip=True)
    assert not torch.equal(once.target, blocks())
    assert all(map(torch.equal, varied(*once, flip=True), plain()))
    before = varied(blocks().flip(2), blocks().flip(3), torch.ones(6, 1, 32, 32), flip=True)
    assert torch.equal(before.images, once.images.flip(2))
    assert torch.equal(before.target, once.target.flip(3))


def test_mirrored_alone_or_within_a_rotation_are_the_same_slices() -> None:
    assert torch.equal(plain(flip=True).target, plain(flip=True, rotate=1e-9).target)


def test_one_field_does_not_change_the_luck_of_another() -> None:
    flipped = plain(flip=True)
    assert torch.equal(plain(flip=True, noise=0.1, gamma=0.3).target, flipped.target)


def test_all_channels_move_together() -> None:
    image = blocks()
    several = varied(image.repeat(1, 3, 1, 1), image, torch.ones_like(image), **{k: FIELDS[k] for k in GEOMETRY})
    assert several.images.shape == (6, 3, 32, 32)
    assert torch.equal(several.images[:, 0], several.images[:, 2])


def test_a_rotation_of_a_picture_that_is_not_square_keeps_shapes() -> None:
    # A square of 8 pixels in the middle, turned by at most 45 degrees, covers as many pixels as before.
    image = torch.zeros(6, 1, 32, 64)
    image[..., 12:20, 28:36] = 1
    turned = varied(image, image, torch.ones_like(image), rotate=45).target
    assert not torch.equal(turned, image)
    assert turned.sum((1, 2, 3)).tolist() == pytest.approx([64.0] * 6, abs=8)


def test_the_exponent_is_in_its_range() -> None:
    half = torch.full((200, 1, 1, 1), 0.5)
    exponents = torch.log2(1 / varied(half, half, half, gamma=0.5).images)
    assert 1 / 1.5 <= float(exponents.min()) < 0.75
    assert 1.4 < float(exponents.max()) <= 1.5 + 1e-5


def test_noise_has_a_standard_deviation_of_its_own_in_each_slice_up_to_the_largest() -> None:
    half = torch.full((40, 1, 64, 64), 0.5)
    deviations = varied(half, half, half, noise=0.1).images.std((1, 2, 3))
    assert float(deviations.max()) == pytest.approx(0.1, abs=0.015)
    assert float(deviations.min()) < 0.02


@pytest.mark.parametrize("name", AUGMENTATIONS)
def test_presets_are_valid_and_single_fields_override_them(name: str) -> None:
    chosen = config.parse({"augmentation": {"preset": name, "rotate": 7}}).augmentation
    fields = config.Augmentation.model_fields
    for field in FIELDS:
        assert getattr(chosen, field) == (
            7 if field == "rotate" else AUGMENTATIONS[name].get(field, fields[field].default)
        )
    assert config.Augmentation.model_validate(chosen.model_dump()) == chosen


def test_each_preset_is_stronger_than_the_one_before() -> None:
    chosen = [config.Augmentation.model_validate({"preset": name}).model_dump() for name in AUGMENTATIONS]
    assert list(AUGMENTATIONS) == ["none", "light", "medium", "strong"]
    for weaker, stronger in pairwise(chosen):
        assert all(weaker[field] <= stronger[field] for field in FIELDS)
        assert weaker != stronger


def test_an_unknown_preset_is_refused_with_the_nearest_name() -> None:
    with pytest.raises(orkrun.InvalidParams, match=r"augmentation\.preset: 'stronk' is unknown; did you mean strong"):
        config.parse({"augmentation": {"preset": "stronk"}})
