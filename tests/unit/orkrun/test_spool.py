"""Lines on disk: whole, numbered on, and read back from where the last sending stopped."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from orkrun.spool import MAX_LINE, Backlog, Spool, parse_lines, spool_path


def line(seq: int, **metrics: Any) -> Any:
    return {"attempt": 1, "seq": seq, "step": seq, "time": 0.0, "metrics": metrics}


def fill(spool: Spool, count: int) -> None:
    for _ in range(count):
        spool.append(line(spool.seq + 1))
        spool.seq += 1


def test_numbers_go_on_where_a_former_process_of_the_attempt_stopped(tmp_path: Path) -> None:
    first = Spool(tmp_path, 1)
    fill(first, 3)
    first.close()
    assert Spool(tmp_path, 1).seq == 3
    assert Spool(tmp_path, 2).seq == 0


def test_half_a_line_of_a_killed_process_is_cut_off(tmp_path: Path) -> None:
    first = Spool(tmp_path, 1)
    fill(first, 2)
    first.close()
    path = spool_path(tmp_path, 1)
    with open(path, "ab") as file:
        file.write(b'{"attempt":1,"seq":3,"st')
    second = Spool(tmp_path, 1)
    fill(second, 1)
    assert [item["seq"] for item in parse_lines(path.read_bytes())] == [1, 2, 3]
    assert path.read_bytes().count(b"\n") == 3


def test_a_line_of_absurd_size_is_refused(tmp_path: Path) -> None:
    spool = Spool(tmp_path, 1)
    with pytest.raises(ValueError, match="above the limit"):
        spool.append(line(1, **{"x" * MAX_LINE: 1.0}))
    assert spool_path(tmp_path, 1).stat().st_size == 0


def test_a_full_disk_leaves_no_half_line(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spool = Spool(tmp_path, 1)
    fill(spool, 1)
    real = os.pwrite
    monkeypatch.setattr(os, "pwrite", lambda fd, content, offset: real(fd, content[:10], offset))
    with pytest.raises(OSError, match="No space"):
        spool.append(line(2))
    monkeypatch.undo()
    fill(spool, 1)
    assert [item["seq"] for item in parse_lines(spool.path.read_bytes())] == [1, 2]


@given(
    counts=st.lists(st.integers(0, 12), min_size=1, max_size=4),
    limit=st.integers(1, 400),
    restarts=st.sets(st.integers(0, 40)),
)
def test_every_line_is_seen_once_and_in_order_whatever_the_batches_and_restarts(
    counts: list[int], limit: int, restarts: set[int], tmp_path_factory: pytest.TempPathFactory
) -> None:
    folder = tmp_path_factory.mktemp("spool")
    for attempt, count in enumerate(counts, start=1):
        spool = Spool(folder, attempt)
        fill(spool, count)
        spool.close()
    backlog, seen, turn = Backlog(folder), [], 0
    while lines := backlog.peek(limit):
        assert len(lines) == 1 or sum(map(len, lines)) <= limit
        seen += [item["seq"] for item in parse_lines(b"".join(lines))]
        backlog.advance(sum(map(len, lines)))
        turn += 1
        if turn in restarts:
            backlog = Backlog(folder)
    assert seen == [seq for count in counts for seq in range(1, count + 1)]
