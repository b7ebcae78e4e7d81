"""Leader election on a Lease in memory, under a clock that moves only when told to."""

from __future__ import annotations

import contextlib
import copy
from typing import Any

import pytest

from orkhaven.errors import AlreadyExists, Conflict, NotFound, Unavailable
from orkhaven.kube.lease import Lease
from tests.sim.cluster import VirtualClock, drive


class Server:
    """`kube.client.Client` for one Lease: optimistic locking and nothing else."""

    def __init__(self) -> None:
        self.stored: dict[str, Any] | None = None
        self.version = 0
        self.away = False
        self.requests: list[str] = []

    async def request(self, method: str, path: str, *, body: dict[str, Any] | None = None, **_: Any) -> dict[str, Any]:
        self.requests.append(method)
        if self.away:
            raise Unavailable("away")
        if method == "GET":
            if self.stored is None:
                raise NotFound("no lease")
            return copy.deepcopy(self.stored)
        assert body is not None
        if method == "POST":
            if self.stored is not None:
                raise AlreadyExists("there")
        elif self.stored is None or body["metadata"]["resourceVersion"] != self.stored["metadata"]["resourceVersion"]:
            raise Conflict("changed")
        self.version += 1
        self.stored = copy.deepcopy(body)
        self.stored["metadata"]["resourceVersion"] = str(self.version)
        return copy.deepcopy(self.stored)


class Setup:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.server = Server()

    def candidate(self, identity: str) -> Lease:
        client: Any = self.server
        return Lease(
            client,
            namespace="ns",
            name="l",
            identity=identity,
            duration=12,
            renew_deadline=8,
            retry=2,
            clock=self.clock.monotonic,
        )

    def attempt(self, lease: Lease) -> None:
        """One round of `run`, without its sleep."""
        with contextlib.suppress(Unavailable, Conflict):
            drive(lease._try())


def test_the_first_one_gets_it_and_renews_with_one_request() -> None:
    setup = Setup()
    lease = setup.candidate("a")
    setup.attempt(lease)
    assert lease.held()
    setup.server.requests.clear()
    setup.clock.advance(2)
    setup.attempt(lease)
    assert setup.server.requests == ["PUT"]
    assert setup.server.stored is not None
    assert setup.server.stored["spec"]["holderIdentity"] == "a"
    assert setup.server.stored["spec"]["leaseTransitions"] == 0


def test_a_second_one_waits_as_long_as_the_first_renews() -> None:
    setup = Setup()
    first, second = setup.candidate("a"), setup.candidate("b")
    for _ in range(50):
        setup.attempt(first)
        setup.attempt(second)
        assert first.held()
        assert not second.held()
        setup.clock.advance(2)


def test_after_a_crash_the_next_one_takes_over_when_the_lease_has_run_out_and_not_before() -> None:
    setup = Setup()
    setup.attempt(setup.candidate("a"))
    second = setup.candidate("b")
    waited = 0.0
    while True:
        setup.attempt(second)
        if second.held():
            break
        pause = second._pause()
        setup.clock.advance(pause)
        waited += pause
    assert waited == pytest.approx(12, abs=0.1)
    assert setup.server.stored is not None
    assert setup.server.stored["spec"]["leaseTransitions"] == 1


def test_a_process_of_the_same_identity_goes_on_at_once() -> None:
    setup = Setup()
    setup.attempt(setup.candidate("pod-0"))
    again = setup.candidate("pod-0")
    setup.attempt(again)
    assert again.held()


def test_a_released_lease_is_free_at_once() -> None:
    setup = Setup()
    first, second = setup.candidate("a"), setup.candidate("b")
    setup.attempt(first)
    setup.attempt(second)
    drive(first.release())
    assert not first.held()
    setup.attempt(second)
    assert second.held()


def test_the_holder_stops_writing_before_another_may_begin() -> None:
    setup = Setup()
    first, second = setup.candidate("a"), setup.candidate("b")
    setup.attempt(first)
    setup.attempt(second)
    gap: list[float] = []
    for step in range(200):
        setup.clock.advance(0.1)
        setup.attempt(second)
        assert not (first.held() and second.held())
        if not first.held() and not second.held():
            gap.append(step)
    assert second.held()
    assert len(gap) * 0.1 == pytest.approx(4, abs=0.3)


def test_an_api_server_that_is_away_costs_the_lease_and_gives_it_back_at_once() -> None:
    setup = Setup()
    lease = setup.candidate("a")
    setup.attempt(lease)
    setup.server.away = True
    for _ in range(30):
        setup.clock.advance(2)
        setup.attempt(lease)
    assert not lease.held()
    setup.server.away = False
    setup.attempt(lease)
    assert lease.held()


def test_a_holder_that_was_overtaken_while_it_slept_does_not_take_it_back() -> None:
    setup = Setup()
    first, second = setup.candidate("a"), setup.candidate("b")
    setup.attempt(first)
    setup.attempt(second)
    setup.clock.advance(13)
    setup.attempt(second)
    assert second.held()
    setup.attempt(first)
    assert not first.held()


def test_of_two_that_try_at_the_same_moment_one_gets_it() -> None:
    setup = Setup()
    setup.attempt(setup.candidate("dead"))
    both = [setup.candidate("a"), setup.candidate("b")]
    for lease in both:
        setup.attempt(lease)
    setup.clock.advance(13)
    for lease in both:
        setup.attempt(lease)
    assert [lease.held() for lease in both] == [True, False]
