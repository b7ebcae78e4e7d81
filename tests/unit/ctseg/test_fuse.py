"""Joining annotators: the rules' order, who counts, and STAPLE against SimpleITK."""

from __future__ import annotations

from collections.abc import Iterator
from typing import get_args

import numpy as np
import pytest
import SimpleITK
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ctseg.config.labels import Rule
from ctseg.labels.coding import HALF, IGNORE, LESION, MISSING, count, total, vote
from ctseg.labels.fuse import fuse, judged_by, learnt_from
from ctseg.labels.staple import staple

RULES: tuple[Rule, ...] = get_args(Rule)
STEADY: tuple[Rule, ...] = tuple(rule for rule in RULES if rule != "random")
label = st.sampled_from([0, 60, HALF - 1, HALF, 200, LESION, IGNORE])
several = st.integers(1, 4).flatmap(lambda a: arrays.arrays(np.uint8, (2, a, 3, 4), elements=label))
quick = settings(max_examples=60)


def rng(seed: int = 0) -> np.random.Generator:
    return np.random.default_rng(seed)


def planes(*rows: list[int]) -> np.ndarray:
    """One slice of one row for each annotator."""
    return np.array(rows, dtype=np.uint8)[None, :, None, :]


@quick
@given(several)
def test_unlabelled_is_unlabelled_by_everybody_and_never_background(masks: np.ndarray) -> None:
    nobody = (masks == IGNORE).all(axis=1)
    for rule in STEADY:
        assert np.array_equal(fuse(masks, rule=rule) == IGNORE, nobody), rule


@quick
@given(several)
def test_union_holds_majority_and_majority_holds_intersection(masks: np.ndarray) -> None:
    union, majority, intersection = (fuse(masks, rule=r) for r in ("union", "majority", "intersection"))
    assert (union >= majority).all()
    assert (majority >= intersection).all()


@quick
@given(several, st.randoms(use_true_random=False))
def test_the_order_of_the_annotators_changes_nothing(masks: np.ndarray, random: object) -> None:
    order = list(range(masks.shape[1]))
    random.shuffle(order)  # type: ignore[attr-defined]
    for rule in STEADY:
        one, other = fuse(masks, rule=rule), fuse(masks[:, order], rule=rule)
        # EM's sums are taken in another order: one step of 254 is its rounding.
        assert np.abs(one.astype(int) - other).max() <= (rule == "staple"), rule


@quick
@given(arrays.arrays(np.uint8, (2, 1, 3, 4), elements=label))
def test_one_annotator_is_the_target_under_every_rule(masks: np.ndarray) -> None:
    for rule in RULES:
        assert np.array_equal(fuse(masks, rule=rule, rng=rng()), masks[:, 0]), rule


@quick
@given(arrays.arrays(np.uint8, (2, 1, 3, 4), elements=st.sampled_from([0, LESION, IGNORE])), st.integers(2, 4))
def test_annotators_who_agree_are_the_target_under_every_rule(mask: np.ndarray, copies: int) -> None:
    for rule in RULES:
        assert np.array_equal(fuse(np.repeat(mask, copies, axis=1), rule=rule, rng=rng()), mask[:, 0]), rule


@quick
@given(several)
def test_an_annotator_who_labelled_nothing_changes_nothing(masks: np.ndarray) -> None:
    with_absent = np.concatenate([masks, np.full_like(masks[:, :1], IGNORE)], axis=1)
    for rule in STEADY if masks.shape[1] > 1 else ("soft",):
        one, other = fuse(masks, rule=rule), fuse(with_absent, rule=rule)
        assert np.abs(one.astype(int) - other).max() <= (rule == "staple"), rule


