"""Why an attempt ended, as a value."""

from __future__ import annotations

from dataclasses import dataclass

from orkhaven.api.failures import Action


@dataclass(frozen=True, slots=True, kw_only=True)
class Diagnosis:
    """Why an attempt ended, for status.reason and for people."""

    reason: str
    """A `Reason`, or the word of a rule of the user's."""
    message: str
    may_pass: bool = True
    """False: trying again cannot help, whatever the reason's row in the table says."""
    action: Action | None = None
    """What a rule of the user's wants done; None: what the reason's row says."""
    suggestion: str = ""
    """That rule's own advice."""
    rule: str = ""
    """Its name."""


Cause = Diagnosis
