"""Splits: no patient on both sides, the load of both alike, folds that cover everything, leaks told."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

import orkrun
from ctseg import config
from ctseg.data import split as splits
from ctseg.data.samples import IGNORE, LESION, Samples


def samples(cases: list[str], *, known: bool = True, load: list[float] | None = None, seed: int = 0) -> Samples:
    rng = np.random.default_rng(seed)
    n = len(cases)
    masks = np.zeros((n, 1, 32, 32), np.uint8)
    for i, share in enumerate(load or [0.0] * n):
        masks[i, 0].ravel()[: round(share * 1024)] = LESION
    return Samples(
        images=rng.integers(0, 256, (n, 1, 32, 32), dtype=np.uint8),
        masks=masks,
        cases=tuple(cases),
        names=tuple(f"{case}/{i}" for i, case in enumerate(cases)),
        annotators=("a",),
        patients_known=known,
        source="/data",
        spacing=np.full((n, 3), np.nan, np.float32),
    )


@given(
    st.lists(st.sampled_from("abcdefgh"), min_size=2).filter(lambda c: len(set(c)) > 1),
    st.floats(0.01, 0.99),
    st.integers(0, 3),
)
def test_no_patient_is_on_both_sides_and_none_is_lost(cases: list[str], fraction: float, seed: int) -> None:
    split = splits.make(samples(cases), config.Split(val_fraction=fraction, seed=seed))
    train, val = ({cases[i] for i in part} for part in (split.train, split.val))
    assert train
    assert val
    assert not train & val
    assert sorted(split.train + split.val) == list(range(len(cases)))


@given(st.integers(2, 6), st.integers(6, 20), st.integers(0, 5))
def test_each_patient_is_held_out_by_exactly_one_fold(folds: int, patients: int, seed: int) -> None:
    names = [f"p{i}" for i in range(patients)]
    load = [i / patients for i in range(patients)]
    held = [
        splits.hold_out(names, load, settings=config.Split(folds=folds, fold=fold, seed=seed), source="x")
        for fold in range(folds)
    ]
    assert sorted(name for part in held for name in part) == sorted(names)
    assert max(map(len, held)) - min(map(len, held)) <= 1


def test_both_sides_have_light_and_severe_patients() -> None:
    names = [f"p{i:02}" for i in range(40)]
    load = [i / 40 for i in range(40)]
    for seed in range(5):
        held = splits.hold_out(names, load, settings=config.Split(val_fraction=0.2, seed=seed), source="x")
        assert len(held) == 8
        assert {int(name[1:]) // 5 for name in held} == set(range(8)), "one of each eighth of the loads"


def test_the_split_does_not_depend_on_the_order_of_files_and_does_on_the_seed() -> None:
    names = [f"p{i}" for i in range(20)]

    def held(order: list[str], seed: int) -> set[str]:
        return splits.hold_out(order, [0.0] * 20, settings=config.Split(val_fraction=0.3, seed=seed), source="x")

    assert held(names, 0) == held(names[::-1], 0) != held(names, 1)


def test_where_patients_are_unknown_near_duplicates_stay_together() -> None:
    made = samples([str(i) for i in range(12)], known=False)
    images = made.images.copy()
    for i in range(0, 12, 2):  # a neighbour: the same slice with some noise
        images[i + 1] = np.clip(images[i].astype(int) + np.random.default_rng(i).integers(-8, 9, (1, 32, 32)), 0, 255)
    pairs = Samples(**{name: getattr(made, name) for name in made.__slots__} | {"images": images})
    split = splits.make(pairs, config.Split(val_fraction=0.4))
    assert len(set(split.groups)) == 6
    assert {i // 2 for i in split.val}.isdisjoint({i // 2 for i in split.train})
    assert split.by == "group of near-duplicate slices"


@pytest.mark.parametrize(("cases", "settings"), [(["a", "a"], {}), ([], {}), (["a", "b", "c"], {"folds": 4})], ids=str)
def test_too_few_cases_are_refused(cases: list[str], settings: dict[str, int]) -> None:
    with pytest.raises(orkrun.DataError, match="at least"):
        splits.hold_out(cases, [0.0] * len(cases), settings=config.Split(**settings), source="/data")


def test_a_side_without_a_label_is_refused() -> None:
    made = samples(["a", "b"])
    masks = np.full_like(made.masks, IGNORE)
    empty = Samples(**{name: getattr(made, name) for name in made.__slots__} | {"masks": masks})
    with pytest.raises(orkrun.DataError, match="no pixel of the training slices is labelled"):
        splits.make(empty, config.Split())


def test_a_run_goes_on_with_its_split_and_refuses_other_data(tmp_path: Path) -> None:
    one, settings, path = samples(["a", "b", "c"]), config.Split(), tmp_path / "split.json"
    split = splits.make(one, settings)
    splits.keep(path, one, split, settings)
    kept = json.loads(path.read_text())
    assert set(kept["hashes"]) == set(kept["train"]) | set(kept["val"])
    splits.keep(path, one, split, settings)
    other = samples(["a", "b", "c", "d"])
    with pytest.raises(orkrun.DataError, match="has changed since this run began"):
        splits.keep(path, other, splits.make(other, settings), settings)


def test_a_split_that_shares_a_patient_is_an_assertion() -> None:
    with pytest.raises(AssertionError, match="both sides"):
        splits.assert_disjoint(splits.Split((0,), (1,), ("a", "a")))
