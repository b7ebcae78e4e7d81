"""The label that failed Experiments are found by: `kubectl get experiments -l orkhaven.io/failure-cluster=c3f2a1`.

It follows the stored status. A write of the status cannot set it, since labels are the metadata's: so it costs one
write for each run that has failed, and none for any other. It comes a little later: where a thousand fail within ten
seconds, their statuses come first, which are what the sweep counts.
"""

from __future__ import annotations

from datetime import datetime

from orkhaven.api.experiment import State
from orkhaven.api.failures import LABEL_CLUSTER
from orkhaven.core.actions import LabelExperiment
from orkhaven.core.failures.clusters import cluster_of
from orkhaven.core.views import ExperimentView

AFTER_SECONDS = 15.0
"""From the end of a run."""


def relabel(exp: ExperimentView, *, now: datetime) -> tuple[LabelExperiment | None, float | None]:
    """What has to be written so that the label says what the stored status says, or the seconds until then; neither: it
    does."""
    wanted = cluster_of(exp) if exp.status.state is State.FAILED else None
    if exp.meta.labels.get(LABEL_CLUSTER) == wanted:
        return None, None
    ended = exp.status.completion_time
    left = AFTER_SECONDS - (now - ended).total_seconds() if ended is not None and wanted is not None else 0.0
    return (None, left) if left > 0 else (LabelExperiment(exp.meta.key, exp.meta.uid, wanted), None)
