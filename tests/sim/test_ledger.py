"""The ledger adds up: GPU-seconds of the statuses, and of the hub's lines made of them, against what the pods in the
cluster really held, from the moment a kubelet took them to their end.
"""

from __future__ import annotations

from collections.abc import Callable
from datetime import datetime

import pytest

from orkhaven.hub.query.rows import experiment_row
from orkhaven.hub.usage.lines import Key, Line, lines_of
from tests.sim.cluster import START, Body
from tests.sim.harness import NAMESPACE, Crash, Outcome, Simulation, all_succeed, mixed
from tests.sim.runs import run_by_hand
from tests.sim.test_crashes import AtWrite
from tests.sim.world import TERMINAL, World, gpus

SLOW = 100.0
"""Seconds of a round: what a look later costs is small against it."""


class Oracle:
    """What pods held, seen from outside: looks at every version of every pod that the cluster ever had."""

    def __init__(self, sim: Simulation) -> None:
        self._sim = sim
        self._read = 0
        self._since: dict[str, tuple[float, int]] = {}
        self.held = 0.0

    def look(self) -> None:
        """What has happened since the last look happened just now: once between two moves of the clock."""
        now = self._sim.clock.seconds
        log = self._sim.cluster.log
        for event in log[self._read :]:
            if event.kind != "Pod":
                continue
            uid, status = event.body["metadata"]["uid"], event.body["status"]
            over = event.type == "DELETED" or status["phase"] in TERMINAL
            if uid in self._since and over:
                since, count = self._since.pop(uid)
                self.held += (now - since) * count
            elif uid not in self._since and not over and status.get("startTime"):
                self._since[uid] = (now, gpus(event.body))
        self._read = len(log)


class Hub:
    """As the hub's recorder, which sees statuses only, and not each of them."""

    def __init__(self) -> None:
        self.known: dict[str, dict[Key, Line]] = {}

    def look(self, sim: Simulation) -> None:
        for body in sim.cluster.look("Experiment"):
            row = experiment_row(body)
            known = self.known.setdefault(row.uid, {})
            known |= {line.key: line for line in lines_of(row, known)}

    @property
    def held(self) -> float:
        return sum(line.gpu_seconds for lines in self.known.values() for line in lines.values() if line.attempt >= 0)


def booked(sim: Simulation) -> float:
    return sum(body.get("status", {}).get("gpuSeconds", 0.0) for body in sim.cluster.look("Experiment"))


def played(sim: Simulation, outcome: Outcome, *, rounds: int = 120, hub_every: int = 1) -> tuple[Oracle, Hub]:
    """Until nothing happens any more, gone on with by a new operator wherever one crashes."""
    oracle, hub = Oracle(sim), Hub()
    quiet = 0
    for number in range(rounds):
        try:
            sim.deliver()
            worked = sim.work()
        except Crash:
            sim.restart()
            worked = 1
        events = len(sim.cluster.log)
        sim.surround(outcome)
        oracle.look()
        if number % hub_every == 0:
            hub.look(sim)
        sim.clock.advance(SLOW)
        quiet = 0 if worked or len(sim.cluster.log) != events else quiet + 1
        if quiet > 6:
            break
    sim.deliver()
    sim.work()
    hub.look(sim)
    return oracle, hub


def check(sim: Simulation, oracle: Oracle, hub: Hub) -> None:
    assert oracle.held > 0
    assert booked(sim) == pytest.approx(oracle.held, rel=0.01), sim.describe()
    assert hub.held == pytest.approx(booked(sim), abs=1.0)


@pytest.mark.parametrize("outcome", [all_succeed, mixed])
@pytest.mark.parametrize("hub_every", [1, 7], ids=["a hub that sees all", "a hub that was away"])
def test_a_sweep_is_booked_with_what_its_pods_held(outcome: Outcome, hub_every: int) -> None:
    sim = Simulation(nodes={"node-a": 2, "node-b": 2})
    sim.apply_sweep(template={"params": {"model": "unet"}, "resources": {"gpus": 2}})
    check(sim, *played(sim, outcome, hub_every=hub_every))


@pytest.mark.parametrize("moment", ["before", "after"])
def test_an_operator_that_dies_at_any_write_books_the_same(moment: str) -> None:
    for number in range(0, 60, 3):
        sim = Simulation()
        setattr(sim.cluster, moment, AtWrite(number, Crash))
        sim.apply_sweep()
        check(sim, *played(sim, mixed))


def drained(times: int) -> Outcome:
    """The first pods are drained, the next one ends well."""
    left = [times]

    def outcome(world: World, pod: Body) -> None:
        if left[0]:
            left[0] -= 1
            world.evict(pod)
        else:
            all_succeed(world, pod)

    return outcome


def test_attempts_beyond_the_last_ten_are_booked_too() -> None:
    sim = Simulation()
    run_by_hand(sim)
    oracle, hub = played(sim, drained(14), rounds=400, hub_every=9)
    (body,) = sim.cluster.look("Experiment")
    assert (body["status"]["attemptCount"], len(body["status"]["attempts"])) == (15, 10)
    check(sim, oracle, hub)


def nothing(world: World, pod: Body) -> None:
    """It goes on."""


def suspended_by_hand(sim: Simulation, suspended: bool) -> None:
    sim.cluster.change("Experiment", NAMESPACE, "alone", lambda body: body["spec"].update(suspend=suspended))


def test_a_run_that_is_suspended_and_goes_on_is_booked_for_the_time_that_it_ran() -> None:
    sim = Simulation()
    run_by_hand(sim)
    oracle, hub = Oracle(sim), Hub()

    def rounds(count: int, outcome: Callable[[World, Body], None] = nothing) -> None:
        for _ in range(count):
            sim.deliver()
            sim.work()
            sim.surround(outcome)
            oracle.look()
            hub.look(sim)
            sim.clock.advance(SLOW)

    rounds(60)
    suspended_by_hand(sim, True)
    rounds(30)
    assert {line.spent for lines in hub.known.values() for line in lines.values()} == {"suspended"}
    suspended_by_hand(sim, False)
    rounds(60)
    rounds(6, all_succeed)
    check(sim, oracle, hub)
    assert {line.spent for lines in hub.known.values() for line in lines.values()} == {"useful"}


def test_a_pod_that_stopped_while_no_operator_was_there_is_not_booked_until_the_next_one_came() -> None:
    sim = Simulation()
    run_by_hand(sim)
    for _ in range(20):
        sim.deliver()
        sim.work()
        sim.surround(nothing)
        sim.clock.advance(SLOW)
    suspended_by_hand(sim, True)
    sim.deliver()
    sim.work()
    (before,) = (body["status"]["attempts"][0] for body in sim.cluster.look("Experiment"))
    assert before.get("endTime") is None
    stopped = sim.clock.seconds
    sim.surround(nothing)
    sim.clock.advance(100 * SLOW)
    sim.restart()
    sim.work()
    started = sim.cluster.look("Experiment")[0]["status"]["attempts"][0]["startTime"]
    ran = stopped - _seconds(started)
    assert ran <= booked(sim) <= ran + sim.defaults.termination_grace_seconds


def _seconds(text: str) -> float:
    return (datetime.fromisoformat(text) - START).total_seconds()
