"""Runs that wait for GPUs or hold them, read off Experiments as they are stored: for the command line and the pages.

It decides nothing. The queue's order is the operator's; here it is as far as the resources tell it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any

from orkhaven.api.meta import GROUP

Body = Mapping[str, Any]

GPU = "nvidia.com/gpu"
PRIORITIES = ("Interactive", "Standard", "Preemptible")
STANDARD = "Standard"

_CREATED_BY = f"{GROUP}/created-by"
_SWEEP, _TRIAL = f"{GROUP}/sweep", f"{GROUP}/trial"
_WAITING = (None, "Queued")
_ENDED = ("Succeeded", "Failed", "Skipped", "Pruned")
_POSITION = re.compile(r"position (\d+)\b")


@dataclass(frozen=True, slots=True, kw_only=True)
class Run:
    """An Experiment that has not ended. Times are RFC 3339, as the API server writes them."""

    namespace: str
    name: str
    sweep: str | None
    trial: int
    """Number in the sweep; 0 where there is none."""
    user: str
    """Who made it; empty: it is not known."""
    priority: str
    gpus: int
    device: str
    """The resource that a GPU is asked for by."""
    queue: str
    """Kueue's LocalQueue; empty: the built-in queue."""
    state: str
    reason: str
    message: str
    created: str
    since: str
    """Since when it waits; of one that does not wait: since it was made."""
    held_since: str
    """Since when it runs there; empty: its container has not started."""
    node: str | None
    """Where its pod is; None: it has none."""
    gpu_model: str | None
    waits: bool

    @property
    def holds(self) -> bool:
        """Whether GPUs are its own at the moment, also of one that is being stopped."""
        return self.node is not None and self.gpus > 0

    @property
    def position(self) -> int | None:
        """Its place among those of its namespace, where the queue has told it."""
        found = _POSITION.match(self.message)
        return int(found[1]) if found else None


def run_of(body: Body) -> Run | None:
    """None: it has ended, and neither waits nor holds anything."""
    meta, spec, status = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    state = status.get("state")
    if state in _ENDED:
        return None
    labels, annotations = meta.get("labels") or {}, meta.get("annotations") or {}
    resources = spec.get("resources") or {}
    attempts = status.get("attempts") or []
    last = attempts[-1] if attempts else {}
    under_way = last if last and not last.get("endTime") else {}
    waits = state in _WAITING and not spec.get("suspend")
    created = str(meta.get("creationTimestamp") or "")
    trial = str(labels.get(_TRIAL) or "")
    return Run(
        namespace=meta["namespace"],
        name=meta["name"],
        sweep=labels.get(_SWEEP),
        trial=int(trial) if trial.isdecimal() else 0,
        user=annotations.get(_CREATED_BY) or "",
        priority=spec.get("priority") or STANDARD,
        gpus=resources.get("gpus", 1),
        device=resources.get("gpuResource") or GPU,
        queue=spec.get("queueName") or "",
        state=state or "Pending",
        reason=status.get("reason") or "",
        message=status.get("message") or ("" if status else "the operator has not looked at it yet"),
        created=created,
        since=(_waiting_since(status) if waits else None) or created,
        held_since=under_way.get("startTime") or "",
        node=under_way.get("node"),
        gpu_model=under_way.get("gpuModel"),
        waits=waits,
    )


def _waiting_since(status: Body) -> str | None:
    """The later of: an attempt ended, it was resumed. None: it has waited from the start."""
    # The attempt that waits is the last one already, without an end.
    ended = [one.get("endTime") for one in status.get("attempts") or ()]
    resumed = [
        one.get("lastTransitionTime")
        for one in status.get("conditions") or ()
        if one.get("type") == "Suspended" and one.get("status") == "False"
    ]
    return max((moment for moment in (*ended, *resumed) if moment), default=None)


def in_order(runs: Iterable[Run]) -> list[Run]:
    """Those that wait, by namespace; in it as the queue counts them, and what it has given no place yet behind these,
    by priority and age."""
    return sorted((run for run in runs if run.waits), key=_place)


def _place(run: Run) -> tuple[Any, ...]:
    # A place is told again from time to time only, so that two may have the same one.
    place = run.position
    priority = PRIORITIES.index(run.priority) if run.priority in PRIORITIES else len(PRIORITIES)
    return (run.namespace, place is None, place or 0, priority, run.created, run.trial, run.name)


def queue_row(run: Run) -> dict[str, Any]:
    """What tables, files and programs are told of one that waits, by the names that all of them use."""
    return {
        "namespace": run.namespace,
        "position": run.position,
        "experiment": run.name,
        "sweep": run.sweep,
        "user": run.user,
        "priority": run.priority,
        "gpus": run.gpus,
        "device": run.device,
        "queueName": run.queue,
        "since": run.since,
        "reason": run.reason,
        "message": run.message,
    }


QUEUE_COLUMNS = (
    "namespace", "position", "experiment", "sweep", "user", "priority", "gpus", "device", "queueName", "since",
    "reason", "message",
)  # fmt: skip
"""Of a file, in its order."""


def totals(runs: Iterable[Run]) -> str:
    """ "12 runs wait for 19 GPUs, 8 hold 9"."""
    runs = list(runs)
    waiting, holding = [run for run in runs if run.waits], [run for run in runs if run.holds]
    if not waiting:
        told = "no run waits"
    else:
        words = "1 run waits" if len(waiting) == 1 else f"{len(waiting)} runs wait"
        told = f"{words} for {gpus_in_words(sum(run.gpus for run in waiting))}"
    if not holding:
        return f"{told}, none holds a GPU"
    held = gpus_in_words(sum(run.gpus for run in holding))
    return f"{told}, {len(holding)} hold{'s' if len(holding) == 1 else ''} {held}"


def gpus_in_words(count: int) -> str:
    return f"{count} GPU{'' if count == 1 else 's'}"
