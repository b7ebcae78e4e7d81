"""Opens a run's file on an output volume that is mounted into the hub, read-only.

Where it is comes from the database alone: namespace and claim of the Experiment, its run hash, the path of its
manifest. Each step is opened relative to the one before and never through a symbolic link, so that nothing a training
puts into its folder leads out of it; the file must have the size and the SHA-256 that were reported.
"""

from __future__ import annotations

import hashlib
import os
import re
import stat
from collections import OrderedDict
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from orkhaven.hub.artifacts.store import Found

_FOLDER = os.O_RDONLY | os.O_DIRECTORY | os.O_NOFOLLOW | os.O_CLOEXEC
# O_NONBLOCK: a named pipe must not hang the hub before it is seen to be none of ours.
_FILE = os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC
_PART = re.compile(r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?")
"""Names of namespaces, claims and run hashes."""
_READ = 1024 * 1024
VERIFIED = 10_000
"""Files whose digest is remembered: about 200 bytes each."""

Signature = tuple[int, int, int, int, int]
"""Device, inode, size, and when content and inode changed last: the same file as it was."""


class NotServed(Exception):
    """Why it cannot be had, in a sentence."""


class Volumes:
    """`root` has a folder for each namespace, in it one for each claim. For threads; each call stands alone."""

    def __init__(self, root: Path | None, *, default_claim: str) -> None:
        self._root = root
        self._default_claim = default_claim
        self._verified: OrderedDict[tuple[int, str], Signature] = OrderedDict()

    def why_not(self, found: Found) -> str | None:
        """Why it cannot be looked for at all; None: it can."""
        claim = found.place.claim or self._default_claim
        if self._root is None:
            return "no output volume is mounted into the hub (chart value hub.outputs), and it was not uploaded"
        if not claim or not found.place.folder:
            return "the Experiment did not say where its output is"
        if not (self._root / found.namespace / claim).is_dir():
            return (
                f"claim {claim!r} of namespace {found.namespace!r} is not mounted into the hub (chart value "
                "hub.outputs), and it was not uploaded"
            )
        return None

    @contextmanager
    def open(self, found: Found) -> Iterator[int]:
        """A descriptor of the file, checked. Takes as long as reading it the first time. Raises NotServed."""
        why = self.why_not(found)
        if why is not None or self._root is None:
            raise NotServed(why or "")
        claim = found.place.claim or self._default_claim
        fd = self._walk(self._root, (found.namespace, claim, found.place.folder), found.entry.path)
        try:
            self._check(fd, found)
            yield fd
        finally:
            os.close(fd)

    def _walk(self, root: Path, trusted: tuple[str, ...], path: str) -> int:
        if not all(_PART.fullmatch(part) for part in trusted):
            raise NotServed("its place is no name of a folder")
        *folders, name = path.split("/")
        here = os.open(root, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            for part in (*trusted, *folders):
                if part in ("", ".", ".."):
                    raise NotServed("its path leads out of the run's folder")
                below = os.open(part, _FOLDER, dir_fd=here)
                os.close(here)
                here = below
            if name in ("", ".", ".."):
                raise NotServed("its path is no file's")
            return os.open(name, _FILE, dir_fd=here)
        except (OSError, ValueError) as error:
            what = error.strerror if isinstance(error, OSError) else str(error)
            raise NotServed(f"it cannot be opened on the output volume: {what}") from None
        finally:
            os.close(here)

    def _check(self, fd: int, found: Found) -> None:
        before = os.fstat(fd)
        if not stat.S_ISREG(before.st_mode):
            raise NotServed("it is no regular file on the output volume")
        if before.st_size != found.entry.size:
            raise NotServed(
                f"it has {before.st_size} bytes on the output volume, {found.entry.size} were reported: it was changed"
            )
        key = (found.id, found.entry.sha256)
        if self._verified.get(key) == _signature(before):
            return
        made = hashlib.sha256()
        position = 0
        while block := os.pread(fd, _READ, position):
            made.update(block)
            position += len(block)
        if made.hexdigest() != found.entry.sha256 or _signature(os.fstat(fd)) != _signature(before):
            raise NotServed("its content on the output volume is another one than was reported: it was changed")
        self._verified[key] = _signature(before)
        while len(self._verified) > VERIFIED:
            self._verified.popitem(last=False)


def _signature(status: os.stat_result) -> Signature:
    return (status.st_dev, status.st_ino, status.st_size, status.st_mtime_ns, status.st_ctime_ns)
