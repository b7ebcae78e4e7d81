"""What makes two failures the same: exception type, masked message and the project's own innermost frame.

Neither line numbers nor frames of libraries count, so that a fingerprint outlives restarts, edits elsewhere in a file
and other versions of what lies underneath. Where the text tells of no exception, its last telling lines stand for it.
"""

from __future__ import annotations

import hashlib
import re
from dataclasses import dataclass
from functools import lru_cache

from orkhaven.api import Reason
from orkhaven.core.failures.evidence import Evidence, Record
from orkhaven.core.failures.kernels import asserted
from orkhaven.core.failures.mask import mask
from orkhaven.core.failures.traces import Raised, fatal

SIGNATURE = 240
"""Characters of a signature."""
_ID = 8
_LAST_LINES = 40
_LONGEST_LINE = 2000
"""Characters of a line that count."""
_LONGEST_SAID, _LONGEST_MASKED = 1000, 500
"""Characters of what was said that make the fingerprint, and what is left of more than these once it is masked: where
it was cut depends on what varies."""

_ONE_CAUSE = frozenset(
    {
        Reason.PREEMPTED,
        Reason.DRAINED,
        Reason.NODE_LOST,
        Reason.TIMEOUT,
        Reason.OUT_OF_MEMORY_KILLED,
        Reason.CUDA_OUT_OF_MEMORY,
        Reason.SHARED_MEMORY,
        Reason.METRIC_MISSING,
        Reason.STALLED,
        Reason.HUNG_AT_START,
        Reason.VOLUME_TIMEOUT,
    }
)
"""Causes whose words and places are chance: memory runs out wherever it happens to be asked for, and the last line
before a silence says nothing of why. One cluster each."""
_ANYWHERE = frozenset(
    {Reason.GPU_HARDWARE, Reason.INFRASTRUCTURE, Reason.DISK_FULL, Reason.DIVERGED, Reason.IMAGE_PULL}
)
"""Causes that have kinds, told apart by their words, but no place in the code."""

_TELLING = re.compile(
    r"error|fatal|fail|exception|abort|cannot|can't|could not|unable|denied|killed|panic|refused|not found|no such"
    r"|invalid|missing|NaN|assert",
    re.IGNORECASE,
)
_NOISE = re.compile(
    r"^\s*$|^[\s=*#~_.-]+$|\d+%\|.*\|.*\d+/\d+|^\s*(?:\^|~)+"
    r"|^(?:exitcode|error_file|traceback|time|host|rank|pid)\s*:|"
    r"To enable traceback see|^\s*warnings\.warn|Process finished|^Compile with|^For debugging consider"
    r"|^Some kernels|"
    r"core dumped\)?$(?<!Aborted)"
)
_LOCATION = re.compile(r"^(?P<path>.*?):\d+ in (?P<name>.+)$")


@dataclass(frozen=True, slots=True, kw_only=True)
class Fingerprint:
    """What a failure is recognised by."""

    id: str
    """Eight hexadecimal digits."""
    signature: str
    """The same for people: type and message without what varies, then where."""


def fingerprint(reason: str, message: str, evidence: Evidence | None = None) -> Fingerprint:
    """`message`: the cause in a sentence, which counts where the machine told of it and not the run."""
    kind, said, where = _parts(reason, message, evidence)
    line = mask(_node_free(said[:_LONGEST_SAID], evidence))
    if len(said) > _LONGEST_SAID:
        line = line[:_LONGEST_MASKED]
    digest = hashlib.sha256("\n".join((str(reason), kind, line, where)).encode()).hexdigest()[:_ID]
    shown = f"{kind}: {line}" if kind and line else kind or line
    return Fingerprint(id=digest, signature=_clipped(f"{shown} ({where})" if where else shown))


def _parts(reason: str, message: str, evidence: Evidence | None) -> tuple[str, str, str]:
    """(type, message, place)."""
    if reason in _ONE_CAUSE:
        return "", "", ""
    if evidence is None or not evidence.text:
        return "", message, ""
    record = evidence.record
    if record is not None and record.failure_type.startswith("orkrun."):
        # The program's own sentence about it.
        return record.failure_type.removeprefix("orkrun."), _first(record.failure_message), _place(record)
    chain = fatal(evidence.text)
    if chain:
        root = chain[0]
        where = _in_project(root) or _in_project(chain[-1]) or (_place(record) if record else "")
        where = "" if reason in _ANYWHERE else where
        if (kernel := asserted(evidence.text, chain)) is not None:
            return "", str(kernel), where
        return root.kind.rpartition(".")[2], _first(root.message), where
    if record is not None and record.failure_type:
        kind = record.failure_type.rpartition(".")[2]
        return kind, _first(record.failure_message), "" if reason in _ANYWHERE else _place(record)
    return "", last_words(evidence.text) or message, ""


@lru_cache(maxsize=16)
def last_words(text: str) -> str:
    """The line of the end that tells most, of a text without exceptions."""
    last = ""
    for line in reversed(last_lines(text, _LAST_LINES)):
        if _NOISE.search(cut := line[:_LONGEST_LINE]):
            continue
        if _TELLING.search(cut):
            return cut.strip()
        last = last or cut.strip()
    return last


def last_lines(text: str, count: int) -> list[str]:
    """As `text.splitlines()[-count:]`, but without a look at the rest."""
    window = 256 * count
    while window < len(text):
        # The first may be half a line, or what a cut through "\r\n" has left.
        lines = text[-window:].splitlines()
        if len(lines) > count:
            return lines[-count:]
        window *= 4
    return text.splitlines()[-count:]


def _first(message: str) -> str:
    """The first line; with the next where it only announces that."""
    lines = [line.strip() for line in message.splitlines() if line.strip()]
    if not lines:
        return ""
    return f"{lines[0]} {lines[1]}" if lines[0].endswith(":") and len(lines) > 1 else lines[0]


def _in_project(raised: Raised) -> str:
    return mask_frame(raised.frames[-1]) if raised.frames else ""


def mask_frame(frame: str) -> str:
    """Cells of notebooks and the like have numbers for names."""
    return re.sub(r"\d{3,}", "#", frame)


def _place(record: Record) -> str:
    found = _LOCATION.match(record.location or "")
    return f"{'/'.join(found['path'].split('/')[-2:])} {found['name']}" if found else ""


def _node_free(text: str, evidence: Evidence | None) -> str:
    return text.replace(evidence.node, "<node>") if evidence is not None and len(evidence.node) > 3 else text


def _clipped(text: str) -> str:
    return text if len(text) <= SIGNATURE else text[: SIGNATURE - 1] + "…"
