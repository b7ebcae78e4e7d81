"""One look at a Sweep: which trials are made next, what its children add up to, and when it is over.

A sweep is over when every trial has ended, or when more than failurePolicy.maxFailedTrials have failed and none is
running any more. It Succeeded if all trials ended, at least one of them succeeded, and no more than maxFailedTrials
failed; else it Failed. Nothing is remembered but the status: trials are numbered, children carry their number, and a
number without a child is made again.

`plan` decides, from what `observed` adds up; `trials` makes the next children, `rerun` those of failed ones once more;
`stops` says why no more are started, `status` what became of it.
"""

from orkhaven.core.sweep.plan import forget, plan_sweep
from orkhaven.core.sweep.stops import may_stop, starts_no_more

__all__ = ["forget", "may_stop", "plan_sweep", "starts_no_more"]
