"""Checkpoints that are whole or not there, and read without running code from them.

`checkpoint.pt` is the newest; `checkpoint.1.pt` is the one before, and so on. Each is replaced atomically, and the
newest is linked to its next name before it is replaced: at no moment is there none.
"""

from __future__ import annotations

import io
import os
import zipfile
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, cast

import torch

import orkrun

FORMAT = 2
LATEST = "checkpoint.pt"
BEST = "best.pt"

MAY_DIFFER = frozenset(
    {"epochs", "checkpoint", "early_stopping", "threads", "workers", "device", "precision", "compile"}
    | {"channels_last", "micro_batch_size", "devices", "data.root", "data.cache"}
)
"""Parameters, or groups of them, with which another run's checkpoint is continued: how long, how fast and where.
All others say what is learnt, from what and in which order: half of one and half of the other would be neither.
"""


def save(path: Path, state: dict[str, Any]) -> None:
    """Replaces `path` atomically. Raises OSError.

    Made in memory first: torch's own writer reports a full disk as a RuntimeError about an archive.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    orkrun.write_atomic(path, buffer.getbuffer())


def save_latest(folder: Path, state: dict[str, Any], *, keep: int) -> Path:
    """Saves as the newest and keeps `keep` in all, that one included. Raises OSError."""
    names = [folder / LATEST] + [folder / f"checkpoint.{i}.pt" for i in range(1, keep)]
    for older, newer in zip(reversed(names), reversed(names[:-1]), strict=False):
        if not newer.exists():
            continue
        if newer == names[0]:
            link = folder / f".{older.name}.link"
            link.unlink(missing_ok=True)
            try:
                os.link(newer, link)
            except OSError:  # a file system without links: for a moment only the older name exists, which is read too
                os.replace(newer, older)
            else:
                os.replace(link, older)
        else:
            os.replace(newer, older)
    save(names[0], state)
    return names[0]


def load(path: Path) -> dict[str, Any] | None:
    """The state in `path`, on the CPU; None where there is none. Raises orkrun.DataError for one that cannot be
    used.
    """
    try:
        with zipfile.ZipFile(path) as archive:  # torch does not compare the checksums that it writes
            damaged = archive.testzip()
        if damaged is not None:
            raise orkrun.DataError(path, f"is damaged ({damaged} has another checksum); remove it to start over")
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except orkrun.DataError:
        raise
    except Exception as error:
        raise orkrun.DataError(path, f"is no readable checkpoint ({error}); remove it to start over") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise orkrun.DataError(path, f"is no checkpoint of format {FORMAT}; remove it to start over")
    return cast(dict[str, Any], state)


def load_latest(folder: Path, *, warn: Callable[[str], None]) -> tuple[Path, dict[str, Any]] | None:
    """The newest that can be read, None where there is none at all. Raises orkrun.DataError where none of them can."""
    first: orkrun.DataError | None = None
    older = sorted(folder.glob("checkpoint.*.pt"), key=lambda path: int(path.name.split(".")[1]))
    for path in (folder / LATEST, *older):
        try:
            state = load(path)
        except orkrun.DataError as error:
            first = first or error
            warn(f"WARNING: {error}")
            continue
        if state is not None:
            return path, state
    if first is not None:
        raise first
    return None


def check_same(path: Path, saved: Mapping[str, Any], own: Mapping[str, Any]) -> None:
    """Raises orkrun.ConfigError naming each parameter in which the checkpoint's run is another one."""
    before, now = _flat(saved), _flat(own)
    different = [
        f"{name} {before.get(name, 'absent')!r} there, {now.get(name, 'absent')!r} here"
        for name in sorted(before.keys() | now.keys())
        if before.get(name, _flat) != now.get(name, _flat) and not _free(name)
    ]
    if different:
        raise orkrun.ConfigError(
            f"{path} is of a run with other parameters: {'; '.join(different)}. "
            "Use another output folder, or the parameters it was started with"
        )


def _free(name: str) -> bool:
    return any(name == free or name.startswith(f"{free}.") for free in MAY_DIFFER)


def _flat(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    result: dict[str, Any] = {}
    for name, value in params.items():
        if isinstance(value, Mapping):
            result |= _flat(value, f"{prefix}{name}.")
        else:
            result[f"{prefix}{name}"] = value
    return result
