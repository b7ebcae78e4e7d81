"""The label that failed Experiments are found by: `kubectl get experiments -l orkhaven.io/failure-cluster=c3f2a1`.

It follows the stored status. A write of the status cannot set it, since labels are the metadata's: so it costs one
write for each run that has failed, and none for any other.
"""

from __future__ import annotations

from orkhaven.api.experiment import State
from orkhaven.api.failures import LABEL_CLUSTER
from orkhaven.core.actions import LabelExperiment
from orkhaven.core.failures.clusters import cluster_of
from orkhaven.core.views import ExperimentView


def relabel(exp: ExperimentView) -> LabelExperiment | None:
    """What has to be written so that the label says what the stored status says; None: it does."""
    wanted = cluster_of(exp) if exp.status.state is State.FAILED else None
    if exp.meta.labels.get(LABEL_CLUSTER) == wanted:
        return None
    return LabelExperiment(exp.meta.key, exp.meta.uid, wanted)
