"""The shared cache: whole or not there, whoever is killed, whatever the disk does."""

from __future__ import annotations

import os
import resource
import shutil
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from ctseg import config
from ctseg.data import cache
from ctseg.data.load import load
from ctseg.data.samples import Samples
from ctseg.phantom.write import write_phantom
from tests.unit.ctseg.conftest import TRAINER

CODE = """
import sys
from pathlib import Path
from ctseg import config
from ctseg.data.load import load
told = []
def between():
    if not told:
        told.append(1)
        print("between", flush=True)
        sys.stdin.readline()
samples = load(config.Data(image_size=32), mount=sys.argv[1], workers=1, cache_folder=Path(sys.argv[2]),
               between=between if sys.argv[3] == "wait" else lambda: None)
print(type(samples.images).__name__, samples.hashes[0], flush=True)
"""


@pytest.fixture(scope="module")
def patients(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("patients")
    write_phantom(folder, patients=3, slices=4, size=48, seed=1)
    return folder


def start(root: Path, folder: Path, mode: str = "wait", *, file_limit: int | None = None) -> subprocess.Popen[str]:
    def limit() -> None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (file_limit, file_limit))

    return subprocess.Popen(
        [sys.executable, "-c", CODE, str(root), str(folder), mode],
        env={"PYTHONPATH": str(TRAINER)},
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        preexec_fn=limit if file_limit else None,
    )


def read(root: Path, folder: Path | None, **data: object) -> Samples:
    return load(
        config.parse({"data": {"image_size": 32, **data}}).data, mount=str(root), workers=2, cache_folder=folder
    )


def held(folder: Path) -> list[str]:
    return sorted(path.name for path in folder.iterdir() if not path.name.endswith(".lock"))


def same(one: Samples, other: Samples) -> bool:
    return (
        np.array_equal(one.images, other.images)
        and np.array_equal(one.masks, other.masks)
        and np.array_equal(one.spacing, other.spacing, equal_nan=True)
        and all(getattr(one, name) == getattr(other, name) for name in ("cases", "names", "annotators", "hashes"))
    )


def test_a_second_trial_maps_what_the_first_decoded(patients: Path, tmp_path: Path) -> None:
    plain, first = read(patients, None), read(patients, tmp_path)
    index = tmp_path / held(tmp_path)[0] / "index.json"
    before = index.stat().st_mtime_ns
    second = read(patients, tmp_path)
    assert isinstance(second.images, np.memmap)
    assert not second.images.flags.writeable
    assert same(plain, first)
    assert same(plain, second)
    assert index.stat().st_mtime_ns == before
    assert len(held(tmp_path)) == 1


def test_other_preprocessing_or_other_files_are_another_folder(patients: Path, tmp_path: Path) -> None:
    copy = tmp_path / "copy"
    shutil.copytree(patients, copy)
    folder = tmp_path / "cache"
    read(copy, folder)
    read(copy, folder, windows=[[-160, 240]])
    read(copy, folder, split={"seed": 3})  # changes no pixel
    assert len(held(folder)) == 2
    os.utime(next(copy.glob("nifti/*_ct.nii.gz")), ns=(1, 1))
    read(copy, folder)
    assert len(held(folder)) == 3


def test_a_builder_that_is_killed_leaves_nothing_that_is_read(patients: Path, tmp_path: Path) -> None:
    process = start(patients, tmp_path)
    assert process.stdout
    assert process.stdout.readline() == "between\n"
    assert len(held(tmp_path)) == 1, "a half-built folder"
    process.kill()
    process.communicate(timeout=60)
    assert same(read(patients, tmp_path), read(patients, None))
    assert [name.endswith(".tmp") for name in held(tmp_path)] == [False]


def test_of_two_at_once_one_builds_and_the_other_waits(patients: Path, tmp_path: Path) -> None:
    first = start(patients, tmp_path)
    assert first.stdout
    assert first.stdout.readline() == "between\n"  # holds the lock
    second = start(patients, tmp_path)
    assert second.stdout
    assert second.stdout.readline() == "between\n"  # waits for it
    assert len(held(tmp_path)) == 1
    outputs = [process.communicate("\n", timeout=60) for process in (first, second)]
    assert outputs[0][0] == outputs[1][0]
    assert outputs[0][0].startswith("memmap ")
    assert len(held(tmp_path)) == 1


def test_a_full_disk_is_a_warning_and_the_slices_are_in_memory(patients: Path, tmp_path: Path) -> None:
    process = start(patients, tmp_path, "go", file_limit=4000)
    out, errors = process.communicate(timeout=60)
    assert process.returncode == 0, errors
    assert "WARNING: the cache" in errors
    assert out.startswith("ndarray ")
    assert held(tmp_path) == []


def test_a_folder_that_cannot_be_made_is_a_warning_too(
    patients: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "file").touch()
    assert len(read(patients, tmp_path / "file" / "cache")) == 12
    assert "cannot be used (Not a directory)" in capsys.readouterr().err


def test_a_read_only_cache_is_used(patients: Path, tmp_path: Path) -> None:
    read(patients, tmp_path)
    for path in [*tmp_path.rglob("*"), tmp_path]:
        path.chmod(0o555 if path.is_dir() else 0o444)
    try:
        assert isinstance(read(patients, tmp_path).images, np.memmap)
    finally:
        for path in [tmp_path, *tmp_path.rglob("*")]:
            path.chmod(0o755 if path.is_dir() else 0o644)


@pytest.mark.parametrize("file", ["images.npy", "masks.npy", "index.json"])
def test_a_damaged_folder_is_built_again(patients: Path, tmp_path: Path, file: str) -> None:
    read(patients, tmp_path)
    damaged = tmp_path / held(tmp_path)[0] / file
    damaged.write_bytes(damaged.read_bytes()[:50])
    assert same(read(patients, tmp_path), read(patients, None))


@pytest.mark.parametrize(
    ("setting", "folder"), [(None, None), ("auto", Path("/runs/.ctseg-cache")), ("/fast", Path("/fast"))]
)
def test_where_it_is(setting: str | None, folder: Path | None) -> None:
    assert cache.folder_for(setting, Path("/runs/abc")) == folder
