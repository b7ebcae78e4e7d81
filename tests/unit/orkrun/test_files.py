"""Files that are whole or not there, and the identity of a run."""

from __future__ import annotations

from pathlib import Path

import pytest

import orkrun
from orkrun.config import identity, local_config


def test_a_write_replaces_the_file_and_leaves_nothing_else(tmp_path: Path) -> None:
    path = tmp_path / "file"
    orkrun.write_atomic(path, b"one")
    orkrun.write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


def test_a_write_that_fails_leaves_the_old_file(tmp_path: Path) -> None:
    path = tmp_path / "file"
    orkrun.write_atomic(path, b"one")
    with pytest.raises(TypeError):
        orkrun.write_atomic(path, "text")  # type: ignore[arg-type]
    assert path.read_bytes() == b"one"
    assert [item.name for item in tmp_path.iterdir()] == ["file"]


@pytest.mark.parametrize(
    ("one", "other", "same"),
    [
        ({"a": 1}, {"a": 1.0}, True),
        ({"a": 1, "b": 2}, {"b": 2, "a": 1}, True),
        ({"a": 1}, {"a": "1"}, False),
        ({"a": True}, {"a": 1}, False),
        ({"a": {"b": 1}}, {"a.b": 1}, False),
        ({"a": (1, 2)}, {"a": [1, 2]}, True),
    ],
)
def test_the_identity_of_a_local_run_is_that_of_its_parameters(one: dict, other: dict, same: bool) -> None:  # type: ignore[type-arg]
    first, second = (identity(local_config(params, output="x")) for params in (one, other))
    assert (first == second) is same


def test_seed_changes_the_identity_and_the_output_does_not() -> None:
    base = identity(local_config({}, output="x"))
    assert identity(local_config({}, output="y")) == base
    assert identity(local_config({}, output="x", seed=1)) != base
