"""Kubernetes Events: said once, counted, cut off."""

from __future__ import annotations

import pytest

from orkhaven.core.actions import Note
from orkhaven.engine.events import BURST, REFILL, WINDOW, EventRecorder
from orkhaven.errors import LeaseLost, Unavailable
from tests.sim.cluster import FakeCluster, VirtualClock, drive
from tests.unit.engine.builders import experiment

NOTE = Note(type="Warning", reason="Failed", message="it broke")
META = experiment().meta


class Setup:
    def __init__(self) -> None:
        self.clock = VirtualClock()
        self.cluster = FakeCluster(self.clock)
        self.recorder = EventRecorder(
            self.cluster, clock=self.clock, api_versions={"Experiment": "orkhaven.io/v1alpha1"}
        )

    def post(self, note: Note = NOTE, times: int = 1) -> None:
        for _ in range(times):
            self.recorder.post("Experiment", META, note)
        while not self.recorder._queue.empty():
            drive(self.recorder.post_next())

    @property
    def said(self) -> list[tuple[str, int]]:
        return [(body["message"], body["count"]) for body in self.cluster.all("Event")]

    @property
    def told(self) -> list[tuple[str, int]]:
        """(by whom, how often)"""
        return [(body["involvedObject"]["name"], body["count"]) for body in self.cluster.all("Event")]


def test_an_event_names_the_object_and_what_happened() -> None:
    setup = Setup()
    setup.post()
    (event,) = setup.cluster.all("Event")
    assert event["involvedObject"] | {"resourceVersion": ""} == {
        "apiVersion": "orkhaven.io/v1alpha1",
        "kind": "Experiment",
        "namespace": "ns",
        "name": "e",
        "uid": "uid-e",
        "resourceVersion": "",
    }
    assert (event["type"], event["reason"], event["message"]) == ("Warning", "Failed", "it broke")
    assert event["metadata"]["namespace"] == "ns"


def test_the_same_words_become_one_event_with_a_count_until_the_server_has_forgotten_it() -> None:
    setup = Setup()
    setup.post(times=3)
    assert setup.said == [("it broke", 3)]
    setup.clock.advance(WINDOW + 1)
    setup.post()
    assert sorted(setup.said) == [("it broke", 1), ("it broke", 3)]


def test_an_event_that_was_deleted_is_made_again() -> None:
    setup = Setup()
    setup.post()
    (event,) = setup.cluster.all("Event")
    setup.cluster.remove("Event", "ns", event["metadata"]["name"])
    setup.clock.advance(1)
    setup.post()
    assert setup.said == [("it broke", 1)]


def test_an_object_that_says_too_much_is_cut_off_and_may_speak_again_later() -> None:
    setup = Setup()
    for number in range(BURST + 10):
        setup.post(Note(type="Normal", reason="R", message=f"message {number}"))
    assert len(setup.said) == BURST
    assert setup.recorder.dropped == 10
    setup.clock.advance(REFILL)
    setup.post(Note(type="Normal", reason="R", message="later"))
    assert len(setup.said) == BURST + 1


@pytest.mark.parametrize("error", [Unavailable("away"), LeaseLost("lost")], ids=["server away", "lease lost"])
def test_an_event_that_cannot_be_posted_is_dropped_and_the_next_one_is_posted(error: Exception) -> None:
    setup = Setup()

    def refuse(*_: object) -> None:
        raise error

    setup.cluster.before = refuse
    setup.post()
    setup.cluster.before = lambda *_: None
    setup.post(Note(type="Normal", reason="R", message="after"))
    assert setup.said == [("after", 1)]
    assert setup.recorder.dropped == 1


def test_of_what_many_trials_have_to_tell_the_first_tells_it_until_the_server_has_forgotten_it() -> None:
    setup = Setup()
    note = Note(type="Warning", reason="AttemptFailed", message="attempt 1: it broke", about="c3f2a1")
    other = Note(type="Warning", reason="AttemptFailed", message="attempt 1: no space", about="77aa00")

    def tell(number: int, what: Note, *, owner: str | None = "uid-s") -> None:
        meta = experiment(f"s-{number}", owner=("s", owner) if owner else None).meta
        setup.recorder.post("Experiment", meta, what)
        while not setup.recorder._queue.empty():
            drive(setup.recorder.post_next())

    for number in range(5):
        tell(number, note)
    assert setup.told == [("s-0", 1)]
    tell(0, note)
    assert setup.told == [("s-0", 2)], "it may say it again itself"
    tell(3, other)
    tell(4, note, owner="uid-of-another")
    tell(5, note, owner=None)
    tell(6, note, owner=None)
    assert setup.told == [("s-0", 2), ("s-3", 1), ("s-4", 1), ("s-5", 1), ("s-6", 1)]
    setup.clock.advance(WINDOW + 1)
    tell(1, note)
    assert ("s-1", 1) in setup.told
