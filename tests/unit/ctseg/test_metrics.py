"""Metrics against their closed forms, and the rules for empty slices."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from ctseg import metrics

pixels = st.integers(0, 50)
rows = st.tuples(pixels, pixels, pixels, st.integers(1, 50))
masks = arrays.arrays(bool, (3, 4, 5))


@given(masks, masks)
def test_counts_are_those_of_going_through_the_pixels(prediction: np.ndarray, target: np.ndarray) -> None:
    for row, p, t in zip(metrics.count(prediction, target), prediction, target, strict=True):
        pairs = list(zip(p.ravel().tolist(), t.ravel().tolist(), strict=True))
        assert row.tolist() == [
            pairs.count(pair) for pair in [(True, True), (True, False), (False, True), (False, False)]
        ]


@given(rows)
def test_ratios_are_their_definitions(row: tuple[int, int, int, int]) -> None:
    tp, fp, fn, tn = row
    ratios = {name: float(values[0]) for name, values in metrics.ratios(np.array([row])).items()}
    if tp + fp + fn:
        assert ratios["dice"] == pytest.approx(2 * tp / (2 * tp + fp + fn))
        assert ratios["iou"] == pytest.approx(tp / (tp + fp + fn))
        assert ratios["iou"] == pytest.approx(ratios["dice"] / (2 - ratios["dice"]))
    if tp + fp and tp + fn:
        ppv, sensitivity = ratios["ppv"], ratios["sensitivity"]
        assert ppv == pytest.approx(tp / (tp + fp))
        assert sensitivity == pytest.approx(tp / (tp + fn))
        if tp:
            assert ratios["dice"] == pytest.approx(2 * ppv * sensitivity / (ppv + sensitivity))
    assert ratios["specificity"] == pytest.approx(tn / (tn + fp))


@given(st.lists(rows, min_size=1, max_size=8), st.randoms())
def test_pooled_slice_and_case_values_are_the_three_ways_of_adding_up(rows: list, random) -> None:  # type: ignore[no-untyped-def, type-arg]
    counts = np.array(rows)
    cases = [random.choice("abc") for _ in rows]
    result = metrics.summarize(counts, cases)

    def dice(row: np.ndarray) -> float:
        return float(2 * row[0] / (2 * row[0] + row[1] + row[2])) if row[:3].any() else 1.0

    assert result["dice"] == pytest.approx(dice(counts.sum(axis=0)))
    assert result["dice_slice"] == pytest.approx(np.mean([dice(row) for row in counts]))
    by_case = [dice(counts[[c == case for c in cases]].sum(axis=0)) for case in sorted(set(cases))]
    assert result["dice_case"] == pytest.approx(np.mean(by_case))


def test_with_one_slice_per_case_the_case_is_the_slice() -> None:
    counts = np.array([[3, 1, 2, 10], [0, 0, 0, 16], [5, 0, 0, 11]])
    result = metrics.summarize(counts, ["a", "b", "c"])
    for name in metrics.NAMES:
        assert result[f"{name}_case"] == result[f"{name}_slice"]


@pytest.mark.parametrize(
    ("row", "expected"),
    [
        ([0, 0, 0, 16], {"dice": 1, "iou": 1, "ppv": None, "sensitivity": None, "specificity": 1}),
        ([0, 1, 0, 15], {"dice": 0, "iou": 0, "ppv": 0, "sensitivity": None, "specificity": 15 / 16}),
        ([0, 0, 1, 15], {"dice": 0, "iou": 0, "ppv": None, "sensitivity": 0, "specificity": 1}),
        ([16, 0, 0, 0], {"dice": 1, "iou": 1, "ppv": 1, "sensitivity": 1, "specificity": None}),
    ],
    ids=["nothing there, nothing said", "nothing there, one pixel said", "one there, nothing said", "all lesion"],
)
def test_empty_slices_are_right_when_left_alone_and_undefined_ratios_are_left_out(
    row: list[int], expected: dict[str, float | None]
) -> None:
    result = metrics.summarize(np.array([row]), ["a"])
    for name, value in expected.items():
        assert result.get(name) == value
        assert result.get(f"{name}_slice") == value
        assert result.get(f"{name}_case") == value


def test_an_undefined_slice_is_no_part_of_the_mean() -> None:
    result = metrics.summarize(np.array([[1, 0, 1, 2], [0, 0, 0, 4]]), ["a", "b"])
    assert result["sensitivity_slice"] == 0.5
    assert result["dice_slice"] == pytest.approx((2 / 3 + 1) / 2)


def test_shapes_that_differ_are_refused() -> None:
    with pytest.raises(ValueError, match=r"\(1, 2, 2\)"):
        metrics.count(np.zeros((1, 2, 2), bool), np.zeros((1, 2, 3), bool))
