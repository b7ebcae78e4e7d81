"""What a run died of, as a value: exception -> exit code and the `Failure` of the termination record. Standard
library only.
"""

from __future__ import annotations

import errno
import hashlib
import re
import sys
import sysconfig
import traceback
from collections.abc import Iterable
from pathlib import Path
from types import TracebackType

from orkrun.contract import ExitCode, Failure
from orkrun.errors import RunError
from orkrun.files import unwritable

EXCERPT_LINES = 25

_LIBRARIES = tuple({str(Path(sysconfig.get_path(name)).resolve()) for name in ("stdlib", "platstdlib")})
_OWN = str(Path(__file__).resolve().parent)
# What differs between two failures of one cause: addresses, numbers with units, quoted paths, hashes.
_VARYING = re.compile(r"0x[0-9a-fA-F]+|\b[0-9a-f]{8,}\b|(?:/[\w.@+-]+){2,}/?|\d+(?:\.\d+)?(?:[eE][+-]?\d+)?")


def exit_code(error: BaseException, output: Path | None) -> ExitCode | int:
    """The exit code that says what happened."""
    if isinstance(error, RunError):
        return error.exit_code
    if isinstance(error, SystemExit):
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        return ExitCode.INTERNAL
    if isinstance(error, KeyboardInterrupt):
        return 128 + 2  # as a shell reports SIGINT
    if isinstance(error, OSError) and unwritable(error) and _in_output(error, output):
        return ExitCode.CANNOT_CREATE
    return ExitCode.INTERNAL


def _in_output(error: OSError, output: Path | None) -> bool:
    """A full or read-only disk, or a limit of a file's size, always is about the output, a permission only where the
    file lies in it.
    """
    if error.errno in (errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS):
        return True
    return output is not None and isinstance(error.filename, str) and Path(error.filename).is_relative_to(output)


def qualified_name(kind: type[BaseException]) -> str:
    """torch.OutOfMemoryError, ModuleNotFoundError, orkrun.InvalidParams: builtins without their module."""
    return kind.__qualname__ if kind.__module__ == "builtins" else f"{kind.__module__}.{kind.__qualname__}"


def describe(error: BaseException, packages: Iterable[str] = ()) -> Failure:
    """The failure as the termination record carries it.

    `packages`: top-level packages that count as the user's own even where they are installed among the libraries.
    """
    own = [frame for frame in _frames(error.__traceback__) if _is_own(frame, set(packages))]
    message = str(error) or qualified_name(type(error))
    failure: Failure = {"type": qualified_name(type(error)), "message": message}
    where = ""
    if own:
        last = own[-1]
        where = f"{_short(last.filename)} {last.name}"
        failure["location"] = f"{_short(last.filename)}:{last.lineno} in {last.name}"
    # No line number: an edit elsewhere in the file must not make a new cause of it.
    signature = "\n".join((failure["type"], where, normalise(message)))
    failure["fingerprint"] = hashlib.sha256(signature.encode()).hexdigest()[:12]
    lines = "".join(traceback.format_exception(error)).rstrip().splitlines()
    failure["excerpt"] = "\n".join(lines[-EXCERPT_LINES:])
    return failure


def normalise(message: str) -> str:
    """The message without what varies from run to run: numbers, addresses, paths, hashes become #."""
    return _VARYING.sub("#", message.strip().splitlines()[0] if message.strip() else "")


def _frames(trace: TracebackType | None) -> list[traceback.FrameSummary]:
    return list(traceback.extract_tb(trace))


def _is_own(frame: traceback.FrameSummary, packages: set[str]) -> bool:
    name = frame.filename
    if name.startswith("<"):
        return False
    path = Path(name).resolve()
    if str(path).startswith(_OWN + "/"):
        return False
    if packages.intersection(path.parts):
        return True
    if {"site-packages", "dist-packages"}.intersection(path.parts):
        return False
    return not str(path).startswith(tuple(f"{library}/" for library in _LIBRARIES))


def _short(filename: str) -> str:
    """The path from the folder it was imported from: the same in every image."""
    path = Path(filename).resolve()
    roots = [Path(entry).resolve() for entry in sys.path if entry and path.is_relative_to(Path(entry).resolve())]
    root = max(roots, key=lambda item: len(item.parts), default=None)
    return path.name if root is None else str(path.relative_to(root))
