"""A run's page: its attempts in time, what it waits for, its Events, and what a person may do to it."""

from __future__ import annotations

import re
from datetime import UTC, datetime
from typing import Any

import pytest

from orkhaven.hub.pages.views.experiments import experiment_view
from orkhaven.hub.pages.views.happenings import event_views, objects_of
from orkhaven.hub.pages.views.timeline import timeline
from tests.unit.hub.fakes import NAMESPACE, FakeCluster
from tests.unit.hub.pages.conftest import Browser

RUN = f"/n/{NAMESPACE}/experiments/trial"
NOON = datetime(2026, 9, 1, 12, tzinfo=UTC)


def at(clock: str) -> str:
    return f"2026-09-01T{clock}:00Z"


def attempt(number: int, start: str | None = None, end: str | None = None, **fields: Any) -> dict[str, Any]:
    times = {key: at(clock) for key, clock in (("startTime", start), ("endTime", end)) if clock}
    return {"number": number, "job": f"trial-{number}", **times, **fields}


def body(*attempts: dict[str, Any], created: str = "10:00", **status: Any) -> dict[str, Any]:
    metadata = {"name": "trial", "namespace": NAMESPACE, "uid": "u", "creationTimestamp": at(created)}
    return {"metadata": metadata, "spec": {}, "status": {"attempts": list(attempts), **status}}


def bars(made: dict[str, Any]) -> list[list[tuple[str, float, float, str]]]:
    found = timeline(made, now=NOON)
    assert found is not None
    return [[(bar.tone, bar.x, bar.width, bar.text) for bar in track.bars] for track in found.tracks.values()]


class TestTimeline:
    def test_waiting_and_running_are_shares_of_the_whole(self) -> None:
        made = body(attempt(1, "10:30", "11:00", exitCode=137, reason="OutOfMemoryKilled"), attempt(2, "11:30"))
        assert bars(made) == [
            [("waiting", 0, 250, "waited 30m"), ("bad", 250, 250, "OutOfMemoryKilled after 30m")],
            [("waiting", 500, 250, "waited 30m"), ("running", 750, 250, "has run for 30m")],
        ]

    def test_one_that_has_not_started_waits_until_now(self) -> None:
        assert bars(body(attempt(1))) == [[("waiting", 0, 1000, "waited 2h")]]

    def test_after_the_end_time_stands_still(self) -> None:
        made = body(attempt(1, "10:00", "11:00", exitCode=0, reason="Completed"), completionTime=at("11:00"))
        assert bars(made) == [[("good", 0, 1000, "ran for 1h")]]

    @pytest.mark.parametrize(
        ("fields", "tone"),
        [
            ({"exitCode": 0}, "good"),
            ({"exitCode": 143, "reason": "Preempted"}, "held"),
            ({"reason": "NodeLost"}, "held"),
        ],
        ids=["done", "preempted", "node lost"],
    )
    def test_only_a_failure_is_red(self, fields: dict[str, Any], tone: str) -> None:
        assert bars(body(attempt(1, "10:00", "11:00", **fields)))[0][-1][0] == tone

    def test_where_earlier_attempts_are_not_listed_any_more_it_begins_with_the_first_that_is(self) -> None:
        made = timeline(body(attempt(7, "11:00", "11:30", exitCode=1), attempt(8, "11:45")), now=NOON)
        assert made is not None
        assert (made.begin.hour, made.tracks[7].waited, made.tracks[8].waited) == (11, None, 900)

    @pytest.mark.parametrize(
        ("start", "end"), [("13:00", "12:30"), ("09:00", "09:30"), ("11:59", "12:00")],
        ids=["ended before it began", "before it was made", "in the last minute"],
    )  # fmt: skip
    def test_clocks_that_disagree_draw_nothing_outside(self, start: str, end: str) -> None:
        for _, x, width, _ in bars(body(attempt(1, start, end, exitCode=1)))[0]:
            assert x >= 0
            assert width > 0
            assert x + width <= 1000


def test_one_that_waits_says_what_it_asks_for() -> None:
    made = body()
    made["spec"] = {
        "resources": {"gpus": 2, "gpuModels": ["A100", "H100"], "minGpuMemory": "40Gi", "cpu": "8"},
        "priority": "Preemptible",
        "queueName": "ward",
    }
    view = experiment_view(made, now=NOON)
    assert view.asks == "2 GPUs A100 or H100 with 40Gi or more, 8 CPU, priority Preemptible, queue ward"
    made["spec"] = {"resources": {"gpus": 0}}
    assert experiment_view(made, now=NOON).asks == "no GPU"


def test_events_are_asked_for_of_the_run_and_its_last_two_attempts() -> None:
    made = body(*(attempt(number, pod=f"pod-{number}") for number in range(1, 5)))
    assert objects_of(made) == [
        ("Experiment", "trial"), ("Job", "trial-4"), ("Pod", "pod-4"), ("Job", "trial-3"), ("Pod", "pod-3"),
    ]  # fmt: skip


