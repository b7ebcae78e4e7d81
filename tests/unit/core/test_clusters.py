"""Clusters of a sweep's failures: apart by fingerprint, with what their members have in common."""

from __future__ import annotations

import json
from datetime import timedelta
from typing import Any

import pytest

from orkhaven.api.experiment import Attempt
from orkhaven.core.failures.clusters import MAX_CLUSTERS, cluster_of, failure_clusters
from orkhaven.core.failures.correlate import Correlator
from orkhaven.core.parse import parse_experiment
from orkhaven.core.views import ExperimentView
from tests.unit.core.world import START, make_experiment, stamp


def trial(
    number: int,
    *,
    cluster: str | None = None,
    reason: str = "UserException",
    node: str = "n1",
    gpu: str = "A100",
    image: str = "trainer:1",
    minutes: float | None = None,
    **params: Any,
) -> ExperimentView:
    """One that has ended: with `cluster` it failed."""
    body = make_experiment(f"t{number:05}", params=params, image=image)
    end = stamp(START + timedelta(minutes=number if minutes is None else minutes))
    status: dict[str, Any] = {
        "state": "Succeeded" if cluster is None else "Failed",
        "reason": "Completed" if cluster is None else reason,
        "message": f"t{number} says it",
        "completionTime": end,
        "attempts": [{"number": 1, "job": "j", "node": node, "gpuModel": gpu}],
    }
    if cluster:
        status["failure"] = {"reason": reason, "message": "m", "cluster": cluster, "signature": f"sig {cluster}"}
        status["failure"] |= {"suggestion": "Do something.", "location": "models/unet.py:31 in forward"}
    body["status"] = status
    return parse_experiment(body)


def test_they_are_told_apart_by_cluster_and_not_by_reason() -> None:
    failed = [trial(1, cluster="aa"), trial(2, cluster="bb"), trial(3, cluster="bb")]
    first, second = failure_clusters(failed).listed
    assert (first.id, first.count, first.signature) == ("bb", 2, "sig bb")
    assert (first.first_seen, first.last_seen) == (START + timedelta(minutes=2), START + timedelta(minutes=3))
    assert first.samples == ["t00002", "t00003"]
    assert first.message == "t3 says it"
    assert first.where == "models/unet.py:31 in forward"
    assert [(place.name, place.count) for place in first.nodes] == [("n1", 2)]
    assert [(place.name, place.count) for place in first.images] == [("trainer:1", 2)]
    assert second.id == "aa"


def test_one_from_before_there_were_clusters_goes_by_its_reason() -> None:
    old = [trial(1, cluster="", reason="DiskFull"), trial(2, cluster="", reason="DiskFull")]
    (only,) = failure_clusters(old).listed
    assert (only.count, only.id) == (2, cluster_of(old[0]))


def test_what_has_no_room_is_counted() -> None:
    failed = [trial(number, cluster=f"{number % 40:08}") for number in range(100)]
    found = failure_clusters(failed)
    assert len(found.listed) == MAX_CLUSTERS
    assert found.others is not None
    assert sum(one.count for one in found.listed) + found.others.trials == 100
    assert found.others.clusters == 8
    assert failure_clusters(failed[:30]).others is None


def test_the_order_of_the_trials_makes_no_difference() -> None:
    failed = [trial(number, cluster="abc"[number % 3]) for number in range(30)]
    assert failure_clusters(failed) == failure_clusters(failed[::-1])


@pytest.mark.parametrize(
    ("reason", "again"),
    [("UserException", True), ("ImportError", False), ("LicenceServer", True), ("CudaOutOfMemory", False)],
)
def test_whether_it_may_pass(reason: str, again: bool) -> None:
    (one,) = failure_clusters([trial(1, cluster="a", reason=reason)]).listed
    assert one.retryable is again


# --- what they have in common -----------------------------------------------------------------------------------------


def correlated(failed: list[ExperimentView], succeeded: list[ExperimentView], *names: str) -> list[str]:
    return [one.text for one in Correlator(succeeded, names=names).of(failed, limit=3)]


