"""Which nodes all runs go past for a while: those where several Experiments failed of something that is the node's.

Nothing is remembered but the attempts in the Experiments' statuses: a node is used again once its failures are an hour
old, and after a restart the same nodes are avoided. Nodes that do not answer are Kubernetes' own business.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from dataclasses import dataclass
from datetime import datetime, timedelta

from orkhaven.api import ExperimentStatus, Reason
from orkhaven.api.retry import MAX_AVOIDED, AvoidedNode

WINDOW = timedelta(hours=1)
ENOUGH = 3
"""Different Experiments; one that fails there again and again says more of itself than of the node."""

OF_NODES = frozenset(
    {
        Reason.GPU_HARDWARE.value,
        Reason.INFRASTRUCTURE.value,
        Reason.STALLED.value,
        Reason.HUNG_AT_START.value,
        Reason.VOLUME_TIMEOUT.value,
    }
)
"""Causes that may be a node's. Of what a program does wrong it dies on every node."""


@dataclass(frozen=True, slots=True)
class Blame:
    """An attempt that failed on a node of a cause that may be the node's."""

    node: str
    reason: str
    experiment: str
    """Its uid."""
    at: datetime
    sure: bool = False
    """A rule of the user's says that it is the node's."""


def blames_of(uid: str, status: ExperimentStatus, *, rules: Set[str] = frozenset()) -> tuple[Blame, ...]:
    """`rules`: names of the users' rules that send a run to another node."""
    return tuple(
        Blame(attempt.node, attempt.reason, uid, attempt.end_time, sure)
        for attempt in status.attempts
        if attempt.node is not None
        and attempt.end_time is not None
        and attempt.reason is not None
        and ((sure := attempt.rule in rules) or attempt.reason in OF_NODES)
    )


def same_until(blames: Iterable[Blame], *, now: datetime) -> datetime | None:
    """When time alone may change which nodes are avoided; None: never."""
    return min((blame.at + WINDOW for blame in blames if blame.at + WINDOW > now), default=None)


def avoided_nodes(blames: Iterable[Blame], *, now: datetime) -> list[AvoidedNode]:
    """By name; at most as many as a status names, those first that most Experiments failed on.

    Broken hardware is its node's, and what a user's rule says is. Of any other cause the node is suspected only where
    more Experiments failed there than on all other nodes together: when storage or network is away, everything fails,
    wherever it runs.
    """
    sure = {Reason.GPU_HARDWARE.value}
    latest: dict[tuple[str, str], dict[str, datetime]] = {}
    for blame in blames:
        if blame.at > now - WINDOW:
            sure |= {blame.reason} if blame.sure else set()
            ends = latest.setdefault((blame.node, blame.reason), {})
            ends[blame.experiment] = max(blame.at, ends.get(blame.experiment, blame.at))
    found: dict[str, AvoidedNode] = {}
    for (node, reason), ends in sorted(latest.items()):
        others = sum(len(there) for (other, why), there in latest.items() if why == reason and other != node)
        if len(ends) < ENOUGH or (reason not in sure and len(ends) <= others):
            continue
        until = sorted(ends.values())[-ENOUGH] + WINDOW
        known = found.get(node)
        if known is None or known.until is None or until > known.until:
            found[node] = AvoidedNode(node=node, reason=reason, experiments=len(ends), until=until)
    worst = sorted(found.values(), key=lambda one: (-(one.experiments or 0), one.node))[:MAX_AVOIDED]
    return sorted(worst, key=lambda one: one.node)
