"""Agreement against scikit-learn and worked examples, and what `ctseg labels` tells of a folder with known faults."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import nibabel
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays
from sklearn.metrics import cohen_kappa_score, f1_score

from ctseg.__main__ import main
from ctseg.data.samples import IGNORE, LESION
from ctseg.labels.agreement import Case, cohen, dice, fleiss, gaps, report
from ctseg.labels.coding import Votes, count

quick = settings(max_examples=60)
hard = st.sampled_from([0, LESION])


def votes_of(*annotators: list[int]) -> Votes:
    return count(np.array(annotators, dtype=np.uint8)[None, :, None, :])[0]


@quick
@given(arrays.arrays(np.uint8, (2, 2, 3, 5), elements=st.sampled_from([0, LESION, IGNORE])))
def test_dice_and_cohens_kappa_are_scikit_learns_over_what_both_have_labelled(masks: np.ndarray) -> None:
    both = (masks != IGNORE).all(axis=1)
    one, other = (masks[:, a][both] == LESION for a in (0, 1))
    votes = count(masks)[0].of(0, 1)
    if one.any() or other.any():
        assert dice(votes) == pytest.approx(f1_score(one, other))
    else:
        assert dice(votes) is None
    if len(set(one) | set(other)) == 2:
        assert cohen(votes) == pytest.approx(cohen_kappa_score(one, other), abs=1e-12)
    else:
        assert cohen(votes) is None


def test_cohens_kappa_by_hand() -> None:
    # 20 yes-yes, 5 yes-no, 10 no-yes, 15 no-no: 0.7 seen, 0.5 by chance.
    votes = Votes(np.array([[1, 1], [1, 0], [0, 1], [0, 0]], np.int8), np.array([20, 5, 10, 15]))
    assert cohen(votes) == pytest.approx(0.4)
    assert dice(votes) == pytest.approx(40 / 55)


@quick
@given(arrays.arrays(np.uint8, (2, 4, 2, 3), elements=hard))
def test_fleiss_kappa_is_his_formula_where_all_have_voted(masks: np.ndarray) -> None:
    table = np.stack([(masks == 0).sum(axis=1).ravel(), (masks == LESION).sum(axis=1).ravel()], axis=1)
    raters = 4
    share = table.sum(axis=0) / table.sum()
    chance = (share**2).sum()
    seen = ((table**2).sum(axis=1) - raters).mean() / (raters * (raters - 1))
    if chance == 1:
        assert fleiss(count(masks)[0]) is None
    else:
        assert fleiss(count(masks)[0]) == pytest.approx((seen - chance) / (1 - chance), abs=1e-12)


@pytest.mark.parametrize(
    ("annotators", "expected"),
    [
        ([[LESION, 0, LESION], [LESION, 0, LESION], [LESION, 0, LESION]], 1.0),
        ([[LESION, 0], [0, LESION]], -1.0),
        ([[LESION, 0, 0, IGNORE], [LESION, 0, IGNORE, LESION]], 1.0),
        ([[LESION, LESION], [LESION, LESION]], None),
        ([[LESION, IGNORE], [IGNORE, LESION]], None),
    ],
    ids=["all agree", "never", "where two have voted", "one kind of vote only", "no pixel with two votes"],
)
def test_fleiss_kappa_at_its_ends(annotators: list[list[int]], expected: float | None) -> None:
    found = fleiss(votes_of(*annotators))
    assert found is None if expected is None else found == pytest.approx(expected)


@pytest.mark.parametrize(
    ("labelled", "expected"),
    [("11111", []), ("00110", []), ("1010010", [[1, 1], [3, 4]]), ("00000", []), ("", [])],
)
def test_gaps_lie_within_the_labelled_range(labelled: str, expected: list[list[int]]) -> None:
    assert gaps([digit == "1" for digit in labelled]) == expected


def plane(*squares: tuple[int, int]) -> np.ndarray:
    drawn = np.zeros((12, 12), dtype=np.uint8)
    for row, column in squares:
        drawn[row : row + 3, column : column + 3] = LESION
    return drawn


NOTHING = np.full((12, 12), IGNORE, dtype=np.uint8)
EXAMPLE = Case(
    "x",
    np.stack(
        [
            np.stack([plane((1, 1)), plane((1, 1), (7, 7))]),
            np.stack([plane(), plane((1, 8))]),
            np.stack([NOTHING, plane((4, 4))]),
            np.stack([plane(), plane()]),
            np.stack([plane((1, 1)), NOTHING]),
        ]
    ),
)


def test_the_report_lists_where_to_look() -> None:
    case = report([EXAMPLE], ("anna", "ben"))["cases"][0]
    assert case["split_slices"] == [{"slice": 1, "lesion": ["ben"], "none": ["anna"]}]
    assert case["lesion_counts"] == {"anna": 1, "ben": 3}
    assert case["lesion_counts_differ"]
    assert case["annotators"]["anna"]["unlabelled"] == case["annotators"]["anna"]["gaps"][0][:1] == [2]
    assert case["annotators"]["ben"]["unlabelled"] == [4]
    assert case["annotators"]["ben"]["gaps"] == []
    assert case["annotators"]["anna"]["lesions"] == 2
    assert case["labelled_by_nobody"] == []


def test_pooled_figures_are_of_all_pixels_and_the_others_means_of_cases() -> None:
    easy = Case("easy", np.stack([np.stack([plane((1, 1)), plane((1, 1))])] * 3))
    apart = Case("apart", np.stack([np.stack([plane((1, 1)), plane((7, 7))])]))
    healthy = Case("healthy", np.stack([np.stack([plane(), plane()])]))
    found = report([easy, apart, healthy], ("a", "b"))
    assert found["pairs"][0]["dice"] == pytest.approx(2 * 27 / 72)
    assert found["pairs"][0]["dice_case"] == pytest.approx(0.5)
    assert found["pairs"][0]["cases_with_lesion"] == 2
    assert found["pairs"][0]["pixels"] == 5 * 144
    assert found["fleiss_kappa_case"] == pytest.approx(np.mean([1, -9 / 135]), abs=1e-9)


def test_a_report_of_nothing_is_refused() -> None:
    with pytest.raises(ValueError, match="no case"):
        report([], ("a", "b"))


# --- the command ------------------------------------------------------------------------------------------------------

STYLES = "careful,generous,hasty,strict,partial"


@pytest.fixture(scope="module")
def annotated(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("labels") / "root"
    sizes = ["--patients", "4", "--slices", "8", "--size", "96"]
    assert main(["phantom", str(root), *sizes, "--annotators", STYLES]) == 0
    return root


def test_a_folder_with_known_faults_is_told_as_such(
    annotated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["labels", str(annotated), "--truth", "--json", str(tmp_path / "new/a.json")]) == 0
    found = json.loads((tmp_path / "new/a.json").read_text())
    each = {row["name"]: row for row in found["annotators"]}
    with_truth = {
        next(name for name in pair["annotators"] if name != "truth"): pair["dice"]
        for pair in found["pairs"]
        if "truth" in pair["annotators"]
    }
    assert set(with_truth) == set(STYLES.split(","))
    assert with_truth["careful"] > max(with_truth["generous"], with_truth["hasty"], with_truth["strict"])
    assert each["strict"]["staple_sensitivity"] < each["careful"]["staple_sensitivity"] - 0.1
    assert each["generous"]["staple_specificity"] < each["careful"]["staple_specificity"]
    assert each["hasty"]["lesions"] < each["truth"]["lesions"]
    assert each["partial"]["slices_labelled"] == 4 * 5
    out = capsys.readouterr().out
    assert "4 cases, 32 slices, 6 annotators" in out
    assert "partial left out" in out
    assert "Fleiss' kappa 0." in out


def test_without_the_flag_the_truth_is_no_annotator(annotated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", str(annotated), "--min-dice", "0.1"]) == 0
    assert "5 annotators" in capsys.readouterr().out


def test_a_table_of_cases_is_read_as_a_training_reads_it(
    annotated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """The same masks named by a table give the same report; 7 stands for what is not labelled there."""
    (tmp_path / "masks").mkdir()
    rows = ["case,patient,image,mask:careful,mask:partial,mask:truth"]
    for number in range(4):
        name = f"phantom-{number:04}"
        nifti = annotated / "nifti"
        cells = []
        for who in ("careful", "partial", None):
            source = nifti / (f"{name}_mask-{who}.nii.gz" if who else f"{name}_mask.nii.gz")
            values = np.asarray(nibabel.load(source).dataobj)
            save(tmp_path / f"masks/{who}-{number}.nii.gz", np.where(values == 255, 7, values), like=source)
            cells.append(f"masks/{who}-{number}.nii.gz")
        rows.append(",".join([name, name, str(nifti / f"{name}_ct.nii.gz"), *cells]))
    (tmp_path / "cases.csv").write_text("\n".join(rows))
    assert main(["labels", str(tmp_path), "--ignore-label", "7", "--json", str(tmp_path / "table.json")]) == 0
    assert "4 cases, 32 slices, 2 annotators" in capsys.readouterr().out
    assert main(["labels", str(tmp_path), "--ignore-label", "7", "--truth"]) == 0
    assert "3 annotators" in capsys.readouterr().out
    both = tmp_path / "both"
    both.mkdir()
    for source in annotated.glob("nifti/*_mask-careful.nii.gz"):
        shutil.copy(source, both)
    for source in annotated.glob("nifti/*_mask-partial.nii.gz"):
        shutil.copy(source, both)
    assert main(["labels", str(both), "--json", str(tmp_path / "names.json")]) == 0
    assert (tmp_path / "table.json").read_text() == (tmp_path / "names.json").read_text()


@pytest.mark.parametrize(
    ("row", "says"),
    [
        ("a,a,a.nii.gz,a.nii.gz,b.nii.gz", "is not there; line 2 of cases.csv names it"),
        (
            "a,a,ct.nii.gz,ct.nii.gz,",
            "cases.csv: masks of at least two annotators are to be compared, in columns mask:NAME",
        ),
    ],
    ids=["missing file", "one annotator"],
)
def test_a_wrong_table_is_told(tmp_path: Path, row: str, says: str, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "ct.nii.gz").touch()
    (tmp_path / "cases.csv").write_text(f"case,patient,image,mask:anna,mask:ben\n{row}\n")
    assert main(["labels", str(tmp_path)]) == 65
    assert says in capsys.readouterr().err


def test_too_little_agreement_can_fail_a_script(annotated: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["labels", str(annotated), "--min-dice", "0.99"]) == 1
    assert "below --min-dice 0.99: careful and generous" in capsys.readouterr().out


def save(path: Path, values: np.ndarray, *, like: Path, shift: float = 0.0) -> None:
    affine = nibabel.load(like).affine.copy()
    affine[0, 3] += shift
    nibabel.save(nibabel.Nifti1Image(values, affine), path)


@pytest.mark.parametrize(
    ("damage", "says"),
    [
        ("truncated", "cannot be read as NIfTI"),
        ("shape", "has shape"),
        ("affine", "lies 7 mm away from"),
        ("values", "holds fractions"),
        ("twice", "is hasty's mask of phantom-0001, and so is"),
    ],
)
def test_a_damaged_mask_is_refused_by_name(
    annotated: Path, tmp_path: Path, damage: str, says: str, capsys: pytest.CaptureFixture[str]
) -> None:
    root = tmp_path / "copy"
    for source in annotated.glob("nifti/phantom-0001_mask-*"):
        root.mkdir(exist_ok=True)
        shutil.copy(source, root)
    path = root / "phantom-0001_mask-hasty.nii.gz"
    values = np.asarray(nibabel.load(path).dataobj)
    like = root / "phantom-0001_mask-careful.nii.gz"
    if damage == "truncated":
        path.write_bytes(path.read_bytes()[:-40])
    elif damage == "shape":
        save(path, values[:-1], like=like)
    elif damage == "affine":
        save(path, values, like=like, shift=7.0)
    elif damage == "values":
        save(path, values * np.float32(7.5), like=like)
    else:
        (root / "more").mkdir()
        shutil.copy(path, root / "more")
    assert main(["labels", str(root)]) == 65
    errors = capsys.readouterr().err
    assert says in errors
    assert "phantom-0001_mask-hasty.nii.gz" in errors


@pytest.mark.parametrize(
    ("arguments", "code", "says"),
    [
        (["missing"], 65, "no such folder"),
        (["."], 65, "at least two annotators"),
        ([".", "--min-dice", "1.5"], 64, "--min-dice"),
    ],
)
def test_wrong_arguments_are_refused(
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    arguments: list[str],
    code: int,
    says: str,
    capsys: pytest.CaptureFixture[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["labels", *arguments]) == code
    assert says in capsys.readouterr().err
    assert not list(tmp_path.iterdir())


def test_a_report_that_cannot_be_written_is_told(
    annotated: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert main(["labels", str(annotated), "--json", str(tmp_path / "file" / "a.json")]) == 73
    assert "cannot be written" in capsys.readouterr().err
