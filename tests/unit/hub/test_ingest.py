"""POST of metric lines: what is kept, what is refused, and how it is said."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator

import pytest

from orkhaven.hub.storage.read import RunSnapshot
from orkrun import contract
from tests.unit.hub.conftest import RunningHub, line, running_hub
from tests.unit.hub.fakes import NAMESPACE, FakeCluster


def stored(hub: RunningHub, name: str = "trial") -> RunSnapshot:
    run = hub.app.state.hub.store.reader.snapshot_by_name(NAMESPACE, name)
    assert run is not None
    return run


async def test_lines_are_stored_and_counted(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    answer = await hub.post("trial", [line(1, loss=0.5, val__dice=0.1), line(2, loss=0.4)])
    assert answer.status_code == 200
    assert answer.json() == {"accepted": 2, "duplicates": 0, "rejected": 0, "lastSeq": 2}
    series = (await hub.get("experiments/trial/metrics/val/dice")).json()
    assert (series["step"], series["value"], series["time"]) == ([1], [0.1], [1_790_000_001.5])


async def test_a_line_sent_again_changes_nothing(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    await hub.post("trial", [line(1, loss=0.5), line(2, loss=0.4)])
    before = stored(hub)
    answer = await hub.post("trial", [line(1, loss=9.0), line(2, loss=9.0)])
    assert answer.json() == {"accepted": 0, "duplicates": 2, "rejected": 0, "lastSeq": 2}
    assert stored(hub) in (before, _applied(before, stored(hub)))


def _applied(before: RunSnapshot, after: RunSnapshot) -> RunSnapshot:
    """The same, as far as the status writer has come meanwhile."""
    return dataclasses.replace(before, applied_revision=after.applied_revision, applied_hash=after.applied_hash)


async def test_the_same_seq_of_another_attempt_is_another_line(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    await hub.post("trial", [line(1, loss=0.5)])
    answer = await hub.post("trial", [line(1, attempt=2, loss=0.4)])
    assert answer.json()["accepted"] == 1


async def test_a_line_twice_in_one_post_counts_once(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    answer = await hub.post("trial", [line(1, loss=0.5), line(1, loss=0.6)])
    assert answer.json() == {"accepted": 1, "duplicates": 1, "rejected": 0, "lastSeq": 1}


@pytest.mark.parametrize("spelling", ['"NaN"', "NaN"])
async def test_nan_and_infinity_are_kept_and_come_back_by_name(hub: RunningHub, spelling: str) -> None:
    hub.cluster.add_run("trial")
    body = b'{"attempt":1,"seq":1,"step":1,"time":1,"metrics":{"a":%s,"b":"-Infinity","c":1e999}}' % spelling.encode()
    assert (await hub.post("trial", body)).status_code == 200
    for metric, value in (("a", "NaN"), ("b", "-Infinity"), ("c", "Infinity")):
        series = (await hub.get(f"experiments/trial/metrics/{metric}")).json()
        assert series["value"] == [value]
    summaries = (await hub.get("experiments/trial/metrics")).json()["items"]
    assert [(item["last"], item["best"]) for item in summaries] == [
        ("NaN", None),
        ("-Infinity", None),
        ("Infinity", None),
    ]


async def test_a_bad_line_is_named_and_the_good_ones_are_kept(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    answer = await hub.post("trial", [line(7, loss=0.5), line(-1, loss=9), line(8, loss=0.4)])
    assert answer.status_code == 422
    message = "a whole number from 1 to 2147483647, not -1"
    assert answer.json() == {
        "accepted": 2,
        "duplicates": 0,
        "rejected": 1,
        "lastSeq": 8,
        "error": {"code": "BadMetricLine", "message": message, "where": "line 2, seq"},
        "rejections": [{"line": 2, "field": "seq", "message": message}],
    }
    (summary,) = stored(hub).metrics
    assert (summary.name, summary.count, summary.last) == ("loss", 2, 0.4)


async def test_a_bad_name_does_not_take_the_line_s_other_metrics_with_it(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    answer = await hub.post("trial", [{**line(1), "metrics": {"loss": 0.5, "<b>": 1}}])
    assert (answer.status_code, answer.json()["accepted"]) == (422, 1)
    assert [metric.name for metric in stored(hub).metrics] == ["loss"]


async def test_more_metric_names_than_a_run_may_have_are_refused_and_leave_nothing(
    fake_cluster: FakeCluster, database_url: str
) -> None:
    async with running_hub(fake_cluster, database_url, max_metrics_per_run=3) as hub:
        hub.cluster.add_run("trial")
        answer = await hub.post("trial", [line(1, a=1, b=1), line(2, c=1, d=1), line(3, a=2, e=1)])
        assert answer.status_code == 422
        assert [(one["line"], one["field"]) for one in answer.json()["rejections"]] == [
            (2, "metrics['d']"),
            (3, "metrics['e']"),
        ]
        assert [metric.name for metric in stored(hub).metrics] == ["a", "b", "c"]


async def test_too_large_a_body_is_refused(fake_cluster: FakeCluster, sqlite_url: str) -> None:
    async with running_hub(fake_cluster, sqlite_url, max_body_bytes=1024) as hub:
        hub.cluster.add_run("trial")
        answer = await hub.post("trial", b" " * 1025)
        assert (answer.status_code, answer.json()["error"]["code"]) == (413, "BodyTooLarge")


async def test_a_body_that_never_ends_is_ended(fake_cluster: FakeCluster, sqlite_url: str) -> None:
    """Whether it goes on for ever or says nothing more; what was sent before stays, and the next POST is taken."""
    async with running_hub(fake_cluster, sqlite_url, max_body_bytes=4096, max_body_seconds=0.2) as hub:
        hub.cluster.add_run("trial")
        sent = 0

        async def endless() -> AsyncIterator[bytes]:
            nonlocal sent
            while True:
                sent += 1
                yield json.dumps(line(sent, a=1)).encode() + b"\n"

        async def silent() -> AsyncIterator[bytes]:
            yield b'{"attempt"'
            await asyncio.sleep(3600)

        assert (await hub.post("trial", [line(1, a=1)])).status_code == 200
        for body, status, code in ((endless(), 413, "BodyTooLarge"), (silent(), 408, "BodyTooSlow")):
            answer = await hub.client.post(
                contract.metrics_path(NAMESPACE, "trial"),
                content=body,
                headers={"Authorization": "Bearer token-trial", "Content-Type": "application/x-ndjson"},
            )
            assert (answer.status_code, answer.json()["error"]["code"]) == (status, code)
        assert sent < 1000
        assert (await hub.post("trial", [line(2, a=1)])).json()["accepted"] == 1
        (summary,) = stored(hub).metrics
        assert summary.count == 2


async def test_another_content_type_is_refused(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    answer = await hub.post("trial", [line(1, a=1)], content_type="application/json")
    assert (answer.status_code, answer.json()["error"]["where"]) == (415, "header Content-Type")


async def test_an_empty_body_is_no_error(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    answer = await hub.post("trial", b"\n")
    assert answer.json() == {"accepted": 0, "duplicates": 0, "rejected": 0, "lastSeq": None}


async def test_a_large_body_is_taken_too(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    answer = await hub.post("trial", [line(seq, a=seq, b=-seq) for seq in range(1, 5001)])
    assert answer.json()["accepted"] == 5000
    series = (await hub.get("experiments/trial/metrics/a", max_points=100)).json()
    assert series["total"] == 5000
    assert len(series["step"]) <= 100
    assert (series["step"][0], series["step"][-1]) == (1, 5000)
