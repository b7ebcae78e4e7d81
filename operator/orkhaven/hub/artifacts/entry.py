"""One line of a run's manifest, checked: it comes from a pod, and names, paths and types in it are anybody's. Pure."""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Any

from pydantic_core import from_json

from orkhaven.hub.lines import MAX_INT32, MAX_STEP, MAX_TIME
from orkrun import contract
from orkrun.contract import ArtifactKind, ArtifactRole

MAX_PARTS = 16
"""Folders of a path."""
_SHA256 = re.compile(r"[0-9a-f]{64}")
_MEDIA_TYPE = re.compile(r"[a-z0-9.+-]{1,50}/[a-z0-9.+-]{1,49}")


class BadEntry(ValueError):
    """`field` says where."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Entry:
    """Field for field columns of `artifacts`."""

    attempt: int
    seq: int
    name: str
    kind: str
    path: str
    sha256: str
    size: int
    media_type: str
    step: int | None
    time: float
    caption: str
    group: str
    role: str


def parse(raw: bytes) -> Entry:
    """Raises BadEntry."""
    try:
        data = from_json(raw)
    except ValueError as error:
        raise BadEntry("", f"the first line is no JSON: {error}") from None
    if not isinstance(data, dict):
        raise BadEntry("", "the first line is a JSON object")
    return Entry(
        attempt=_integer(data, "attempt", 1, MAX_INT32),
        seq=_integer(data, "seq", 1, MAX_INT32),
        name=_text(data, "name", 200, least=1),
        kind=_one_of(data, "kind", ArtifactKind),
        path=_path(data),
        sha256=_matching(data, "sha256", _SHA256, "64 hexadecimal digits"),
        size=_integer(data, "size", 0, MAX_STEP),
        media_type=_matching(data, "mediaType", _MEDIA_TYPE, "a media type"),
        step=None if data.get("step") is None else _integer(data, "step", 0, MAX_STEP),
        time=_time(data),
        caption=_text(data, "caption", 1000),
        group=_text(data, "group", 200),
        role=_one_of(data, "role", ArtifactRole) if data.get("role") else "",
    )


def _path(data: dict[str, Any]) -> str:
    """Below the run's folder, in the one form that has no second meaning. What it leads to is `volume`'s to find."""
    path = _text(data, "path", 512, least=1)
    parts = path.split("/")
    if len(parts) > MAX_PARTS or "\\" in path or any(part in ("", ".", "..") for part in parts):
        raise BadEntry("path", f"a path below the run's folder, without . and .., not {path[:100]!r}")
    return path


def _text(data: dict[str, Any], field: str, longest: int, *, least: int = 0) -> str:
    value = data.get(field, "")
    if not isinstance(value, str) or not least <= len(value) <= longest or not value.isprintable():
        raise BadEntry(field, f"{least} to {longest} printable characters, not {str(value)[:60]!r}")
    return value


def _integer(data: dict[str, Any], field: str, least: int, most: int) -> int:
    value = data.get(field)
    if isinstance(value, bool) or not isinstance(value, int) or not least <= value <= most:
        raise BadEntry(field, f"a whole number from {least} to {most}, not {str(value)[:40]!r}")
    return value


def _time(data: dict[str, Any]) -> float:
    value = data.get("time")
    if isinstance(value, bool) or not isinstance(value, int | float) or not 0 <= value <= MAX_TIME:
        raise BadEntry("time", f"seconds since the epoch, from 0 to {MAX_TIME}, not {str(value)[:40]!r}")
    return float(value)


def _one_of(data: dict[str, Any], field: str, words: type[ArtifactKind] | type[ArtifactRole]) -> str:
    value = data.get(field)
    if not isinstance(value, str) or value not in list(words):
        raise BadEntry(field, f"one of {', '.join(word for word in words if word)}, not {str(value)[:40]!r}")
    return value


def _matching(data: dict[str, Any], field: str, pattern: re.Pattern[str], what: str) -> str:
    value = data.get(field)
    if not isinstance(value, str) or not pattern.fullmatch(value):
        raise BadEntry(field, f"{what}, not {str(value)[:80]!r}")
    return value


MAX_BODY = contract.MAX_ARTIFACT_LINE + contract.MAX_UPLOAD
