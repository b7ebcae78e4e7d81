"""Metric lines on disk, the truth of what a run has reported: one append-only file per attempt, and how far each was
sent.

The reporter sends from here, so that a hub that is down, a killed process or a new attempt loses nothing. Standard
library only.
"""

from __future__ import annotations

import json
import os
import re
from pathlib import Path
from typing import cast

from orkrun.contract import MetricLine
from orkrun.files import write_atomic

SENT = "metrics-sent.json"
MAX_LINE = 64 * 1024
"""Bytes of one line. Hundreds of metrics fit; a batch always holds at least one line."""

_NAME = re.compile(r"metrics-(\d+)\.jsonl")


def spool_path(folder: Path, attempt: int) -> Path:
    return folder / f"metrics-{attempt}.jsonl"


class Spool:
    """The attempt's own file, opened for appending. `seq` goes on where a former process of the same attempt
    stopped.
    """

    def __init__(self, folder: Path, attempt: int) -> None:
        """Opens the file; half a line left by a process killed while writing is cut off. Raises OSError."""
        self.path = spool_path(folder, attempt)
        self.attempt = attempt
        self._fd = os.open(self.path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o664)
        content = self.path.read_bytes()
        self._size = content.rfind(b"\n") + 1
        os.ftruncate(self._fd, self._size)
        self.seq = max((line["seq"] for line in parse_lines(content[: self._size])), default=0)

    def append(self, line: MetricLine) -> None:
        """Writes one line whole or not at all. Raises OSError, ValueError for a line above MAX_LINE."""
        content = json.dumps(line, separators=(",", ":"), allow_nan=False).encode() + b"\n"
        if len(content) > MAX_LINE:
            raise ValueError(f"a metric line of {len(content)} bytes is above the limit of {MAX_LINE}")
        try:
            done = os.pwrite(self._fd, content, self._size)
            if done != len(content):
                raise OSError(28, "No space left on device", str(self.path))
        except OSError:
            os.ftruncate(self._fd, self._size)  # the reader must never see half a line as one
            raise
        self._size += len(content)

    def close(self) -> None:
        os.close(self._fd)


def parse_lines(content: bytes) -> list[MetricLine]:
    """The lines that can be read; damaged ones are left out."""
    lines: list[MetricLine] = []
    for raw in content.splitlines():
        try:
            line = json.loads(raw)
        except ValueError:
            continue
        if isinstance(line, dict) and isinstance(line.get("seq"), int):
            lines.append(cast(MetricLine, line))
    return lines


class Backlog:
    """What is not sent yet, over all attempts of the folder, oldest first. Only the sending thread uses it."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder
        self._current: Path | None = None
        try:
            raw = json.loads((folder / SENT).read_bytes())
            self._sent = {str(name): int(offset) for name, offset in raw.items()}
        except (OSError, ValueError, AttributeError, TypeError):
            self._sent = {}  # at worst everything is sent again: the hub knows lines by their seq

    def _files(self) -> list[Path]:
        found = [(int(match[1]), path) for path in self._folder.iterdir() if (match := _NAME.fullmatch(path.name))]
        return [path for _, path in sorted(found)]

    def peek(self, limit: int) -> list[bytes]:
        """The next unsent lines, at most `limit` bytes of them (at least one line). Empty: all is sent. Raises
        OSError.
        """
        for path in self._files():
            offset = self._sent.get(path.name, 0)
            with open(path, "rb") as file:
                file.seek(offset)
                chunk = file.read(max(limit, MAX_LINE))
            whole = chunk[: chunk.rfind(b"\n") + 1]
            if whole:
                self._current = path
                lines = whole.splitlines(keepends=True)
                size, count = 0, 0
                while count < len(lines) and (count == 0 or size + len(lines[count]) <= limit):
                    size += len(lines[count])
                    count += 1
                return lines[:count]
        return []

    def advance(self, size: int) -> None:
        """Marks the first `size` bytes of what `peek` showed as done. Raises OSError where that cannot be kept on
        disk.
        """
        assert self._current is not None, "advance follows a peek that returned lines"
        name = self._current.name
        self._sent[name] = self._sent.get(name, 0) + size
        write_atomic(self._folder / SENT, json.dumps(self._sent).encode(), durable=False)