@pytest.mark.parametrize(
    ("rule", "expected"),
    [
        ("union", [LESION, LESION, LESION, 0, LESION, IGNORE]),
        ("majority", [LESION, LESION, 0, 0, LESION, IGNORE]),
        ("intersection", [LESION, 0, 0, 0, LESION, IGNORE]),
        ("soft", [LESION, 169, 85, 0, 177, IGNORE]),
    ],
)
def test_rules_by_hand(rule: Rule, expected: list[int]) -> None:
    masks = planes(
        [LESION, LESION, LESION, 0, IGNORE, IGNORE],
        [LESION, LESION, 0, 0, 200, IGNORE],
        [LESION, 0, 0, 0, 154, IGNORE],
    )
    assert fuse(masks, rule=rule)[0, 0].tolist() == expected


def test_a_tied_majority_is_a_lesion() -> None:
    masks = planes([LESION, 0, LESION], [0, IGNORE, IGNORE], [IGNORE, LESION, IGNORE])
    assert fuse(masks, rule="majority")[0, 0].tolist() == [LESION, LESION, LESION]


def test_random_draws_whole_slices_of_those_who_labelled_them_about_evenly() -> None:
    values = np.array([0, LESION, IGNORE, 60], dtype=np.uint8)
    masks = np.broadcast_to(values[None, :, None, None], (3000, 4, 2, 2))
    drawn = fuse(masks, rule="random", rng=rng())
    assert (drawn == drawn[:, :1, :1]).all()
    seen, often = np.unique(drawn[:, 0, 0], return_counts=True)
    assert seen.tolist() == [0, 60, LESION]
    assert (abs(often / 3000 - 1 / 3) < 0.03).all()
    assert np.array_equal(drawn, fuse(masks, rule="random", rng=rng()))
    assert not np.array_equal(drawn, fuse(masks, rule="random", rng=rng(1)))


def test_an_unlabelled_slice_stays_so_when_drawn_at_random() -> None:
    masks = np.full((2, 2, 1, 1), IGNORE, dtype=np.uint8)
    masks[1, 1] = LESION
    assert fuse(masks, rule="random", rng=rng())[:, 0, 0].tolist() == [IGNORE, LESION]


@pytest.mark.parametrize(
    ("masks", "options", "says"),
    [
        (np.zeros((2, 3, 3), np.uint8), {"rule": "union"}, r"\(n, A, H, W\)"),
        (np.zeros((2, 2, 3, 3), bool), {"rule": "union"}, "uint8"),
        (np.zeros((2, 0, 3, 3), np.uint8), {"rule": "union"}, "at least one annotator"),
        (np.zeros((2, 2, 3, 3), np.uint8), {"rule": "random"}, "needs rng"),
        (np.zeros((2, 2, 3, 3), np.uint8), {"rule": "staple", "cases": ["a"]}, "1 cases"),
    ],
)
def test_what_is_no_label_is_refused(masks: np.ndarray, options: dict[str, object], says: str) -> None:
    with pytest.raises(ValueError, match=says):
        fuse(masks, **options)  # type: ignore[arg-type]


def test_the_truth_judges_and_others_are_learnt_from() -> None:
    assert (learnt_from(["anna", "truth", "ben"]), judged_by(["anna", "truth", "ben"])) == ([0, 2], [1])
    assert (learnt_from(["truth"]), judged_by(["truth"])) == ([0], [0])
    assert (learnt_from(["anna", "ben"]), judged_by(["anna", "ben"])) == ([0, 1], [0, 1])


# --- STAPLE -----------------------------------------------------------------------------------------------------------


def drawn(
    truth: np.ndarray, annotators: list[tuple[float, float]], generator: np.random.Generator
) -> Iterator[np.ndarray]:
    """Annotators with a known sensitivity and specificity."""
    for sensitivity, specificity in annotators:
        hit = np.where(truth, sensitivity, 1 - specificity)
        yield np.where(generator.random(truth.shape) < hit, LESION, 0).astype(np.uint8)


