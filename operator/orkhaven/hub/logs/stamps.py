"""A pod's log as `pods/log` gives it with timestamps: the text without them, and the place at which to go on.

Pure. The API server takes a place only as a time in whole seconds (sinceTime), so the lines of that second come again;
which of them are known is decided here, by the nanoseconds before each line. A line is what the program ended by a
newline, however long: the kubelet joins the pieces of 16 KiB in which the runtime writes it.

What cannot be mended: where a node's clock goes back while nobody follows, the kubelet leaves out all lines until its
clock has passed `sinceTime` again.
"""

from __future__ import annotations

import re
from dataclasses import dataclass, replace
from datetime import UTC, datetime, timedelta
from itertools import pairwise

_STAMP = re.compile(rb"(?m)^(\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(?:\.\d{1,9})?(?:Z|[+-]\d\d:\d\d)) ")
_LONGEST = len(b"2026-01-02T03:04:05.123456789+01:00 ")
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
SECOND = 1_000_000_000
"""Nanoseconds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Cursor:
    """The line at which a log was left."""

    time: int = 0
    """Its stamp in nanoseconds since the epoch; 0: nothing has been read."""
    same: int = 0
    """Whole lines with just this stamp that were read."""
    open: int = 0
    """Bytes read of a further line with this stamp, whose end had not come."""
    high: int = 0
    """The latest stamp of all. Above `time`: the node's clock went back, so that stamps do not say what is known."""

    @property
    def since(self) -> str | None:
        """`sinceTime` for the next request; None: from the beginning."""
        if not self.time:
            return None
        return (_EPOCH + timedelta(seconds=self.time // SECOND)).strftime("%Y-%m-%dT%H:%M:%SZ")


def parse(stamp: bytes) -> int:
    """Nanoseconds since the epoch. Raises ValueError."""
    text = stamp.decode("ascii")
    at = text.find(".")
    nanoseconds = 0
    if at >= 0:
        end = at + 1
        while text[end].isdigit():
            end += 1
        nanoseconds = int(text[at + 1 : end].ljust(9, "0"))
        text = text[:at] + text[end:]
    since = datetime.fromisoformat(text) - _EPOCH
    return (since.days * 86_400 + since.seconds) * SECOND + nanoseconds


class Stripper:
    """One connection's bytes in, text out. `cursor` is the place after all text that was given out."""

    def __init__(self, cursor: Cursor) -> None:
        self.cursor = cursor
        self._known: Cursor | None = cursor if cursor.time else None
        """What is to be found again before anything is given out."""
        self._seen = 0
        """Lines with the stamp of `_known` that went by."""
        self._skip = 0
        """Bytes of the present line that are known."""
        self._dropping = False
        """Inside a known line."""
        self._inside = False
        """Inside a line that is given out."""
        self._stamped = True
        """Whether that line has a stamp. The kubelet's own words have none, and do not come again."""
        self._carry = b""
        """The beginning of a line, too short to tell whether it has a stamp."""

    def feed(self, block: bytes) -> bytes:
        """The new text in it."""
        data = self._carry + block
        self._carry = b""
        parts: list[bytes] = []
        while data and (self._known is not None or self._dropping or self._skip):
            data = self._find(data, parts)
        if data:
            self._strip(data, parts)
        return b"".join(parts)

    def finish(self) -> bytes:
        """The text of what was held back: call it once the log has ended, not where the connection broke."""
        rest, self._carry = self._carry, b""
        if rest and self._known is None:
            self._started(rest, None)
            return rest
        return b""

    # --- looking for the place ---

    def _find(self, data: bytes, parts: list[bytes]) -> bytes:
        """Passes over what is known; returns what is left to look at (nothing: all of it was passed over or kept for
        the next block).
        """
        if self._dropping:
            end = data.find(b"\n") + 1
            self._dropping = not end
            return data[end:] if end else b""
        if self._skip:
            end = data.find(b"\n") + 1 or len(data)
            passed = min(self._skip, end)
            self._skip -= passed
            if data[passed - 1 : passed] == b"\n":
                self._skip = 0  # shorter than it was: it is another line
                self._inside = False
            return data[passed:]
        assert self._known is not None
        match = _STAMP.match(data)
        if match is None:
            if b"\n" not in data and len(data) < _LONGEST:
                self._carry = data
                return b""
            self._dropping = True  # the kubelet's own words; whatever they were, they are not of the program
            return data
        stamp, known = _parse_or_none(match[1]), self._known
        if stamp == known.time and self._seen < known.same:
            self._seen += 1
            if self._seen == known.same and not known.open:
                self._known = None  # after this line all is new, whatever its stamp says
        elif stamp == known.time:
            self._known = None
            if known.open:
                self._skip, self._inside, self._stamped = known.open, True, True
                return data[match.end() :]
            return data
        elif stamp is not None and stamp > known.high:
            # The place is gone (rotated away): a line that was left half read has no end.
            self._known = None
            if known.open:
                parts.append(b"\n")
                self.cursor = replace(known, same=known.same + 1, open=0)
            return data
        self._dropping = True
        return data[match.end() :]

    # --- the usual way: whole blocks at once ---

    def _strip(self, data: bytes, parts: list[bytes]) -> None:
        if self._inside:
            end = data.find(b"\n") + 1
            if not end:
                self._grew(len(data))
                parts.append(data)
                return
            parts.append(data[:end])
            self._inside = False
            if self._stamped:
                self.cursor = replace(self.cursor, same=self.cursor.same + 1, open=0)
            data = data[end:]
        end = data.rfind(b"\n") + 1
        if end:
            self._ended(data[:end])
            parts.append(_STAMP.sub(b"", data[:end]))
        rest = data[end:]
        if not rest:
            return
        match = _STAMP.match(rest)
        if match is None and len(rest) < _LONGEST:
            self._carry = rest
            return
        text = rest if match is None else rest[match.end() :]
        self._started(text, None if match is None else _parse_or_none(match[1]))
        parts.append(text)

    def _ended(self, lines: bytes) -> None:
        """Whole lines went by."""
        stamps = _STAMP.findall(lines)
        while stamps and _parse_or_none(stamps[-1]) is None:
            stamps.pop()
        if not stamps:
            return
        last, time = stamps[-1], parse(stamps[-1])
        same = 0
        for stamp in reversed(stamps):
            if stamp != last:
                break
            same += 1
        high = max(self.cursor.high, time)
        if any(one > other for one, other in pairwise(stamps)):  # as text: one writer, one form, one zone
            high = max(high, *(_parse_or_none(stamp) or 0 for stamp in set(stamps)))
        if same == len(stamps) and time == self.cursor.time:
            same += self.cursor.same
        self.cursor = Cursor(time=time, same=same, open=0, high=high)

    def _started(self, text: bytes, time: int | None) -> None:
        """A line began whose end has not come."""
        self._inside, self._stamped = True, time is not None
        if time is None:
            return
        if time == self.cursor.time:
            self._grew(len(text))
        else:
            self.cursor = Cursor(time=time, same=0, open=len(text), high=max(self.cursor.high, time))

    def _grew(self, size: int) -> None:
        if self._stamped:
            self.cursor = replace(self.cursor, open=self.cursor.open + size)


def _parse_or_none(stamp: bytes) -> int | None:
    """None for what has the form of a time and is none: the 31st of February."""
    try:
        return parse(stamp)
    except ValueError:
        return None
