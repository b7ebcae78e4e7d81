"""What a person at a terminal sees between two epochs; nothing where the output is a file or a pod's log."""

from __future__ import annotations

import sys
import time
from typing import TextIO

_WIDTH = 24
_EVERY = 0.2  # seconds: a terminal over a network is slow


class Display:
    """One line that is overwritten. `line` is for what has to stay."""

    def __init__(self, stream: TextIO | None = None) -> None:
        self._stream = stream or sys.stdout
        self._on = self._stream.isatty()
        self._last = 0.0
        self._drawn = False

    def step(self, done: int, total: int, *, epoch: int, loss: float, rate: float) -> None:
        """`done` of `total` steps of the epoch; `rate` in slices per second."""
        now = time.monotonic()
        if not self._on or (now - self._last < _EVERY and done < total):
            return
        self._last, self._drawn = now, True
        filled = "#" * (_WIDTH * done // total)
        text = f"epoch {epoch} [{filled:<{_WIDTH}}] {done}/{total}  loss {loss:.4f}  {rate:.1f} slices/s"
        self._stream.write(f"\r{text}\x1b[K")
        self._stream.flush()

    def line(self, text: str) -> None:
        self._stream.write(f"\r\x1b[K{text}\n" if self._drawn else f"{text}\n")
        self._stream.flush()
        self._drawn = False
