"""What is to be done: values that `engine.executor` carries out in order."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from orkhaven.core.search.history import Ask
from orkhaven.core.views import Key


@dataclass(frozen=True, slots=True)
class CreateExperiment:
    """Create a child; one that exists already and has the same owner is success."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class CreateJob:
    """Create an attempt's Job; one that exists already and has the same owner is success."""

    body: dict[str, Any]


@dataclass(frozen=True, slots=True)
class SuspendJob:
    """Set spec.suspend of a Job. `uid` guards against a namesake."""

    key: Key
    uid: str
    suspend: bool
    avoid: tuple[str, ...] = ()
    """On a release, with `affinity`: nodes that the Job has to go past."""
    affinity: dict[str, Any] | None = None
    """The node affinity that says so, and for which node the queue lets it go. None: it stays as it is."""


@dataclass(frozen=True, slots=True)
class Preempt:
    """The Job of a running attempt gives its GPUs back, for a run that comes before it in the queue."""

    job: Key
    uid: str
    """Of the Job."""
    experiment: Key
    message: str
    """For whom, and why."""


@dataclass(frozen=True, slots=True)
class LabelJob:
    """Set labels of a suspended Job, where it is as it was when that was decided; None takes one away."""

    key: Key
    uid: str
    labels: Mapping[str, str | None]


@dataclass(frozen=True, slots=True)
class ActivateWorkload:
    """Set spec.active of Kueue's Workload: without it Kueue stops its Job and does not admit it."""

    key: Key
    uid: str
    version: str
    """Of the API: v1beta2 or v1beta1."""
    active: bool


@dataclass(frozen=True, slots=True)
class SuspendExperiment:
    """Set spec.suspend of a sweep's child."""

    key: Key
    uid: str
    suspend: bool


@dataclass(frozen=True, slots=True)
class PruneExperiment:
    """Set spec.prune of a sweep's child, where it is as it was when that was decided: a person may have let it go on
    meanwhile."""

    key: Key
    uid: str
    resource_version: int
    step: int
    message: str


@dataclass(frozen=True, slots=True)
class LabelExperiment:
    """Set the label that a failed Experiment is found by, or take it away."""

    key: Key
    uid: str
    cluster: str | None


@dataclass(frozen=True, slots=True)
class DeleteJob:
    """Delete a Job and, in the background, its pods. One that is gone is success."""

    key: Key
    uid: str


@dataclass(frozen=True, slots=True)
class DeleteSweep:
    """Delete a sweep whose ttlSecondsAfterFinished has passed; its children follow by their owner references."""

    key: Key
    uid: str


@dataclass(frozen=True, slots=True)
class DeleteExperiment:
    """Delete an experiment of its own whose ttlSecondsAfterFinished has passed; its Jobs follow."""

    key: Key
    uid: str


@dataclass(frozen=True, slots=True)
class ApplyFinalRecord:
    """Write progress, objective and metrics out of the termination record, or of the run whose result is taken over,
    as a field manager of its own.

    So the result arrives where the hub could not write it, and neither writer ever removes the other's fields.
    """

    key: Key
    uid: str
    status: dict[str, Any]


@dataclass(frozen=True, slots=True)
class ReadPod:
    """Read what a pod's status does not say: the end of its container's log, its Events. The answer comes with a later
    look, as the pod's `Heard`; that it cannot be read is an answer too."""

    key: Key
    uid: str
    experiment: Key
    """Who looks again then."""
    log: bool
    events: bool
    seconds: float
    """After which there is an answer, whatever it is."""


Action = (
    CreateExperiment
    | CreateJob
    | SuspendJob
    | Preempt
    | LabelJob
    | ActivateWorkload
    | SuspendExperiment
    | PruneExperiment
    | LabelExperiment
    | DeleteJob
    | DeleteExperiment
    | DeleteSweep
    | ApplyFinalRecord
    | ReadPod
)


@dataclass(frozen=True, slots=True, kw_only=True)
class Note:
    """A Kubernetes Event, posted only after the status write of its plan succeeded."""

    type: str
    """Normal or Warning."""
    reason: str
    message: str
    about: str = ""
    """What it tells of, where many objects of one owner may have the same to tell: the first that does is enough."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Plan:
    """The outcome of one look at one object."""

    actions: tuple[Action, ...] = ()
    status: dict[str, Any] | None = None
    """The full status that the operator owns; None: leave it alone. Written only where it differs from the stored."""
    notes: tuple[Note, ...] = ()
    requeue_after: float | None = None
    """Seconds until the object has to be looked at again even if nothing happens."""
    ask: Ask | None = None
    """What has to be asked before more can be done; the answer comes with a later look."""
