"""Checkpoints that are whole or not there, and read without running code from them."""

from __future__ import annotations

import io
from pathlib import Path
from typing import Any, cast

import torch

import orkrun

FORMAT = 2
LATEST = "checkpoint.pt"
BEST = "best.pt"


def save(path: Path, state: dict[str, Any]) -> None:
    """Replaces `path` atomically. Raises OSError.

    Made in memory first: torch's own writer reports a full disk as a RuntimeError about an archive.
    """
    buffer = io.BytesIO()
    torch.save({"format": FORMAT, **state}, buffer)
    orkrun.write_atomic(path, buffer.getbuffer())


def load(path: Path) -> dict[str, Any] | None:
    """The state in `path`, on the CPU; None where there is none. Raises orkrun.DataError for one that cannot be
    used.
    """
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        return None
    except Exception as error:
        raise orkrun.DataError(path, f"is no readable checkpoint ({error}); remove it to start over") from error
    if not isinstance(state, dict) or state.get("format") != FORMAT:
        raise orkrun.DataError(path, f"is no checkpoint of format {FORMAT}; remove it to start over")
    return cast(dict[str, Any], state)
