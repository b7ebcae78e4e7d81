"""Leaderboards and curves as pages and API ask for them, over a fake cluster and a real store."""

from __future__ import annotations

import asyncio
import math
from collections.abc import AsyncIterator
from typing import Any

import pytest

from orkhaven.hub.query.curves import Axis
from orkhaven.hub.query.leaderboard import Page, ParameterError, Request
from orkhaven.hub.query.service import Unknown
from tests.unit.hub.conftest import RunningHub, line, running_hub
from tests.unit.hub.fakes import NAMESPACE, FakeCluster

OBJECTIVE = {"metric": "dice", "direction": "Maximize"}


@pytest.fixture
async def hub(fake_cluster: FakeCluster, sqlite_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(fake_cluster, sqlite_url) as running:
        yield running


async def run(hub: RunningHub, name: str, *values: Any, status: dict[str, Any] | None = None, **params: Any) -> None:
    hub.cluster.add_run(name, sweep="covid", objective=OBJECTIVE, params=params)
    if values:
        lines = [line(seq, dice=value, loss=1 / seq) for seq, value in enumerate(values, 1)]
        assert (await hub.post(name, lines)).status_code == 200
    if status:
        body = hub.cluster.objects["Experiment", NAMESPACE, name]
        body["status"] = body.get("status", {}) | status
        hub.cluster.touch("Experiment", NAMESPACE, name)


async def board(hub: RunningHub, **request: Any) -> Page:
    await hub.settled()
    return await hub.queries.leaderboard(NAMESPACE, "covid", Request(**request))


@pytest.fixture
async def sweep(hub: RunningHub) -> RunningHub:
    hub.cluster.put("Sweep", "covid", spec={"objective": OBJECTIVE}, status={"state": "Running"})
    await run(hub, "a", 0.1, 0.5, 0.4, model={"name": "unet"}, lr=0.1, aug=True)
    await run(
        hub, "b", 0.7, "NaN", model={"name": "unet"}, lr=0.01, aug=True, status={"state": "Failed", "reason": "X"}
    )
    await run(hub, "c", model={"name": "fpn"}, lr=0.01, aug=True)
    await run(
        hub, "d", model={"name": "fpn"}, lr=0.1, aug=True,
        status={
            "state": "Succeeded", "objective": {"value": 0.6, "step": 9},
            "metrics": {"dice": {"last": 0.55, "best": 0.6, "bestStep": 9}},
        },
    )  # fmt: skip
    return hub


async def test_the_best_come_first_and_only_what_varies_is_shown(sweep: RunningHub) -> None:
    page = await board(sweep)
    assert [item["name"] for item in page.items] == ["b", "d", "a", "c"]
    assert [column.key for column in page.columns] == [
        "name", "state", "reason", "objective", "objectiveStep", "params.lr", "params.model.name",
    ]  # fmt: skip
    assert page.items[2] == {
        "name": "a", "state": None, "reason": None, "objective": 0.5, "objectiveStep": 2,
        "params.lr": 0.1, "params.model.name": "unet",
    }  # fmt: skip
    assert (page.total, page.matched, page.next) == (4, 4, None)


@pytest.mark.parametrize(
    ("filter_", "names"),
    [
        ('state == "Failed"', ["b"]),
        ('state != "Failed"', ["d", "a", "c"]),
        ("params.lr >= 0.1", ["d", "a"]),
        ('params.model.name ~ "NE" and not params.lr < 0.1', ["a"]),
        ('metrics["dice"].best > 0.45 and metrics.dice.best < 0.65', ["d", "a"]),
        ("metrics.dice.last == NaN", ["b"]),
        ("objective == null", ["c"]),
        ('name in ("c", "a") or reason == "X"', ["b", "a", "c"]),
        ('name not in ("c", "a")', ["b", "d"]),
        ("params.aug == true", ["b", "d", "a", "c"]),
        ("params.aug == 1", []),
        ("metrics.dice.last < metrics.dice.best", ["d", "a"]),
        ('name ~ "b*" or name ~ "*d"', ["b", "d"]),
        ("", ["b", "d", "a", "c"]),
    ],
)
async def test_a_filter_takes_what_it_says(sweep: RunningHub, filter_: str, names: list[str]) -> None:
    assert [item["name"] for item in (await board(sweep, filter=filter_)).items] == names


@pytest.mark.parametrize(
    ("sort", "names"),
    [
        ("objective", ["a", "d", "b", "c"]),
        ("-objective", ["b", "d", "a", "c"]),
        ("params.lr,-name", ["c", "b", "d", "a"]),
        ("params.model.name,-params.lr", ["d", "c", "a", "b"]),
        ("metrics.dice.last", ["a", "d", "b", "c"]),
        ("-metrics.dice.last", ["d", "a", "b", "c"]),
    ],
)
async def test_pages_in_any_order_join_to_the_whole(sweep: RunningHub, sort: str, names: list[str]) -> None:
    assert [item["name"] for item in (await board(sweep, sort=sort)).items] == names
    for limit in (1, 2, 3):
        found: list[str] = []
        cursor: str | None = None
        while True:
            page = await board(sweep, sort=sort, limit=limit, cursor=cursor)
            found += [item["name"] for item in page.items]
            cursor = page.next
            if cursor is None:
                break
        assert found == names


async def test_every_number_of_a_metric_can_be_had(sweep: RunningHub) -> None:
    page = await board(sweep, columns='metrics, metrics["dice"].best,default', sort="name")
    a, b, c, d = page.items
    assert {key: a[f'metrics["dice"].{key}'] for key in ("last", "lastStep", "best", "bestStep", "count")} == {
        "last": 0.4, "lastStep": 3, "best": 0.5, "bestStep": 2, "count": 3,
    }  # fmt: skip
    assert (a['metrics["loss"].best'], a['metrics["loss"].min'], a['metrics["loss"].max']) == (1 / 3, 1 / 3, 1)
    assert math.isnan(b['metrics["dice"].last'])
    assert c['metrics["dice"].last'] is None
    assert (d['metrics["dice"].last'], d['metrics["dice"].best'], d['metrics["dice"].min']) == (0.55, 0.6, None)
    assert d['metrics["dice"].count'] is None


async def test_repeats_are_counted_over_equal_parameters(sweep: RunningHub) -> None:
    await run(sweep, "a2", 0.3, model={"name": "unet"}, lr=0.1, aug=True)
    await run(sweep, "a3", model={"name": "unet"}, lr=0.1, aug=True)
    page = await board(sweep, sort="name")
    found = {item["name"]: (item["repeats.n"], item["repeats.mean"], item["repeats.std"]) for item in page.items}
    assert found["a"] == found["a2"] == found["a3"] == (3, pytest.approx(0.4), pytest.approx(0.2**0.5 / 10**0.5))
    assert found["b"] == (1, 0.7, None)
    assert found["c"] == (1, None, None)


async def test_pinned_runs_come_whatever_the_filter(sweep: RunningHub) -> None:
    page = await board(sweep, filter='state == "Failed"', pinned=("c", "gone", "a"))
    assert ([item["name"] for item in page.items], [item["name"] for item in page.pinned]) == (["b"], ["c", "a"])


async def test_what_changes_is_seen_and_changes_the_state(sweep: RunningHub) -> None:
    # The hub's own writes of the status are changes too.
    await sweep.until(lambda: len(sweep.cluster.applied) >= 2 and sweep.app.state.hub.flusher.waiting == 0)
    before = await board(sweep)
    assert (await board(sweep)).state == before.state
    revision = sweep.queries.revision(NAMESPACE, "covid")
    waiting = asyncio.create_task(sweep.queries.changed(NAMESPACE, "covid", after=revision))
    await run(sweep, "e", 0.9, lr=1)
    assert await waiting > revision

    async def leads() -> bool:
        page = await board(sweep)
        return page.items[0]["name"] == "e" and page.items[0]["objective"] == 0.9 and page.state != before.state

    for _ in range(1000):
        if await leads():
            break
        await asyncio.sleep(0.01)
    assert await leads()
    sweep.cluster.delete("Experiment", "e")
    page = await board(sweep)
    assert [item["name"] for item in page.items] == ["b", "d", "a", "c"]
    assert page.items[0]["objective"] == 0.7


@pytest.mark.parametrize(
    ("request_", "parameter", "message"),
    [
        ({"filter": "params.model.nam == 1"}, "filter", "a parameter 'model.nam'; did you mean model.name?"),
        ({"filter": "metrics.dise.best > 1"}, "filter", "did you mean dice?"),
        ({"filter": 'state == "failed"'}, "filter", "did you mean Failed?"),
        ({"filter": "objective > '3'"}, "filter", "objective is a number"),
        ({"filter": "created > 'yesterday'"}, "filter", "is a time in UTC, such as 2026-09-01"),
        ({"sort": "metrics.dise.best"}, "sort", "did you mean dice?"),
        ({"columns": "stat"}, "columns", "did you mean state"),
        ({"cursor": "abc"}, "cursor", "use `next`"),
        ({"cursor": "W10"}, "cursor", "use `next`"),
    ],
)
async def test_a_wrong_parameter_is_named_with_what_would_be_right(
    sweep: RunningHub, request_: dict[str, Any], parameter: str, message: str
) -> None:
    with pytest.raises(ParameterError) as caught:
        await board(sweep, **request_)
    assert caught.value.parameter == parameter
    assert message in caught.value.message


async def test_curves_are_of_the_best_or_of_those_named(sweep: RunningHub) -> None:
    await sweep.settled()
    curves = await sweep.queries.curves(NAMESPACE, "covid", metric="dice")
    assert [(curve.experiment, curve.x, curve.y) for curve in curves.curves] == [
        ("b", [1, 2], [0.7, None]),
        ("a", [1, 2, 3], [0.1, 0.5, 0.4]),
    ]
    assert curves.missing == ["d", "c"]
    named = await sweep.queries.curves(NAMESPACE, "covid", metric="loss", experiments=["a"], axis=Axis.TIME)
    assert [(curve.experiment, curve.x) for curve in named.curves] == [("a", [0, 1, 2])]
    with pytest.raises(Unknown, match="'z'"):
        await sweep.queries.curves(NAMESPACE, "covid", metric="loss", experiments=["z"])


async def test_an_epoch_axis_is_the_metric_of_the_same_line(sweep: RunningHub) -> None:
    sweep.cluster.add_run("e", sweep="covid", objective=OBJECTIVE)
    await sweep.post("e", [line(1, dice=0.1, epoch=0.5), line(2, dice=0.2), line(3, dice=0.3, epoch=1.5)])
    await sweep.settled()
    found = await sweep.queries.curves(NAMESPACE, "covid", metric="dice", experiments=["e", "a"], axis=Axis.EPOCH)
    assert [(curve.experiment, curve.x, curve.y) for curve in found.curves] == [("e", [0.5, 1.5], [0.1, 0.3])]
    assert found.missing == ["a"]


async def test_a_band_is_the_mean_over_runs_with_one_value(sweep: RunningHub) -> None:
    await run(sweep, "e", 0.3, 0.7, model={"name": "unet"}, lr=0.5)
    await sweep.settled()
    found = await sweep.queries.bands(NAMESPACE, "covid", metric="dice", group="params.model.name")
    (band,) = found.bands
    assert (band.label, sorted(band.experiments), band.x, band.n) == ("unet", ["a", "b", "e"], [1, 2, 3], [3, 2, 1])
    assert band.mean == pytest.approx([1.1 / 3, 0.6, 0.4])
    assert (band.low, band.high) == ([0.1, 0.5, 0.4], [0.7, 0.7, 0.4])
    assert (found.runs, found.matched) == (3, 5)


async def test_after_a_start_the_tables_are_made_before_anybody_asks(
    fake_cluster: FakeCluster, sqlite_url: str
) -> None:
    fake_cluster.put("Sweep", "covid", spec={"objective": {"metric": "dice"}}, status={"state": "Running"})
    fake_cluster.add_run("a", sweep="covid", params={"lr": 1})
    async with running_hub(fake_cluster, sqlite_url) as hub:
        tables = hub.app.state.hub.queries._tables
        await hub.until(lambda: bool(tables._entries))
        assert list(tables._entries) == [(NAMESPACE, "covid")]
        assert (await hub.get("sweeps/covid/leaderboard")).json()["total"] == 1
