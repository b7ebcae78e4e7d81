"""Figures against independent implementations (SimpleITK, scikit-learn) and closed forms."""

from __future__ import annotations

import numpy as np
import pytest
import SimpleITK as sitk
from scipy import ndimage, stats
from sklearn.calibration import calibration_curve
from sklearn.metrics import confusion_matrix, f1_score, jaccard_score, precision_score, recall_score

from ctseg import metrics
from ctseg.data.samples import IGNORE, LESION, Samples
from ctseg.metrics import bootstrap, calibration, lesions, surface, threshold, volume
from ctseg.report.figures import figures

SPACING = (2.5, 0.7, 0.9)
SEEDS = range(6)


def blobs(seed: int, shape: tuple[int, ...] = (6, 20, 24)) -> tuple[np.ndarray, np.ndarray]:
    """A true mask and one like it, of several pieces."""
    rng = np.random.default_rng(seed)
    field = ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    other = field + 0.4 * ndimage.gaussian_filter(rng.normal(size=shape), 1.5)
    return field > 0.12, other > 0.14


def itk(mask: np.ndarray) -> sitk.Image:
    image = sitk.GetImageFromArray(mask.astype(np.uint8))
    image.SetSpacing(SPACING[::-1])
    return image


def itk_distances(one: np.ndarray, other: np.ndarray) -> np.ndarray:
    """From the surface of one to that of the other, padded so that the edge of the volume is outside."""
    first, second = (sitk.LabelContour(itk(np.pad(mask, 1)), fullyConnected=False) for mask in (one, other))
    away = sitk.SignedMaurerDistanceMap(second, squaredDistance=False, useImageSpacing=True)
    return np.abs(sitk.GetArrayFromImage(away))[sitk.GetArrayFromImage(first) > 0]


@pytest.mark.parametrize("seed", SEEDS)
def test_surfaces_are_those_of_simpleitk(seed: int) -> None:
    target, prediction = blobs(seed)
    there, back = itk_distances(prediction, target), itk_distances(target, prediction)
    found = surface.compare(prediction, target, spacing=SPACING, tolerance=1.0)
    assert found.hd95 == pytest.approx(max(np.percentile(there, 95), np.percentile(back, 95)), rel=1e-5)
    near = (there <= 1.0 + 1e-6).sum() + (back <= 1.0 + 1e-6).sum()
    assert found.nsd == pytest.approx(near / (len(there) + len(back)))


def test_a_cube_that_moved_is_off_by_what_it_moved() -> None:
    one, other = np.zeros((2, 9, 20), bool), np.zeros((2, 9, 20), bool)
    one[:, 2:7, 2:7], other[:, 2:7, 5:10] = True, True
    assert surface.compare(one, other, spacing=(1, 1, 2), tolerance=6).nsd == 1.0
    assert surface.compare(one, other, spacing=(1, 1, 2), tolerance=0).nsd < 0.6
    assert surface.compare(one, other, spacing=(1, 1, 2), tolerance=0).hd95 == pytest.approx(6.0)


@pytest.mark.parametrize(
    ("prediction", "target", "nsd"), [(False, False, 1.0), (True, False, 0.0), (False, True, 0.0)], ids=str
)
def test_empty_masks_have_a_rule(prediction: bool, target: bool, nsd: float) -> None:
    one, other = np.full((3, 3), prediction), np.full((3, 3), target)
    found = surface.compare(one, other, spacing=(1, 1), tolerance=1)
    assert found.nsd == nsd
    assert np.isnan(found.hd95)
    assert lesions.match(one, other).f1 == nsd


@pytest.mark.parametrize("seed", SEEDS)
def test_dice_and_volume_are_those_of_simpleitk(seed: int) -> None:
    target, prediction = blobs(seed)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(itk(target), itk(prediction))
    counts = metrics.count(prediction, target)
    assert metrics.ratios(counts.sum(0, keepdims=True))["dice"][0] == pytest.approx(overlap.GetDiceCoefficient())
    shapes = sitk.LabelShapeStatisticsImageFilter()
    shapes.Execute(itk(prediction))
    assert volume.millilitres(prediction, SPACING) == pytest.approx(shapes.GetPhysicalSize(1) / 1000)


