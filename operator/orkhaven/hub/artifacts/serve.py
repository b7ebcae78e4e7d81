"""Headers and ranges of an artifact: whatever its bytes are, no browser runs them in the hub's name. Pure."""

from __future__ import annotations

import re
from urllib.parse import quote

from orkhaven.hub.artifacts.entry import Entry
from orkrun.artifacts import image_type

DOWNLOADS = {
    *("application/gzip", "application/x-nifti", "application/json", "application/x-ndjson", "application/zip"),
    *("text/csv", "text/plain", "text/markdown", "application/pdf", "application/x-npy"),
}
"""Types that a download may have; all others are application/octet-stream."""
_RANGE = re.compile(r"bytes=(\d{0,15})-(\d{0,15})")


class Unsatisfiable(Exception):
    """The range begins after the end."""


def headers(entry: Entry, first: bytes) -> dict[str, str]:
    """`first`: its first bytes. Only what begins as PNG, JPEG, GIF or WebP is shown in place, as that and nothing
    else; SVG and HTML never are.
    """
    image = image_type(first)
    if image is not None:
        media_type, disposition = image[0], "inline"
    else:
        media_type = entry.media_type if entry.media_type in DOWNLOADS else "application/octet-stream"
        disposition = "attachment"
    return {
        "Content-Type": media_type,
        "Content-Disposition": f"{disposition}; {_file_name(entry)}",
        "Content-Security-Policy": "sandbox; default-src 'none'",
        "X-Content-Type-Options": "nosniff",
        "Cross-Origin-Resource-Policy": "same-origin",
        "Accept-Ranges": "bytes",
        "ETag": etag(entry),
        # The same id has the same bytes for ever, but who may see them can change.
        "Cache-Control": "private, no-cache",
    }


def etag(entry: Entry) -> str:
    return f'"{entry.sha256}"'


def _file_name(entry: Entry) -> str:
    suffix = "".join(re.findall(r"\.[A-Za-z0-9]{1,8}", entry.path.rsplit("/", 1)[-1])[-2:])
    name = entry.name if entry.name.endswith(suffix) else entry.name + suffix
    plain = re.sub(r"[^A-Za-z0-9._-]+", "-", name).strip(".-")[:100] or "artifact"
    return f"filename=\"{plain}\"; filename*=UTF-8''{quote(name.replace('/', '-')[:150], safe='')}"


def is_fresh(entry: Entry, if_none_match: str | None) -> bool:
    """What the client has is the same: 304."""
    tags = [tag.strip().removeprefix("W/") for tag in (if_none_match or "").split(",")]
    return etag(entry) in tags or "*" in tags


def wanted(entry: Entry, header: str | None, if_range: str | None) -> tuple[int, int] | None:
    """(first, after the last) of the one range that is wanted; None: all of it, also for several ranges and for what
    is no range. Raises Unsatisfiable.
    """
    match = _RANGE.fullmatch((header or "").strip())
    if match is None or (if_range is not None and if_range.strip() != etag(entry)):
        return None
    first, last = match[1], match[2]
    if not first and not last:
        return None
    if not first:
        count = int(last)
        if count == 0 or entry.size == 0:
            raise Unsatisfiable
        return max(0, entry.size - count), entry.size
    start = int(first)
    if last and int(last) < start:
        return None
    if start >= entry.size:
        raise Unsatisfiable
    return start, min(entry.size, int(last) + 1) if last else entry.size
