"""What a run had reached at each rung of its ladder, as the hub tells it: out of a real store, and when it is
written.
"""

from __future__ import annotations

import math
import random

import pytest

from orkhaven.api import ExperimentStatus
from orkhaven.hub.status import status_of
from orkhaven.hub.storage.ingest import Post, RunIdentity
from orkhaven.hub.storage.rungs import from_text, passes, to_text
from orkhaven.hub.storage.store import Store
from tests.unit.hub.conftest import RunningHub, line, running_hub
from tests.unit.hub.fakes import FakeCluster
from tests.unit.hub.test_status import DICE, settled
from tests.unit.hub.test_store import NOW, a_line, identity

INF = math.inf
Reports = list[tuple[int, float | None]]


def with_ladder(*rungs: int, minimize: bool = False) -> RunIdentity:
    return identity(objective="dice", minimize=minimize, ladder=to_text(rungs))


def rungs(store: Store, run: RunIdentity) -> list[tuple[int, float | None]]:
    snapshot = store.reader.snapshot_by_name(run.namespace, run.name)
    assert snapshot is not None
    return [tuple(rung) for rung in snapshot.rungs]


@pytest.mark.parametrize(
    ("reports", "expected"),
    [
        ([(1, 0.1)], []),
        ([(1, 0.1), (2, 0.3), (3, 0.2), (4, 0.4)], [(3, 0.3)]),
        ([(3, 0.2)], [(3, 0.2)]),
        ([(2, 0.2), (4, 0.9)], [(3, 0.2)]),
        ([(5, 0.5)], [(3, 0.5)]),
        ([(10, 0.5), (20, 0.7)], [(3, 0.5), (9, 0.5)]),
        ([(2, 0.2), (40, 0.7)], [(3, 0.2), (9, 0.2), (27, 0.2)]),
        ([(1, None), (3, None)], [(3, None)]),
        ([(1, None), (3, None), (4, 0.4), (9, 0.3)], [(3, None), (9, 0.4)]),
        ([(1, 0.4), (3, None), (9, INF)], [(3, 0.4), (9, 0.4)]),
        ([(3, INF), (4, -INF), (9, 0.1)], [(3, None), (9, 0.1)]),
        ([(0, 0.3), (3, 0.1)], [(3, 0.3)]),
        ([], []),
    ],
    ids=[
        *("before the first", "the best up to it", "one report", "none at the rung itself", "only after it"),
        *("every tenth step", "two rungs in one go", "NaN", "finite later", "NaN after a value", "infinite"),
        *("step 0", "nothing"),
    ],
)
def test_a_rung_has_the_best_value_up_to_it(
    store: Store, reports: Reports, expected: list[tuple[int, float | None]]
) -> None:
    lines = [a_line(seq, step=step, dice=value, other=seq) for seq, (step, value) in enumerate(reports, 1)]
    lines.append(a_line(99, step=30, other=1.0))  # what is not the objective passes nothing
    run, late = with_ladder(3, 9, 27), with_ladder(3, 9, 27)
    store.ingest.write([Post(run, tuple(lines))], now=NOW)
    assert rungs(store, run) == expected
    # The same lines in another order, one by one.
    random.Random(0).shuffle(lines)
    for one in lines:
        store.ingest.write([Post(late, (one,))], now=NOW)
    assert rungs(store, late) == expected


def test_of_a_loss_the_smallest_counts(store: Store) -> None:
    run = with_ladder(3, minimize=True)
    store.ingest.write([Post(run, (a_line(1, dice=0.5), a_line(2, dice=0.2), a_line(3, dice=0.3)))], now=NOW)
    assert rungs(store, run) == [(3, 0.2)]


def test_what_a_resumed_attempt_repeats_counts_too(store: Store) -> None:
    run = with_ladder(3, 9)
    first = [a_line(seq, dice=seq / 10) for seq in range(1, 5)]
    again = [a_line(seq, attempt=2, step=seq + 1, dice=0.25) for seq in range(1, 9)]
    store.ingest.write([Post(run, tuple(first + again))], now=NOW)
    assert rungs(store, run) == [(3, 0.3), (9, 0.4)]


def test_a_report_that_comes_late_corrects_its_rung(store: Store) -> None:
    run = with_ladder(3, 9)
    store.ingest.write([Post(run, (a_line(9, dice=0.5),))], now=NOW)
    assert rungs(store, run) == [(3, 0.5), (9, 0.5)]
    store.ingest.write([Post(run, tuple(a_line(seq, dice=seq / 100) for seq in range(1, 9)))], now=NOW)
    assert rungs(store, run) == [(3, 0.03), (9, 0.5)]


def test_a_run_without_a_ladder_or_an_objective_has_none(store: Store) -> None:
    for run in (identity(objective="dice"), identity(ladder="3"), identity(objective="other", ladder="3")):
        store.ingest.write([Post(run, (a_line(4, dice=0.5),))], now=NOW)
        assert rungs(store, run) == []


