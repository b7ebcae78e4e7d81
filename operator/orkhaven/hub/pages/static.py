"""Our stylesheet and scripts and the vendored ones, out of memory: read once, compressed once, when somebody asks.

Their path has a digest of all of them, so that a browser keeps them for good and a new version is a new path; a module
that imports a neighbour by a relative path stays within it.
"""

from __future__ import annotations

import asyncio
import functools
import gzip
import hashlib
import mimetypes
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from fastapi import APIRouter, Request
from starlette.responses import Response

from orkhaven.hub.errors import HttpError
from orkhaven.hub.pages.security import HEADERS

FOLDER = Path(__file__).parents[1] / "static"
_FOREVER = "public, max-age=31536000, immutable"
_MIN_COMPRESSED = 512


@dataclass(frozen=True, slots=True)
class Asset:
    plain: bytes
    media_type: str


@functools.cache
def assets() -> Mapping[str, Asset]:
    """By path below the folder. About 4 MB."""
    return {str(path.relative_to(FOLDER)): _asset(path) for path in sorted(FOLDER.rglob("*")) if path.is_file()}


@functools.cache
def packed(path: str) -> bytes | None:
    """gzip; None where that saves nothing. Half a second of the largest, the viewer of volumes: for a thread."""
    plain = assets()[path].plain
    if len(plain) < _MIN_COMPRESSED:
        return None
    made = gzip.compress(plain, 9, mtime=0)
    return made if len(made) < 0.9 * len(plain) else None


@functools.cache
def version() -> str:
    digest = hashlib.sha256()
    for path, asset in assets().items():
        digest.update(path.encode() + b"\0" + hashlib.sha256(asset.plain).digest())
    return digest.hexdigest()[:12]


def static_url(path: str) -> str:
    """Where a page finds it. Raises KeyError: a template names a file that is not there."""
    if path not in assets():
        raise KeyError(path)
    return f"/static/{version()}/{path}"


def _asset(path: Path) -> Asset:
    media_type = "text/javascript" if path.suffix == ".js" else mimetypes.guess_type(path.name)[0] or "text/plain"
    return Asset(path.read_bytes(), media_type)


router = APIRouter(include_in_schema=False)


@router.get("/static/{digest}/{path:path}")
async def static(request: Request, digest: str, path: str) -> Response:
    # A lookup, no file system: there is no path to escape by.
    asset = assets().get(path)
    if asset is None:
        raise HttpError(404, "NotFound", "there is no such file")
    headers = {**HEADERS, "Vary": "Accept-Encoding", "Cache-Control": _FOREVER if digest == version() else "no-cache"}
    body = asset.plain
    if "gzip" in request.headers.get("accept-encoding", ""):
        smaller = await asyncio.to_thread(packed, path)
        if smaller is not None:
            body, headers["Content-Encoding"] = smaller, "gzip"
    return Response(body, media_type=asset.media_type, headers=headers)
