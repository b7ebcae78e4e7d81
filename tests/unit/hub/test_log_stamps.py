"""The place at which a log goes on: whatever the lines, the cuts and the clock, each byte comes out once."""

from __future__ import annotations

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from orkhaven.hub.logs.stamps import SECOND, Cursor, Stripper, parse
from tests.unit.hub.pods import BEGIN, stamp


def served(lines: list[tuple[int, bytes]], since: str | None) -> bytes:
    """What `pods/log` answers: the lines whose second is not before `since`."""
    floor = 0 if since is None else parse(since.encode())
    return b"".join(stamp(time) + b" " + text for time, text in lines if time >= floor)


@pytest.mark.parametrize(
    ("text", "nanoseconds"),
    [
        (b"1970-01-01T00:00:01.5Z", 1_500_000_000),
        (b"1970-01-01T00:00:00.000000007Z", 7),
        (b"1970-01-01T01:00:01+01:00", 1_000_000_000),
        (b"2026-11-26T08:00:00.123456789Z", 1_795_680_000_123_456_789),
    ],
)
def test_a_stamp_is_read_to_the_nanosecond(text: bytes, nanoseconds: int) -> None:
    assert parse(text) == nanoseconds


texts = st.one_of(
    st.binary(max_size=30).map(lambda raw: raw.replace(b"\n", b"|")),
    st.just(b"2026-01-01T00:00:00.000000000Z not a stamp of the kubelet"),
    st.just(b"x" * 300),
    st.just(b""),
)
steps = st.sampled_from([0, 0, 1, 7, SECOND // 3, SECOND, 3 * SECOND])


@st.composite
def logs(draw: st.DrawFn) -> list[tuple[int, bytes]]:
    time, lines = BEGIN, []
    for step, text in draw(st.lists(st.tuples(steps, texts), min_size=1, max_size=14)):
        time += step
        lines.append((time, text + b"\n"))
    if draw(st.booleans()):
        lines[-1] = (lines[-1][0], lines[-1][1][:-1])
    return lines


def blocks(data: bytes, sizes: list[int]) -> list[bytes]:
    found, position = [], 0
    for size in sizes:
        found.append(data[position : position + size])
        position += size
    return [*found, data[position:]]


@settings(max_examples=400)
@given(
    lines=logs(),
    cuts=st.lists(st.integers(0, 900), max_size=5),
    sizes=st.lists(st.integers(1, 70), max_size=12),
)
def test_whatever_the_cuts_every_byte_comes_once_and_in_order(
    lines: list[tuple[int, bytes]], cuts: list[int], sizes: list[int]
) -> None:
    cursor, text = Cursor(), b""
    for cut in cuts:  # the connection breaks after so many bytes; what was held back is not lost but asked for again
        stripper = Stripper(cursor)
        for block in blocks(served(lines, cursor.since)[:cut], sizes):
            text += stripper.feed(block)
        cursor = stripper.cursor
    stripper = Stripper(cursor)
    for block in blocks(served(lines, cursor.since), sizes):
        text += stripper.feed(block)
    text += stripper.finish()
    assert text == b"".join(line for _, line in lines)


@settings(max_examples=200)
@given(
    before=st.integers(1, 6),
    after=st.integers(1, 6),
    back=st.integers(1, 5 * SECOND),
    known=st.integers(0, 6),
    cut=st.integers(0, 600),
)
def test_a_clock_that_went_back_while_the_log_was_followed_doubles_and_loses_nothing(
    before: int, after: int, back: int, known: int, cut: int
) -> None:
    lines = [(BEGIN + number * SECOND // 2, b"before %d\n" % number) for number in range(before)]
    turned = lines[-1][0] - back
    lines += [(turned + number * SECOND // 2, b"after %d\n" % number) for number in range(after)]
    assume(len({time for time, _ in lines}) == len(lines))  # the same nanosecond twice is no clock's doing
    whole = b"".join(line for _, line in lines)
    # The connection lives over the change, one line a block, then breaks somewhere.
    stripper = Stripper(Cursor())
    text = b""
    for line in lines[: before + min(known, after)]:
        text += stripper.feed(served([line], None))
    for number, line in enumerate(lines[before + min(known, after) :]):
        if (number + 1) * 40 > cut:
            break
        text += stripper.feed(served([line], None))
    resumed = Stripper(stripper.cursor)
    if min(known, after):  # the change was seen
        text += resumed.feed(served(lines, resumed.cursor.since)) + resumed.finish()
        assert text == whole


def test_lines_that_were_rotated_away_end_the_open_one_and_the_rest_goes_on() -> None:
    first = Stripper(Cursor())
    assert first.feed(stamp(BEGIN) + b" half of a li") == b"half of a li"
    second = Stripper(first.cursor)
    assert second.feed(stamp(BEGIN + SECOND) + b" next\n") == b"\nnext\n"
    assert second.cursor.time == BEGIN + SECOND


def test_what_the_kubelet_says_itself_is_shown_and_never_mistaken_for_a_place() -> None:
    first = Stripper(Cursor())
    said = b"unable to retrieve container logs for containerd://0123456789abcdef0123456789abcdef"
    assert first.feed(stamp(BEGIN) + b" one\n" + said) + first.finish() == b"one\n" + said
    second = Stripper(first.cursor)
    assert second.feed(stamp(BEGIN) + b" one\n" + stamp(BEGIN) + b" two\n") == b"two\n"
    third = Stripper(second.cursor)
    assert third.feed(said) + third.finish() == b""


def test_a_time_that_is_none_is_text_like_any_other() -> None:
    stripper = Stripper(Cursor())
    stripper.feed(stamp(BEGIN) + b" a\n2026-02-31T00:00:00.000000000Z b\n")
    assert stripper.cursor.time == BEGIN


def test_a_line_without_an_end_is_passed_on_as_it_comes() -> None:
    stripper = Stripper(Cursor())
    stripper.feed(stamp(BEGIN) + b" ")
    for _ in range(100):
        assert len(stripper.feed(b"x" * 65536)) == 65536
    assert stripper.cursor == Cursor(time=BEGIN, same=0, open=6_553_600, high=BEGIN)
