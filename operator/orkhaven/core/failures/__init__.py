"""What did it die of: evidence of one attempt in, a cause with a sentence and a suggestion out."""

from orkhaven.core.failures.action import Action
from orkhaven.core.failures.cause import Cause, Diagnosis
from orkhaven.core.failures.evidence import Evidence, Loss, Record, gather, parse_record
from orkhaven.core.failures.fingerprint import Fingerprint, fingerprint
from orkhaven.core.failures.rules import classify, classify_success
from orkhaven.core.failures.suggestions import suggestion

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
    "fingerprint",
    "gather",
    "parse_record",
    "suggestion",
]
