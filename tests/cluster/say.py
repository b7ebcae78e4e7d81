"""What a person reads: progress lines on standard error, errors that say what would be right. Standard library only."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from pathlib import Path

_started = time.monotonic()


class ClusterError(Exception):
    """Something about the cluster went wrong in a way that a person can act on; the text says what and where."""


def say(line: str) -> None:
    """One progress line, with the seconds since the tool started."""
    print(f"[cluster {time.monotonic() - _started:5.1f} s] {line}", file=sys.stderr, flush=True)


def tail(path: Path, lines: int = 15) -> str:
    """The last lines of a log file, indented; empty where there is none."""
    try:
        text = path.read_text(errors="replace")
    except OSError:
        return ""
    return "\n".join(f"    {line}" for line in text.splitlines()[-lines:])


def wait_for(what: str, ready: Callable[[], bool], *, seconds: float, every: float = 0.1, hint: str = "") -> None:
    """Returns as soon as `ready()` is true; raises ClusterError naming `what` after `seconds`."""
    deadline = time.monotonic() + seconds
    while not ready():
        if time.monotonic() > deadline:
            raise ClusterError(f"waited {seconds:.0f} s for {what}{': ' + hint if hint else ''}")
        time.sleep(every)
