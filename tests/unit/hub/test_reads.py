"""GET of sweeps, experiments and series."""

from __future__ import annotations

from typing import Any

import pytest

from orkhaven.hub.storage.read import SeriesPoint, thin_out
from tests.unit.hub.conftest import RunningHub, line, running_hub
from tests.unit.hub.fakes import NAMESPACE, FakeCluster

OBJECTIVES = {direction: {"metric": "score", "direction": direction} for direction in ("Maximize", "Minimize")}


async def sweep_of(hub: RunningHub, direction: str, scores: dict[str, float | None]) -> None:
    hub.cluster.put("Sweep", "covid", spec={"objective": OBJECTIVES[direction]}, status={"state": "Running"})
    for name, score in scores.items():
        hub.cluster.add_run(name, sweep="covid", objective=OBJECTIVES[direction], params={"name": name})
        if score is not None:
            assert (await hub.post(name, [line(1, score=score)])).status_code == 200


@pytest.mark.parametrize(
    ("direction", "order"), [("Maximize", ["b", "c", "a", "d", "e"]), ("Minimize", ["a", "c", "b", "d", "e"])]
)
async def test_a_sweep_s_experiments_are_a_leaderboard_in_pages(
    hub: RunningHub, direction: str, order: list[str]
) -> None:
    await sweep_of(hub, direction, {"a": 0.1, "b": 0.9, "c": 0.5, "d": None, "e": None})
    hub.cluster.add_run("stranger", sweep="another", objective=OBJECTIVES[direction])
    seen: list[str] = []
    cursor: str | None = None
    for _ in range(3):
        answer = await hub.get(
            "sweeps/covid/experiments", limit=2, **({"cursor": cursor} if cursor is not None else {})
        )
        content = answer.json()
        seen += [item["name"] for item in content["items"]]
        cursor = content["next"]
    assert (seen, cursor) == (order, None)
    (first,) = (await hub.get("sweeps/covid/experiments", limit=1)).json()["items"]
    assert first["objective"]["direction"] == direction
    assert first["params"] == {"name": order[0]}
    assert first["trial"] == 0


async def test_a_finished_run_without_metrics_here_is_ranked_by_its_final_record(hub: RunningHub) -> None:
    await sweep_of(hub, "Maximize", {"a": 0.1, "b": None})
    body = hub.cluster.objects["Experiment", NAMESPACE, "b"]
    body["status"] = {"state": "Succeeded", "objective": {"value": 0.8, "step": 4}}
    hub.cluster.touch("Experiment", NAMESPACE, "b")
    items = (await hub.get("sweeps/covid/experiments")).json()["items"]
    assert [(item["name"], item["objective"]["value"]) for item in items] == [("b", 0.8), ("a", 0.1)]


async def test_sweeps_and_experiments_are_listed_and_shown(hub: RunningHub) -> None:
    await sweep_of(hub, "Maximize", {"a": 0.1})
    assert [item["name"] for item in (await hub.get("sweeps")).json()["items"]] == ["covid"]
    sweep = (await hub.get("sweeps/covid")).json()
    assert (sweep["status"], sweep["spec"]["objective"]["metric"]) == ({"state": "Running"}, "score")
    assert [item["name"] for item in (await hub.get("experiments")).json()["items"]] == ["a"]
    experiment = (await hub.get("experiments/a")).json()
    assert experiment["metrics"][0] == {
        "name": "score", "count": 1, "last": 0.1, "lastStep": 1, "best": 0.1, "bestStep": 1,
        "min": 0.1, "minStep": 1, "max": 0.1, "maxStep": 1,
    }  # fmt: skip
    assert experiment["spec"]["params"] == {"name": "a"}


@pytest.mark.parametrize(
    ("path", "params", "code", "message"),
    [
        ("sweeps/none", {}, 404, "there is no Sweep 'none'"),
        ("experiments/none", {}, 404, "there is no Experiment 'none'"),
        ("experiments/none/metrics", {}, 404, "no run 'none'"),
        ("experiments/a/metrics/none", {}, 404, "it reported: score"),
        ("experiments", {"cursor": "%%%"}, 400, "use `next`"),
        ("experiments", {"cursor": "WzEsMl0"}, 400, "use `next`"),
        ("experiments", {"limit": 0}, 422, "greater than or equal to 1"),
        ("experiments/a/metrics/score", {"max_points": 3}, 422, "greater than or equal to 4"),
        ("experiments/UPPER", {}, 422, "pattern"),
    ],
)
async def test_what_is_not_there_or_not_right_is_said(
    fake_cluster: FakeCluster, sqlite_url: str, path: str, params: dict[str, Any], code: int, message: str
) -> None:
    async with running_hub(fake_cluster, sqlite_url) as hub:
        await sweep_of(hub, "Maximize", {"a": 0.1})
        answer = await hub.get(path, **params)
    assert answer.status_code == code
    assert message in answer.json()["error"]["message"]


