"""How long to wait before a watch that has ended is asked for again.

An API server ends each watch after minutes, and the next one follows at once. One that ends every watch as soon as it
is open (a proxy in between that does not stream, a server that is being shut down) would be asked a thousand times a
second.
"""

from __future__ import annotations

import random
import time
from collections.abc import Callable

SHORT_SECONDS = 1.0
"""A watch that lasted as long and was silent was a good one: nothing happened."""
FIRST_SECONDS = 0.1
LONGEST_SECONDS = 5.0
"""Rare enough for a server that answers at once, and soon enough once one that was away is back."""


class Pauses:
    """Of one watch and those that take its place. The pause doubles with each that ends at once and has told nothing;
    the first event, or a watch that lasts, makes the next pause none."""

    def __init__(
        self, *, clock: Callable[[], float] = time.monotonic, rng: Callable[[], float] = random.random
    ) -> None:
        """`clock`: seconds, monotonic; `rng`: from 0 to 1."""
        self._clock, self._rng = clock, rng
        self._begun: float | None = None
        self._in_vain = 0
        """Watches in a row that ended at once."""

    def begin(self) -> None:
        """A watch is asked for now."""
        self._begun = self._clock()

    def heard(self) -> None:
        """It has told of something; a bookmark is nothing."""
        self._begun, self._in_vain = None, 0

    def after_end(self) -> float:
        """Seconds, 0 for none; with jitter, since all watches lost the same server."""
        if self._begun is None or self._clock() - self._begun >= SHORT_SECONDS:
            self._in_vain = 0
            return 0.0
        # 2 ** 20 is far beyond the longest already.
        pause = min(LONGEST_SECONDS, FIRST_SECONDS * 2.0 ** min(self._in_vain, 20))
        self._in_vain += 1
        return pause * (0.5 + self._rng() / 2)
