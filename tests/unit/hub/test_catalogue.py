"""The cache of Sweeps and Experiments: kept by list and watch, over breaks, lost history and an API server that is
away.
"""

from __future__ import annotations

import asyncio
import contextlib
import random
import time
from collections.abc import AsyncIterator, Sequence
from typing import Any

import pytest

from orkhaven.hub.ports import Body
from orkhaven.hub.query.catalogue import Catalogue, NotSynced
from orkhaven.hub.query.revisions import Revisions
from tests.unit.hub.conftest import running_hub, until
from tests.unit.hub.fakes import NAMESPACE, FakeCluster


@contextlib.asynccontextmanager
async def following(
    cluster: FakeCluster, *, namespaces: Sequence[str] = (), revisions: Revisions | None = None
) -> AsyncIterator[Catalogue]:
    catalogue = Catalogue(
        cluster,
        namespaces=namespaces,
        revisions=revisions or Revisions(),
        clock=time.monotonic,
        rng=random.Random(1),
        retry_seconds=0.01,
    )
    await catalogue.start()
    try:
        yield catalogue
    finally:
        await catalogue.close()


def names(catalogue: Catalogue, sweep: str | None = None, *, namespace: str = NAMESPACE) -> set[str]:
    return set(catalogue.experiments(namespace, sweep))


async def test_what_is_there_comes_and_goes_comes_too() -> None:
    cluster = FakeCluster()
    cluster.put("Sweep", "covid", spec={"objective": {"metric": "dice"}})
    cluster.add_run("a", sweep="covid")
    cluster.add_run("b", sweep="covid")
    async with following(cluster) as catalogue:
        await until(lambda: catalogue.synced and names(catalogue, "covid") == {"a", "b"})
        assert [row.name for row in catalogue.sweeps(NAMESPACE)] == ["covid"]
        cluster.add_run("c", sweep="covid")
        cluster.finish("a")
        cluster.delete("Experiment", "b")
        await until(lambda: names(catalogue, "covid") == {"a", "c"})
        row = catalogue.experiment(NAMESPACE, "a")
        assert row is not None
        assert (row.state, row.finished) == ("Succeeded", True)
        assert catalogue.stale_seconds(NAMESPACE) == 0


@pytest.mark.parametrize("lose_history", [False, True], ids=["goes on", "lists anew"])
async def test_a_broken_watch_misses_nothing(lose_history: bool) -> None:
    cluster = FakeCluster()
    for name in ("a", "b"):
        cluster.add_run(name, sweep="covid")
    async with following(cluster) as catalogue:
        await until(lambda: catalogue.synced and cluster.calls.count("watch Experiment") == 1)
        lists = cluster.calls.count("list Experiment")
        # Both happen while nobody watches: the loop does not run in between.
        cluster.break_watches()
        cluster.delete("Experiment", "a")
        cluster.add_run("c", sweep="covid")
        if lose_history:
            cluster.break_watches(lose_history=True)
        await until(lambda: names(catalogue, "covid") == {"b", "c"})
        await until(lambda: catalogue.stale_seconds(NAMESPACE) == 0)
        assert cluster.calls.count("list Experiment") == lists + lose_history


async def test_a_namesake_is_another_run_and_may_be_of_another_sweep() -> None:
    cluster = FakeCluster()
    cluster.add_run("a", sweep="covid")
    async with following(cluster) as catalogue:
        await until(lambda: names(catalogue, "covid") == {"a"})
        cluster.delete("Experiment", "a")
        cluster.add_run("a", sweep="other")
        await until(lambda: names(catalogue, "other") == {"a"})
        assert names(catalogue, "covid") == set()
        row = catalogue.experiment(NAMESPACE, "a")
        assert row is not None
        assert row.uid == cluster.objects["Experiment", NAMESPACE, "a"]["metadata"]["uid"]


async def test_an_odd_object_hides_no_other() -> None:
    cluster = FakeCluster()
    cluster.put("Experiment", "odd", spec=["no", "object"])
    cluster.add_run("a")
    async with following(cluster) as catalogue:
        await until(lambda: catalogue.synced)
        assert names(catalogue) == {"a"}


async def test_while_the_api_server_is_away_the_last_known_is_shown_with_its_age() -> None:
    cluster = FakeCluster()
    cluster.add_run("a")
    async with following(cluster) as catalogue:
        await until(lambda: catalogue.synced and catalogue.stale_seconds(NAMESPACE) == 0)
        cluster.away = True
        cluster.break_watches()
        await until(lambda: catalogue.stale_seconds(NAMESPACE) > 0)
        catalogue.require(NAMESPACE)
        assert names(catalogue) == {"a"}
        cluster.away = False
        await until(lambda: catalogue.stale_seconds(NAMESPACE) == 0)


async def test_only_the_namespaces_of_the_settings_are_watched() -> None:
    cluster = FakeCluster()
    cluster.add_run("a")
    cluster.add_run("b", namespace="elsewhere")
    async with following(cluster, namespaces=[NAMESPACE]) as catalogue:
        await until(lambda: catalogue.synced)
        assert (names(catalogue), names(catalogue, namespace="elsewhere")) == ({"a"}, set())
        with pytest.raises(NotSynced, match="looks after radiology only"):
            catalogue.require("elsewhere")


async def test_a_revision_changes_for_the_sweep_and_its_namespace_alone() -> None:
    cluster, revisions = FakeCluster(), Revisions()
    cluster.add_run("a", sweep="covid")
    cluster.add_run("b", sweep="other")
    async with following(cluster, revisions=revisions) as catalogue:
        await until(lambda: catalogue.synced)
        covid, other = revisions.of(NAMESPACE, "covid"), revisions.of(NAMESPACE, "other")
        waiting = [
            asyncio.create_task(revisions.changed(NAMESPACE, scope, after=revisions.of(NAMESPACE, scope)))
            for scope in ("covid", None)
        ]
        cluster.finish("a")
        found = await asyncio.gather(*waiting)
        assert found[0] == found[1] == revisions.of(NAMESPACE, "covid") != covid
        assert revisions.of(NAMESPACE, "other") == other


async def test_until_the_first_list_is_there_the_answer_is_503_and_why(sqlite_url: str) -> None:
    allowed = asyncio.Event()

    class Slow(FakeCluster):
        async def pages(self, kind: str, **selection: Any) -> AsyncIterator[tuple[list[Body], str]]:
            await allowed.wait()
            async for page in super().pages(kind, **selection):
                yield page

    cluster = Slow()
    cluster.add_reader("reader")
    cluster.put("Sweep", "covid", spec={"objective": {"metric": "dice"}})

    async with running_hub(cluster, sqlite_url) as hub:
        for path in ("sweeps", "experiments", "sweeps/covid/leaderboard", "sweeps/covid/curves?metric=a"):
            answer = await hub.client.get(
                f"/api/v1/namespaces/{NAMESPACE}/{path}", headers={"Authorization": "Bearer reader"}
            )
            assert answer.status_code == 503
            assert answer.headers["retry-after"]
            assert "the first list is under way" in answer.json()["error"]["message"]
        allowed.set()
        await hub.settled()
        assert (await hub.get("sweeps/covid/leaderboard")).status_code == 200
