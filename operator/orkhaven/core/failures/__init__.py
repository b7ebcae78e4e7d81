"""What did it die of: evidence of one attempt in, a cause with a sentence and a suggestion out."""

from orkhaven.core.failures.action import Action
from orkhaven.core.failures.cause import Cause, Diagnosis
from orkhaven.core.failures.evidence import Evidence, Loss, Record, gather, parse_record
from orkhaven.core.failures.excerpt import excerpt
from orkhaven.core.failures.fingerprint import Fingerprint, fingerprint
from orkhaven.core.failures.rules import classify, classify_success
from orkhaven.core.failures.suggestions import suggestion
from orkhaven.core.failures.unclear import wants_events, wants_log

__all__ = [
    "Action",
    "Cause",
    "Diagnosis",
    "Evidence",
    "Fingerprint",
    "Loss",
    "Record",
    "classify",
    "classify_success",
    "excerpt",
    "fingerprint",
    "gather",
    "parse_record",
    "suggestion",
    "wants_events",
    "wants_log",
]
