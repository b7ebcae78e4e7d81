"""What GPU time was spent on: the words of the ledger, which operator, hub and command line share."""

from __future__ import annotations

from enum import StrEnum

from orkhaven.api.reasons import Reason


class Spent(StrEnum):
    """What came of the GPU time of an attempt. Together they are all the time that pods held GPUs."""

    USEFUL = "useful"
    """The attempt ended well."""
    FAILED = "failed"
    PRUNED = "pruned"
    """Early stopping ended it."""
    PREEMPTED = "preempted"
    """It was interrupted from outside, and its run goes on from the checkpoint."""
    CANCELLED = "cancelled"
    """Its Experiment was deleted before it ended."""
    SUSPENDED = "suspended"
    """It is suspended by hand at present."""
    RUNNING = "running"
    """It has not ended."""


SAVED = "saved"
"""Beside these: what runs have cost whose results others took over. No pod held it."""
OPEN = frozenset({Spent.RUNNING, Spent.SUSPENDED})
"""What it was spent on is not known yet."""
INTERRUPTED = frozenset({Reason.PREEMPTED, Reason.DRAINED, Reason.NODE_LOST})
"""Ends of attempts that are nobody's fault and cost the run no attempt."""


def spent_on(reason: str | None, *, suspended: bool = False) -> Spent:
    """By the reason of an attempt; None: it has not ended. `suspended`: its run is, at present."""
    if reason is None:
        return Spent.SUSPENDED if suspended else Spent.RUNNING
    if reason == Reason.COMPLETED:
        return Spent.USEFUL
    if reason == Reason.EARLY_STOPPED:
        return Spent.PRUNED
    return Spent.PREEMPTED if reason in INTERRUPTED else Spent.FAILED
