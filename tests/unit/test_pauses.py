"""How long a watch that has ended is let be."""

from __future__ import annotations

from orkhaven.pauses import LONGEST_SECONDS, Pauses


class Watch:
    """One after the other, by a clock that stands unless it is told to go."""

    def __init__(self) -> None:
        self.now = 100.0
        self.pauses = Pauses(clock=lambda: self.now, rng=lambda: 1.0)

    def lasts(self, seconds: float, *, heard: bool = False) -> float:
        """The pause after it."""
        self.pauses.begin()
        if heard:
            self.pauses.heard()
        self.now += seconds
        return self.pauses.after_end()


def test_the_pause_doubles_with_each_that_ends_at_once_up_to_a_limit() -> None:
    watch = Watch()
    assert [round(watch.lasts(0.01), 3) for _ in range(4)] == [0.1, 0.2, 0.4, 0.8]
    assert max(watch.lasts(0) for _ in range(100)) == LONGEST_SECONDS


def test_one_that_lasts_or_tells_of_something_begins_anew() -> None:
    watch = Watch()
    for good in ({"seconds": 300.0}, {"seconds": 0.0, "heard": True}):
        assert watch.lasts(0) + watch.lasts(0) > 0.2
        assert watch.lasts(**good) == 0  # type: ignore[arg-type]
        assert watch.lasts(0) == 0.1


def test_before_the_first_there_is_none() -> None:
    assert Pauses().after_end() == 0


def test_many_do_not_come_back_together() -> None:
    pauses = []
    for _ in range(50):
        one = Pauses(clock=lambda: 0.0)
        one.begin()
        pauses.append(one.after_end())
    assert len(set(pauses)) > 40
    assert 0.05 <= min(pauses) <= max(pauses) <= 0.1
