"""The keyed queue, in its own seconds."""

from __future__ import annotations

import random
from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from orkhaven.engine.workqueue import WorkQueue


def queue(interval: float = 0.0, *, base: float = 1.0, longest: float = 60.0, chance: float = 1.0) -> WorkQueue[str]:
    return WorkQueue(interval=lambda _: interval, base=base, longest=longest, random=lambda: chance)


def keys(made: WorkQueue[str], now: float) -> list[str]:
    popped = []
    while (item := made.pop(now=now)) is not None:
        popped.append(item[0])
    return popped


def test_a_key_added_many_times_is_handed_out_once() -> None:
    q = queue()
    for _ in range(50):
        q.add("a", now=0)
    assert keys(q, 0) == ["a"]


def test_keys_come_out_in_the_order_in_which_they_were_due() -> None:
    q = queue()
    q.add("late", now=0, delay=2)
    q.add("first", now=0)
    q.add("second", now=0)
    assert keys(q, 0) == ["first", "second"]
    assert keys(q, 2) == ["late"]


def test_a_key_is_never_handed_out_twice_at_once_and_comes_again_when_it_changed_meanwhile() -> None:
    q = queue()
    q.add("a", now=0)
    assert keys(q, 0) == ["a"]
    q.add("a", now=1)
    assert keys(q, 1) == []
    q.done("a", now=2)
    assert keys(q, 2) == ["a"]


def test_an_earlier_date_wins_over_a_later_one() -> None:
    q = queue()
    q.add("a", now=0, delay=100)
    q.add("a", now=0, delay=5)
    q.add("a", now=0, delay=50)
    assert q.next_due() == 5
    assert keys(q, 5) == ["a"]
    q.done("a", now=5)
    assert q.next_due() is None


def test_the_first_change_after_a_pause_is_at_once_and_the_next_ones_wait_for_the_interval() -> None:
    q = queue(interval=1.0)
    q.add("sweep", now=10.0)
    assert keys(q, 10.0) == ["sweep"]
    q.done("sweep", now=10.1)
    q.add("sweep", now=10.2)
    assert keys(q, 10.9) == []
    assert q.next_due() == 11.0
    assert keys(q, 11.0) == ["sweep"]
    q.done("sweep", now=11.0)
    q.add("sweep", now=20.0)
    assert keys(q, 20.0) == ["sweep"]


def test_failures_back_off_exponentially_up_to_a_limit_and_a_success_forgets_them() -> None:
    q = queue(base=1, longest=5)
    now, waits = 0.0, []
    q.add("a", now=now)
    for _ in range(5):
        assert keys(q, now) == ["a"]
        waits.append(q.failed("a", now=now))
        now += waits[-1]
    assert waits == [1, 2, 4, 5, 5]
    assert keys(q, now) == ["a"]
    q.done("a", now=now)
    q.add("a", now=now)
    assert keys(q, now) == ["a"]
    assert q.failed("a", now=now) == 1


def test_jitter_takes_up_to_half_of_a_back_off_away() -> None:
    q = queue(base=8, chance=0.0)
    q.add("a", now=0)
    keys(q, 0)
    assert q.failed("a", now=0) == 4


def test_what_happened_before_a_failure_does_not_shorten_its_back_off_but_news_after_it_does() -> None:
    q = queue(base=10)
    q.add("a", now=0)
    keys(q, 0)
    q.add("a", now=0)
    q.failed("a", now=0)
    assert keys(q, 5) == []
    q.add("a", now=6)
    assert keys(q, 6) == ["a"]


def test_the_server_s_wish_to_wait_is_kept() -> None:
    q = queue(base=1)
    q.add("a", now=0)
    keys(q, 0)
    assert q.failed("a", now=0, at_least=7) == 7


def test_the_time_waited_is_measured_from_when_it_was_due() -> None:
    q = queue()
    q.add("a", now=0, delay=3)
    assert q.pop(now=5) == ("a", 2)


def test_ten_thousand_keys_that_are_done_leave_nothing_behind() -> None:
    q = queue()
    for number in range(10_000):
        q.add(str(number), now=0)
    for key in keys(q, 0):
        q.done(key, now=0)
    assert q._entries == {}
    assert q.next_due() is None


@given(st.lists(st.tuples(st.sampled_from(["add", "pop", "done", "fail"]), st.sampled_from("abc"), st.floats(0, 5))))
def test_whatever_happens_no_key_is_lost_and_none_is_worked_on_twice(steps: list[tuple[Any, str, float]]) -> None:
    q: WorkQueue[str] = WorkQueue(interval=lambda _: 0.5, base=1, longest=9, random=random.Random(1).random)
    now, working, wanted = 0.0, set(), set()
    for what, key, wait in steps:
        now += wait / 10
        if what == "add":
            q.add(key, now=now, delay=wait)
            wanted.add(key)
        elif what == "pop" and (popped := q.pop(now=now)) is not None:
            assert popped[0] not in working
            working.add(popped[0])
            wanted.discard(popped[0])
        elif what == "done" and key in working:
            working.discard(key)
            q.done(key, now=now)
        elif what == "fail" and key in working:
            working.discard(key)
            q.failed(key, now=now)
            wanted.add(key)
    for key in sorted(working):
        q.done(key, now=now)
    assert set(keys(q, now + 1000)) == wanted
