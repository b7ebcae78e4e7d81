"""Faults that a real cluster cannot be given on demand, over retries and reruns: a wall clock that jumps, watches that
are told 410, answers that are refused, lost or late, two operators that both believe to lead.

What is played is one story: a sweep of which trials break, run out of memory and are drained, and then two reruns. Its
end has to be that of the same story undisturbed. tests/chaos does the rest on a real cluster.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from orkhaven.errors import Conflict, Unavailable
from tests.sim.cluster import Body, drive
from tests.sim.harness import Outcome, Simulation, mixed
from tests.sim.test_rerun import ENTRIES, ask, memory_helps, whole

HOUR = 3600.0
MOMENTS = range(12)
"""Steps after which it strikes, once in the sweep, which takes 12, and once in its reruns, which take 10."""

Settle = Callable[[Simulation, Outcome], Simulation]
"""Until nothing happens any more, with a fault; the operator that is there then."""


def told(settle: Settle) -> Simulation:
    sim = Simulation()
    sim.apply_sweep()
    sim = settle(sim, mixed)
    ask(sim, *ENTRIES)
    return settle(sim, memory_helps)


def calmly(sim: Simulation, outcome: Outcome) -> Simulation:
    sim.settle(outcome)
    return sim


@pytest.fixture(scope="module")
def want() -> Body:
    sim = told(calmly)
    assert sim.sweep()["status"]["trials"]["replaced"] == 2
    return whole(sim)


def after(moment: int, strike: Callable[[Simulation, Outcome], None]) -> Settle:
    """It strikes after so many steps."""

    def settle(sim: Simulation, outcome: Outcome) -> Simulation:
        for _ in range(moment):
            sim.step(outcome)
        strike(sim, outcome)
        sim.settle(outcome)
        return sim

    return settle


# --- clocks -----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
@pytest.mark.parametrize("by", [HOUR, -HOUR], ids=["ahead", "back"])
def test_a_wall_clock_that_jumps_by_an_hour_changes_nothing_about_the_end(want: Body, by: float, moment: int) -> None:
    def jump(sim: Simulation, outcome: Outcome) -> None:
        sim.own_clock.ahead += by

    sim = told(after(moment, jump))
    assert whole(sim) == want
    sim.check_quiet()


@pytest.mark.parametrize("ahead", [HOUR, -HOUR], ids=["ahead", "behind"])
def test_a_wall_clock_that_is_an_hour_wrong_all_the_time_changes_nothing_about_the_end(
    want: Body, ahead: float
) -> None:
    def settle(sim: Simulation, outcome: Outcome) -> Simulation:
        sim.own_clock.ahead = ahead
        return calmly(sim, outcome)

    assert whole(told(settle)) == want


def took(sim: Simulation) -> float:
    """Seconds by the nodes' clock from the end of the first attempt of the only trial to that of its last."""
    (trial,) = sim.cluster.all("Experiment")
    ends = [datetime.fromisoformat(attempt["endTime"]) for attempt in trial["status"]["attempts"]]
    assert len(ends) == 3
    return (ends[-1] - ends[0]).total_seconds()


def test_a_retry_waits_no_longer_than_any_back_off_though_the_clock_was_put_back() -> None:
    sim = Simulation()
    sim.apply_sweep(parameters=[{"name": "lr", "values": [2]}])
    for _ in range(20):
        sim.step(mixed)
        if any(e.get("status", {}).get("retryAt") for e in sim.cluster.all("Experiment")):
            break
    sim.own_clock.ahead = -HOUR
    sim.settle(mixed)
    # At most the longest wait for the first of two retries, a common one for the second.
    assert took(sim) < 1.2 * sim.defaults.retry_max_seconds + 60


def test_a_node_whose_clock_is_ahead_does_not_make_retries_wait_for_it() -> None:
    sim = Simulation()
    sim.own_clock.ahead = -HOUR
    sim.apply_sweep(parameters=[{"name": "lr", "values": [2]}])
    sim.settle(mixed)
    assert took(sim) < 60


# --- watches ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("moment", MOMENTS)
def test_watches_that_are_told_410_and_begin_with_a_list_change_nothing_about_the_end(want: Body, moment: int) -> None:
    def gone(sim: Simulation, outcome: Outcome) -> None:
        for _ in range(3):
            sim.surround(outcome)
            sim.fetch()
            sim.drop(len(sim.pending))
            sim.clock.advance(1)
        drive(sim.resync.run_once())

    sim = told(after(moment, gone))
    assert whole(sim) == want
    sim.check_quiet()


