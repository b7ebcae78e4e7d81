"""POST of metric lines: what is kept, what is refused, and how it is said."""

from __future__ import annotations

import json
from typing import Any

import pytest

from orkhaven.hub.storage.read import RunSnapshot
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
    import dataclasses

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


BAD_LINES = {
    "not json": ("{", "", "not JSON"),
    "not an object": ("[1]", "", "a metric line is a JSON object"),
    "not utf-8": (b"\xff\xfe", "", "not JSON"),
    "no seq": ({"attempt": 1, "step": 1, "time": 1, "metrics": {}}, "seq", "a whole number from 1"),
    "seq zero": (line(0, a=1), "seq", "not 0"),
    "seq not whole": ({**line(1, a=1), "seq": 1.5}, "seq", "not 1.5"),
    "seq a boolean": ({**line(1, a=1), "seq": True}, "seq", "not True"),
    "seq too large": ({**line(1, a=1), "seq": 2**31}, "seq", "2147483647"),
    "attempt a text": ({**line(1, a=1), "attempt": "1"}, "attempt", "not '1'"),
    "step negative": (line(1, step=-1, a=1), "step", "not -1"),
    "step huge": (line(1, step=10**400, a=1), "step", "a whole number"),
    "time a text": ({**line(1, a=1), "time": "now"}, "time", "not 'now'"),
    "time nan": (b'{"attempt":1,"seq":1,"step":1,"time":NaN,"metrics":{}}', "time", "not nan"),
    "total negative": (line(1, total=-5, a=1), "totalSteps", "not -5"),
    "metrics a list": ({**line(1), "metrics": [1]}, "metrics", "not a list"),
    "value a boolean": (line(1, a=True), "metrics['a']", "not True"),
    "value nothing": (line(1, a=None), "metrics['a']", "not nothing"),
    "value a text": (line(1, a="good"), "metrics['a']", "not 'good'"),
    "value too large": (line(1, a=10**400), "metrics['a']", "a metric is a number"),
    "name empty": ({**line(1), "metrics": {"": 1}}, "metrics['']", "the first a letter"),
    "name with a tag": ({**line(1), "metrics": {"<script>": 1}}, "metrics['<script>']", "letters, digits"),
    "name with a newline": ({**line(1), "metrics": {"a\nb": 1}}, "metrics['a\\nb']", "letters, digits"),
    "name a path": ({**line(1), "metrics": {"a/../b": 1}}, "metrics['a/../b']", "part of a URL"),
    "name too long": ({**line(1), "metrics": {"x" * 129: 1}}, f"metrics[{'x' * 129!r}]", "at most 128"),
}  # fmt: skip


@pytest.mark.parametrize(("bad", "field", "message"), BAD_LINES.values(), ids=BAD_LINES)
async def test_a_bad_line_is_named_and_the_good_ones_are_kept(
    fake_cluster: FakeCluster, sqlite_url: str, bad: Any, field: str, message: str
) -> None:
    raw = bad if isinstance(bad, bytes) else bad.encode() if isinstance(bad, str) else json.dumps(bad).encode()
    body = json.dumps(line(7, loss=0.5)).encode() + b"\n\n" + raw + b"\n" + json.dumps(line(8, loss=0.4)).encode()
    async with running_hub(fake_cluster, sqlite_url) as hub:
        hub.cluster.add_run("trial")
        answer = await hub.post("trial", body)
        assert answer.status_code == 422
        content = answer.json()
        assert content["rejected"] == 1
        assert content["error"]["code"] == "BadMetricLine"
        assert content["error"]["where"] == (f"line 3, {field}" if field else "line 3")
        assert message in content["error"]["message"]
        assert content["rejections"] == [{"line": 3, "field": field, "message": content["error"]["message"]}]
        (summary,) = [metric for metric in stored(hub).metrics if metric.name == "loss"]
        assert (summary.count, summary.last) == (2, 0.4)


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
