"""Failures of a sweep by cause: what a person reads instead of four hundred logs.

A function of the trials alone: each failed one carries the id of its cluster since its end, so that grouping is one
pass over them, and the same after a restart.
"""

from __future__ import annotations

import hashlib
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from datetime import datetime

from orkhaven.api import Reason
from orkhaven.api.sweep_status import Correlation, FailureCluster, OtherFailures, Place
from orkhaven.core.failures.correlate import Correlator, Found
from orkhaven.core.failures.suggestions import for_cluster, suggestion
from orkhaven.core.retry import POLICIES, Policy
from orkhaven.core.status import clip
from orkhaven.core.views import ExperimentView

MAX_CLUSTERS = 32
SAMPLES = 3
MESSAGE = 300
PLACES = 3
"""Nodes and images that are named, the most frequent first."""
CORRELATIONS = 2
CORRELATED = 16
"""Clusters, from the largest on, for which it is asked what they have in common: a pass over all trials each."""


@dataclass(frozen=True, slots=True)
class Clusters:
    """What a sweep's status says of its failures."""

    listed: list[FailureCluster]
    others: OtherFailures | None
    """What goes beyond the list."""


def cluster_of(child: ExperimentView) -> str:
    """The id of the cluster that a failed trial belongs to. One from before there were ids goes by its reason."""
    failure = child.status.failure
    if failure is not None and failure.cluster:
        return failure.cluster
    return hashlib.sha256((child.status.reason or Reason.USER_EXCEPTION).encode()).hexdigest()[:8]


def failure_clusters(
    failed: Sequence[ExperimentView], *, succeeded: Sequence[ExperimentView] = (), names: Sequence[str] = ()
) -> Clusters:
    """Largest first, then the one that was seen first. `succeeded`: what they are compared with; `names`: the
    parameters that vary."""
    groups: dict[str, list[ExperimentView]] = {}
    for child in failed:
        groups.setdefault(cluster_of(child), []).append(child)
    ordered = sorted(groups.items(), key=lambda group: (-len(group[1]), min(map(_ended, group[1])), group[0]))
    correlator = Correlator(succeeded, names=names)
    listed = [
        _cluster(number, members, correlator if place < CORRELATED else None)
        for place, (number, members) in enumerate(ordered[:MAX_CLUSTERS])
    ]
    rest = ordered[MAX_CLUSTERS:]
    others = OtherFailures(clusters=len(rest), trials=sum(len(members) for _, members in rest)) if rest else None
    return Clusters(listed, others)


def _cluster(number: str, members: list[ExperimentView], correlator: Correlator | None) -> FailureCluster:
    latest = max(members, key=_ended)
    failure = latest.status.failure
    reason = latest.status.reason or Reason.USER_EXCEPTION.value
    found = correlator.of(members, limit=CORRELATIONS) if correlator is not None else []
    ends = [end for child in members if (end := child.status.completion_time) is not None]
    advice = (failure.suggestion if failure else "") or suggestion(reason)
    return FailureCluster(
        id=number,
        reason=reason,
        signature=failure.signature if failure else "",
        count=len(members),
        first_seen=min(ends, default=None),
        last_seen=max(ends, default=None),
        message=clip(latest.status.message or "", MESSAGE),
        samples=sorted(child.meta.key.name for child in members)[:SAMPLES],
        where=_code(failure.location) if failure and failure.location else None,
        nodes=_places(child.status.attempts[-1].node for child in members if child.status.attempts),
        images=_places(child.spec.image for child in members if child.spec is not None),
        correlates=[_shown(one) for one in found],
        retryable=POLICIES.get(reason, POLICIES[Reason.USER_EXCEPTION]) not in (Policy.NEVER, Policy.CHANGED),
        suggestion=clip(for_cluster(reason, advice, found, count=len(members)), 500),
    )


def _places(names: Iterable[str | None]) -> list[Place]:
    counted = Counter(name for name in names if name)
    ordered = sorted(counted.items(), key=lambda item: (-item[1], item[0]))
    return [Place(name=clip(name, 253), count=count) for name, count in ordered[:PLACES]]


def _shown(found: Found) -> Correlation:
    return Correlation(
        what=clip(found.what, 128),
        value=clip(found.value, 64),
        failed=found.failed,
        failed_of=found.failed_of,
        succeeded=found.succeeded,
        succeeded_of=found.succeeded_of,
        lift=found.lift,
        text=clip(found.text, 256),
    )


def _code(location: str) -> str:
    return clip(location, 128)


def _ended(child: ExperimentView) -> tuple[datetime, str]:
    return (child.status.completion_time or child.meta.created, child.meta.key.name)
