"""The operator dies before and after every write of a sweep; the end is that of an undisturbed run."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from orkhaven.errors import ApiError, Conflict, Unavailable
from tests.sim.cluster import Body
from tests.sim.harness import Crash, Outcome, Simulation, all_succeed, mixed


class AtWrite:
    """A hook that fails the n-th write and no other."""

    def __init__(self, number: int, error: Callable[[], BaseException]) -> None:
        self._left = number
        self._error = error
        self.happened = False

    def __call__(self, verb: str, kind: str, key: tuple[str, str]) -> None:
        if self.happened:
            return
        if self._left == 0:
            self.happened = True
            raise self._error()
        self._left -= 1


def reference(outcome: Outcome) -> tuple[Body, int]:
    """End state and number of writes of an undisturbed run."""
    sim = Simulation()
    sim.apply_sweep()
    sim.settle(outcome)
    return sim.end_state(), len(sim.cluster.writes)


def run(outcome: Outcome, *, before: AtWrite | None = None, after: AtWrite | None = None) -> Simulation:
    """The same with one fault. A crash is followed by a new process on the same cluster."""
    sim = Simulation()
    if before is not None:
        sim.cluster.before = before
    if after is not None:
        sim.cluster.after = after
    sim.apply_sweep()
    sim.settle_over_crashes(outcome)
    return sim


@pytest.mark.parametrize("outcome", [all_succeed, mixed])
@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_crash_at_any_write_changes_nothing_about_the_end(outcome: Outcome, moment: str) -> None:
    want, writes = reference(outcome)
    assert writes > 25
    for number in range(writes):
        fault = AtWrite(number, Crash)
        sim = run(outcome, **{moment: fault})
        assert fault.happened
        assert sim.end_state() == want, f"{moment} write {number}"
        sim.check_quiet()


@pytest.mark.parametrize(
    ("moment", "error"),
    [
        ("before", Unavailable("API server away")),
        ("after", Unavailable("the answer was lost")),
        ("before", Conflict("somebody was faster", status=409)),
    ],
    ids=["not sent", "answer lost", "conflict"],
)
def test_an_error_at_any_write_changes_nothing_about_the_end(moment: str, error: ApiError) -> None:
    want, writes = reference(mixed)
    for number in range(writes):
        fault = AtWrite(number, lambda: error)
        sim = run(mixed, **{moment: fault})
        assert fault.happened
        assert sim.end_state() == want, f"{moment} write {number}"
        sim.check_quiet()


def test_crashing_at_every_write_in_a_row_still_gets_there() -> None:
    want, writes = reference(mixed)
    sim = Simulation()
    crashed = 0

    def once_each(verb: str, kind: str, key: tuple[str, str]) -> None:
        # Each write succeeds and kills its writer; the next process finds it done.
        raise Crash

    sim.cluster.after = once_each
    sim.apply_sweep()
    for _ in range(2000):
        try:
            if crashed:
                sim.restart()
            sim.settle(mixed)
            break
        except Crash:
            crashed += 1
    else:
        raise AssertionError(f"never came to an end\n{sim.describe()}")
    # Each process saves the looks that the crashed ones would have written about in between.
    assert crashed > writes / 2
    assert sim.end_state() == want
