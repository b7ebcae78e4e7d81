"""Labels and annotations between Orkhaven and Kueue."""

from __future__ import annotations

from collections.abc import Mapping

from orkhaven.api import GROUP, ExperimentSpec

LABEL_QUEUE = "kueue.x-k8s.io/queue-name"
LABEL_PRIORITY_CLASS = "kueue.x-k8s.io/priority-class"
"""Name of a WorkloadPriorityClass."""
ANNOTATION_HELD = f"{GROUP}/held"
"""On a Workload: it was deactivated by us, for a suspended run, and not by somebody who wants it to stay so."""


def labels_of(spec: ExperimentSpec, classes: Mapping[str, str]) -> dict[str, str]:
    """What the Job of a run is told for Kueue; empty: nothing, since the built-in queue has it. `classes`:
    WorkloadPriorityClass by spec.priority."""
    if not spec.queue_name:
        return {}
    named = classes.get(spec.priority.value)
    return {LABEL_QUEUE: spec.queue_name} | ({LABEL_PRIORITY_CLASS: named} if named else {})


def queue_of(labels: Mapping[str, str]) -> str | None:
    """The LocalQueue that a Job is in; None: it is not Kueue's."""
    return labels.get(LABEL_QUEUE) or None
