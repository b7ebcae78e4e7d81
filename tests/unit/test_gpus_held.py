"""The sums of the bench of the queue, on a story that can be counted by hand."""

from __future__ import annotations

from typing import Any

import pytest

from tests.bench.gpus_held import Held


class Story:
    """Two GPUs of one node, each event at a moment."""

    def __init__(self, **wanted: int) -> None:
        self.now = 0.0
        self.held = Held(2, 2, wanted, lambda: self.now)

    def job(self, at: float, namespace: str, name: str) -> None:
        self.now = at
        self.held.see_job({"metadata": {"namespace": namespace, "name": name}, "spec": {"suspend": False}})

    def pod(self, at: float, namespace: str, job: str, *, phase: str = "Running", kind: str = "MODIFIED") -> None:
        self.now = at
        body: dict[str, Any] = {
            "metadata": {"namespace": namespace, "labels": {"batch.kubernetes.io/job-name": job}},
            "spec": {"nodeName": "n", "containers": [{"resources": {"limits": {"nvidia.com/gpu": "1"}}}]},
            "status": {"phase": phase},
        }
        self.held.see_pod(kind, body)


def told() -> Story:
    """`a` and `b` have the two GPUs from 100 s on; each is given once more, after 2 and after 8 s. At 140 s nobody
    waits any more, and one is free."""
    story = Story(a=3, b=1)
    for at, name in ((99, "a-1"), (99, "b-1"), (111, "a-2"), (126, "a-3")):
        story.job(at, name[0], name)
    story.pod(100, "a", "a-1")
    story.pod(100, "b", "b-1")
    story.pod(110, "a", "a-1", phase="Succeeded")
    story.pod(112, "a", "a-2")
    story.pod(120, "b", "b-1", phase="Succeeded")
    story.pod(128, "a", "a-3")
    story.pod(140, "a", "a-2", phase="Failed")
    story.pod(150, "a", "a-3", kind="DELETED")
    return story


def test_busy_is_what_was_held_from_full_until_nobody_waits() -> None:
    held = told().held
    found = held.figures({})
    assert (held.full_at, held.over_at) == (100, 140)
    assert found.busy == pytest.approx((2 * 40 - 2 - 8) / 80)
    assert found.idle == pytest.approx(10 / 40)
    assert (found.most_idle, found.longest_idle) == (1, 8)
    assert found.runs_for == pytest.approx((10 + 20 + 28 + 22) / 4)


def test_the_gap_is_from_an_end_to_the_next_start() -> None:
    found = told().held.figures({})
    assert found.gap_median == 5
    assert found.long_gaps == pytest.approx(0.8)


def test_shares_are_measured_as_long_as_all_have_someone_waiting() -> None:
    """`b` has had its one run at once: until then neither has held anything."""
    story = Story(a=2, b=2)
    for at, name in ((100, "a-1"), (100, "b-1"), (120, "b-2"), (140, "a-2")):
        if name.endswith("2"):
            story.pod(at, name[0], f"{name[0]}-1", phase="Succeeded")
        story.pod(at, name[0], name)
    story.pod(160, "b", "b-2", phase="Succeeded")
    found = story.held.figures({"a": 1, "b": 1})
    assert found.fair_seconds == 20
    assert found.fairness == pytest.approx(1.0)
    assert found.shares == pytest.approx({"a": 1.0, "b": 1.0})
    assert found.fair_busy == pytest.approx(1.0)
