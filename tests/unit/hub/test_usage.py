"""The ledger: from statuses to lines, from lines to hours, and who may read them."""

from __future__ import annotations

import csv
import io
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from typing import Any

import pytest

from orkhaven.hub.query.leaderboard import ParameterError
from orkhaven.hub.query.rows import ExperimentRow, experiment_row
from orkhaven.hub.storage.store import Store
from orkhaven.hub.usage.lines import Line, lines_of
from orkhaven.hub.usage.report import By, Per, report, span_of
from orkrun.contract import ANNOTATION_CREATED_BY, LABEL_SWEEP
from tests.unit.hub.conftest import RunningHub, line, running_hub
from tests.unit.hub.fakes import NAMESPACE, FakeCluster

NOON = datetime(2026, 3, 10, 12, tzinfo=UTC)
HOUR = 3600.0


def at(hours: float) -> float:
    return NOON.timestamp() + hours * HOUR


def stamp(hours: float) -> str:
    return datetime.fromtimestamp(at(hours), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def attempt(
    number: int,
    start: float | None,
    end: float | None = None,
    *,
    reason: str | None = None,
    pod: str = "a",
    **more: Any,
) -> dict[str, Any]:
    made: dict[str, Any] = {
        "number": number,
        "job": f"x-{number}",
        "pod": f"x-{number}-{pod}",
        "gpuModel": "A100",
        **more,
    }
    if start is not None:
        made["startTime"] = stamp(start)
    if end is not None:
        made |= {"endTime": stamp(end), "gpuSeconds": more.get("gpuSeconds", (end - (start or 0)) * HOUR)}
    return made if reason is None else {**made, "reason": reason}


def body(*attempts: dict[str, Any], gpus: int = 1, sweep: str | None = "covid", **status: Any) -> dict[str, Any]:
    spent = sum(one.get("gpuSeconds", 0) for one in attempts)
    return {
        "kind": "Experiment",
        "metadata": {
            "namespace": NAMESPACE,
            "name": "x",
            "uid": "u",
            "resourceVersion": "1",
            "creationTimestamp": stamp(-1),
            "labels": {LABEL_SWEEP: sweep} if sweep else {},
            "annotations": {ANNOTATION_CREATED_BY: "ada"},
        },
        "spec": {"resources": {"gpus": gpus}},
        "status": {"attempts": list(attempts), "gpuSeconds": spent, **status},
    }


def row(*attempts: dict[str, Any], **more: Any) -> ExperimentRow:
    return experiment_row(body(*attempts, **more))


def told(*rows: ExperimentRow) -> dict[tuple[int, str], Line]:
    """What the ledger has after these looks at one Experiment."""
    known: dict[tuple[int, str], Line] = {}
    for one in rows:
        known |= {made.key: made for made in lines_of(one, known)}
    return known


def sums(known: dict[tuple[int, str], Line]) -> dict[str, float]:
    found: dict[str, float] = {}
    for one in known.values():
        found[one.spent] = found.get(one.spent, 0) + one.gpu_seconds / HOUR
    return found


# --- lines ------------------------------------------------------------------------------------------------------------


def test_each_attempt_is_a_line_with_what_came_of_it() -> None:
    known = told(
        row(
            attempt(1, 0, 1, reason="CudaOutOfMemory"),
            attempt(2, 1, 3, reason="Preempted"),
            attempt(3, 3, 3.5, reason="EarlyStopped"),
            attempt(4, 4, 5, reason="Completed"),
        )
    )
    assert sums(known) == {"failed": 1, "preempted": 2, "pruned": 0.5, "useful": 1}
    first = known[1, "x-1-a"]
    assert (first.creator, first.sweep, first.model, first.cause) == ("ada", "covid", "A100", "CudaOutOfMemory")
    assert known[4, "x-4-a"].cause == ""


def test_one_that_runs_is_open_and_says_since_when() -> None:
    known = told(row(attempt(1, 0), gpus=2, state="Running"))
    (only,) = known.values()
    assert (only.spent, only.began, only.ended, only.gpu_seconds, only.gpus) == ("running", at(0), None, 0, 2)


def test_the_pods_of_a_suspended_attempt_are_lines_of_their_own_and_all_become_useful() -> None:
    first = attempt(1, 0, 1)
    later = {**attempt(1, 20, pod="b"), "gpuSeconds": HOUR}
    ended = {**attempt(1, 20, 22, pod="b", reason="Completed"), "gpuSeconds": 3 * HOUR}
    known = told(row(first, state="Suspended"))
    assert sums(known) == {"suspended": 1}
    known = told(row(first, state="Suspended"), row(later), row(ended))
    assert [(one.pod, one.spent, one.began, one.ended, one.gpu_seconds) for one in known.values()] == [
        ("x-1-a", "useful", at(0), at(1), HOUR),
        ("x-1-b", "useful", at(20), at(22), 2 * HOUR),
    ]


def test_a_pod_whose_end_was_not_seen_gets_what_was_booked_beside_the_next_one() -> None:
    later = {**attempt(1, 20, 22, pod="b", reason="Completed"), "gpuSeconds": 5 * HOUR}
    known = told(row(attempt(1, 0)), row(later))
    assert [(one.pod, one.ended, one.gpu_seconds) for one in known.values()] == [
        ("x-1-a", at(3), 3 * HOUR),
        ("x-1-b", at(22), 2 * HOUR),
    ]


def test_attempts_that_the_status_lists_no_more_are_one_line_and_the_sum_is_that_of_the_status() -> None:
    listed = [attempt(n, n, n + 1, reason="Drained") for n in range(3, 13)]
    known = told(row(attempt(1, 0, 0.5, reason="Drained")), row(*listed, gpuSeconds=12 * HOUR))
    assert sums(known) == {"preempted": 10.5, "failed": 1.5}
    assert (known[0, ""].cause, known[0, ""].ended) == ("Earlier", at(3))


def test_the_same_look_again_changes_nothing() -> None:
    listed = [attempt(n, n, n + 1, reason="Drained") for n in range(3, 13)]
    looks = [row(attempt(1, 0)), row(*listed, gpuSeconds=12 * HOUR, savedGpuSeconds=5)]
    known = told(*looks)
    assert lines_of(looks[-1], known) == []


def test_a_result_taken_over_has_saved_what_the_run_has_cost() -> None:
    known = told(row(state="Succeeded", savedGpuSeconds=7200, completionTime=stamp(1)))
    assert sums(known) == {"saved": 2}


# --- hours ------------------------------------------------------------------------------------------------------------


def ledger_line(began: float, ended: float | None, **more: Any) -> Line:
    hours = 0.0 if ended is None else ended - began
    values: dict[str, Any] = {
        "uid": "u", "attempt": 1, "pod": "p", "namespace": "a", "name": "x", "creator": "", "sweep": "", "model": "",
        "spent": "useful", "cause": "", "gpus": 1, "began": at(began),
        "ended": None if ended is None else at(ended), "gpu_seconds": hours * HOUR,
    }  # fmt: skip
    return Line(**{**values, **more})


@pytest.mark.parametrize(
    ("per", "want"),
    [
        (Per.DAY, {"2026-03-09": 0.0, "2026-03-10": 12.0, "2026-03-11": 4.0}),
        (Per.WEEK, {"2026-03-09": 16.0}),
        (Per.MONTH, {"2026-03-01": 16.0}),
    ],
)
def test_what_spans_midnight_is_split(per: Per, want: dict[str, float]) -> None:
    span = span_of("3d", "2026-03-11", now=NOON)
    found = report([ledger_line(0, 16)], span, by=By.USER, per=per, now=NOON)
    assert {one["start"]: one["total"] for one in found.periods} == want
    assert found.total["total"] == sum(one["total"] for one in found.rows) == 16


def test_only_what_lies_in_the_time_counts() -> None:
    span = span_of("2026-03-10", "2026-03-10", now=NOON)
    found = report([ledger_line(-24, 24), ledger_line(-48, -24)], span, by=By.USER, per=Per.DAY, now=NOON)
    assert found.total["total"] == 24


def test_one_that_runs_counts_up_to_now_on_all_its_gpus() -> None:
    found = report(
        [ledger_line(-2, None, spent="running", gpus=4)], span_of("1d", "", now=NOON), by=By.USER, per=Per.DAY, now=NOON
    )
    assert (found.total["running"], found.total["total"]) == (8, 8)


def test_lost_and_saved_are_no_part_of_the_sum() -> None:
    lines = [
        ledger_line(-2, -1, spent="preempted", cause="Preempted", lost=0.25 * HOUR),
        ledger_line(-1, -1, spent="saved", gpu_seconds=9 * HOUR),
        ledger_line(-1, 0, spent="failed", cause="DiskFull"),
    ]
    found = report(lines, span_of("1d", "", now=NOON), by=By.CAUSE, per=Per.DAY, now=NOON)
    assert {part: hours for part, hours in found.total.items() if hours} == {
        "total": 2, "preempted": 1, "failed": 1, "lost": 0.25, "saved": 9
    }  # fmt: skip
    assert [(one["cause"], one["total"]) for one in found.rows] == [("DiskFull", 1), ("Preempted", 1), ("", 0)]


@pytest.mark.parametrize(
    ("since", "until", "first", "last"),
    [
        ("7d", "", "2026-03-04", "2026-03-10"),
        ("1d", "", "2026-03-10", "2026-03-10"),
        ("2w", "2026-02-28", "2026-02-15", "2026-02-28"),
        ("2026-01-01", "2026-01-31", "2026-01-01", "2026-01-31"),
    ],
)
def test_a_span_is_of_whole_days(since: str, until: str, first: str, last: str) -> None:
    span = span_of(since, until, now=NOON)
    assert (f"{span.since:%Y-%m-%d}", f"{span.last:%Y-%m-%d}") == (first, last)


@pytest.mark.parametrize(
    ("since", "until", "why"),
    [
        ("7", "", "no day such as 2026-11-30, and no span such as 7d or 4w"),
        ("0d", "", "no span such as 7d"),
        ("2026-13-01", "", "no day such as"),
        ("7d", "yesterday", "until|no day"),
        ("2026-03-09", "2026-03-01", "is not before"),
        ("9999d", "", "at most 3700 days"),
    ],
)
def test_a_wrong_span_is_refused_with_what_would_be_right(since: str, until: str, why: str) -> None:
    with pytest.raises(ParameterError, match=why):
        span_of(since, until, now=NOON)


# --- the database -----------------------------------------------------------------------------------------------------


def kept(store: Store) -> list[Line]:
    return sorted(store.usage.between(0, 1e12, namespaces=[NAMESPACE]), key=lambda one: one.key)


def test_lines_are_kept_once_however_often_they_are_told(store: Store) -> None:
    store.usage.record([row(attempt(1, 0), state="Running")], now=at(1))
    for _ in range(2):
        store.usage.record([row(attempt(1, 0, 2, reason="Drained"), attempt(2, 2), state="Running")], now=at(3))
    assert [(one.attempt, one.spent, one.gpu_seconds) for one in kept(store)] == [
        (1, "preempted", 2 * HOUR),
        (2, "running", 0),
    ]
    assert store.usage.namespaces() == [NAMESPACE]
    assert store.usage.between(0, 1e12, namespaces=["elsewhere"]) == []


def test_one_that_was_deleted_while_it_ran_is_counted_until_it_was_seen_last(store: Store) -> None:
    store.usage.record([row(attempt(1, 0, 1, reason="Drained"), attempt(2, 1), gpus=2, state="Running")], now=at(1))
    store.usage.look(lambda *_: True, now=at(4))
    store.usage.look(lambda *_: None, now=at(5))
    store.usage.look(lambda *_: False, now=at(9))
    store.usage.look(lambda *_: False, now=at(10))
    first, second = kept(store)
    assert (first.spent, first.gpu_seconds) == ("preempted", HOUR)
    assert (second.spent, second.ended, second.gpu_seconds) == ("cancelled", at(4), 6 * HOUR)


def test_old_lines_go_and_open_ones_stay(store: Store) -> None:
    store.usage.record([row(attempt(1, 0, 1, reason="Drained"), attempt(2, 1), state="Running")], now=at(1))
    assert store.usage.forget_before(at(2)) == 1
    assert [one.attempt for one in kept(store)] == [2]


# --- the hub ----------------------------------------------------------------------------------------------------------


@pytest.fixture
async def hub(fake_cluster: FakeCluster, sqlite_url: str) -> AsyncIterator[RunningHub]:
    async with running_hub(fake_cluster, sqlite_url) as running:
        yield running


def put(cluster: FakeCluster, name: str, *attempts: dict[str, Any], namespace: str = NAMESPACE, **more: Any) -> None:
    made = body(*attempts, **more)
    meta = {key: made["metadata"][key] for key in ("labels", "annotations")}
    cluster.put("Experiment", name, namespace=namespace, metadata=meta, spec=made["spec"], status=made["status"])


async def recorded(hub: RunningHub, count: int) -> None:
    namespaces = [NAMESPACE, "oncology"]
    usage = hub.app.state.hub.store.usage
    await hub.until(lambda: len(usage.between(0, 1e12, namespaces=namespaces)) >= count)


async def test_the_ledger_outlives_the_experiment_and_is_read_by_whom_it_concerns(hub: RunningHub) -> None:
    put(hub.cluster, "x", attempt(1, 0, 1, reason="DiskFull"), attempt(2, 1, 3, reason="Completed"))
    await hub.settled()
    await recorded(hub, 2)
    hub.cluster.delete("Experiment", "x")
    answer = (await hub.get("usage", by="user", since="2026-03-01", until="2026-03-31", per="month")).json()
    assert (answer["since"], answer["until"], answer["by"], answer["per"]) == (
        "2026-03-01",
        "2026-03-31",
        "user",
        "month",
    )
    (only,) = answer["rows"]
    assert (only["user"], only["total"], only["failed"], only["useful"]) == ("ada", 3, 1, 2)
    assert [one["total"] for one in answer["periods"]] == [3]
    causes = (await hub.get("usage", by="cause", since="2026-03-01", until="2026-03-31")).json()["rows"]
    assert {one["cause"]: one["total"] for one in causes} == {"DiskFull": 1, "": 2}
    stranger = hub.cluster.add_reader("stranger", namespace="elsewhere")
    assert (await hub.get("usage", token=stranger)).status_code == 403


async def test_a_csv_is_by_period_where_that_is_asked(hub: RunningHub) -> None:
    put(hub.cluster, "x", attempt(1, 0, 16, reason="Completed"))
    await hub.settled()
    await recorded(hub, 1)
    text = (await hub.get("usage", by="model", since="2026-03-09", until="2026-03-12", per="day", format="csv")).text
    rows = list(csv.DictReader(io.StringIO(text)))
    assert [(one["period"], one["model"], float(one["useful"])) for one in rows] == [
        ("2026-03-10", "A100", 12),
        ("2026-03-11", "A100", 4),
    ]
    whole = (await hub.get("usage", by="model", since="2026-03-09", until="2026-03-12", format="csv")).text
    assert whole.splitlines()[0].startswith("model,total,useful,failed,")


async def test_over_all_namespaces_a_person_sees_those_that_they_may_read(hub: RunningHub) -> None:
    put(hub.cluster, "x", attempt(1, 0, 1, reason="Completed"))
    put(hub.cluster, "y", attempt(1, 0, 2, reason="Completed"), namespace="oncology")
    await hub.until(lambda: len(hub.queries.catalogue.namespaces()) == 2)
    await recorded(hub, 2)
    query = {"since": "2026-03-01", "until": "2026-03-31"}

    async def seen(token: str) -> dict[str, float]:
        headers = {"Authorization": f"Bearer {token}"}
        answer = await hub.client.get("/api/v1/usage", params=query, headers=headers)
        return {one["namespace"]: one["total"] for one in answer.json()["rows"]}

    assert await seen("reader") == {NAMESPACE: 1}
    hub.cluster.readers.add(("user-of-reader", "oncology"))
    both = hub.cluster.add_reader("both")
    hub.cluster.readers.add(("user-of-both", "oncology"))
    assert await seen(both) == {"oncology": 2, NAMESPACE: 1}
    assert (await hub.client.get("/api/v1/usage")).status_code == 401


async def test_nobody_is_told_anything_of_an_empty_cluster_without_a_token(hub: RunningHub) -> None:
    await hub.settled()
    assert (await hub.client.get("/api/v1/usage")).status_code == 401
    wrong = {"Authorization": "Bearer nobody"}
    assert (await hub.client.get("/api/v1/usage", headers=wrong)).status_code == 401
    right = {"Authorization": "Bearer reader"}
    assert (await hub.client.get("/api/v1/usage", headers=right)).json()["rows"] == []


@pytest.mark.parametrize(
    ("query", "where"),
    [({"since": "soon"}, "query since"), ({"by": "moon"}, "query by"), ({"until": "x"}, "query until")],
)
async def test_a_wrong_question_is_answered_with_its_parameter(
    hub: RunningHub, query: dict[str, str], where: str
) -> None:
    answer = await hub.get("usage", **query)
    assert (answer.status_code, answer.json()["error"]["where"]) == (422, where)


async def test_what_a_preempted_attempt_did_after_its_last_checkpoint_is_lost(
    fake_cluster: FakeCluster, store: Store
) -> None:
    """Steps 1 to 4 in four hours, gone on from step 2: two hours were done again."""
    async with running_hub(fake_cluster, store.engines.writer.url.render_as_string(hide_password=False)) as hub:
        fake_cluster.add_run("x", objective={"metric": "dice", "direction": "Maximize"})
        uid = fake_cluster.objects["Experiment", NAMESPACE, "x"]["metadata"]["uid"]
        first = [{**line(step, dice=0.5), "time": at(step)} for step in range(1, 5)]
        again = [{**line(1, attempt=2, step=3, dice=0.5), "time": at(6)}]
        await hub.post("x", [*first, *again])
        seen = body(attempt(1, 0, 4, reason="Preempted"), attempt(2, 5), state="Running")
        seen["metadata"]["uid"] = uid
        usage = hub.app.state.hub.store.usage
        usage.record([experiment_row(seen)], now=at(6))
        assert usage.count_lost() == 1
        assert usage.count_lost() == 0
        assert [one.lost for one in kept(hub.app.state.hub.store)] == [2 * HOUR, None]