@pytest.mark.parametrize("seed", SEEDS)
def test_counts_without_what_is_ignored_are_those_of_scikit_learn(seed: int) -> None:
    target, prediction = blobs(seed)
    valid = np.random.default_rng(seed).random(target.shape) > 0.3
    tn, fp, fn, tp = confusion_matrix(target[valid], prediction[valid]).ravel()
    assert metrics.count(prediction, target, valid).sum(0).tolist() == [tp, fp, fn, tn]


@pytest.mark.parametrize("seed", SEEDS)
def test_ratios_are_those_of_scikit_learn(seed: int) -> None:
    target, prediction = (mask.ravel() for mask in blobs(seed))
    found = metrics.ratios(metrics.count(prediction[None, None], target[None, None]))
    expected = {
        "dice": f1_score(target, prediction),
        "iou": jaccard_score(target, prediction),
        "ppv": precision_score(target, prediction),
        "sensitivity": recall_score(target, prediction),
        "specificity": recall_score(~target, ~prediction),
    }
    assert {name: values[0] for name, values in found.items()} == pytest.approx(expected)


@pytest.mark.parametrize("seed", SEEDS)
def test_volumes_and_their_error_are_those_of_simpleitk(seed: int) -> None:
    target, prediction = blobs(seed)
    overlap = sitk.LabelOverlapMeasuresImageFilter()
    overlap.Execute(itk(target), itk(prediction))
    # ITK's similarity is 2 (source - target) / (source + target), of the same two volumes.
    true, said = (volume.millilitres(mask, SPACING) for mask in (target, prediction))
    assert 2 * (true - said) / (true + said) == pytest.approx(overlap.GetVolumeSimilarity())
    assert volume.relative_error(said, true) == pytest.approx((prediction.sum() - target.sum()) / target.sum())


@pytest.mark.parametrize("seed", SEEDS)
def test_lesions_are_matched_as_by_going_through_them(seed: int) -> None:
    target, prediction = blobs(seed)

    def through(one: np.ndarray, other: np.ndarray) -> tuple[int, int]:
        components = sitk.ConnectedComponent(itk(one), True)
        parts = sitk.GetArrayFromImage(components)
        shares = [other[parts == i].mean() for i in range(1, parts.max() + 1)]
        return len(shares), sum(share >= lesions.HIT for share in shares)

    found = lesions.match(prediction, target)
    assert (found.true, found.found) == through(target, prediction)
    assert (found.predicted, found.right) == through(prediction, target)


def test_two_of_three_lesions_and_one_false() -> None:
    target, prediction = np.zeros((20, 20), bool), np.zeros((20, 20), bool)
    target[0:3, 0:3] = target[6:9, 0:3] = target[12:15, 0:3] = True
    prediction[0:3, 0:3] = prediction[6:9, 0:3] = prediction[0:2, 12:14] = True
    assert lesions.match(prediction, target) == (3, 2, 3, 2)
    assert lesions.match(prediction, target).f1 == pytest.approx(2 / 3)


@pytest.mark.parametrize("seed", SEEDS)
def test_reliability_is_that_of_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    probability = rng.random(500)
    target = rng.random(500) < probability**2
    found = calibration.reliability(probability, target, bins=10)
    share, mean = calibration_curve(target, probability, n_bins=10, strategy="uniform")
    assert found.lesion == pytest.approx(share)
    assert found.probability == pytest.approx(mean)
    assert found.ece == pytest.approx((np.abs(share - mean) * found.pixels).sum() / 500)


def test_certain_and_right_is_calibrated_certain_and_wrong_is_not() -> None:
    target = np.array([True, False, True, True])
    assert calibration.reliability(target.astype(float), target).ece == 0
    assert calibration.reliability((~target).astype(float), target).ece == 1


