"""When a sweep gives up, or stops to be looked at, and what lets it go on."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import datetime
from typing import Annotated, Any

from pydantic import Field

from orkhaven.api.meta import Model, Number
from orkhaven.api.rules import Rule

CANARY_FAILED = "CanaryFailed"
STOPPED_ON_CLUSTER = "StoppedOnCluster"
"""Reasons of a Sweep's condition Suspended: no person has suspended it."""


_Share = Annotated[
    Number,
    Field(le=1),
    # A rule, and no minimum: see api/retry.py.
    Rule(cel="self >= 0.05", message="a share of at least 0.05, such as 0.5", check=lambda share: share >= 0.05),
]


class StopOnCluster(Model):
    """A circuit breaker: one cause behind most of the last trials stops the sweep before it takes the rest."""

    min_failures: Annotated[
        int,
        Field(
            description="So many failures of one cluster (status.failureClusters) stop the sweep: no trial is started, "
            "those that wait are held, running ones finish, and it is Suspended with the cause and what to do. "
            "kubectl ork resume goes on.",
            ge=2,
            le=1000,
        ),
    ] = 5
    share: Annotated[
        _Share,
        Field(
            description="Where they are at least this share of the trials that ended last: with minFailures 5 and "
            "share 0.5 five of the last ten."
        ),
    ] = 0.5
    since: Annotated[
        datetime | None,
        Field(
            description="Trials that ended before this time do not count, e.g. 2026-09-01T12:00:00Z. At or after the "
            "time at which the sweep was stopped it lets it go on; kubectl ork resume and the button on its page set "
            "it to the present."
        ),
    ] = None


class FailurePolicy(Model):
    """When to give up on the whole sweep, and when to stop it so that somebody looks."""

    max_failed_trials: Annotated[
        int | None,
        Field(
            description="More failed trials than this end the sweep: no more are started, running ones finish. Only "
            "those of causes of their own count; what is the cluster's (docs/causes) does not.",
            ge=0,
        ),
    ] = None
    stop_on_cluster: Annotated[
        StopOnCluster | None,
        Field(description="Stop the sweep where one cause is behind most of the last trials. Left out: never."),
    ] = None


def held_reason(status: Mapping[str, Any] | None) -> str | None:
    """Why a sweep of this (raw) status starts nothing though no person has suspended it: CanaryFailed,
    StoppedOnCluster. None: it is not so."""
    one = _suspended(status)
    reason = str(one.get("reason")) if one is not None and one.get("status", "True") == "True" else None
    return reason if reason in (CANARY_FAILED, STOPPED_ON_CLUSTER) else None


def held_message(status: Mapping[str, Any] | None) -> str:
    """The same as a sentence with what to do; empty: it is not so."""
    return str((_suspended(status) or {}).get("message") or "") if held_reason(status) is not None else ""


def resumed(status: Mapping[str, Any] | None, *, now: datetime) -> dict[str, Any]:
    """What `resume` sets in the spec of a Sweep or an Experiment of this (raw) status so that it goes on."""
    if (status or {}).get("state") == "Pruned":
        return {"prune": {"resume": True}}
    spec: dict[str, Any] = {"suspend": False}
    reason = held_reason(status)
    if reason == CANARY_FAILED:
        spec["canary"] = 0
    elif reason == STOPPED_ON_CLUSTER:
        stopped = datetime.fromisoformat((_suspended(status) or {})["lastTransitionTime"])
        # Not before it was stopped, whatever the clock here says: else it would stay so.
        since = max(now.replace(microsecond=0), stopped)
        spec["failurePolicy"] = {"stopOnCluster": {"since": since.isoformat().replace("+00:00", "Z")}}
    return spec


def _suspended(status: Mapping[str, Any] | None) -> Mapping[str, Any] | None:
    conditions = (status or {}).get("conditions") or []
    return next((one for one in conditions if one.get("type") == "Suspended"), None)
