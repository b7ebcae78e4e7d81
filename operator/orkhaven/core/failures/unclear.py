"""Whether the log could say more of a cause than the pod's status does.

The kubelet keeps 4 KiB of what a container says last, or the last 80 lines and 2 KiB of its log: of several ranks, or
of a chain of exceptions, that is the end and not the beginning. A log is a request to the kubelet, and so it is read
only where these leave the cause open.
"""

from __future__ import annotations

import re

from orkhaven.api import Reason
from orkhaven.core.failures.cause import Diagnosis
from orkhaven.core.failures.evidence import Evidence
from orkhaven.core.failures.traces import fatal, is_wrapper
from orkhaven.core.failures.words import is_vague
from orkhaven.core.views import ReadState

_OPEN = frozenset({Reason.USER_EXCEPTION, Reason.CRASHED, Reason.INFRASTRUCTURE, Reason.METRIC_MISSING})
"""Causes that are what is left, or what an exit code alone says."""
_TOLD_BY_EVENTS = (_OPEN - {Reason.METRIC_MISSING}) | {Reason.VOLUME_TIMEOUT, Reason.IMAGE_PULL}
_CUT_BYTES, _CUT_LINES = 2000, 79
"""From here on a message that is the log's end is one that was cut: the kubelet takes 2,048 bytes and 80 lines."""
_CHAINED = re.compile(
    r"^(?:During handling of the above exception|The above exception was the direct cause)", re.MULTILINE
)


def wants_log(evidence: Evidence, cause: Diagnosis) -> bool:
    """Whether the log has to be read before `cause` can stand."""
    e = evidence
    if not e.ran or not e.node_ready or e.log_state is not ReadState.UNREAD:
        return False
    if cause.reason == Reason.METRIC_MISSING and e.record is not None:
        return False  # what it has reported is known
    return not cause.rule and cause.reason in _OPEN and (not _is_told(e) or _is_cut(e))


def wants_events(evidence: Evidence, cause: Diagnosis) -> bool:
    """Whether the pod's Events have to be read: where it has said nothing itself."""
    e = evidence
    if e.events_state is not ReadState.UNREAD or e.text or e.waiting_message or e.pod_message:
        return False
    return not cause.rule and cause.reason in _TOLD_BY_EVENTS


def _is_told(e: Evidence) -> bool:
    """Whether the run says itself what it died of."""
    chain = fatal(e.text)
    if chain:
        return not all(is_wrapper(one) or is_vague(one.statement) for one in chain)
    return e.record is not None and bool(e.record.failure_message) and not is_vague(e.record.failure_message)


def _is_cut(e: Evidence) -> bool:
    """Whether the beginning of a chain of exceptions is missing, and with it what came first."""
    if e.record is not None or (len(e.text.encode()) < _CUT_BYTES and e.text.count("\n") < _CUT_LINES):
        return False
    first = _CHAINED.search(e.text)
    return first is not None and "Traceback (most recent call last)" not in e.text[: first.start()]
