"""What a GPU's kernel says when it stops itself.

The exception that follows comes from whichever call looked at the GPU next, and says no more than that; the kernel's
own line, printed before, says which check did not hold. Owns how that line is found.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from functools import lru_cache

from orkhaven.core.failures.traces import LONGEST_LOG, Chain

_SAID = "Assertion `"
_ASSERTED = re.compile(
    r"(?:(?P<kernel>[\w<>(), ]+): )?block: \[[\d, ]+\], thread: \[[\d, ]+\],? Assertion `(?P<check>.+)`"
)
_OF_CUDA = re.compile(r"CUDA|CUBLAS|cuDNN|CUDNN|device-side assert")
_LONGEST_LINE = 2000


@dataclass(frozen=True, slots=True)
class Assertion:
    """A check of a kernel's that did not hold."""

    kernel: str
    """Empty where it has no name: one of a compiler's."""
    check: str

    def __str__(self) -> str:
        said = f"Assertion `{self.check}` failed"
        return f"{self.kernel}: {said}" if self.kernel else said


def asserted(text: str, chain: Chain) -> Assertion | None:
    """What the kernel said last, where the exceptions in `chain` are of CUDA: nothing works in a process after that."""
    if not any(_OF_CUDA.search(one.statement) for one in chain):
        return None
    return _last(text)


@lru_cache(maxsize=16)
def _last(text: str) -> Assertion | None:
    at = text.rfind(_SAID, max(len(text) - LONGEST_LOG, 0))
    if at < 0:
        return None
    start, end = text.rfind("\n", 0, at) + 1, text.find("\n", at)
    found = _ASSERTED.search(text[start : len(text) if end < 0 else end][:_LONGEST_LINE])
    if found is None:
        return None
    kernel = (found["kernel"] or "").strip()
    return Assertion("" if kernel in ("unknown", "operator()") else kernel, found["check"])