def test_a_full_ladder_is_read_in_one_walk(store: Store) -> None:
    ladder = [3**power for power in range(16)]
    run = with_ladder(*ladder)
    store.ingest.write([Post(run, tuple(a_line(seq, step=3**seq, dice=seq / 10) for seq in range(16)))], now=NOW)
    assert rungs(store, run) == [(step, power / 10) for power, step in enumerate(ladder)]


def test_status_says_them_as_the_resource_s_own_model_takes_them(store: Store) -> None:
    run = with_ladder(3, 9)
    store.ingest.write([Post(run, (a_line(2, dice=None), a_line(4, dice=0.5), a_line(9, dice=1 / 3)))], now=NOW)
    snapshot = store.reader.snapshot_by_name(run.namespace, run.name)
    assert snapshot is not None
    status = status_of(snapshot)
    assert status["objective"] == {"value": 0.5, "step": 4, "rungs": [{"step": 3}, {"step": 9, "value": 0.5}]}
    objective = ExperimentStatus.model_validate(status).objective
    assert objective is not None
    assert [rung.value for rung in objective.rungs] == [None, 0.5]


@pytest.mark.parametrize(
    ("before", "after", "passed"),
    [(-1, 2, False), (-1, 3, True), (3, 8, False), (2, 9, True), (9, 9, False), (9, 3, False), (27, 100, False)],
)
def test_a_rung_is_passed_once(before: int, after: int, passed: bool) -> None:
    assert passes(to_text([9, 3, 27, 3]), before, after) is passed
    assert passes(None, before, after) is False
    assert from_text(None) == ()


async def test_a_report_that_passes_a_rung_is_written_at_once(fake_cluster: FakeCluster, database_url: str) -> None:
    fake_cluster.add_run("trial", objective=DICE, rungs=[3, 9])
    async with running_hub(fake_cluster, database_url, flush_seconds=600) as hub:
        await hub.post("trial", [line(1, val__dice=0.5)])
        await hub.until(lambda: len(fake_cluster.applied) == 1)
        await hub.post("trial", [line(2, val__dice=0.6)])
        await settled(hub)
        assert len(fake_cluster.applied) == 1
        await hub.post("trial", [line(3, val__dice=0.55)])
        await hub.until(lambda: len(fake_cluster.applied) == 2)
        assert fake_cluster.applied[-1][1]["objective"] == {
            "value": 0.6,
            "step": 2,
            "rungs": [{"step": 3, "value": 0.6}],
        }
        for seq in range(4, 9):
            await hub.post("trial", [line(seq, val__dice=0.7)])
        await settled(hub)
        assert len(fake_cluster.applied) == 2


async def test_a_rung_that_is_passed_while_the_status_is_written_does_not_wait(
    fake_cluster: FakeCluster, sqlite_url: str
) -> None:
    fake_cluster.add_run("trial", objective=DICE, rungs=[2, 3])
    async with running_hub(fake_cluster, sqlite_url, flush_seconds=600) as hub:
        posted: list[object] = []
        await hub.post("trial", [line(1, val__dice=0.5)])
        await hub.until(lambda: len(fake_cluster.applied) == 1)
        flusher = hub.app.state.hub.flusher
        run_id = hub.app.state.hub.store.reader.snapshot_by_name("radiology", "trial").id
        # The write of rung 2 is under way when rung 3 is passed.
        fake_cluster.before_apply.append(lambda: posted.append(flusher.touch(run_id, at_once=True)))
        await hub.post("trial", [line(2, val__dice=0.6)])
        await hub.until(lambda: len(posted) == 1)
        await hub.post("trial", [line(3, val__dice=0.7)])
        await hub.until(lambda: len(fake_cluster.applied[-1][1]["objective"].get("rungs", ())) == 2)


async def test_a_ladder_outlives_a_restart(fake_cluster: FakeCluster, database_url: str) -> None:
    fake_cluster.add_run("trial", objective=DICE, rungs=[2])
    async with running_hub(fake_cluster, database_url, flush_backoff_max_seconds=600) as hub:
        await hub.post("trial", [line(1, val__dice=0.5)])
        await hub.until(lambda: len(fake_cluster.applied) == 1)
        fake_cluster.away = True
        await hub.post("trial", [line(2, val__dice=0.7)])
        await hub.until(lambda: fake_cluster.calls[-1] == "get Experiment")
    fake_cluster.away = False
    async with running_hub(fake_cluster, database_url) as hub:
        await hub.until(lambda: "rungs" in fake_cluster.applied[-1][1].get("objective", {}))


async def test_a_run_resumed_by_a_person_is_written_again(hub: RunningHub) -> None:
    """Pruned is an end: the hub leaves the status alone. Going on, it is an Experiment as before."""
    hub.cluster.add_run("trial", objective=DICE, rungs=[2])
    hub.cluster.finish("trial")
    await hub.post("trial", [line(1, val__dice=0.5)])
    await hub.until(lambda: hub.app.state.hub.store.reader.dirty() == [])
    assert hub.cluster.applied == []
    hub.cluster.objects["Experiment", "radiology", "trial"]["status"]["conditions"] = []
    hub.cluster.touch("Experiment", "radiology", "trial")
    await hub.post("trial", [line(2, val__dice=0.6)])
    await hub.until(lambda: len(hub.cluster.applied) == 1)
