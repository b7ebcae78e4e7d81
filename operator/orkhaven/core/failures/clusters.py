"""Failures of a sweep by cause: what a person reads instead of four hundred logs."""

from __future__ import annotations

from collections.abc import Iterable

from orkhaven.api import Reason
from orkhaven.api.sweep import FailureCluster
from orkhaven.core.failures.suggestions import suggestion
from orkhaven.core.status import clip
from orkhaven.core.views import ExperimentView

MAX_CLUSTERS = 32
SAMPLES = 3
MESSAGE = 400


def failure_clusters(failed: Iterable[ExperimentView]) -> list[FailureCluster]:
    """One cluster per reason, largest first, ties by reason. Samples are the first by name; the message is of the
    latest end."""
    groups: dict[str, list[ExperimentView]] = {}
    for child in failed:
        groups.setdefault(cluster_of(child), []).append(child)
    clusters = [_cluster(reason, members) for reason, members in groups.items()]
    return sorted(clusters, key=lambda cluster: (-cluster.count, cluster.reason))[:MAX_CLUSTERS]


def cluster_of(child: ExperimentView) -> str:
    """What its failure is told apart by."""
    return child.status.reason or Reason.USER_EXCEPTION.value


def _cluster(reason: str, members: list[ExperimentView]) -> FailureCluster:
    latest = max(members, key=_ended)
    return FailureCluster(
        reason=reason,
        count=len(members),
        message=clip(latest.status.message or "", MESSAGE),
        samples=sorted(child.meta.key.name for child in members)[:SAMPLES],
        suggestion=suggestion(reason),
    )


def _ended(child: ExperimentView) -> tuple[float, str]:
    end = child.status.completion_time
    return (end.timestamp() if end else 0.0, child.meta.key.name)