TRUTH = np.zeros((6, 40, 40), dtype=bool)
TRUTH[1:5, 8:24, 10:30] = True
WORTH = [(0.95, 0.99), (0.70, 0.97), (0.90, 0.80), (0.60, 0.999)]


def test_staple_is_simpleitks_where_no_vote_is_missing() -> None:
    masks = np.stack(list(drawn(TRUTH, WORTH, rng())), axis=1)
    votes, pattern = count(masks)
    ours = staple(votes)
    images = [SimpleITK.GetImageFromArray((masks[:, a] == LESION).astype(np.uint8)) for a in range(4)]
    itk = SimpleITK.STAPLEImageFilter()
    itk.SetForegroundValue(1)
    theirs = SimpleITK.GetArrayFromImage(itk.Execute(images))
    assert ours.sensitivity == pytest.approx(itk.GetSensitivity(), abs=1e-6)
    assert ours.specificity == pytest.approx(itk.GetSpecificity(), abs=1e-6)
    assert ours.probability[pattern] == pytest.approx(theirs, abs=1e-6)
    assert np.array_equal(fuse(masks, rule="staple"), np.rint(theirs * LESION))


def test_staple_finds_how_good_each_annotator_is_and_beats_them_all_with_votes_missing() -> None:
    masks = np.stack(list(drawn(TRUTH, WORTH, rng())), axis=1)
    masks[rng(1).random(masks.shape) < 0.3] = IGNORE
    estimate = staple(count(masks)[0])
    assert estimate.sensitivity == pytest.approx([s for s, _ in WORTH], abs=0.03)
    assert estimate.specificity == pytest.approx([s for _, s in WORTH], abs=0.03)
    fused = fuse(masks, rule="staple")
    seen = fused != IGNORE
    wrong = (fused >= HALF) != TRUTH
    for a in range(4):  # where they have labelled; elsewhere they say nothing
        labelled = masks[:, a] != IGNORE
        assert wrong[labelled].mean() < ((masks[:, a] >= HALF) != TRUTH)[labelled].mean()
    assert wrong[seen].mean() < ((fuse(masks, rule="majority") >= HALF) != TRUTH)[seen].mean()


def test_staple_is_estimated_for_each_case() -> None:
    masks = np.stack(list(drawn(TRUTH, WORTH, rng())), axis=1)
    cases = ["a", "b", "a", "b", "a", "b"]
    fused = fuse(masks, rule="staple", cases=cases)
    for case in "ab":
        index = [i for i, name in enumerate(cases) if name == case]
        assert np.array_equal(fused[index], fuse(masks[index], rule="staple"))
    assert not np.array_equal(fused, fuse(masks, rule="staple"))


@pytest.mark.parametrize(
    ("value", "sensitivity", "specificity"), [(0, np.nan, 1.0), (LESION, 1.0, np.nan), (IGNORE, np.nan, np.nan)]
)
def test_staple_of_votes_that_are_all_the_same(value: int, sensitivity: float, specificity: float) -> None:
    masks = np.full((1, 2, 2, 2), value, dtype=np.uint8)
    estimate = staple(count(masks)[0])
    assert estimate.sensitivity == pytest.approx([sensitivity] * 2, nan_ok=True)
    assert estimate.specificity == pytest.approx([specificity] * 2, nan_ok=True)
    assert (fuse(masks, rule="staple") == value).all()


@quick
@given(several)
def test_votes_are_the_pixels_and_add_up(masks: np.ndarray) -> None:
    votes, pattern = count(masks)
    assert np.array_equal(votes.given[pattern], np.moveaxis(vote(masks), 1, -1))
    parts = total([count(masks[:1])[0], count(masks[1:])[0]])
    assert sorted(zip(votes.given.tolist(), votes.pixels.tolist(), strict=True)) == sorted(
        zip(parts.given.tolist(), parts.pixels.tolist(), strict=True)
    )
    assert votes.where(MISSING) == (masks[:, 0] == IGNORE).sum()
