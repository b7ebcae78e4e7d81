"""Decoded slices on disk, shared by many trials: one folder for each content and preprocessing, memory-mapped.

The key is of the files' names, sizes and modification times and of all parameters that change a pixel. Hashing the
content would read every byte each time a trial starts, which costs as much as the cache saves; what rewrites a file
with the same size sets another time.

A folder is built under a lock beside its final place and renamed as a whole: it is complete or not there. Files are
written, not mapped, while building: a full disk is then an error, where a map would kill the process by SIGBUS.
Whatever goes wrong with the disk, the slices are kept in memory instead, with a warning.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import json
import os
import shutil
import socket
import sys
import time
from collections import deque
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path
from typing import Any, BinaryIO

import numpy as np

from ctseg import config
from ctseg.data.dataset import Case, Dataset
from ctseg.data.prepare import Prepared, prepare
from ctseg.data.samples import Samples, Uint8

FORMAT = 1
"""Goes into the key: a change of what is decoded, or how, leaves older folders unused."""
FOLDER = ".ctseg-cache"
_INDEX = "index.json"

Between = Callable[[], None]


def folder_for(setting: str | None, output: Path) -> Path | None:
    """Where `data.cache` says. auto: beside the run's folder, where the output volume is writable and shared by all
    trials of a sweep (data mounts are read-only, and a pod's own disk ends with it).
    """
    if setting is None:
        return None
    return output.absolute().parent / FOLDER if setting == "auto" else Path(setting)


def samples(
    dataset: Dataset, data: config.Data, *, folder: Path | None, workers: int, between: Between = lambda: None
) -> Samples:
    """All slices, from the cache in `folder` (None: without). Raises orkrun.DataError where a file is wrong."""
    if folder is not None:
        try:
            return _cached(dataset, data, folder=folder, workers=workers, between=between)
        except OSError as error:
            print(
                f"ctseg: WARNING: the cache {folder} cannot be used ({error.strerror or error}); the slices are "
                "decoded into memory. Another data.cache, or more space, saves that for each trial",
                file=sys.stderr,
                flush=True,
            )
    decoded = list(_decoded(dataset, data, workers=workers, between=between))
    return Samples(
        images=np.concatenate([images for _, (images, *_), _ in decoded]),
        masks=np.concatenate([masks for _, (_, masks, *_), _ in decoded]),
        **_about(dataset, [_rows(case, prepared, hashes) for case, prepared, hashes in decoded]),
    )


def key(dataset: Dataset, data: config.Data) -> str:
    """Names the folder. Raises OSError where a file has gone."""
    relevant = data.model_dump(mode="json", include={"image_size", "spacing", "windows", "grey_range", "ignore_label"})
    relevant |= {"format": FORMAT, "kind": dataset.kind, "annotators": dataset.annotators}
    digest = hashlib.sha256(json.dumps(relevant, sort_keys=True).encode())
    for case in dataset.cases:
        digest.update(f"\0{case.name}\0{case.patient}\0{case.published}\0{case.learn_only}".encode())
        for path in case.files:
            about = path.stat()
            name = path.relative_to(dataset.root) if dataset.root else path
            digest.update(f"\0{name}\0{about.st_size}\0{about.st_mtime_ns}".encode())
    return digest.hexdigest()[:32]


def _cached(dataset: Dataset, data: config.Data, *, folder: Path, workers: int, between: Between) -> Samples:
    name = key(dataset, data)
    place = folder / name
    found = _open(place, dataset)
    if found is not None:
        return found
    folder.mkdir(parents=True, exist_ok=True)
    with _lock(folder / f".{name}.lock", between):
        found = _open(place, dataset)  # another process may have built it meanwhile
        if found is not None:
            return found
        # Under the lock whatever is half-built is of a process that was killed.
        for left in folder.glob(f".{name}.*.tmp"):
            shutil.rmtree(left, ignore_errors=True)
        if place.exists():
            shutil.rmtree(place)  # damaged, or it would have been opened
        building = folder / f".{name}.{socket.gethostname()}-{os.getpid()}.tmp"
        try:
            _build(dataset, data, building, workers=workers, between=between)
            try:
                os.rename(building, place)
            except OSError as error:
                if error.errno not in (errno.ENOTEMPTY, errno.EEXIST):
                    raise  # else: without locks somebody was faster; his is as good
        finally:
            shutil.rmtree(building, ignore_errors=True)
    found = _open(place, dataset)
    if found is None:
        raise OSError(errno.EIO, "what was written cannot be read back")
    return found


def _open(place: Path, dataset: Dataset) -> Samples | None:
    """None where it is not there or damaged."""
    try:
        index = json.loads((place / _INDEX).read_bytes())
        images = np.load(place / "images.npy", mmap_mode="r", allow_pickle=False)
        masks = np.load(place / "masks.npy", mmap_mode="r", allow_pickle=False)
        return Samples(images=images, masks=masks, **_about(dataset, index["cases"]))
    except (OSError, ValueError, KeyError, TypeError):
        return None


def _build(dataset: Dataset, data: config.Data, place: Path, *, workers: int, between: Between) -> None:
    place.mkdir()
    rows = []
    with open(place / "images.npy", "wb") as images_file, open(place / "masks.npy", "wb") as masks_file:
        images, masks = _Array(images_file), _Array(masks_file)
        for case, prepared, hashes in _decoded(dataset, data, workers=workers, between=between):
            images.append(prepared[0])
            masks.append(prepared[1])
            rows.append(_rows(case, prepared, hashes))
        images.finish()
        masks.finish()
    index = {"format": FORMAT, "source": dataset.source, "data": data.model_dump(mode="json"), "cases": rows}
    with open(place / _INDEX, "w", encoding="utf-8") as file:
        json.dump(index, file)
        file.flush()
        os.fsync(file.fileno())


class _Array:
    """An .npy file that grows along its first axis: numpy leaves room in the header for any length."""

    def __init__(self, file: BinaryIO) -> None:
        self._file, self._count, self._shape = file, 0, None

    _shape: tuple[int, ...] | None

    def append(self, part: Uint8) -> None:
        if self._shape is None:
            self._shape = part.shape[1:]
            self._header()
        self._file.write(part.tobytes())
        self._count += len(part)

    def finish(self) -> None:
        end = self._file.tell()
        self._file.seek(0)
        self._header()
        self._file.seek(end)
        self._file.flush()
        os.fsync(self._file.fileno())

    def _header(self) -> None:
        shape = (self._count, *(self._shape or ()))
        np.lib.format.write_array_header_1_0(self._file, {"descr": "|u1", "fortran_order": False, "shape": shape})


def _decoded(
    dataset: Dataset, data: config.Data, *, workers: int, between: Between
) -> Iterator[tuple[Case, Prepared, list[str]]]:
    """Cases in their order, decoded by threads; never more than two a thread are waiting in memory."""

    def work(case: Case) -> tuple[Case, Prepared, list[str]]:
        prepared = prepare(case, data, pictures=dataset.pictures)
        images, masks = prepared[:2]
        return case, prepared, [_digest(image, mask) for image, mask in zip(images, masks, strict=True)]

    waiting: deque[Future[tuple[Case, Prepared, list[str]]]] = deque()
    with ThreadPoolExecutor(workers) as pool:
        try:
            for case in dataset.cases:
                waiting.append(pool.submit(work, case))
                if len(waiting) > 2 * workers:
                    between()
                    yield waiting.popleft().result()
            while waiting:
                between()
                yield waiting.popleft().result()
        finally:
            for future in waiting:
                future.cancel()


def _digest(image: Uint8, mask: Uint8) -> str:
    digest = hashlib.sha256(image.tobytes())
    digest.update(mask.tobytes())
    return digest.hexdigest()[:32]


def _rows(case: Case, prepared: Prepared, hashes: list[str]) -> dict[str, Any]:
    _, _, spacing, names = prepared
    known = [None if value != value else value for value in spacing]
    return {
        "patient": case.patient,
        "names": list(names),
        "hashes": hashes,
        "spacing": known,
        "published": case.published,
        "learn_only": case.learn_only,
    }


def _about(dataset: Dataset, rows: list[dict[str, Any]]) -> dict[str, Any]:
    """All of `Samples` but the arrays."""
    counts = [len(row["names"]) for row in rows]
    spacing = np.array([[np.nan if v is None else v for v in row["spacing"]] for row in rows], np.float32)
    published, learn_only = (np.repeat([bool(row[key]) for row in rows], counts) for key in ("published", "learn_only"))
    return {
        "cases": tuple(row["patient"] for row in rows for _ in row["names"]),
        "names": tuple(name for row in rows for name in row["names"]),
        "annotators": dataset.annotators,
        "patients_known": dataset.patients_known,
        "source": dataset.source,
        "spacing": np.repeat(spacing, counts, axis=0),
        "published": published if published.any() else None,
        "learn_only": learn_only if learn_only.any() else None,
        "pictures": dataset.pictures,
        "licence": dataset.licence,
        "hashes": tuple(value for row in rows for value in row["hashes"]),
    }


@contextmanager
def _lock(path: Path, between: Between) -> Iterator[None]:
    """One builder at a time; the others wait, and can be interrupted. flock goes with the process."""
    fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
    try:
        while True:
            try:
                fcntl.flock(fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
                break
            except OSError as error:
                if error.errno not in (errno.EWOULDBLOCK, errno.EACCES):
                    break  # a file system without locks: the rename still keeps the folder whole
            between()
            time.sleep(0.1)
        yield
    finally:
        os.close(fd)
