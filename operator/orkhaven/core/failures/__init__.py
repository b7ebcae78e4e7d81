"""What did it die of: evidence of one attempt in, a cause with a sentence and a suggestion out."""

from orkhaven.core.failures.action import Action
from orkhaven.core.failures.evidence import Evidence, Loss, Record, gather, parse_record
from orkhaven.core.failures.rules import Cause, classify, classify_success
from orkhaven.core.failures.suggestions import suggestion

__all__ = [
    "Action",
    "Cause",
    "Evidence",
    "Loss",
    "Record",
    "classify",
    "classify_success",
    "gather",
    "parse_record",
    "suggestion",
]
