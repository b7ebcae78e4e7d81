"""How a log's text lies in the store: in pieces of CHUNK bytes, the first and the last of them kept.

Pure. A piece that is not full yet is written again with what came after it, so that a log that grows by a line at a
time does not become a row for each.
"""

from __future__ import annotations

import zlib
from dataclasses import dataclass

from orkhaven.hub.logs.stamps import Cursor

CHUNK = 64 * 1024
"""Bytes of text in a piece: zlib gains little from more, and to read a line at most this much is unpacked."""
LEVEL = 1
"""zlib's fastest: 2 to 3 times as fast as 6, and a log becomes a tenth instead of a twelfth."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Limits:
    """Of one attempt's log, in bytes of text; rounded to whole pieces."""

    head: int
    """Kept of the beginning."""
    tail: int
    """Kept of the end."""

    @property
    def head_end(self) -> int:
        return self.head // CHUNK * CHUNK

    def tail_start(self, size: int) -> int:
        """Of a log of that size: from here on all is kept. At most `head_end`: nothing is left out."""
        return max(self.head_end, (size - self.tail) // CHUNK * CHUNK)


@dataclass(frozen=True, slots=True)
class Chunk:
    start: int
    size: int
    time: float
    data: bytes
    """Compressed."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Append:
    """What the store is to do, as one change: all of it or nothing."""

    log_id: int
    pod_uid: str
    before: int
    """Size that the log must have: another hub that followed the same pod would have changed it."""
    after: int
    cursor: Cursor
    replaces: int
    """Pieces from this byte on are replaced by `chunks`."""
    chunks: tuple[Chunk, ...]
    drop: tuple[int, int] | None
    """Pieces in this range go: they are in the middle now."""


class Pieces:
    """The end of one log: its last piece as text."""

    def __init__(self, log_id: int, pod_uid: str, *, size: int, last: bytes, time: float, limits: Limits) -> None:
        """`last`: the text after the last whole multiple of CHUNK."""
        self._log_id = log_id
        self._pod_uid = pod_uid
        self._limits = limits
        self._last = last
        self._time = time
        self.size = size

    def add(self, text: bytes, *, cursor: Cursor, time: float) -> Append:
        """Takes text in and packs it. Takes milliseconds a megabyte, mostly without Python's lock: for a thread."""
        before, first = self.size, self.size - len(self._last)
        whole = self._last + text
        after = before + len(text)
        kept_from = self._limits.tail_start(after)
        chunks: list[Chunk] = []
        for offset in range(0, len(whole), CHUNK):
            start = first + offset
            piece = whole[offset : offset + CHUNK]
            if self._limits.head_end <= start < kept_from:
                continue  # more than the tail came at once
            began = self._time if offset == 0 and self._last else time
            chunks.append(Chunk(start, len(piece), began, zlib.compress(piece, LEVEL)))
        rest = len(whole) % CHUNK
        if rest >= len(text) and self._last:
            pass  # the last piece is the same as before, only longer
        else:
            self._time = time
        self._last = whole[len(whole) - rest :] if rest else b""
        self.size = after
        return Append(
            log_id=self._log_id,
            pod_uid=self._pod_uid,
            before=before,
            after=after,
            cursor=cursor,
            replaces=first,
            chunks=tuple(chunks),
            drop=(self._limits.head_end, kept_from) if kept_from > self._limits.head_end else None,
        )


def unpack(data: bytes) -> bytes:
    """At most CHUNK bytes of text, whatever a damaged store holds. Raises zlib.error."""
    return zlib.decompressobj().decompress(data, CHUNK)
