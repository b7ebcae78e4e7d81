"""Files that are whole or not there: atomic replacement and the lock of an output folder. Standard library only."""

from __future__ import annotations

import errno
import fcntl
import os
import sys
from pathlib import Path

from orkrun.errors import OutputError, TryAgain

_UNWRITABLE = {errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM}


def write_atomic(path: Path, content: bytes | bytearray | memoryview, *, durable: bool = True) -> None:
    """Replaces `path` by `content`: a reader, or a process killed half-way, sees the old file or the new one.

    `durable` waits until the disk has it; without it a crash of the machine (not of the process) may bring the old
    one back. Raises OSError; the half-written file is removed.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}.tmp")
    try:
        with open(temporary, "wb") as file:
            file.write(content)
            file.flush()
            if durable:
                os.fsync(file.fileno())
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise
    if durable:
        folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)


def unwritable(error: OSError) -> bool:
    """Whether an OSError says that the output cannot be written (as opposed to an input that cannot be read)."""
    return error.errno in _UNWRITABLE


def prepare_folder(path: Path) -> None:
    """Makes the output folder and proves that it takes a file. Raises OutputError."""
    try:
        path.mkdir(parents=True, exist_ok=True)
        write_atomic(path / ".writable", b"", durable=False)
        (path / ".writable").unlink(missing_ok=True)
    except OSError as error:
        raise OutputError(
            f"output folder {path} cannot be written: {error.strerror or error}; "
            f"user {os.getuid()} needs write permission and free space there"
        ) from error


class FolderLock:
    """One live process per output folder: two would overwrite each other's checkpoints.

    flock goes with the process, so a crash leaves nothing to clean up. A file system without flock gets a warning,
    not a refusal.
    """

    def __init__(self, folder: Path) -> None:
        """Takes the lock. Raises TryAgain where another live process has it."""
        path = folder / ".lock"
        self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        try:
            fcntl.flock(self._fd, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except OSError as error:
            if error.errno in (errno.EWOULDBLOCK, errno.EACCES):
                holder = os.pread(self._fd, 200, 0).decode(errors="replace").strip() or "an unknown process"
                os.close(self._fd)
                raise TryAgain(
                    f"output folder {folder} is in use by another live process ({holder}); "
                    "wait until it has ended, or use another output folder"
                ) from None
            print(
                f"orkrun: {folder} has no file locks ({error.strerror}); nothing keeps a second process out",
                file=sys.stderr,
            )
            return
        os.ftruncate(self._fd, 0)
        os.pwrite(self._fd, f"pid {os.getpid()} on {os.uname().nodename}".encode(), 0)

    def release(self) -> None:
        """Lets the next process in. Twice is fine."""
        if self._fd >= 0:
            os.close(self._fd)
            self._fd = -1