def test_of_both_kinds_of_events_the_newest_time_and_the_count_are_shown() -> None:
    old = {"metadata": {}, "lastTimestamp": at("11:00"), "count": 3, "source": {"component": "kubelet"}}
    new = {
        "metadata": {}, "eventTime": at("10:00"), "series": {"count": 9, "lastObservedTime": at("11:30")},
        "reportingComponent": "scheduler", "type": "Warning",
    }  # fmt: skip
    bare = {"metadata": {"creationTimestamp": at("09:00")}}
    views = event_views([bare, old, new])
    assert [(one.time, one.count, one.source, one.is_warning) for one in views] == [
        (at("11:30"), 9, "scheduler", True),
        (at("11:00"), 3, "kubelet", False),
        (at("09:00"), 1, "", False),
    ]


class TestEvents:
    async def test_they_are_read_with_the_persons_own_right(self, browser: Browser, fake_cluster: FakeCluster) -> None:
        fake_cluster.add_run("trial")
        about = {"kind": "Experiment", "name": "trial"}
        fake_cluster.put("Event", "e", involvedObject=about, reason="Queued", message="<script>alert(1)</script>")
        refused = await browser.part(f"{RUN}/happenings")
        assert "kubectl auth can-i list events -n radiology" in refused.text
        fake_cluster.changers.add(("user-of-reader", "list", "Event"))
        shown = await browser.part(f"{RUN}/happenings")
        assert "&lt;script&gt;alert(1)&lt;/script&gt;" in shown.text
        calls = [call for call in fake_cluster.calls if call.startswith("events of")]
        await browser.part(f"{RUN}/happenings")
        assert [call for call in fake_cluster.calls if call.startswith("events of")] == calls, "kept for a moment"

    async def test_none_says_why(self, browser: Browser, fake_cluster: FakeCluster) -> None:
        fake_cluster.add_run("trial")
        fake_cluster.changers.add(("user-of-reader", "list", "Event"))
        assert "Kubernetes keeps them for about an hour" in (await browser.part(f"{RUN}/happenings")).text


class TestActions:
    @pytest.fixture
    def cluster(self, fake_cluster: FakeCluster) -> FakeCluster:
        fake_cluster.add_run("trial", params={"lr": 1})
        fake_cluster.changers |= {("user-of-reader", verb, "Experiment") for verb in ("create", "delete")}
        return fake_cluster

    async def post(self, browser: Browser, path: str, **form: str) -> Any:
        csrf = re.search(r'name="csrf" value="([0-9a-f]{64})"', (await browser.get(RUN)).text)
        assert csrf is not None
        return await browser.client.post(f"{RUN}/{path}", data={"csrf": csrf[1], **form})

    async def test_a_run_is_ended_by_deleting_it_in_the_persons_name(
        self, browser: Browser, cluster: FakeCluster
    ) -> None:
        assert 'value="cancel"' in (await browser.get(RUN)).text
        answer = await self.post(browser, "change", action="cancel")
        assert (answer.status_code, answer.headers["location"]) == (303, f"/n/{NAMESPACE}/experiments")
        assert cluster.removed == [("user-of-reader", "Experiment", "trial")]

    async def test_it_is_run_again_with_another_seed(self, browser: Browser, cluster: FakeCluster) -> None:
        answer = await self.post(browser, "again", seed="8")
        name = answer.headers["location"].rsplit("/", 1)[-1]
        assert name.startswith("trial-again-")
        spec = cluster.objects["Experiment", NAMESPACE, name]["spec"]
        assert (spec["params"], spec["seed"]) == ({"lr": 1}, 8)

    @pytest.mark.parametrize("seed", ["", "-1", "1.5", "٣", "99999999999"])
    async def test_a_seed_that_is_none_is_refused(self, browser: Browser, cluster: FakeCluster, seed: str) -> None:
        assert (await self.post(browser, "again", seed=seed)).status_code == 400

    @pytest.mark.parametrize("action", ["change", "again"])
    async def test_without_the_pages_token_nothing_is_done(
        self, browser: Browser, cluster: FakeCluster, action: str
    ) -> None:
        before = set(cluster.objects)
        assert (await browser.client.post(f"{RUN}/{action}", data={"seed": "1", "action": "cancel"})).status_code == 403
        assert set(cluster.objects) == before

    async def test_who_may_not_is_not_offered_and_is_refused_by_the_api_server(
        self, browser: Browser, fake_cluster: FakeCluster
    ) -> None:
        fake_cluster.add_run("trial")
        text = (await browser.get(RUN)).text
        assert f"{RUN}/change" not in text
        assert f"{RUN}/again" not in text
        csrf = await browser.csrf()
        for path in ("change", "again"):
            form = {"csrf": csrf, "seed": "1", "action": "cancel"}
            answer = await browser.client.post(f"{RUN}/{path}", data=form)
            assert answer.status_code == 403
            assert "The API server does not let you" in answer.text
        assert ("Experiment", NAMESPACE, "trial") in fake_cluster.objects
