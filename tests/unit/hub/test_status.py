"""What is written into an Experiment's status, and when."""

from __future__ import annotations

import math
from typing import Any

import pytest

from orkhaven.api import ExperimentStatus
from orkhaven.hub.status import MAX_METRICS, status_of
from orkhaven.hub.storage.read import MetricSummary, RunSnapshot
from tests.unit.hub.conftest import RunningHub, line, running_hub
from tests.unit.hub.fakes import NAMESPACE, FakeCluster

DICE = {"metric": "val/dice", "direction": "Maximize"}


def metric(name: str, last: float | None = 1.0, low: float | None = 1.0, high: float | None = 2.0) -> MetricSummary:
    return MetricSummary(
        name=name, count=2, last=last, last_step=2,
        min=low, min_step=None if low is None else 1, max=high, max_step=None if high is None else 2,
    )  # fmt: skip


def run(*metrics: MetricSummary, **fields: Any) -> RunSnapshot:
    return RunSnapshot(
        **{
            "id": 1, "uid": "u", "namespace": NAMESPACE, "name": "trial", "sweep": None, "objective": None,
            "minimize": None, "attempt": 1, "step": 3, "time": 1_790_000_020.0, "first_step": 1,
            "first_time": 1_790_000_000.0, "total_steps": None, "revision": 1, "applied_revision": 0,
            "applied_hash": None, "metrics": metrics, **fields,
        }
    )  # fmt: skip


class TestStatus:
    def test_progress_alone_where_nothing_else_is_known(self) -> None:
        assert status_of(run(step=1)) == {"progress": {"step": 1}, "metrics": {}}

    def test_eta_follows_the_attempt_s_pace(self) -> None:
        # 2 steps in 20 s, 7 to go: 70 s after the last report at 14:13:40.
        progress = status_of(run(total_steps=10))["progress"]
        assert progress == {"step": 3, "totalSteps": 10, "secondsPerStep": 10.0, "eta": "2026-09-21T14:14:50Z"}

    @pytest.mark.parametrize(
        "fields",
        [{"step": 1}, {"step": 10}, {"step": 12}, {"first_time": 1_790_000_030.0}, {"total_steps": 2**53}],
        ids=["first step", "at the end", "beyond it", "clock went back", "beyond all dates"],
    )
    def test_no_eta_where_it_means_nothing(self, fields: dict[str, Any]) -> None:
        assert "eta" not in status_of(run(**{"total_steps": 10, **fields}))["progress"]

    @pytest.mark.parametrize(("minimize", "best"), [(False, (2.0, 2)), (True, (1.0, 1))], ids=["max", "min"])
    def test_the_objective_is_the_better_end(self, minimize: bool, best: tuple[float, int]) -> None:
        status = status_of(run(metric("score"), objective="score", minimize=minimize))
        assert status["objective"] == {"value": best[0], "step": best[1]}
        assert status["metrics"]["score"] == {"last": 1.0, "best": best[0], "bestStep": best[1]}

    def test_no_objective_before_a_finite_value(self) -> None:
        status = status_of(run(metric("score", last=None, low=None, high=None), objective="score", minimize=False))
        assert "objective" not in status
        assert status["metrics"] == {"score": {}}

    def test_what_json_cannot_say_is_left_out(self) -> None:
        status = status_of(run(metric("a", last=None), metric("b", last=math.inf)))
        assert all("last" not in entry for entry in status["metrics"].values())

    def test_a_loss_is_best_at_its_smallest(self) -> None:
        assert status_of(run(metric("val/loss")))["metrics"]["val/loss"]["best"] == 1.0

    def test_of_many_metrics_the_objective_is_kept_and_the_rest_by_name(self) -> None:
        names = [f"m{number:02}" for number in range(40)]
        status = status_of(run(*map(metric, [*names, "zz"]), objective="zz", minimize=False))
        assert len(status["metrics"]) == MAX_METRICS
        assert list(status["metrics"]) == ["zz", *names[: MAX_METRICS - 1]]

    def test_the_resource_s_own_model_takes_it(self) -> None:
        status = status_of(run(metric("val/dice"), objective="val/dice", minimize=False, total_steps=10))
        ExperimentStatus.model_validate(status)


async def test_the_first_report_is_seen_at_once_and_the_next_after_the_interval(
    fake_cluster: FakeCluster, database_url: str
) -> None:
    fake_cluster.add_run("trial", objective=DICE)
    async with running_hub(fake_cluster, database_url, flush_seconds=600) as hub:
        await hub.post("trial", [line(1, total=10, val__dice=0.5)])
        await hub.until(lambda: len(fake_cluster.applied) == 1, seconds=2)
        for seq in range(2, 10):
            await hub.post("trial", [line(seq, total=10, val__dice=0.5 + seq / 100)])
        await settled(hub)
        (name, status), *more = fake_cluster.applied
        assert (name, more) == ("trial", [])
        assert status["progress"] == {"step": 1, "totalSteps": 10}
        assert status["objective"] == {"value": 0.5, "step": 1}


async def settled(hub: RunningHub) -> None:
    """Nothing is being written at the moment."""
    await hub.until(lambda: hub.app.state.hub.flusher.writing == 0)


