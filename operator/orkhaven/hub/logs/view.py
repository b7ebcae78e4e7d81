"""A log as it is shown: the kept text, and a line of the hub's own where something was left out or is to be said."""

from __future__ import annotations

import codecs
from collections.abc import Iterator

from orkhaven.hub.logs.store import LogInfo, LogStore, Note, Piece

TAIL_BYTES = 1024 * 1024
"""How far back the last lines are looked for."""


def text_of(logs: LogStore, info: LogInfo, *, start: int = 0, notes: bool = True) -> Iterator[bytes]:
    """From byte `start` to the end as of `info`: the bytes as they came, with the hub's lines between them."""
    remarks = [note for note in logs.notes(info.id) if note.start >= start] if notes else []
    position, fresh = start, True
    for piece in logs.read(info.id, start, info.size):
        if piece.start > position:
            if remarks:
                while remarks and remarks[0].start < piece.start:
                    yield from _remark(remarks.pop(0).text, fresh=fresh)
                    fresh = True
            yield from _remark(left_out(position, piece.start), fresh=fresh)
            position, fresh = piece.start, True
        while remarks and remarks[0].start < piece.end:
            note = remarks.pop(0)
            before = piece.data[position - piece.start : note.start - piece.start]
            if before:
                yield before
                fresh = before.endswith(b"\n")
            yield from _remark(note.text, fresh=fresh)
            position, fresh = max(position, note.start), True
        rest = piece.data[position - piece.start :]
        if rest:
            yield rest
            fresh = rest.endswith(b"\n")
        position = piece.end
    if position < info.size:
        yield from _remark(left_out(position, info.size), fresh=fresh)
        fresh = True
    for note in remarks:
        yield from _remark(note.text, fresh=fresh)
        fresh = True


def left_out(start: int, end: int) -> str:
    return f"{end - start:,} bytes are left out here: of a long log only the beginning and the end are kept"


def _remark(text: str, *, fresh: bool) -> Iterator[bytes]:
    """A line of the hub's own. `fresh`: the text before it has ended its line."""
    yield (b"" if fresh else b"\n") + f"[orkhaven: {text}]\n".encode()


def remark(note: Note) -> bytes:
    return f"[orkhaven: {note.text}]\n".encode()


def tail_start(logs: LogStore, info: LogInfo, lines: int) -> int:
    """Where the last `lines` lines begin, at most TAIL_BYTES back."""
    if lines == 0:
        return info.size
    begin = max(0, info.size - TAIL_BYTES)
    text = b"".join(piece.data for piece in logs.read(info.id, begin, info.size))
    # What is left out in between only makes the text shorter: count from the end.
    at = len(text) - 1 if text.endswith(b"\n") else len(text)
    for _ in range(lines):
        at = text.rfind(b"\n", 0, at)
        if at < 0:
            return info.size - len(text)
    return info.size - len(text) + at + 1


def page_before(logs: LogStore, info: LogInfo, end: int, limit: int) -> tuple[int, int]:
    """(first byte, bytes) of the page of whole lines that ends before byte `end`; where all of it was left out, of the
    one before that. (0, 1) stands for the very beginning.
    """
    end = min(end, info.size)
    kept = [(first, min(last, end)) for first, last in logs.extents(info.id) if first < end]
    if not kept:
        return 0, 1
    first, last = kept[-1]
    start = max(first, last - limit)
    if start > first:
        # A line that begins before the page is left to the page before, unless it is all there is. The byte before the
        # page says whether one does.
        text = b"".join(piece.data for piece in logs.read(info.id, start - 1, last))
        cut = text.find(b"\n", 0, len(text) - 1)
        start += cut if cut >= 0 else 0
    return start, last - start


def joined(pieces: Iterator[Piece], *, whole: bool) -> list[Piece]:
    """Neighbours as one. Unless `whole`, the last one ends with its last line, so that the next page begins with one;
    of a line longer than the page only a character that is cut in two waits.
    """
    found: list[tuple[int, float, list[bytes]]] = []
    end = -1
    for piece in pieces:
        if piece.start == end:
            found[-1][2].append(piece.data)
        else:
            found.append((piece.start, piece.time, [piece.data]))
        end = piece.end
    made = [Piece(start, b"".join(parts), time) for start, time, parts in found]
    if made and not whole:
        last = made[-1]
        cut = last.data.rfind(b"\n") + 1 or _whole_characters(last.data)
        made[-1] = Piece(last.start, last.data[:cut], last.time)
    return made


def _whole_characters(data: bytes) -> int:
    """Bytes up to a character that is cut off at the end."""
    for back in range(1, min(4, len(data)) + 1):
        byte = data[-back]
        if byte & 0xC0 == 0x80:
            continue
        wanted = 4 if byte >= 0xF0 else 3 if byte >= 0xE0 else 2 if byte >= 0xC0 else 1
        return len(data) - back if wanted > back and len(data) > back else len(data)
    return len(data)


def decoder() -> codecs.IncrementalDecoder:
    """Whatever a program prints becomes text: what is no UTF-8 is shown as U+FFFD."""
    return codecs.getincrementaldecoder("utf-8")("replace")