def test_the_interval_of_a_mean_is_that_of_the_normal_law() -> None:
    values = np.random.default_rng(0).normal(0.7, 0.1, 400)
    drawn = bootstrap.draw(400, rng=np.random.default_rng(1))
    found = bootstrap.of_mean(values, drawn)
    assert found is not None
    error = values.std() / np.sqrt(400)
    assert found == pytest.approx((values.mean() - 1.96 * error, values.mean() + 1.96 * error), abs=0.15 * error)
    assert found == bootstrap.of_mean(values, bootstrap.draw(400, rng=np.random.default_rng(1)))


def test_intervals_are_those_of_scipy() -> None:
    """Another program with other luck: the ends agree to what 2000 resamples leave open."""
    rng = np.random.default_rng(3)
    counts = rng.integers(1, 200, (40, 4))
    dice = metrics.ratios(counts)["dice"]
    drawn = bootstrap.draw(40, rng=np.random.default_rng(1))
    mean = stats.bootstrap((dice,), np.mean, n_resamples=4000, method="percentile", random_state=2)
    assert bootstrap.of_mean(dice, drawn) == pytest.approx(tuple(mean.confidence_interval), abs=0.006)

    def pooled(tp: np.ndarray, fp: np.ndarray, fn: np.ndarray, axis: int) -> np.ndarray:
        return 2 * tp.sum(axis) / (2 * tp + fp + fn).sum(axis)  # type: ignore[no-any-return]

    other = stats.bootstrap(
        tuple(counts.T[:3]), pooled, paired=True, n_resamples=4000, method="percentile", random_state=2, vectorized=True
    )
    found = bootstrap.interval(metrics.ratios(bootstrap.resampled(counts, drawn))["dice"], cases=40)
    assert found == pytest.approx(tuple(other.confidence_interval), abs=0.006)


def test_cases_without_a_value_are_left_out_and_one_case_has_no_interval() -> None:
    drawn = bootstrap.draw(3, rng=np.random.default_rng(0))
    assert bootstrap.of_mean(np.array([0.5, np.nan, 0.5]), drawn) == (0.5, 0.5)
    assert bootstrap.of_mean(np.array([0.5, np.nan, np.nan]), drawn) is None
    assert bootstrap.interval(np.array([0.5, 0.6]), cases=1) is None
    assert bootstrap.interval(np.array([np.nan, np.nan]), cases=3) is None


def test_the_pooled_interval_draws_cases_whole() -> None:
    counts = np.array([[10, 0, 0, 0], [0, 10, 0, 0]])
    drawn = bootstrap.draw(2, rng=np.random.default_rng(0))
    ppv = metrics.ratios(bootstrap.resampled(counts, drawn))["ppv"]
    assert sorted(set(ppv)) == [0.0, 0.5, 1.0]
    assert bootstrap.interval(ppv, cases=2) == (0.0, 1.0)


def test_the_threshold_is_the_best_of_the_grid_and_ignores_what_is_not_labelled() -> None:
    probability = np.array([[[0.1, 0.28, 0.32, 0.9]]])
    target = np.array([[[False, False, True, True]]])
    assert threshold.choose(probability, target, np.ones_like(target), cases=["a"]).value == 0.3
    valid = np.array([[[True, True, False, True]]])
    assert threshold.choose(probability, target, valid, cases=["a"]).value == 0.5


@pytest.mark.parametrize("seed", SEEDS)
def test_the_threshold_is_that_of_trying_each_with_scikit_learn(seed: int) -> None:
    rng = np.random.default_rng(seed)
    target = np.stack([blobs(seed)[0][0], blobs(seed)[0][1], np.zeros((20, 24), bool), blobs(seed)[0][3]])
    probability = np.clip(0.45 * target + rng.normal(0.25, 0.2, target.shape), 0, 1).astype(np.float32)
    probability[0, 0, :6] = [0.05, 0.3, 0.5, 0.55, 0.7, 0.95]  # on an edge is not above it
    valid, cases = rng.random(target.shape) > 0.2, ["a", "a", "b", "c"]

    def dice(value: float) -> float:
        index = [[i for i, case in enumerate(cases) if case == name] for name in "abc"]
        return float(
            np.mean(
                [f1_score(target[i][valid[i]], (probability > value)[i][valid[i]], zero_division=1.0) for i in index]
            )
        )

    scores = {value: dice(value) for value in threshold.GRID}
    found = threshold.choose(probability, target, valid, cases=cases)
    assert scores[found.value] == pytest.approx(max(scores.values()))
    assert f"({max(scores.values()):.4f})" in found.rule
    alone = []
    for name in "abc":
        own, others = ([i for i, case in enumerate(cases) if (case == name) == which] for which in (True, False))
        rest = threshold.choose(probability[others], target[others], valid[others], cases=[cases[i] for i in others])
        alone.append(f1_score(target[own][valid[own]], (probability > rest.value)[own][valid[own]], zero_division=1.0))
    assert found.left_out_dice == pytest.approx(np.mean(alone))


