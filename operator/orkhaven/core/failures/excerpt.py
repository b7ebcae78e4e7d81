"""The few lines of what a run said that are kept in its status."""

from __future__ import annotations

from orkhaven.core.failures.evidence import Evidence
from orkhaven.core.failures.traces import fatal

LINES = 25
_AFTER = 3
"""Lines that are shown after the one that names the exception."""


def excerpt(evidence: Evidence | None) -> str:
    """Of a record its own; else the last lines, or those around the exception where other output has pushed it up."""
    if evidence is None:
        return ""
    record = evidence.record
    if record is not None and (record.excerpt or not evidence.from_log):
        return record.excerpt or ""
    lines = evidence.text.splitlines()
    chain = fatal(evidence.text) if evidence.from_log else ()
    if chain:
        # A message may have several lines; the first has the type.
        said = chain[-1].statement.splitlines()[0].strip()
        at = next((number for number in range(len(lines) - 1, -1, -1) if said in lines[number]), None)
        if at is not None and at < len(lines) - LINES:
            return "\n".join(lines[max(0, at + 1 + _AFTER - LINES) : at + 1 + _AFTER])
    return "\n".join(lines[-LINES:])
