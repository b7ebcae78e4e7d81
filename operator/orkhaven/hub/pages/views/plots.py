"""What plots are made of, as compact columns. Pure.

A column of numbers is `values`; any other is `codes` into `texts`, so that 10,000 runs repeat no word. Numbers have
five digits: a plot of 1,000 pixels shows four.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from typing import Any

from orkhaven.hub.query.fields import Ref

MAX_TEXTS = 60
"""Different values of an axis that is not numbers; one of more cannot be read, and is left out."""

Json = dict[str, Any]


def rounded(value: float) -> float | int | None:
    """Five digits; NaN and the infinities are gaps in a plot (tables name them)."""
    if not math.isfinite(value):
        return None
    short = float(f"{value:.5g}")
    return int(short) if short.is_integer() and abs(short) < 1e15 else short


def is_numeric(values: Sequence[Any]) -> bool:
    """Numbers and gaps only, and at least one number."""
    kinds = set(map(type, values)) - {type(None)}
    return bool(kinds) and kinds <= {int, float}


def first_axis(columns: Sequence[Sequence[Any]], objective: Sequence[Any]) -> int | None:
    """Which column is worth being drawn against the objective first: of numbers, the one with most different values
    among the runs that have an objective; else the first that differs there. None: there is no column.
    """
    shown = [row for row, value in enumerate(objective) if value is not None] or range(len(objective))
    distinct = [_distinct([values[row] for row in shown]) for values in columns]
    differ = [place for place, count in enumerate(distinct) if count > 1]
    numeric = [place for place in differ if is_numeric(columns[place])]
    return max(numeric, key=distinct.__getitem__, default=next(iter(differ), 0)) if columns else None


def _distinct(values: Sequence[Any]) -> int:
    try:
        return len(set(values) - {None})
    except TypeError:  # lists and objects
        return len({repr(value) for value in values if value is not None})


def column(ref: Ref, values: Sequence[Any], *, few_as_texts: bool = False) -> Json | None:
    """None: more different texts than can be drawn. `few_as_texts`: numbers of which there are at most six different
    ones become texts too, so that ties are spread and all have the same room.
    """
    head: Json = {"key": ref.key, "label": ref.label}
    if is_numeric(values):
        distinct = {value for value in values if value is not None} if few_as_texts else set()
        if not 0 < len(distinct) <= 6:
            return {**head, "values": [None if value is None else rounded(value) for value in values]}
    texts = _texts(values)
    raw: dict[str, Any] = {}
    for text, value in zip(texts, values, strict=True):
        if text is not None and text not in raw:
            raw[text] = value
            if len(raw) > MAX_TEXTS:
                return None
    ordered = sorted(raw, key=lambda text: (0, raw[text], "") if _is_number(raw[text]) else (1, 0, text))
    codes = {text: code for code, text in enumerate(ordered)}
    return {
        **head,
        "texts": ordered,
        # As the filter's language writes them; lists and objects cannot be filtered by.
        "raw": [raw[text] if not isinstance(raw[text], list | dict) else text for text in ordered],
        "codes": [-1 if text is None else codes[text] for text in texts],
    }


def _texts(values: Sequence[Any]) -> list[str | None]:
    """Each value's text, made once: 10,000 runs share a handful of values."""
    known: dict[tuple[type, Any], str] = {}
    texts: list[str | None] = []
    for value in values:
        # 1, 1.0 and True are equal and have different texts.
        kind = type(value)
        if value is None or kind is str:
            texts.append(value)
        elif kind is list or kind is dict:
            texts.append(_text(value))
        else:
            text = known.get((kind, value))
            if text is None:
                text = known[kind, value] = _text(value)
            texts.append(text)
    return texts


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def curve(
    name: str, x: Sequence[float], y: Sequence[float | None], *, pinned: bool = False, sweep: str | None = None
) -> Json:
    made: Json = {
        "name": name,
        "label": name.removeprefix(f"{sweep}-") if sweep else name,
        "x": [rounded(value) for value in x],
        "y": [None if value is None else rounded(value) for value in y],
    }
    return {**made, "pinned": True} if pinned else made


def band(label: str, x: Sequence[float], mean: Sequence[float], std: Sequence[float], *, runs: int) -> Json:
    """Mean, and one standard deviation to both sides."""
    return {
        "name": label,
        "label": f"{label} ({runs} run{'s' if runs != 1 else ''})",
        "x": [rounded(value) for value in x],
        "y": [rounded(value) for value in mean],
        "low": [rounded(value - spread) for value, spread in zip(mean, std, strict=True)],
        "high": [rounded(value + spread) for value, spread in zip(mean, std, strict=True)],
    }


def empty(title: str, text: str) -> dict[str, str]:
    """Why a plot has nothing to show."""
    return {"title": title, "text": text}
