"""What the operator is told may be late, old, doubled or missing: the end is the same (as in Sieve, OSDI'22)."""

from __future__ import annotations

import random

import pytest

from tests.sim.cluster import drive
from tests.sim.harness import NAMESPACE, Simulation, mixed
from tests.sim.test_crashes import reference


@pytest.mark.parametrize("seed", range(4))
def test_events_lost_at_random_are_made_up_for_by_lists(seed: int) -> None:
    want, _ = reference(mixed)
    rng = random.Random(seed)
    sim = Simulation()
    sim.apply_sweep()
    for round_ in range(120):
        sim.fetch()
        sim.pending = [event for event in sim.pending if rng.random() < 0.5]
        if round_ % 5 == 4:
            drive(sim.resync.run_once())
        sim.step(mixed)
    drive(sim.resync.run_once())
    sim.settle(mixed)
    assert sim.end_state() == want
    sim.check_quiet()


@pytest.mark.parametrize("kind", ["Pod", "Job", "Experiment", "Node"])
def test_a_watch_that_tells_nothing_of_one_kind_is_made_up_for_by_lists(kind: str) -> None:
    want, _ = reference(mixed)
    sim = Simulation()
    sim.apply_sweep()
    for round_ in range(150):
        sim.fetch()
        sim.pending = [event for event in sim.pending if event.kind != kind]
        if round_ % 4 == 3:
            drive(sim.resync.run_once())
        sim.step(mixed)
    drive(sim.resync.run_once())
    sim.settle(mixed)
    assert sim.end_state() == want
    sim.check_quiet()


@pytest.mark.parametrize("seed", range(4))
def test_old_events_that_come_again_change_nothing(seed: int) -> None:
    want, _ = reference(mixed)
    rng = random.Random(seed)
    sim = Simulation()
    sim.apply_sweep()
    for _ in range(40):
        for event in rng.sample(sim.told, min(len(sim.told), 10)):
            sim.tell(event)
        sim.step(mixed)
    sim.settle(mixed)
    assert sim.end_state() == want
    sim.check_quiet()


@pytest.mark.parametrize("lag", [1, 3, 10, 30])
def test_a_watch_that_lags_behind_costs_time_and_nothing_else(lag: int) -> None:
    want, _ = reference(mixed)
    sim = Simulation()
    sim.apply_sweep()
    for _ in range(200):
        sim.fetch()
        sim.deliver(max(0, len(sim.pending) - lag))
        sim.work()
        sim.check()
        sim.surround(mixed)
        sim.clock.advance(1)
    sim.settle(mixed)
    assert sim.end_state() == want
    sim.check_quiet()


def test_a_deletion_that_nobody_told_of_is_found_by_a_list() -> None:
    sim = Simulation()
    sim.apply_sweep()
    sim.settle()
    sim.cluster.remove("Sweep", NAMESPACE, "s")
    while sim.cluster.collect():
        pass
    sim.fetch()
    sim.pending.clear()
    assert len(list(sim.engine.store.experiments())) == 4
    assert drive(sim.resync.run_once()) > 0
    assert list(sim.engine.store.experiments()) == []
    assert list(sim.engine.store.all_jobs()) == []


def test_two_operators_that_both_believe_to_lead_do_no_harm() -> None:
    """The lease makes it rare, not impossible: a process may sleep between asking for it and writing."""
    want, _ = reference(mixed)
    sim = Simulation()
    other = Simulation.beside(sim)
    sim.apply_sweep()
    for round_ in range(120):
        # The second one sees everything some rounds late and acts on it.
        if round_ % 3 == 2:
            other.deliver()
            other.work()
            sim.check()
        sim.step(mixed)
    other.deliver()
    other.work()
    sim.settle(mixed)
    assert sim.end_state() == want
