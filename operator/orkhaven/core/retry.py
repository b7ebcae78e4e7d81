"""Again? Which causes are tried again, at whose expense, and when."""

from __future__ import annotations

import hashlib
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime, timedelta
from enum import StrEnum

from orkhaven.api import Reason
from orkhaven.core.failures import Action, Cause
from orkhaven.core.views import Defaults


class Policy(StrEnum):
    FREE = "free"
    """What the cluster did to the run: does not count against retry.limit."""
    COUNTED = "counted"
    ONCE = "once"
    """Counted, and only one attempt may end so."""
    CHANGED = "changed"
    """Counted, and only where the next attempt gets something else: more memory, other parameters."""
    NEVER = "never"


POLICIES: dict[str, Policy] = {
    Reason.PREEMPTED: Policy.FREE,
    Reason.DRAINED: Policy.FREE,
    Reason.NODE_LOST: Policy.FREE,
    Reason.IMAGE_PULL: Policy.COUNTED,
    Reason.CONFIG_ERROR: Policy.NEVER,
    Reason.TIMEOUT: Policy.NEVER,
    Reason.OUT_OF_MEMORY_KILLED: Policy.CHANGED,
    Reason.CUDA_OUT_OF_MEMORY: Policy.CHANGED,
    Reason.GPU_HARDWARE: Policy.COUNTED,
    Reason.GPU_SETUP: Policy.NEVER,
    Reason.CUDA_ERROR: Policy.NEVER,
    Reason.INFRASTRUCTURE: Policy.COUNTED,
    Reason.DISK_FULL: Policy.NEVER,
    Reason.SHARED_MEMORY: Policy.NEVER,
    Reason.DATA_ERROR: Policy.NEVER,
    Reason.CHECKPOINT_ERROR: Policy.NEVER,
    Reason.IMPORT_ERROR: Policy.NEVER,
    Reason.INVALID_PARAMS: Policy.NEVER,
    Reason.SHAPE_MISMATCH: Policy.NEVER,
    Reason.DIVERGED: Policy.NEVER,
    Reason.METRIC_MISSING: Policy.ONCE,
    Reason.STALLED: Policy.ONCE,
    Reason.HUNG_AT_START: Policy.ONCE,
    Reason.VOLUME_TIMEOUT: Policy.COUNTED,
    Reason.CRASHED: Policy.COUNTED,
    Reason.USER_EXCEPTION: Policy.COUNTED,
    Reason.INVALID_SPEC: Policy.NEVER,
}
"""Every cause of a failed attempt, as in docs/causes."""

_ASKED = {
    Action.NEVER: Policy.NEVER,
    Action.RETRY: Policy.COUNTED,
    Action.OTHER_NODE: Policy.COUNTED,
    Action.MORE_MEMORY: Policy.CHANGED,
}


def policy_of(cause: Cause) -> Policy:
    """A user's rule goes before the reason's row. A word of the user's own is treated as any other exception."""
    if cause.action is not None:
        return _ASKED[cause.action]
    if not cause.may_pass:
        return Policy.NEVER
    return POLICIES.get(cause.reason, POLICIES[Reason.USER_EXCEPTION])


@dataclass(frozen=True, slots=True)
class Retry:
    delay: float
    """Seconds from the end of the attempt."""
    counted: bool


def decide(
    cause: Cause,
    *,
    ended: Sequence[str],
    retries_used: int,
    limit: int,
    uid: str,
    defaults: Defaults,
    changed: bool = False,
) -> Retry | None:
    """Whether there is another attempt; None: the run has failed.

    `ended`: reasons of all attempts that have ended, this one last. `changed`: the next one gets something else. The
    first free retry comes at once; where the cluster takes one attempt after the other, it backs off like the counted
    ones.
    """
    policy = policy_of(cause)
    if policy is Policy.NEVER or (policy is Policy.CHANGED and not changed):
        return None
    number = len(ended)
    if policy is Policy.FREE:
        in_a_row = 0
        for reason in reversed(ended):
            if reason not in _FREE:
                break
            # Most of those that are preempted gave way to others in our own queue: no sign of a cluster in trouble.
            in_a_row += reason == cause.reason or reason != Reason.PREEMPTED
        delay = 0.0 if in_a_row <= 1 else backoff(in_a_row - 1, uid=uid, attempt=number, defaults=defaults)
        return Retry(delay, counted=False)
    if retries_used >= limit or (policy is Policy.ONCE and list(ended).count(cause.reason) > 1):
        return None
    return Retry(backoff(retries_used + 1, uid=uid, attempt=number, defaults=defaults), counted=True)


_FREE = frozenset(str(reason) for reason, policy in POLICIES.items() if policy is Policy.FREE)


def backoff(failures: int, *, uid: str, attempt: int, defaults: Defaults) -> float:
    """Seconds before the next attempt after `failures` (from 1): doubled each time up to the maximum, plus up to a
    fifth.

    The extra fifth is drawn from uid and attempt, so that runs which died together do not come back together, and the
    same run always gets the same.
    """
    # Above 2^30 the maximum has long been reached; the exponent stays small.
    plain = min(defaults.retry_max_seconds, defaults.retry_base_seconds * 2 ** min(failures - 1, 30))
    drawn = int.from_bytes(hashlib.sha256(f"{uid}/{attempt}".encode()).digest()[:4], "big") / 2**32
    return float(plain * (1 + drawn / 5))


def no_later(at: datetime, *, now: datetime, defaults: Defaults) -> datetime:
    """When to try again where that was to be `at`: no later than the longest wait from now.

    The date was made by a clock that may have been wrong, the node's or one of ours that has been put right since.
    """
    return min(at, now + timedelta(seconds=math.ceil(defaults.retry_max_seconds * 1.2)))