def test_a_parameter_that_all_failures_and_few_successes_have() -> None:
    failed = [trial(n, cluster="a", batch_size=16, lr=n % 3) for n in range(5)]
    succeeded = [trial(100 + n, batch_size=16 if n < 3 else 8, lr=n % 3) for n in range(88)]
    assert correlated(failed, succeeded, "batch_size", "lr") == ["batch_size=16 in 5/5, 3/88 of the successful"]
    (one,) = failure_clusters(failed, succeeded=succeeded, names=["batch_size", "lr"]).listed
    (common,) = one.correlates
    assert (common.what, common.value, common.failed, common.failed_of) == ("batch_size", "=16", 5, 5)
    assert (common.succeeded, common.succeeded_of, common.lift) == (3, 88, 29.3)
    assert "All 5 have batch_size=16" in one.suggestion


def test_a_node_a_gpu_and_an_image() -> None:
    failed = [trial(n, cluster="a", node="n7", gpu="T4", image="trainer:2") for n in range(5)]
    succeeded = [trial(100 + n, node=f"n{n % 6}") for n in range(60)]
    assert correlated(failed, succeeded) == [
        "gpu=T4 in 5/5, 0/60 of the successful",
        "image=trainer:2 in 5/5, 0/60 of the successful",
        "node=n7 in 5/5, 0/60 of the successful",
    ]


def test_a_number_of_a_range_is_compared_by_at_least() -> None:
    failed = [trial(n, cluster="a", lr=0.1 + n / 100) for n in range(6)]
    succeeded = [trial(100 + n, lr=0.0001 + n / 1000) for n in range(60)]
    assert correlated(failed, succeeded, "lr") == ["lr>=0.1 in 6/6, 0/60 of the successful"]


NOTHING = {
    "nothing succeeded": ([trial(n, cluster="a", x=1) for n in range(5)], []),
    "one failure has everything in common with itself": ([trial(1, cluster="a", x=1)], [trial(2, x=2)] * 20),
    "everybody has it": ([trial(n, cluster="a", x=1) for n in range(5)], [trial(9, x=1)] * 50),
    "it may be chance": ([trial(n, cluster="a", x=1) for n in range(2)], [trial(n, x=n % 4) for n in range(40)]),
    "too few of the failures have it": ([trial(n, cluster="a", x=n % 2) for n in range(8)], [trial(9, x=7)] * 40),
    "half of the successes have it": (
        [trial(n, cluster="a", x=1) for n in range(3)],
        [trial(n, x=n % 2) for n in range(40)],
    ),
    "neither is it there": ([trial(n, cluster="a") for n in range(5)], [trial(9, x=1)] * 40),
}


@pytest.mark.parametrize(("failed", "succeeded"), NOTHING.values(), ids=NOTHING)
def test_nothing_is_told_where(failed: list[ExperimentView], succeeded: list[ExperimentView]) -> None:
    assert correlated(failed, succeeded, "x") == []


def test_its_place_in_a_status_is_small() -> None:
    """The largest that 32 clusters can be, texts of two bytes a character included."""
    long = "ä" * 5000
    failed = [
        trial(n, cluster=f"{n % 32:08}", reason="UserException", node="n" * 63, image="i" * 300, p={"q": long})
        for n in range(96)
    ]
    for child in failed:
        failure = child.status.failure
        assert failure is not None
        object.__setattr__(failure, "signature", long[:256])
        object.__setattr__(failure, "suggestion", long[:500])
        object.__setattr__(child.status, "message", long[:2048])
    succeeded = [trial(1000 + n, node="other", image="other", p={"q": n}) for n in range(50)]
    listed = failure_clusters(failed, succeeded=succeeded, names=["p.q"]).listed
    size = len(json.dumps([one.to_dict() for one in listed], ensure_ascii=False).encode())
    assert len(listed) == 32
    assert size < 100 * 1024, size


def test_attempts_without_a_node_are_no_place() -> None:
    child = trial(1, cluster="a")
    object.__setattr__(child.status, "attempts", [Attempt(number=1, job="j")])
    (one,) = failure_clusters([child]).listed
    assert one.nodes == []