@pytest.mark.parametrize("late", [1, 3, 10])
def test_everything_heard_seconds_late_changes_nothing_about_the_end(want: Body, late: int) -> None:
    """Each event arrives so many seconds after it happened, in order: the operator always acts on what was."""

    def settle(sim: Simulation, outcome: Outcome) -> Simulation:
        known: list[int] = []
        for _ in range(60):
            sim.fetch()
            known.append(len(sim.pending) + len(sim.told))
            due = known[-1 - late] - len(sim.told) if len(known) > late else 0
            sim.deliver(max(0, due))
            sim.work()
            sim.check()
            sim.surround(outcome)
            sim.clock.advance(1)
        return calmly(sim, outcome)

    sim = told(settle)
    assert whole(sim) == want
    sim.check_quiet()


# --- answers ----------------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("hook", "error"),
    [
        ("before", Unavailable("429 too many requests", status=429)),
        ("before", Unavailable("500 internal error", status=500)),
        ("after", Unavailable("no answer within 30 s")),
        ("before", Conflict("somebody was faster", status=409)),
    ],
    ids=["429", "500", "executed, no answer", "409"],
)
def test_five_writes_in_a_row_that_go_wrong_change_nothing_about_the_end(
    want: Body, hook: str, error: Exception
) -> None:
    for first in range(0, 60, 4):
        sim = Simulation()
        seen: list[str] = []

        def strike(verb: str, kind: str, key: tuple[str, str], first: int = first, seen: list[str] = seen) -> None:
            seen.append(verb)
            if first < len(seen) <= first + 5:
                raise error

        setattr(sim.cluster, hook, strike)
        sim.apply_sweep()
        sim.settle(mixed)
        ask(sim, *ENTRIES)
        sim.settle(memory_helps)
        assert len(seen) > first + 5
        assert whole(sim) == want, f"from write {first}"
        sim.check_quiet()


# --- two operators ----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("asleep", [1, 4])
@pytest.mark.parametrize("moment", MOMENTS)
def test_a_leader_that_was_frozen_and_acts_on_what_it_knew_changes_nothing_about_the_end(
    want: Body, moment: int, asleep: int
) -> None:
    """Worse than it can be: the Lease refuses its writes as soon as it looks at its own clock."""

    def settle(frozen: Simulation, outcome: Outcome) -> Simulation:
        frozen.node_faults = True  # two together may release more than there is room for; the pods wait
        for _ in range(moment):
            frozen.step(outcome)
        frozen.deliver()
        awake = Simulation.beside(frozen)
        for _ in range(asleep):
            awake.step(outcome)
        frozen.work()
        awake.check()
        awake.settle(outcome)
        return awake

    sim = told(settle)
    assert whole(sim) == want
    sim.check_quiet()


def test_two_operators_that_both_act_all_the_time_come_to_the_same_end(want: Body) -> None:
    def settle(one: Simulation, outcome: Outcome) -> Simulation:
        one.node_faults = True
        other = Simulation.beside(one)
        for _ in range(60):
            one.step(outcome)
            other.deliver()
            other.work()
            other.check()
        return calmly(one, outcome)

    sim = told(settle)
    assert whole(sim) == want
    sim.check_quiet()


@pytest.mark.parametrize("moment", range(1, 6))
def test_a_standby_that_takes_over_before_it_has_heard_of_the_jobs_makes_no_second_ones(moment: int) -> None:
    sim = Simulation()
    standby = Simulation.beside(sim)
    sim.apply_sweep()
    for _ in range(moment):
        sim.step(lambda world, pod: None)
    made = sorted(job["metadata"]["name"] for job in sim.cluster.look("Job"))
    assert made
    standby.fetch()
    standby.pending = [event for event in standby.pending if event.kind in ("Sweep", "Experiment")]
    standby.deliver()
    standby.work()
    standby.check()
    assert sorted(job["metadata"]["name"] for job in sim.cluster.look("Job")) == made
    standby.settle()
    assert standby.sweep()["status"]["trials"]["succeeded"] == 4
    assert {e["status"]["attemptCount"] for e in standby.cluster.all("Experiment")} == {1}
