"""How an answer leaves the hub: JSON, CSV or LaTeX, with an ETag where that saves work."""

from __future__ import annotations

import re
import secrets
from collections.abc import Sequence
from enum import StrEnum
from typing import Any

from fastapi import Request
from pydantic_core import to_json
from starlette.responses import Response, StreamingResponse

from orkhaven.hub.errors import HttpError
from orkhaven.hub.query.export import Row, to_csv, to_latex

_BOOT = secrets.token_hex(4)
"""Revisions begin anew with each process; its tags must not be taken for those of another."""


class Format(StrEnum):
    JSON = "json"
    CSV = "csv"
    LATEX = "latex"


MEDIA_TYPES = {Format.JSON: "application/json", Format.CSV: "text/csv", Format.LATEX: "application/x-latex"}
_BY_MEDIA_TYPE = {media_type: format_ for format_, media_type in MEDIA_TYPES.items()}
SUFFIXES = {Format.JSON: "json", Format.CSV: "csv", Format.LATEX: "tex"}

FILES: dict[int | str, dict[str, Any]] = {
    200: {
        "content": {
            MEDIA_TYPES[Format.CSV]: {"schema": {"type": "string"}},
            MEDIA_TYPES[Format.LATEX]: {"schema": {"type": "string"}},
        }
    }
}
"""For the OpenAPI document, of a list."""
CSV_FILE: dict[int | str, dict[str, Any]] = {
    200: {"content": {MEDIA_TYPES[Format.CSV]: {"schema": {"type": "string"}}}}
}
NOT_MODIFIED: dict[int | str, dict[str, Any]] = {304: {"description": "Nothing changed since If-None-Match."}}


def format_of(request: Request, wanted: Format | None) -> Format:
    """`format` of the URL, otherwise the first type of Accept that there is."""
    if wanted is not None:
        return wanted
    for part in request.headers.get("accept", "").split(","):
        format_ = _BY_MEDIA_TYPE.get(part.partition(";")[0].strip().lower())
        if format_ is not None:
            return format_
    return Format.JSON


def as_json(content: Any, *, headers: dict[str, str] | None = None) -> Response:
    """NaN and the infinities as texts. Without FastAPI's own encoder, which visits each value in Python."""
    return Response(to_json(content, inf_nan_mode="strings"), media_type="application/json", headers=headers)


def as_file(
    format_: Format,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    *,
    name: str,
    headers: dict[str, str] | None = None,
) -> Response:
    """Columns are (key, label). `name` is without a suffix."""
    pieces = to_csv([key for key, _ in columns], rows) if format_ is Format.CSV else to_latex(columns, rows)
    return StreamingResponse(
        (piece.encode() for piece in pieces),
        media_type=f"{MEDIA_TYPES[format_]}; charset=utf-8",
        headers={"Content-Disposition": attachment(name, SUFFIXES[format_]), **(headers or {})},
    )


def as_download(
    format_: Format,
    columns: Sequence[tuple[str, str]],
    rows: Sequence[Row],
    *,
    name: str,
    headers: dict[str, str] | None = None,
) -> Response:
    """As `as_file`, and JSON as a file too: a list of objects by column key."""
    if format_ is not Format.JSON:
        return as_file(format_, columns, rows, name=name, headers=headers)
    keys = [key for key, _ in columns]
    content = [{key: row.get(key) for key in keys} for row in rows]
    return as_json(content, headers={"Content-Disposition": attachment(name, "json"), **(headers or {})})


def attachment(name: str, suffix: str) -> str:
    """The header that makes it a file to be saved, with nothing in its name that a file system or a shell minds."""
    safe = re.sub(r"[^A-Za-z0-9._-]", "_", name).strip(".") or "orkhaven"
    return f'attachment; filename="{safe}.{suffix}"'


def etag(state: str, format_: Format) -> str:
    """Of an answer that depends on this state and its URL alone."""
    return f'W/"{_BOOT}.{state}.{format_}"'


def is_known(request: Request, tag: str) -> bool:
    """Whether the client has this answer: 304 is enough."""
    header = request.headers.get("if-none-match", "")
    return any(one.strip().removeprefix("W/") == tag.removeprefix("W/") for one in header.split(","))


def not_modified(headers: dict[str, str]) -> Response:
    return Response(status_code=304, headers=headers)


def only(format_: Format, *allowed: Format) -> None:
    """Raises HttpError 422."""
    if format_ not in allowed:
        raise HttpError(
            422, "InvalidParameter", f"this is there as {' and '.join(allowed)}, not as {format_}", where="query format"
        )
