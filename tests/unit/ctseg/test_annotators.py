"""The phantom's annotators have the faults they are to have, and nothing else decides them."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import nibabel
import numpy as np
import pytest
import scipy.ndimage

import orkrun
from ctseg import config
from ctseg.__main__ import main
from ctseg.data import split
from ctseg.data.load import load
from ctseg.data.samples import IGNORE, LESION, Samples
from ctseg.labels import join
from ctseg.labels.components import components
from ctseg.phantom.annotators import NOISE, STYLES, annotate, annotate_all, corrupt, generator, named, names
from ctseg.phantom.volume import make_patient
from tests.unit.ctseg.test_phantom import SIZES, digests

PIXEL = 2.0


def discs(slices: int = 5, size: int = 96) -> np.ndarray:
    """A large, a middle and a small ball: three lesions in 3D."""
    z, y, x = np.ogrid[:slices, :size, :size]
    masks = np.zeros((slices, size, size), dtype=np.uint8)
    for row, column, radius in ((30, 30, 12), (30, 68, 7), (68, 48, 4)):
        masks[(y - row) ** 2 + (x - column) ** 2 + 4 * (z - slices // 2) ** 2 <= radius**2] = LESION
    return masks


TRUTH = discs()


def by(style: str, seed: int = 0, truth: np.ndarray = TRUTH) -> np.ndarray:
    return annotate(truth, STYLES[style], np.random.default_rng(seed), pixel_mm=PIXEL)


def lesions(labels: np.ndarray) -> int:
    return components(labels == LESION)[1]


def dice(one: np.ndarray, other: np.ndarray) -> float:
    a, b = one == LESION, other == LESION
    return float(2 * (a & b).sum() / (a.sum() + b.sum()))


@pytest.mark.parametrize(("style", "mm"), [("generous", 5.0), ("strict", -4.0)])
def test_an_outline_is_moved_by_millimetres_within_each_slice(style: str, mm: float) -> None:
    labels = by(style) == LESION
    for plane, true in zip(labels, TRUTH == LESION, strict=True):
        if true.any():
            outside = scipy.ndimage.distance_transform_edt(~true) * PIXEL
            inside = scipy.ndimage.distance_transform_edt(true) * PIXEL
            expected = (outside <= mm) if mm > 0 else (inside > -mm)
            assert np.array_equal(plane, expected)
        else:
            assert not plane.any()


def test_the_hasty_one_overlooks_the_smallest_lesions() -> None:
    labels = by("hasty")
    assert lesions(TRUTH) == 3
    assert lesions(labels) == 1
    assert (labels == LESION)[:, 20:40, 20:40].any()


def test_the_eager_one_finds_lesions_where_none_is() -> None:
    empty = np.zeros_like(TRUTH)
    found = [lesions(by("eager", seed, empty)) for seed in range(8)]
    assert 1 < np.mean(found) < 4
    assert (by("eager")[TRUTH == LESION] == LESION).mean() > 0.85


def test_the_partial_one_leaves_a_run_of_slices_unlabelled() -> None:
    left_out = (by("partial") == IGNORE).all(axis=(1, 2))
    assert left_out.sum() == 2
    assert np.ptp(np.flatnonzero(left_out)) == 1
    assert not (by("partial")[~left_out] == IGNORE).any()


def test_the_careful_one_is_the_best_of_all_and_not_perfect() -> None:
    score = {style: dice(by(style), TRUTH) for style in STYLES if style not in ("partial", "exact")}
    assert max(score, key=score.__getitem__) == "careful"
    assert 0.9 < score["careful"] < 1
    assert np.array_equal(by("exact"), TRUTH)


@pytest.mark.parametrize("style", STYLES)
def test_what_the_truth_leaves_unlabelled_stays_so(style: str) -> None:
    truth = TRUTH.copy()
    truth[:, :, :33] = IGNORE
    assert (by(style, truth=truth)[truth == IGNORE] == IGNORE).all()


@pytest.mark.parametrize("rate", [0.0, 0.2, 0.4, 1.0])
def test_exactly_the_share_of_slices_is_spoilt(rate: float) -> None:
    masks = np.concatenate([discs(5) for _ in range(4)])
    before = masks.copy()
    spoilt = corrupt(masks, rate, np.random.default_rng(1))
    changed = (spoilt != masks).any(axis=(1, 2))
    assert changed.sum() == round(rate * 20)
    assert np.array_equal(masks, before)
    assert np.array_equal(spoilt, corrupt(masks, rate, np.random.default_rng(1)))
    if rate == 1:
        assert not np.array_equal(spoilt, corrupt(masks, rate, np.random.default_rng(2)))


def test_without_styles_that_add_only_slices_with_a_lesion_are_spoilt() -> None:
    masks = np.zeros((10, 96, 96), dtype=np.uint8)
    masks[:4] = TRUTH[2]
    spoilt = corrupt(masks, 0.5, np.random.default_rng(0), ("generous", "strict"))
    assert (spoilt != masks).any(axis=(1, 2)).sum() == 2
    assert not spoilt[4:].any()


@pytest.mark.parametrize(("rate", "styles"), [(1.5, NOISE), (-0.1, NOISE), (0.5, ("careless",)), (0.5, ())])
def test_impossible_noise_is_refused(rate: float, styles: tuple[str, ...]) -> None:
    with pytest.raises(ValueError, match=r"0\.\.1 and styles of"):
        corrupt(TRUTH, rate, np.random.default_rng(0), styles)


def test_an_annotator_depends_on_seed_patient_and_name_alone() -> None:
    def drawn(given: list[str], seed: int = 3, patient: str = "p") -> dict[str, np.ndarray]:
        planes = annotate_all(TRUTH, patient=patient, annotators=given, noise=0.4, seed=seed, pixel_mm=PIXEL)
        return dict(zip(names(given, noise=0.4), planes, strict=True))

    both, alone = drawn(["careful", "eager"]), drawn(["eager"])
    assert list(both) == ["careful", "eager", "truth"]
    assert np.array_equal(both["eager"], alone["eager"])
    assert np.array_equal(both["truth"], TRUTH)
    assert not np.array_equal(alone["eager"], drawn(["eager"], seed=4)["eager"])
    assert not np.array_equal(alone["eager"], drawn(["eager"], patient="q")["eager"])
    assert not np.array_equal(alone["eager"], drawn(["anna=eager"])["anna"])


def embedded(**options: object) -> Samples:
    sizes = {"patients": 5, "slices": 6, "size": 48, **options}
    return load(config.parse({"data": {"image_size": 64, "phantom": sizes}}).data, mount=None, workers=1)


def test_the_embedded_phantom_has_annotators_and_keeps_the_truth() -> None:
    plain, several = embedded(), embedded(annotators=["generous", "ben=partial"])
    assert (plain.annotators, several.annotators) == (("truth",), ("generous", "ben", "truth"))
    assert np.array_equal(several.images, plain.images)
    assert np.array_equal(several.masks[:, 2], plain.masks[:, 0])
    assert (several.masks[:, 0] >= plain.masks[:, 0]).all()
    assert (several.masks[:, 1] == IGNORE).all(axis=(1, 2)).sum() == 5 * 2


def test_noise_spoils_its_share_of_each_annotators_slices_and_moves_nobody_to_the_other_side() -> None:
    plain, noisy = embedded(), embedded(noise=0.5)
    assert noisy.annotators == ("noisy", "truth")
    assert np.array_equal(noisy.masks[:, 1], plain.masks[:, 0])
    spoilt = (noisy.masks[:, 0] != noisy.masks[:, 1]).any(axis=(1, 2)).reshape(5, 6).sum(axis=1)
    assert spoilt.tolist() == [3] * 5
    settings = config.parse({}).data.split
    assert split.make(plain, settings) == split.make(noisy, settings)


def test_a_wrong_annotator_of_the_embedded_phantom_is_refused_by_its_parameter() -> None:
    with pytest.raises(orkrun.InvalidParams, match=r"data\.phantom\.annotators: 'sloppy' is no style"):
        embedded(annotators=["sloppy"])


@pytest.mark.parametrize(
    ("given", "says"),
    [
        (["careles"], "'careles' is no style; there are: exact, careful"),
        (["careful", "careful"], "twice"),
        (["truth=careful"], "no name for an annotator"),
        (["../x=careful"], "no name for an annotator"),
        (["=careful"], "no name for an annotator"),
    ],
)
def test_a_wrong_annotator_is_refused_with_what_would_be_right(
    given: list[str], says: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(orkrun.InvalidParams, match=says):
        named(given, parameter="--annotators")
    assert main(["phantom", str(tmp_path / "x"), *SIZES, "--annotators", ",".join(given)]) == 64
    assert says in capsys.readouterr().err
    assert not (tmp_path / "x").exists()


def test_the_folder_holds_a_mask_of_each_annotator_beside_the_truth(tmp_path: Path) -> None:
    several = ["--annotators", "generous,ben=partial"]
    assert main(["phantom", str(tmp_path / "plain"), *SIZES]) == 0
    assert main(["phantom", str(tmp_path / "one"), *SIZES, *several]) == 0
    assert main(["phantom", str(tmp_path / "two"), *SIZES, *several]) == 0
    plain, one = digests(tmp_path / "plain"), digests(tmp_path / "one")
    assert one == digests(tmp_path / "two")
    added = {f"nifti/phantom-{i:04d}_mask-{name}.nii.gz" for i in range(3) for name in ("generous", "ben")}
    assert set(one) - set(plain) == added
    assert {name for name in plain if plain[name] != one[name]} == {"phantom.json"}
    image = nibabel.load(tmp_path / "one/nifti/phantom-0001_mask-ben.nii.gz")
    true = nibabel.load(tmp_path / "one/nifti/phantom-0001_mask.nii.gz")
    assert np.array_equal(image.affine, true.affine)
    values = np.asarray(image.dataobj)
    assert set(np.unique(values)) == {0, 1, 255}
    assert (values == 255).all(axis=(0, 1)).sum() == 2
    made = make_patient(1, slices=6, size=48, seed=5)
    truth = np.where(made.mask > 0, LESION, 0).astype(np.uint8)
    labels = annotate(truth, STYLES["partial"], generator(5, made.patient, "ben"), pixel_mm=360 / 48)
    assert np.array_equal(np.where(labels == LESION, 1, labels), values.transpose(2, 1, 0))


def test_a_training_learns_from_the_annotators_and_is_judged_by_the_truth() -> None:
    samples = embedded(annotators=["generous", "strict"])
    learnt, judged = join.to_learn(samples, "union"), join.to_judge(samples, "union")
    assert (learnt.annotators, judged.annotators) == (("union",), ("truth",))
    assert np.array_equal(learnt.masks[:, 0], samples.masks[:, 0])
    assert np.array_equal(judged.masks[:, 0], samples.masks[:, 2])
    apart = join.to_learn(samples, "random")
    assert apart.annotators == ("generous", "strict")
    assert np.array_equal(apart.masks, samples.masks[:, :2])


def test_without_a_truth_all_are_learnt_from_and_judge() -> None:
    samples = embedded(annotators=["generous", "strict"])
    people = replace(samples, masks=samples.masks[:, :2], annotators=("anna", "ben"))
    assert np.array_equal(join.to_judge(people, "intersection").masks, samples.masks[:, 1:2])
    assert np.array_equal(join.to_judge(people, "random").masks, join.to_learn(people, "majority").masks)
    alone = embedded()
    assert join.to_learn(alone, "staple").masks is alone.masks
