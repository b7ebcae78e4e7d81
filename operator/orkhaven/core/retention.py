"""What is left of a run that has ended, and for how long: its Jobs (and with them its pods), then the run itself.

Nothing is removed before the end is in the stored status, which is where a finished Experiment is known from: cause,
exit codes and the last lines are there. The log is the hub's, which needs a moment to read a pod to its end.
"""

from __future__ import annotations

from collections.abc import Sequence
from datetime import datetime, timedelta

from orkhaven.api.experiment import State
from orkhaven.core.actions import Action, DeleteExperiment, DeleteJob, Plan
from orkhaven.core.views import Defaults, ExperimentView, JobView


def retire(exp: ExperimentView, *, jobs: Sequence[JobView], defaults: Defaults, now: datetime) -> Plan:
    """What is to be removed of a finished `exp`. `jobs`: those that are there; a plan removes no more than one run's,
    so that what ten thousand leave behind goes one by one, between everything else."""
    own = [job for job in jobs if job.meta.owner_uid == exp.meta.uid and not job.meta.deleting]
    ttl = exp.spec.ttl_seconds_after_finished if exp.spec is not None and exp.meta.owner_uid is None else None
    if not own and ttl is None:
        return Plan()
    ended = exp.status.completion_time or exp.meta.created
    actions: list[Action] = []
    waits: list[float] = []
    if ttl is not None:
        left = (ended + timedelta(seconds=ttl) - now).total_seconds()
        if left <= 0:
            return Plan(actions=(DeleteExperiment(exp.meta.key, exp.meta.uid),))
        waits.append(left)
    if own:
        left = (ended + timedelta(seconds=_kept(exp, defaults)) - now).total_seconds()
        if left <= 0:
            actions += [DeleteJob(job.meta.key, job.meta.uid) for job in sorted(own, key=lambda job: job.attempt)]
        else:
            waits.append(left)
    return Plan(actions=tuple(actions), requeue_after=min(waits) if waits else None)


def _kept(exp: ExperimentView, defaults: Defaults) -> int:
    failed = exp.status.state is State.FAILED
    return max(defaults.failed_job_retention_seconds if failed else 0, defaults.job_retention_seconds)
