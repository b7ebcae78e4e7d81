"""Attempts on lanes: none lies on another, and what is drawn is bounded."""

from __future__ import annotations

from typing import Any

import pytest

from orkhaven.hub.query.rows import ExperimentRow, experiment_row
from orkhaven.hub.query.timeline import MAX_LANES, Outcome, timeline
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser, add_sweep

START = 1_790_000_000


def moment(minutes: float) -> str:
    from datetime import UTC, datetime

    return datetime.fromtimestamp(START + 60 * minutes, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def attempt(
    start: float, end: float | None = None, *, number: int = 1, node: str = "n1", **more: Any
) -> dict[str, Any]:
    made = {"number": number, "node": node, "startTime": moment(start), **more}
    return made if end is None else {"endTime": moment(end), "exitCode": 0, "reason": "Completed", **made}


def run(name: str, *attempts: dict[str, Any], **status: Any) -> ExperimentRow:
    metadata = {"name": name, "namespace": NAMESPACE, "uid": name, "resourceVersion": "1"}
    return experiment_row({"metadata": metadata, "status": {"attempts": list(attempts), **status}})


def test_attempts_at_once_on_a_node_stand_on_lanes_of_their_own_and_a_free_lane_is_used_again() -> None:
    rows = [
        run("a", attempt(0, 10)),
        run("b", attempt(5, 15)),
        run("c", attempt(10, 20)),
        run("d", attempt(0, 9, node="n2")),
    ]
    found = timeline(rows, now=START + 3600)
    assert [(lane.node, lane.slot) for lane in found.lanes] == [("n1", 0), ("n1", 1), ("n2", 0)]
    assert {bar.experiment: bar.lane for bar in found.bars} == {"a": 0, "b": 1, "c": 0, "d": 2}
    assert (found.attempts, found.merged, found.hidden_nodes) == (4, False, 0)


@pytest.mark.parametrize(
    ("one", "status", "outcome", "minutes"),
    [
        (attempt(0, 5), {}, Outcome.GOOD, 5),
        (attempt(0, 5, reason="CudaOutOfMemory", exitCode=1), {}, Outcome.BAD, 5),
        (attempt(0, 5, reason="Preempted", exitCode=143), {}, Outcome.HELD, 5),
        (attempt(0), {}, Outcome.RUNNING, 60),
        (attempt(0), {"completionTime": moment(7)}, Outcome.BAD, 7),
        (attempt(5, 2), {}, Outcome.GOOD, 0),
    ],
    ids=["completed", "failed", "preempted", "running", "an end that nobody saw", "clocks that disagree"],
)
def test_a_bar_says_how_its_attempt_ended(
    one: dict[str, Any], status: dict[str, Any], outcome: Outcome, minutes: int
) -> None:
    (bar,) = timeline([run("a", one, **status)], now=START + 3600).bars
    assert bar.counts[outcome] == 1
    assert bar.end - bar.start == minutes * 60


def test_every_attempt_of_a_run_is_there_and_one_that_never_started_is_not() -> None:
    waiting = {"number": 3, "job": "a-3"}
    found = timeline([run("a", attempt(6, 9, number=2), attempt(0, 5), waiting)], now=START)
    assert [bar.number for bar in found.bars] == [1, 2]


def test_of_ten_thousand_attempts_a_bounded_number_of_bars_is_drawn_and_none_is_lost() -> None:
    rows = [run(f"r{i}", attempt(i, i + 3, node=f"n{i % 16}")) for i in range(10_000)]
    found = timeline(rows, now=START, most=1_000)
    assert found.merged
    assert len(found.bars) <= 1_000
    assert sum(sum(bar.counts) for bar in found.bars) == 10_000
    closer = timeline(rows, now=START, window=(START + 60_000, START + 66_000), most=1_000)
    assert not closer.merged
    assert {sum(bar.counts) for bar in closer.bars} == {1}
    assert (closer.start, closer.end) == (found.start, found.end)


def test_of_too_many_nodes_the_busiest_are_shown_and_the_rest_is_counted() -> None:
    rows = [run(f"r{i}", attempt(i, i + 1, node=f"n{i:03}")) for i in range(100)] + [
        run("x", attempt(500, 501, node="n099"))
    ]
    found = timeline(rows, now=START)
    assert len(found.lanes) == MAX_LANES
    assert found.hidden_nodes == found.hidden_attempts == 100 - MAX_LANES
    assert found.lanes[-1].node == "n099"


async def test_a_sweep_whose_runs_have_not_started_says_so(browser: Browser, fake_cluster: FakeCluster) -> None:
    add_sweep(fake_cluster)
    fake_cluster.add_run("a", sweep="sweep")
    await browser.hub.settled()
    found = (await browser.get(f"/n/{NAMESPACE}/sweeps/sweep/timeline")).json()
    assert found["lanes"] == []
    assert found["empty"]["title"] == "No attempt has started."


async def test_the_timeline_as_a_file_has_a_line_per_attempt(browser: Browser, fake_cluster: FakeCluster) -> None:
    add_sweep(fake_cluster)
    fake_cluster.add_run("a", sweep="sweep")
    status = {"attempts": [attempt(0, 1), attempt(2, 3, number=2, gpuModel="H100")]}
    fake_cluster.objects["Experiment", NAMESPACE, "a"]["status"] = status
    fake_cluster.touch("Experiment", NAMESPACE, "a")
    await browser.hub.settled()
    lines = (await browser.get(f"/n/{NAMESPACE}/sweeps/sweep/timeline", format="csv")).text.splitlines()
    assert lines[0] == "experiment,attempt,node,gpu,start,end,seconds,outcome,reason,exitCode"
    assert lines[2] == f"a,2,n1,H100,{moment(2)},{moment(3)},60.0,succeeded,Completed,0"
