"""Causes that a run tells of itself: exit codes of the contract and words that only that failure writes.

Owns where words are looked for. The exceptions that ended the run come first, the root cause before what followed from
it; only where there is none, or where they say no more than that another process died, the whole text counts. So a
warning in the log, or a rank that lost its peers, is not taken for the cause.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence

from orkhaven.api import Reason
from orkhaven.core.failures.cause import Diagnosis
from orkhaven.core.failures.evidence import Evidence
from orkhaven.core.failures.fingerprint import last_words
from orkhaven.core.failures.kernels import asserted
from orkhaven.core.failures.needles import Words
from orkhaven.core.failures.traces import Chain, fatal, is_wrapper

SIGKILL, SIGBUS = 128 + 9, 128 + 7
_LONGEST_SENTENCE = 600
LONGEST_TEXT = 4 * 1024
"""Characters from the end in which words count that no exception has."""

Rule = Callable[[Evidence, str], Diagnosis | None]
"""The second argument is the text that it is to look at."""

_VAGUE = re.compile(
    r"exited unexpectedly|returned non-zero exit status|Broken ?[Pp]ipe|Connection reset by peer|DistBackendError"
    r"|Connection closed by|^(?:EOFError|SystemExit|KeyboardInterrupt|OSError)\b:?\s*$|died with <Signals"
    r"|Ran out of input$"
    r"|CUDA error: unknown error|unhandled system error|[Aa]bort(?:ed)?$"
)
"""Exceptions that say little: what the log tells besides is worth more."""


def texts(e: Evidence) -> list[str]:
    """Where to look, the most telling first."""
    if not e.text:
        return [""]
    chain, end = fatal(e.text), e.text[-LONGEST_TEXT:]
    if not chain:
        return [end]
    said = [one.statement if not one.inside else f"{one.statement}\n{one.inside}" for one in chain]
    if (kernel := asserted(e.text, chain)) is not None:
        said.insert(0, str(kernel))
    if all(map(is_wrapper, chain)):
        return [end]  # what they say themselves of the other process is a guess
    return [*said, end] if any(is_vague(one.statement) for one in chain) else said


def is_vague(statement: str) -> bool:
    """Whether an exception (as Python writes it) says little of the cause."""
    return _VAGUE.search(statement) is not None


def by_words(e: Evidence, rules: Sequence[Rule]) -> Diagnosis | None:
    """The first of `rules` that finds its words, in the most telling text that has any."""
    for text in texts(e):
        for rule in rules:
            if (found := rule(e, text)) is not None:
                return found
    return None


def said(e: Evidence, text: str, reason: Reason, pattern: Words, *, may_pass: bool = True) -> Diagnosis | None:
    """A cause where the text has the pattern; its sentence is the record's, else the line that has it."""
    found = pattern.search(text)
    if found is None:
        return None
    start, end = text.rfind("\n", 0, found.start()) + 1, text.find("\n", found.end())
    line = text[start : len(text) if end < 0 else end].strip()
    recorded = e.record is not None and e.record.failure_message
    message = sentence(e) if recorded and pattern.search(sentence(e)) else line
    return Diagnosis(reason=reason, message=message, may_pass=may_pass)


# --- sentences --------------------------------------------------------------------------------------------------------


def sentence(e: Evidence) -> str:
    """What it said of itself, in one line."""
    record = e.record
    if record is not None and (record.failure_message or record.failure_type):
        own = record.failure_type.startswith("orkrun.")
        return (
            record.failure_message if own else ": ".join(p for p in (record.failure_type, record.failure_message) if p)
        )
    if e.text and (chain := fatal(e.text)):
        return with_code(e, _one_line(chain))
    if last := last_words(e.text):
        return with_code(e, last)
    if e.exit_code is not None:
        return f"ended with exit code {e.exit_code} and said nothing"
    return e.pod_message or e.job_message or e.pod_reason or "ended without a word"


def with_code(e: Evidence, text: str) -> str:
    return text if e.exit_code is None else f"{text} (exit code {e.exit_code})"


def _one_line(chain: Chain) -> str:
    """The last of the chain, and what it came from."""
    last, root = (one.statement.splitlines()[0][:_LONGEST_SENTENCE] for one in (chain[-1], chain[0]))
    return last if last == root else f"{last} (because of {root})"
