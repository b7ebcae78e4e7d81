"""Tables for people, programs and papers; nothing hostile reaches a terminal."""

from __future__ import annotations

import io
import json

import pytest

from orkhaven.cli.output import Column, Format, View, emit, span, table

COLUMNS = (Column("NAME", "name"), Column("VALUE", "value", right=True), Column("NOTE", "note", shrink=True))
VIEW = View(
    COLUMNS,
    [{"name": "a_b", "value": 0.123456789, "note": "50% & more"}, {"name": "c", "value": None, "note": "x" * 200}],
)


def _text(form: Format) -> str:
    out = io.StringIO()
    emit(VIEW, form, out=out)
    return out.getvalue()


def test_columns_are_aligned_and_whole_where_it_is_no_terminal() -> None:
    lines = _text(Format.TABLE).splitlines()
    assert lines[0] == "NAME     VALUE   NOTE"
    assert lines[1] == "a_b    0.12346   50% & more"
    assert lines[2].endswith("x" * 200)


def test_a_terminal_s_width_is_kept_by_the_columns_that_may_shrink() -> None:
    lines = table(VIEW, width=40, colour=False).splitlines()
    assert max(map(len, lines)) == 40
    assert lines[2].endswith("…")


@pytest.mark.parametrize(
    ("form", "part"),
    [
        (Format.LATEX, r"a\_b & 0.12346 & 50\% \& more \\"),
        (Format.CSV, "a_b,0.123456789,50% & more"),
        (Format.YAML, "- name: a_b"),
        (Format.JSON, '"value": 0.123456789'),
    ],
)
def test_formats(form: Format, part: str) -> None:
    assert part in _text(form)


def test_json_stays_json_with_nan() -> None:
    out = io.StringIO()
    emit(View(COLUMNS, [{"name": "a", "value": float("nan")}]), Format.JSON, out=out)
    assert json.loads(out.getvalue(), parse_constant=pytest.fail)[0]["value"] == "NaN"


def test_names_of_others_cannot_move_the_cursor() -> None:
    out = io.StringIO()
    emit(View(COLUMNS, [{"name": "a\x1b[2J\nb\u202e", "value": 1, "note": ""}]), Format.TABLE, out=out)
    assert len(out.getvalue().splitlines()) == 2
    assert out.getvalue().isprintable() or "\x1b" not in out.getvalue()
    assert "\u202e" not in out.getvalue()


@pytest.mark.parametrize(
    ("seconds", "text"), [(5, "5s"), (119, "119s"), (150, "2m30s"), (3600, "1h"), (7260, "2h1m"), (90000, "1d1h")]
)
def test_spans(seconds: float, text: str) -> None:
    assert span(seconds) == text