async def test_a_resumed_attempt_replaces_the_steps_that_it_did_again(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    await hub.post("trial", [line(seq, score=seq) for seq in range(1, 6)])
    await hub.post("trial", [line(seq, attempt=2, step=seq + 3, score=10 * seq) for seq in range(1, 4)])
    series = (await hub.get("experiments/trial/metrics/score")).json()
    assert list(zip(series["step"], series["value"], series["attempt"], strict=True)) == [
        (1, 1, 1), (2, 2, 1), (3, 3, 1), (4, 10, 2), (5, 20, 2), (6, 30, 2),
    ]  # fmt: skip
    later = (await hub.get("experiments/trial/metrics/score", from_step=5)).json()
    assert later["step"] == [5, 6]


async def test_a_program_that_never_counts_steps_loses_no_point(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    await hub.post("trial", [line(seq, step=0, score=seq) for seq in range(1, 4)])
    assert (await hub.get("experiments/trial/metrics/score")).json()["value"] == [1, 2, 3]


class TestThinOut:
    def test_a_short_curve_stays_as_it_is(self) -> None:
        points = [SeriesPoint(step, 1.0, 0.0, 1) for step in range(10)]
        assert thin_out(points, 10) == points

    @pytest.mark.parametrize("limit", [4, 5, 50, 999])
    def test_ends_and_peaks_stay(self, limit: int) -> None:
        points = [SeriesPoint(step, 0.0, 0.0, 1) for step in range(1000)]
        points[321] = SeriesPoint(321, 5.0, 0.0, 1)
        points[654] = SeriesPoint(654, -5.0, 0.0, 1)
        points[400] = SeriesPoint(400, None, 0.0, 1)
        thin = thin_out(points, limit)
        assert len(thin) <= limit
        assert {0, 321, 654, 999} <= {point.step for point in thin}
        assert [point.step for point in thin] == sorted(point.step for point in thin)

    def test_a_stretch_of_nan_stays_one(self) -> None:
        points = [SeriesPoint(step, None, 0.0, 1) for step in range(100)]
        assert all(point.value is None for point in thin_out(points, 10))


async def test_the_api_describes_itself_without_loading_anything_from_elsewhere(hub: RunningHub) -> None:
    document = (await hub.client.get("/openapi.json")).json()
    assert "/api/v1/namespaces/{namespace}/experiments/{experiment}/metrics" in document["paths"]
    page = await hub.client.get("/docs")
    assert page.headers["content-security-policy"].startswith("default-src 'none'")
    for path in document["paths"]:
        assert path in page.text
    assert "//" not in page.text.replace("</", "").split("<main>")[0]
    assert "<script" not in page.text


async def test_probes_and_numbers(hub: RunningHub) -> None:
    hub.cluster.add_run("trial")
    await hub.post("trial", [line(1, a=1, b=2), line(1, a=1)])
    assert (await hub.client.get("/healthz")).json() == {"status": "ok"}
    assert (await hub.client.get("/readyz")).json() == {"status": "ok"}
    await hub.until(lambda: len(hub.cluster.applied) == 1 and hub.app.state.hub.flusher.waiting == 0)
    text = (await hub.client.get("/metrics")).text
    assert "orkhaven_hub_ingest_points_total 2.0" in text
    assert 'orkhaven_hub_ingest_lines_total{result="duplicate"} 1.0' in text
    assert 'orkhaven_hub_status_writes_total{result="written"} 1.0' in text
    route = "/api/v1/namespaces/{namespace}/experiments/{experiment}/metrics"
    assert f'orkhaven_hub_requests_total{{code="200",method="POST",route="{route}"}} 1.0' in text


async def test_an_unknown_path_is_answered_in_the_same_shape(hub: RunningHub) -> None:
    answer = await hub.client.get("/nowhere")
    assert (answer.status_code, answer.json()["error"]["code"]) == (404, "NotFound")
