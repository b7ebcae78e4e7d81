"""Who gets the GPUs.

`plan.plan_queue` decides; the others are what it decides with: what a run needs of a node (`needs`), a Job that asks
(`request`), what is free (`places`).
"""

from orkhaven.core.queue.needs import Needs, could_run, needs_of, past
from orkhaven.core.queue.plan import QueuePlan, plan_queue
from orkhaven.core.queue.request import Request, going_past, is_booked, left_by_its_run, request_of, wants_release
from orkhaven.core.queue.shares import Quota, Shares

__all__ = [
    "Needs",
    "QueuePlan",
    "Quota",
    "Request",
    "Shares",
    "could_run",
    "going_past",
    "is_booked",
    "left_by_its_run",
    "needs_of",
    "past",
    "plan_queue",
    "request_of",
    "wants_release",
]
