"""What is seen of Kueue: whether it is there, and its Workload of a Job."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime
from enum import StrEnum

from orkhaven.core.views import Meta


class Kueue(StrEnum):
    """Whether Kueue's Workloads can be read."""

    SERVED = "served"
    MISSING = "missing"
    """Its CRD is not installed."""
    FORBIDDEN = "forbidden"
    UNKNOWN = "unknown"
    """They could not be read yet."""
    OFF = "off"
    """By the operator's settings."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Told:
    """A condition. Kueue never removes one, so that it is there says nothing."""

    holds: bool
    reason: str = ""
    message: str = ""
    since: datetime | None = None
    """When it became so."""

    def __str__(self) -> str:
        return ": ".join(part for part in (self.reason, self.message) if part)


@dataclass(frozen=True, slots=True, kw_only=True)
class WorkloadView:
    """Kueue's Workload of a Job, which owns it (`meta.owner_uid`)."""

    meta: Meta
    version: str
    """Of the API that it was read by: v1beta2 or v1beta1."""
    active: bool = True
    held: bool = False
    """Whether we have deactivated it (`labels.ANNOTATION_HELD`)."""
    reserved: Told | None = None
    """QuotaReserved: while it is False, its reason is what the Workload waits for."""
    admitted: Told | None = None
    evicted: Told | None = None
    cluster_queue: str | None = None
    """Of its admission."""
    flavor: str | None = None
    """ResourceFlavor of its GPUs."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Seen:
    """What one look at an Experiment knows of Kueue."""

    kueue: Kueue = Kueue.MISSING
    workload: WorkloadView | None = None
    """Of the Job of its latest attempt."""
    may_retell: bool = True
    """Whether a message that differs in Kueue's words alone is worth a write: they change whenever a quota does."""


NOTHING = Seen()
