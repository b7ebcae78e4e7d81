"""What namespaces and users have used: attempts of Experiments, decayed."""

from __future__ import annotations

import math
from dataclasses import replace
from datetime import datetime, timedelta

import pytest

from orkhaven.api import ExperimentStatus
from orkhaven.core.parse import parse_experiment
from orkhaven.core.queue.usage import Usage
from orkhaven.core.views import ExperimentView
from tests.unit.core.world import START, make_experiment

HALF = timedelta(hours=1)
TAU = HALF.total_seconds() / math.log(2)


def at(minutes: float) -> str:
    return (START + timedelta(minutes=minutes)).strftime("%Y-%m-%dT%H:%M:%SZ")


def moment(minutes: float) -> datetime:
    return START + timedelta(minutes=minutes)


def attempt(number: int, start: float, end: float | None, gpu_seconds: float | None) -> dict[str, object]:
    made: dict[str, object] = {"number": number, "job": f"x-{number}", "startTime": at(start)}
    if end is not None:
        made |= {"endTime": at(end), "reason": "Completed"}
    if gpu_seconds is not None:
        made["gpuSeconds"] = gpu_seconds
    return made


def run(*attempts: dict[str, object], uid: str = "u", user: str = "", total: float | None = None) -> ExperimentView:
    view = parse_experiment(make_experiment(resources={"gpus": 2}))
    known = sum(float(str(one.get("gpuSeconds") or 0)) for one in attempts)
    status = ExperimentStatus.model_validate(
        {"attempts": list(attempts), "gpuSeconds": known if total is None else total}
    )
    return replace(view, meta=replace(view.meta, uid=uid), status=status, created_by=user)


def total(usage: Usage, minutes: float) -> float:
    return sum(usage.at(moment(minutes)).values())


def test_half_of_it_counts_after_a_half_life() -> None:
    usage = Usage(HALF)
    usage.learn(run(attempt(1, 0, 1, 120.0)))
    just, later = total(usage, 1), total(usage, 61)
    assert just == pytest.approx(120, rel=0.01)
    assert later == pytest.approx(just / 2)


def test_what_is_held_for_ever_counts_as_the_time_constant() -> None:
    usage = Usage(HALF)
    usage.learn(run(attempt(1, 0, None, None)))
    assert total(usage, 60 * 24 * 365) == pytest.approx(2 * TAU)


def test_it_counts_the_same_whenever_it_is_learnt() -> None:
    live, late = Usage(HALF), Usage(HALF)
    live.learn(run(attempt(1, 0, None, None)))
    live.learn(run(attempt(1, 0, 30, 3600.0)))
    live.learn(run(attempt(1, 0, 30, 3600.0), attempt(2, 40, None, None)))
    late.learn(run(attempt(1, 0, 30, 3600.0), attempt(2, 40, None, None)))
    assert total(live, 90) == pytest.approx(total(late, 90))


def test_each_user_has_his_own() -> None:
    usage = Usage(HALF)
    usage.learn(run(attempt(1, 0, 1, 60.0), uid="u1", user="eva"))
    usage.learn(run(attempt(1, 0, 1, 120.0), uid="u2", user="max"))
    found = {user: round(seconds) for (_, user), seconds in usage.at(moment(1)).items()}
    assert found == {"eva": 60, "max": 119}


def test_a_deleted_run_has_used_what_it_has() -> None:
    usage = Usage(HALF)
    usage.learn(run(attempt(1, 0, 1, 120.0)))
    usage.forget("u", moment(1))
    assert total(usage, 1) == pytest.approx(120, rel=0.01)
    assert usage.of_deleted(moment(1)) == usage.at(moment(1))


def test_one_that_is_deleted_while_it_runs_has_used_what_it_held_until_then() -> None:
    usage, undisturbed = Usage(HALF), Usage(HALF)
    usage.learn(run(attempt(1, 0, None, None)))
    usage.forget("u", moment(30))
    undisturbed.learn(run(attempt(1, 0, 30, 3600.0)))
    assert total(usage, 30) == pytest.approx(total(undisturbed, 30))
    usage.forget("u", moment(40))
    assert total(usage, 30) == pytest.approx(total(undisturbed, 30))


def test_what_deleted_runs_have_used_is_remembered_elsewhere() -> None:
    former, later = Usage(HALF), Usage(HALF)
    former.learn(run(attempt(1, 0, 1, 120.0), uid="gone", user="eva"))
    former.learn(run(attempt(1, 0, 1, 60.0), uid="there", user="max"))
    former.forget("gone", moment(2))
    later.learn(run(attempt(1, 0, 1, 60.0), uid="there", user="max"))
    later.remember(former.of_deleted(moment(10)), moment(10))
    assert later.at(moment(30)) == pytest.approx(former.at(moment(30)))


def test_what_both_have_seen_deleted_counts_once() -> None:
    leader, standby = Usage(HALF), Usage(HALF)
    leader.learn(run(attempt(1, 0, 1, 500.0), uid="before the standby came"))
    leader.forget("before the standby came", moment(2))
    for one in (leader, standby):
        one.learn(run(attempt(1, 0, 1, 120.0), uid="seen by both"))
        one.forget("seen by both", moment(3))
    for _ in range(2):
        standby.remember(leader.of_deleted(moment(4)), moment(4))
        assert total(standby, 5) == pytest.approx(total(leader, 5))


def test_attempts_that_are_not_listed_any_more_count_too() -> None:
    usage = Usage(HALF)
    usage.learn(run(attempt(11, 10, 11, 120.0), total=1120.0))
    assert total(usage, 11) == pytest.approx(1120, rel=0.02)


def test_a_clock_that_is_years_off_breaks_nothing() -> None:
    usage = Usage(timedelta(seconds=60))
    usage.learn(run(attempt(1, 0, 1, 120.0), uid="u1"))
    usage.learn(run(attempt(1, 60 * 24 * 9999, 60 * 24 * 9999 + 1, 120.0), uid="u2"))
    usage.learn(run(attempt(1, 2, 3, 120.0), uid="u3"))
    for minutes in (-60 * 24 * 9999, 0, 5, 60 * 24 * 9999):
        assert math.isfinite(total(usage, minutes))


def test_what_a_run_takes_is_the_median_of_those_that_ended_well() -> None:
    usage = Usage(HALF)
    assert usage.run_time is None
    for number, minutes in enumerate((1, 5, 60)):
        usage.learn(run(attempt(1, 0, None, None), uid=f"u{number}"))
        usage.learn(run(attempt(1, 0, minutes, 1.0), uid=f"u{number}"))
        usage.learn(run(attempt(1, 0, minutes, 1.0), uid=f"u{number}"))
    assert usage.run_time == timedelta(minutes=5)
