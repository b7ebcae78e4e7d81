"""Searches a log for a pattern, in a process of its own: `python -I -S grep_worker.py`, standard library only.

A process, because nothing else can be stopped: Python's regular expressions may take for ever ((a+)+b), in a thread
they would hold the interpreter's lock all the while, and to tell harmless patterns from others beforehand refuses many
that people use. This one is killed by the kernel when its CPU time is used up, and by the hub when it takes too long.

In: one line of JSON {"pattern", "ignoreCase", "context", "limit", "maxLine", "cpuSeconds", "memoryBytes"}; then pieces
of text, each `<place> <size>\n` and as many bytes. Out: one JSON object {"matches", "more"} or {"error"}.
"""

from __future__ import annotations

import json
import re
import resource
import sys
from collections import deque
from collections.abc import Iterator
from typing import Any, BinaryIO

SHOWN, SHOWN_CONTEXT = 2000, 500
"""Characters shown of a line that matches, around the match, and of those beside it."""

Line = tuple[int, bytes]
"""Place of its first byte in the log, and the line without its end."""


def pieces(source: BinaryIO) -> Iterator[Line]:
    while head := source.readline(64):
        at, size = head.split()
        yield int(at), source.read(int(size))


def lines(source: Iterator[Line], max_line: int) -> Iterator[Line]:
    """Whole lines. Of one that is longer than `max_line` only the beginning, so that a line of 100 MB is one match at
    most and never in memory.
    """
    begin, held, expected = 0, b"", 0
    for at, data in source:
        if at != expected:  # something was left out between
            if held:
                yield begin, held
            begin, held = at, b""
        expected = at + len(data)
        start = 0
        while True:
            end = data.find(b"\n", start)
            if end < 0:
                break
            yield begin, held + data[start : min(end, start + max(0, max_line - len(held)))]
            start = end + 1
            begin, held = at + start, b""
        held += data[start : start + max(0, max_line - len(held))]
    if held:
        yield begin, held


def search(wanted: dict[str, Any], source: Iterator[Line]) -> dict[str, Any]:
    try:
        pattern = re.compile(wanted["pattern"], re.IGNORECASE if wanted["ignoreCase"] else 0)
    except (re.error, OverflowError, RecursionError) as error:
        return {"error": str(error)}
    context, limit = wanted["context"], wanted["limit"]
    before: deque[str] = deque(maxlen=context)
    found: list[dict[str, Any]] = []
    unfinished: list[dict[str, Any]] = []
    """Matches that still want lines after them."""
    for at, raw in lines(source, wanted["maxLine"]):
        text = raw.decode("utf-8", "replace").rstrip("\r")
        for one in unfinished:
            one["after"].append(text[:SHOWN_CONTEXT])
        unfinished = [one for one in unfinished if len(one["after"]) < context]
        match = pattern.search(text)
        if match is not None:
            if len(found) >= limit:
                return {"matches": found, "more": True}
            cut = max(0, match.start() - SHOWN // 4)
            shown = text[cut : cut + SHOWN]
            one = {
                "offset": at,
                "text": shown,
                "start": match.start() - cut,
                "end": min(match.end() - cut, len(shown)),
                "before": list(before),
                "after": [],
            }
            found.append(one)
            if context:
                unfinished.append(one)
        before.append(text[:SHOWN_CONTEXT])
    return {"matches": found, "more": False}


def main() -> None:
    source = sys.stdin.buffer
    wanted = json.loads(source.readline())
    seconds = wanted["cpuSeconds"]
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    resource.setrlimit(resource.RLIMIT_AS, (wanted["memoryBytes"], wanted["memoryBytes"]))
    try:
        answer = search(wanted, pieces(source))
    except MemoryError:
        answer = {"error": "it needs too much memory"}
    sys.stdout.write(json.dumps(answer))


if __name__ == "__main__":
    main()
