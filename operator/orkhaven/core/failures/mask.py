"""Texts without what differs between two failures of one cause: numbers, sizes, times, hosts, paths, addresses."""

from __future__ import annotations

import re
from functools import lru_cache

NUMBER, SIZE, PATH, URL, HOST, TIME = "#", "<size>", "<path>", "<url>", "<host>", "<time>"
HEX, UUID, GPU = "<hex>", "<uuid>", "<gpu>"

_FILE = r"[\w.@+=~%,-]+"
# What is a number, but says what failed.
_KEPT = (
    r"\b(?:Errno|errno:?|exit ?code:?|signal:?|status(?:_code| code)?:?|HTTP(?:/\d\.\d)?"
    r"|Xid\b[^\n:]{0,40}:)\s?\(?\d{1,3}\b|\b\d{3}(?= (?:Client|Server) Error)"
)
_STEPS: tuple[tuple[str, str], ...] = (
    (r"\x1b\[[0-9;?]*[A-Za-z]", ""),
    (r"\b[0-9a-fA-F]{8}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{4}-[0-9a-fA-F]{12}\b", UUID),
    (r"\b[a-zA-Z][a-zA-Z0-9+.-]*://[^\s'\"<>)]+", URL),
    (r"\b0x[0-9a-fA-F]+\b|\bsha256:[0-9a-f]+\b|\b(?=[a-f]*[0-9])(?=[0-9]*[a-f])[0-9a-f]{8,64}\b", HEX),
    (r"\b\d{4}-\d\d-\d\d(?:[T ]\d\d:\d\d(?::\d\d)?(?:[.,]\d+)?(?:Z|[+-]\d\d:?\d\d)?)?"
    r"|\b\d{1,2}:\d\d:\d\d(?:[.,]\d+)?\b", TIME),
    (r"\b(?:PCI:)?[0-9a-fA-F]{4,8}:[0-9a-fA-F]{2}:[0-9a-fA-F]{2}(?:\.\d)?\b|\bGPU-[0-9a-f-]{8,}\b", GPU),
    # Hosts: addresses, names with a port, names of the usual domains.
    (r"\b\d{1,3}(?:\.\d{1,3}){3}(?::\d{1,5})?\b|\[[0-9a-f]*:[0-9a-f:.]+\](?::\d+)?", HOST),
    (r"\b[a-zA-Z][\w-]*(?:\.[\w-]+)*:\d{4,5}\b|\b[\w-]+(?:\.[\w-]+)*\.(?:svc|local|internal|com|org|net|io"
    r"|ai|edu)\b(?::\d+)?", HOST),
    # Paths: quoted with anything in them, from the root, on Windows, or with a file's ending.
    (r"(?<=['\"])(?:/|\.{1,2}/|~/)[^'\"\n]*(?=['\"])", PATH),
    (rf"(?<![\w<.])(?:\.{{0,2}}|~)/{_FILE}(?:/{_FILE})*/?|\b[A-Z]:\\[^\s'\"]+", PATH),
    (r"\b[\w.@+=~-]+(?:/[\w.@+=~-]+)*/[\w@+=~-]+(?:\.\w{1,6})+\b"
    r"|(?<![\w.<])[\w@+=~-]*\d[\w@+=~-]*(?:\.[a-zA-Z]\w{0,5}){1,2}\b", PATH),
    (r"[-+]?\d+(?:\.\d+)?\s?(?:bytes|B|[KMGT]i?B)\b", SIZE),
)  # fmt: skip
_COMPILED = tuple((re.compile(pattern), word) for pattern, word in _STEPS)
_NUMBERS = re.compile(rf"(?P<kept>{_KEPT})|[-+]?(?<![\w.])\d+(?:\.\d+)?(?:[eE][-+]?\d+)?%?|\d+")
# Shapes and lists: two dimensions or three are the same mistake.
_SERIES = re.compile(r"#(?:\s?[,x×:]\s?#)+,?")
_SPACE = re.compile(r"\s+")


@lru_cache(maxsize=512)
def mask(text: str) -> str:
    """One line with placeholders. Exit codes, errno, HTTP status and Xid stay: they say what failed."""
    for pattern, word in _COMPILED:
        text = pattern.sub(word, text)
    text = _NUMBERS.sub(lambda found: found["kept"] or NUMBER, text)
    return _SPACE.sub(" ", _SERIES.sub(NUMBER, text)).strip()