async def test_many_reports_become_few_writes_and_the_last_one_is_whole(hub: RunningHub) -> None:
    hub.cluster.add_run("trial", objective=DICE)
    for seq in range(1, 51):
        await hub.post("trial", [line(seq, val__dice=seq / 100)])
    await hub.until(lambda: hub.cluster.applied[-1:] != [] and hub.cluster.applied[-1][1]["progress"]["step"] == 50)
    assert len(hub.cluster.applied) < 40
    assert hub.cluster.applied[-1][1]["objective"] == {"value": 0.5, "step": 50}


async def test_nothing_is_written_where_nothing_changed(hub: RunningHub) -> None:
    hub.cluster.add_run("trial", objective=DICE)
    await hub.post("trial", [line(1, step=5, val__dice=0.5)])
    await hub.until(lambda: len(hub.cluster.applied) == 1)
    # Another line, but the same step and value: the status is the same.
    await hub.post("trial", [line(2, step=5, val__dice=0.5)])
    await hub.until(lambda: hub.app.state.hub.store.reader.dirty() == [])
    assert len(hub.cluster.applied) == 1


async def test_a_finished_run_s_status_is_left_alone(hub: RunningHub) -> None:
    hub.cluster.add_run("trial", objective=DICE)
    hub.cluster.finish("trial")
    await hub.post("trial", [line(1, val__dice=0.5)])
    await hub.until(lambda: hub.app.state.hub.store.reader.dirty() == [])
    assert hub.cluster.applied == []


async def test_a_run_that_finishes_between_look_and_write_is_left_alone(hub: RunningHub) -> None:
    hub.cluster.add_run("trial", objective=DICE)
    hub.cluster.before_apply.append(lambda: hub.cluster.finish("trial"))
    await hub.post("trial", [line(1, val__dice=0.5)])
    await hub.until(lambda: hub.app.state.hub.store.reader.dirty() == [])
    assert hub.cluster.applied == []
    assert hub.cluster.before_apply == []


async def test_a_race_with_the_operator_is_decided_by_looking_again(hub: RunningHub) -> None:
    hub.cluster.add_run("trial", objective=DICE)
    hub.cluster.before_apply.append(lambda: hub.cluster.touch("Experiment", NAMESPACE, "trial"))
    await hub.post("trial", [line(1, val__dice=0.5)])
    await hub.until(lambda: len(hub.cluster.applied) == 1)


@pytest.mark.parametrize("then", ["deleted", "made anew"])
async def test_a_deleted_experiment_s_lines_are_kept_and_nobody_else_s_status_is_written(
    hub: RunningHub, then: str
) -> None:
    hub.cluster.add_run("trial", objective=DICE)
    await hub.post("trial", [line(1, val__dice=0.5)])
    await hub.until(lambda: len(hub.cluster.applied) == 1)
    if then == "deleted":
        hub.cluster.delete("Experiment", "trial")
    else:
        hub.cluster.put("Experiment", "trial", spec={})
    await hub.post("trial", [line(2, val__dice=0.6)])
    await hub.until(lambda: hub.app.state.hub.store.reader.dirty() == [])
    assert len(hub.cluster.applied) == 1
    series = (await hub.get("experiments/trial/metrics/val/dice")).json()
    assert series["value"] == [0.5, 0.6]


async def test_what_was_not_written_is_written_after_a_restart(fake_cluster: FakeCluster, database_url: str) -> None:
    fake_cluster.add_run("trial", objective=DICE)
    async with running_hub(fake_cluster, database_url, flush_backoff_max_seconds=600) as hub:
        await hub.post("trial", [line(1, val__dice=0.5)])
        await hub.until(lambda: len(fake_cluster.applied) == 1)
        await hub.post("trial", [line(2, val__dice=0.7)])
        fake_cluster.away = True
        await hub.until(lambda: fake_cluster.calls[-1] == "get Experiment")
    fake_cluster.away = False
    written = len(fake_cluster.applied)
    async with running_hub(fake_cluster, database_url) as hub:
        await hub.until(lambda: fake_cluster.applied[-1][1]["objective"]["value"] == 0.7)
    async with running_hub(fake_cluster, database_url) as hub:
        await settled(hub)
    assert len(fake_cluster.applied) <= written + 1


async def test_an_api_server_that_is_away_for_a_while_gets_the_status_later(
    fake_cluster: FakeCluster, sqlite_url: str
) -> None:
    fake_cluster.add_run("trial", objective=DICE)
    async with running_hub(fake_cluster, sqlite_url, flush_backoff_max_seconds=0.05) as hub:
        await hub.post("trial", [line(1, val__dice=0.5)])
        await hub.until(lambda: len(fake_cluster.applied) == 1)
        fake_cluster.away = True
        looks = len(fake_cluster.calls)
        await hub.post("trial", [line(2, val__dice=0.7)])
        await hub.until(lambda: len(fake_cluster.calls) > looks + 3)
        fake_cluster.away = False
        await hub.until(lambda: fake_cluster.applied[-1][1]["objective"]["value"] == 0.7)