def test_calibration_slice_by_slice_is_that_of_all_labelled_pixels() -> None:
    rng = np.random.default_rng(0)
    probability, target, valid = rng.random((3, 9, 9)), rng.random((3, 9, 9)) > 0.5, rng.random((3, 9, 9)) > 0.5
    one = calibration.reliability(probability, target, valid)
    other = calibration.reliability(probability[valid], target[valid])
    assert one.ece == pytest.approx(other.ece)
    assert one.pixels.tolist() == other.pixels.tolist()


@pytest.mark.parametrize("known", [True, False], ids=["in mm", "in pixels"])
def test_figures_of_several_cases_are_those_of_their_labelled_pixels(known: bool) -> None:
    rng = np.random.default_rng(7)
    target, said = blobs(3, (6, 20, 24))
    valid = rng.random(target.shape) > 0.1
    masks = np.where(valid, target * LESION, IGNORE).astype(np.uint8)[:, None]
    cases = ("b", "b", "b", "a", "a", "empty")
    masks[5][masks[5] == LESION] = 0
    probability = np.where(said, 0.8, 0.1).astype(np.float32)
    probability[5] = 0.0
    samples = Samples(
        images=np.zeros_like(masks),
        masks=masks,
        cases=cases,
        names=tuple("012345"),
        annotators=("truth",),
        patients_known=True,
        source="here",
        spacing=np.full((6, 3), SPACING if known else np.nan, np.float32),
    )
    found = figures(probability, samples, threshold=threshold.UNCHOSEN, chosen_here=False)
    true, predicted = (masks[:, 0] == LESION), (probability > 0.5)

    def dice(*rows: int) -> float:
        where = valid[list(rows)]
        return float(f1_score(true[list(rows)][where], predicted[list(rows)][where], zero_division=1.0))

    assert found.pooled.dice.value == pytest.approx(dice(*range(6)))
    assert found.slice.dice.value == pytest.approx(np.mean([dice(i) for i in range(6)]))
    assert found.case.dice.value == pytest.approx(np.mean([dice(0, 1, 2), dice(3, 4), 1.0]))
    assert [case.case for case in found.cases] == ["a", "b", "empty"]
    assert found.case.ppv.n == 2  # nothing is predicted in the empty one
    a, b, empty = found.cases
    assert (empty.dice, empty.nsd, empty.lesion_f1, empty.hd95, empty.ppv) == (1.0, 1.0, 1.0, None, None)
    if known:
        spacing = np.float32(SPACING).astype(float).tolist()
        whole = surface.compare((predicted & valid)[:3], true[:3], spacing=spacing, tolerance=3.0)
        assert (b.nsd, b.hd95, b.surface_unit) == (whole.nsd, whole.hd95, "mm, in 3D")
        assert b.volume_error_ml == pytest.approx(
            (int((predicted & valid)[:3].sum()) - int(true[:3].sum())) * np.prod(spacing) / 1000
        )
    else:
        each = [surface.compare((predicted & valid)[i], true[i], spacing=(1, 1), tolerance=2.0) for i in (3, 4)]
        assert a.nsd == pytest.approx(np.mean([one.nsd for one in each]))
        assert (a.volume_error_ml, a.surface_unit) == (None, "pixels, mean of slices")
        assert found.case.volume_error_ml.value is None
