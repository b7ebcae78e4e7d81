"""Where the builder keeps its files: `${XDG_CACHE_HOME:-~/.cache}/orkhaven/images`, outside of any checkout.

storage/ is buildah's store, layout/ the layers that archives are put together from, base/ the Debian base system.
"""

from __future__ import annotations

import fcntl
import hashlib
import os
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from images.say import Say

KEPT = 2
"""Archives of one image that are kept: another checkout may be about to load the one before."""


def folder() -> Path:
    base = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    return base / "orkhaven" / "images"


def fingerprint() -> str:
    """Of the cache's place; short enough for a file name."""
    return hashlib.sha256(str(folder()).encode()).hexdigest()[:12]


@contextmanager
def lock(say: Say) -> Iterator[None]:
    """One build at a time."""
    folder().mkdir(parents=True, exist_ok=True)
    with open(folder() / ".lock", "w") as handle:
        try:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            say("waits for another build of images on this machine ...")
            fcntl.flock(handle, fcntl.LOCK_EX)
        yield


def archive_path(name: str, inputs: str) -> Path:
    return folder() / f"{name}-{inputs}.tar"


def archives(name: str) -> list[Path]:
    """The archives of an image, the most recently used first."""
    # 16 digits: `trainer-*.tar` would take in trainer-cpu's.
    found = folder().glob(f"{name}-{'[0-9a-f]' * 16}.tar")
    return sorted(found, key=lambda path: path.stat().st_mtime, reverse=True)


def drop_old(name: str) -> None:
    """Removes all archives of an image but the last `KEPT`."""
    for path in archives(name)[KEPT:]:
        path.unlink(missing_ok=True)
