"""What Kueue's conditions mean for a run, sequence by sequence as Kueue writes them."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from datetime import timedelta
from typing import Any

import pytest

from orkhaven.api import ExperimentStatus, Reason
from orkhaven.api.experiment import Attempt
from orkhaven.core.attempts import Observed
from orkhaven.core.kueue.attempt import eviction_of, flavor_of
from orkhaven.core.kueue.labels import LABEL_PRIORITY_CLASS, LABEL_QUEUE
from orkhaven.core.kueue.why import kueue_why
from orkhaven.core.kueue.workload import Kueue, Seen, WorkloadView
from orkhaven.core.parse import parse_job, parse_workload
from orkhaven.core.views import JobView
from tests.unit.core.world import START, stamp

Told = tuple[str, str, str]
DOWN = "The workload is deactivated"
QUOTA = "couldn't assign flavors to pod set main: insufficient unused quota in flavor kwok, 1 more needed"
FOR = "Preempted to accommodate a workload (UID: bad0, JobUID: 4e78) due to prioritization in the ClusterQueue"
UNRESERVED = ("False", "NoReservation", "The workload has no reservation")
ADMITTED: dict[str, Told] = {
    "QuotaReserved": ("True", "QuotaReserved", "Quota reserved in ClusterQueue small"),
    "Admitted": ("True", "Admitted", "The workload is admitted"),
}


def workload(
    conditions: Mapping[str, Told] = {}, *, active: bool = True, held: bool = False, at: float = 0
) -> WorkloadView:
    admission: dict[str, Any] = {
        "clusterQueue": "small",
        "podSetAssignments": [{"name": "main", "flavors": {"cpu": "any", "nvidia.com/gpu": "kwok"}}],
    }
    since = stamp(START + timedelta(seconds=at))
    return parse_workload(
        {
            "apiVersion": "kueue.x-k8s.io/v1beta2",
            "metadata": {
                "name": "job-x-1-bc32a",
                "namespace": "ns",
                "annotations": {"orkhaven.io/held": "true"} if held else {},
            },
            "spec": {"active": active},
            "status": {
                **({"admission": admission} if conditions.get("QuotaReserved", [""])[0] == "True" else {}),
                "conditions": [
                    {"type": kind, "status": status, "reason": reason, "message": message, "lastTransitionTime": since}
                    for kind, (status, reason, message) in conditions.items()
                ],
            },
        }
    )


def job(**labels: str) -> JobView:
    meta = {"name": "x-1", "namespace": "ns", "creationTimestamp": stamp(START)}
    return parse_job({"metadata": {**meta, "labels": {LABEL_QUEUE: "small", **labels}}, "spec": {"suspend": True}})


def why(seen: WorkloadView | None, *, seconds: float = 1, kueue: Kueue = Kueue.SERVED, **labels: str) -> str:
    now = START + timedelta(seconds=seconds)
    said, _ = kueue_why("small", job(**labels), Seen(kueue=kueue, workload=seen), stored=ExperimentStatus(), now=now)
    assert said.reason is Reason.WAITING_FOR_KUEUE
    return said.message


@pytest.mark.parametrize(
    ("conditions", "active", "said"),
    [
        pytest.param({}, True, "is in LocalQueue small of Kueue", id="just made"),
        pytest.param(
            {"QuotaReserved": ("False", "WaitingForQuota", QUOTA), "Admitted": UNRESERVED},
            True,
            f"LocalQueue small of Kueue: WaitingForQuota: {QUOTA}",
            id="quota",
        ),
        pytest.param(
            {"QuotaReserved": ("False", "ExceedsMaxQuota", "more than the maximum capacity (2)")},
            True,
            "LocalQueue small of Kueue: ExceedsMaxQuota: more than the maximum capacity (2)",
            id="never admissible",
        ),
        pytest.param(
            {"QuotaReserved": ("False", "Misconfigured", "LocalQueue small doesn't exist")},
            True,
            "LocalQueue small of Kueue: Misconfigured: LocalQueue small doesn't exist",
            id="no such queue",
        ),
        pytest.param(
            {"QuotaReserved": ("False", "Suspended", "ClusterQueue small is inactive")},
            True,
            "LocalQueue small of Kueue: Suspended: ClusterQueue small is inactive",
            id="queue stopped",
        ),
        pytest.param(
            {"QuotaReserved": ("False", "PendingEvaluation", "")},
            True,
            "LocalQueue small of Kueue: PendingEvaluation",
            id="no message",
        ),
        pytest.param(
            {"QuotaReserved": ADMITTED["QuotaReserved"], "Admitted": UNRESERVED},
            True,
            "LocalQueue small of Kueue: has its quota in ClusterQueue small and waits for the admission checks",
            id="admission checks",
        ),
        pytest.param(ADMITTED, True, "is in LocalQueue small of Kueue", id="about to be released"),
        pytest.param(
            {"QuotaReserved": ("False", "Deactivated", DOWN), "Evicted": ("True", "Deactivated", DOWN)},
            False,
            f"LocalQueue small of Kueue: Workload job-x-1-bc32a is deactivated (Deactivated: {DOWN}); its spec.active: "
            "true lets the run go on",
            id="deactivated",
        ),
    ],
)
def test_what_it_waits_for_is_said_in_kueues_words(conditions: dict[str, Told], active: bool, said: str) -> None:
    assert why(workload(conditions, active=active)) == said


@pytest.mark.parametrize("kueue", [Kueue.MISSING, Kueue.FORBIDDEN, Kueue.OFF, Kueue.UNKNOWN])
def test_where_kueue_cannot_be_read_that_is_said(kueue: Kueue) -> None:
    assert why(None, kueue=kueue).endswith("without spec.queueName (small) the built-in queue decides")


def test_a_job_that_kueue_does_not_take_up_says_so_after_a_while() -> None:
    assert why(None, seconds=29) == "is in LocalQueue small of Kueue"
    assert "has not taken it up: Kueue does not run" in why(None, seconds=31)
    late = why(None, seconds=31, **{LABEL_PRIORITY_CLASS: "hi"})
    assert "there is no WorkloadPriorityClass hi" in late


def test_a_message_that_differs_in_words_alone_is_not_repeated_at_once() -> None:
    two = workload({"QuotaReserved": ("False", "WaitingForQuota", "2 more needed")})
    told = "LocalQueue small of Kueue: WaitingForQuota: 1 more needed"
    stored = ExperimentStatus(reason=Reason.WAITING_FOR_KUEUE, message=told)
    early = Seen(kueue=Kueue.SERVED, workload=two, may_retell=False)
    said, again = kueue_why("small", job(), early, stored=stored, now=START)
    assert (said.message, again) == (told, 60)
    said, _ = kueue_why("small", job(), replace(early, may_retell=True), stored=stored, now=START)
    assert said.message.endswith("2 more needed")
    other = workload({"QuotaReserved": ("False", "Suspended", "ClusterQueue small is inactive")})
    said, _ = kueue_why("small", job(), replace(early, workload=other), stored=stored, now=START)
    assert "Suspended" in said.message


RAN = Attempt(number=1, job="x-1", pod="x-1-a", node="n1", start_time=START)


@pytest.mark.parametrize(
    ("conditions", "active", "attempt", "reason"),
    [
        pytest.param(ADMITTED, True, RAN, None, id="runs"),
        pytest.param(ADMITTED | {"Evicted": ("True", "Preempted", FOR)}, True, RAN, "Preempted", id="just evicted"),
        pytest.param(
            {"QuotaReserved": ("False", "WaitingForQuota", QUOTA), "Evicted": ("True", "Preempted", FOR)},
            True,
            RAN,
            "Preempted",
            id="settled",
        ),
        pytest.param(
            ADMITTED
            | {"Evicted": ("False", "QuotaReserved", f"Previously: {FOR}"), "Requeued": ("True", "Preempted", FOR)},
            True,
            RAN,
            None,
            id="admitted again",
        ),
        pytest.param({"Evicted": ("True", "Deactivated", DOWN)}, False, RAN, None, id="deactivated"),
        pytest.param(
            {"Evicted": ("True", "Deactivated", DOWN), "Requeued": ("True", "Reactivated", "")},
            True,
            RAN,
            None,
            id="active again, not admitted yet",
        ),
        pytest.param(
            {"Evicted": ("True", "ClusterQueueStopped", "The ClusterQueue is stopped")},
            True,
            RAN,
            "ClusterQueueStopped",
            id="queue drained",
        ),
        pytest.param(
            {"Evicted": ("True", "PodsReadyTimeout", "")}, True, RAN, "PodsReadyTimeout", id="not ready in time"
        ),
        pytest.param(
            {"Evicted": ("True", "Preempted", FOR)},
            True,
            RAN.model_copy(update={"pod": None, "start_time": None}),
            None,
            id="had no pod",
        ),
        pytest.param(
            {"Evicted": ("True", "Preempted", FOR)},
            True,
            RAN.model_copy(update={"start_time": START + timedelta(seconds=60)}),
            None,
            id="of an earlier pod",
        ),
    ],
)
def test_an_eviction_is_told_by_status_and_time_not_by_presence(
    conditions: dict[str, Told], active: bool, attempt: Attempt, reason: str | None
) -> None:
    seen = Observed(number=1, job=job(), pod=None)
    told = eviction_of(attempt, seen, workload(conditions, active=active, at=30))
    assert (told.reason if told else None) == reason


def test_the_flavor_is_the_model_where_the_node_does_not_tell() -> None:
    seen = Seen(kueue=Kueue.SERVED, workload=workload(ADMITTED))
    assert flavor_of(RAN, seen, gpus=1) == "kwok"
    assert flavor_of(RAN.model_copy(update={"gpu_model": "A100"}), seen, gpus=1) == "A100"
    assert flavor_of(RAN, seen, gpus=0) is None
    assert flavor_of(RAN, Seen(), gpus=1) is None


@pytest.mark.parametrize(
    "odd",
    [{}, {"spec": None, "status": []}, {"status": {"conditions": ["x", {"type": 3}], "admission": "no"}}],
    ids=["empty", "of wrong types", "odd conditions"],
)
def test_an_odd_workload_is_read_as_far_as_it_goes(odd: dict[str, Any]) -> None:
    assert parse_workload(odd).active
    assert parse_workload(odd).flavor is None
