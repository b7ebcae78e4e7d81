"""The circuit breaker: whether one cause is behind most of the trials that ended last.

Decided anew from what has ended, except that once the sweep is stopped, trials that still run do not start it again by
ending well: that it was stopped is in the condition Suspended, and only `failurePolicy.stopOnCluster` itself (its
`since`, or that it is left out) takes it back.
"""

from __future__ import annotations

import heapq
import math
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import datetime

from orkhaven.api.experiment import State
from orkhaven.api.meta import Condition
from orkhaven.api.policy import STOPPED_ON_CLUSTER, StopOnCluster
from orkhaven.api.reasons import Reason
from orkhaven.core.failures.clusters import cluster_of
from orkhaven.core.failures.suggestions import suggestion
from orkhaven.core.status import clip
from orkhaven.core.views import ExperimentView

SAID = 400
"""Characters of what a trial said that the message has."""
_COUNTED = frozenset({State.SUCCEEDED, State.FAILED, State.PRUNED})


@dataclass(frozen=True, slots=True)
class Tripped:
    """The sweep is stopped."""

    message: str


def tripped(
    rule: StopOnCluster | None, children: Sequence[ExperimentView], *, stored: Sequence[Condition]
) -> Tripped | None:
    """`stored`: the conditions as they were written last."""
    if rule is None:
        return None
    for one in stored:
        if one.type == "Suspended" and one.reason == STOPPED_ON_CLUSTER and one.status == "True":
            taken_back = rule.since is not None and rule.since >= one.last_transition_time
            if not taken_back:
                return Tripped(one.message)
    return _worst(rule, children)


def _worst(rule: StopOnCluster, children: Sequence[ExperimentView]) -> Tripped | None:
    # Mostly none has so many at any time: that is cheap to see, and which ended last is not.
    ever = Counter(cluster_of(child) for child in children if child.status.state is State.FAILED)
    if max(ever.values(), default=0) < rule.min_failures:
        return None
    last = math.ceil(rule.min_failures / rule.share - 1e-9)
    ended = heapq.nlargest(last, (child for child in children if _counts(child, rule.since)), key=_order)
    counts = Counter(cluster_of(child) for child in ended if child.status.state is State.FAILED)
    # The largest; among equals the first by name, so that every look says the same.
    cluster, failed = max(counts.items(), key=lambda one: (one[1], one[0]), default=("", 0))
    if failed < rule.min_failures:
        return None
    latest = next(child for child in ended if child.status.state is State.FAILED and cluster_of(child) == cluster)
    reason, said = latest.status.reason or "", clip(latest.status.message or "", SAID)
    named = "" if cluster == reason else f" (cluster {cluster})"
    advice = latest.status.failure.suggestion if latest.status.failure else suggestion(reason)
    return Tripped(
        f"{failed} of the last {len(ended)} trials failed of {reason}{named}, no more are started: "
        f"{latest.meta.key.name} says {said.rstrip('.')}. {advice} Once that is mended, kubectl ork resume goes on "
        "(or failurePolicy.stopOnCluster.since: the present time)"
    )


def _counts(child: ExperimentView, since: datetime | None) -> bool:
    """Whether it has ended by running: what is taken over from another run says nothing new."""
    end = child.status.completion_time
    return (
        child.status.state in _COUNTED
        and child.status.reason != Reason.REUSED
        and end is not None
        and (since is None or end > since)
    )


def _order(child: ExperimentView) -> tuple[float, str]:
    end = child.status.completion_time
    return (end.timestamp() if end else 0.0, child.meta.key.name)
