"""The output folder of a command: new, and written as a whole or not at all."""

from __future__ import annotations

import os
import shutil
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path

import orkrun


def check_free(out: Path) -> None:
    """Before the work is done: raises orkrun.OutputError where something is there already, or nothing can be."""
    try:
        if not out.exists():
            parent = next(folder for folder in out.absolute().parents if folder.exists())
            if not parent.is_dir():
                raise orkrun.OutputError(f"{out} cannot be written: {parent} is a file, not a folder")
            if not os.access(parent, os.W_OK):
                raise orkrun.OutputError(f"{out} cannot be written: user {os.getuid()} may not write into {parent}")
        elif not out.is_dir() or any(out.iterdir()):
            raise orkrun.OutputError(f"{out} is there already and not empty; another --out, or remove it")
    except OSError as error:
        raise orkrun.OutputError(f"{out} cannot be written: {error.strerror or error}") from error


@contextmanager
def or_nothing(out: Path) -> Iterator[None]:
    """For what is written piece by piece, into a mount too: a failure takes away all that was not there before, unless
    something was. Turns OSError into orkrun.OutputError.
    """
    there, used = out.exists(), True
    try:
        used = there and (not out.is_dir() or any(out.iterdir()))
        yield
    except OSError as error:
        if not used:
            for path in out.iterdir() if out.is_dir() else ():
                if path.is_dir():
                    shutil.rmtree(path, ignore_errors=True)
                else:
                    path.unlink(missing_ok=True)
            if not there and out.is_dir():
                out.rmdir()
        raise orkrun.OutputError(f"{out} cannot be written: {error.strerror or error}") from error


def write_all(out: Path, files: Mapping[str, bytes]) -> None:
    """Into a folder beside it, which is then renamed. Raises orkrun.OutputError; nothing is left of it then."""
    out = out.absolute()  # "." has no name of its own
    building = out.with_name(f".{out.name}.{os.getpid()}.tmp")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        building.mkdir()
        for name, content in files.items():
            orkrun.write_atomic(building / name, content)
        os.rename(building, out)  # an empty folder is replaced
    except OSError as error:
        raise orkrun.OutputError(f"{out} cannot be written: {error.strerror or error}") from error
    finally:
        shutil.rmtree(building, ignore_errors=True)
