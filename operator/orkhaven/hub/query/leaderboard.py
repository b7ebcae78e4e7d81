"""One page of a table: filtered, sorted, cut, with the columns that were asked for. Pure."""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orkhaven.api.expressions import QueryError
from orkhaven.hub.query.evaluate import check_known, evaluate
from orkhaven.hub.query.fields import METRIC_PARTS, Group, Kind, Ref, field, metric, param
from orkhaven.hub.query.language import parse_filter, parse_refs, parse_sort
from orkhaven.hub.query.table import Table, is_number

MAX_COLUMNS = 500
DEFAULT = "default"
Item = dict[str, Any]


@dataclass(frozen=True, slots=True)
class ColumnInfo:
    """What stands in a column."""

    key: str
    """As the language writes it; the item's key too."""
    label: str
    kind: Kind
    group: Group


class ParameterError(ValueError):
    """A parameter of a query is wrong: which one, and why."""

    def __init__(self, parameter: str, message: str) -> None:
        super().__init__(message)
        self.parameter = parameter
        self.message = message


@dataclass(frozen=True, slots=True, kw_only=True)
class Page:
    columns: tuple[ColumnInfo, ...]
    items: list[Item]
    """By column key. Numbers may be NaN or infinite: see `json_value`."""
    pinned: list[Item]
    """Runs that were asked for by name, whether the filter fits or not, in the order asked for."""
    total: int
    matched: int
    next: str | None
    state: str
    """Tells this answer's data from all others: the ETag."""
    stale_seconds: float
    """For how long the cluster has been silent; 0: up to date."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Request:
    """As a URL says it. Lists of columns are separated by commas; `-` before a column of `sort` is descending."""

    filter: str = ""
    sort: str = ""
    """Empty: best first."""
    columns: str = ""
    """Empty: `default`."""
    pinned: tuple[str, ...] = ()
    limit: int | None = 50
    """None: all."""
    cursor: str | None = None


def select_rows(table: Table, filter: str) -> list[bool] | None:
    """Which rows are meant; None: all. Raises ParameterError."""
    try:
        node = parse_filter(filter)
        return None if node is None else evaluate(node, table)
    except QueryError as error:
        raise ParameterError("filter", str(error)) from None


def page_of(table: Table, request: Request, *, state: str, stale_seconds: float, minimize: bool) -> Page:
    """Raises ParameterError. Without a sort, by the objective: the smallest first where that is the best."""
    mask = select_rows(table, request.filter)
    sort = _sort(table, request.sort, minimize=minimize)
    refs = columns_of(table, request.columns)
    order = table.order(sort)
    matched = order if mask is None else [index for index in order if mask[index]]
    start = 0
    if request.cursor is not None:
        start = _find(table, matched, sort, _decode(request.cursor, sort))
    end = len(matched) if request.limit is None else start + request.limit
    shown = matched[start:end]
    by_name = {row.name: index for index, row in enumerate(table.rows)} if request.pinned else {}
    pinned = [by_name[name] for name in dict.fromkeys(request.pinned) if name in by_name]
    return Page(
        columns=tuple(ColumnInfo(ref.key, ref.label, ref.kind, ref.group) for ref in refs),
        items=_items(table, refs, shown),
        pinned=_items(table, refs, pinned),
        total=len(table),
        matched=len(matched),
        next=_encode(table, shown[-1], sort) if shown and end < len(matched) else None,
        state=state,
        stale_seconds=stale_seconds,
    )


def columns_of(table: Table, text: str) -> list[Ref]:
    """`default` stands for name, state, objective and the parameters that differ; `params` and `metrics` for all of
    theirs. Raises ParameterError.
    """
    refs: list[Ref] = [field("name")]
    for part in split_columns(text or DEFAULT):
        if part == DEFAULT:
            refs += _default(table)
        elif part == "params":
            refs += [param(name) for name in table.params]
        elif part == "metrics":
            refs += [metric(name, number) for name in table.metrics for number in METRIC_PARTS]
        else:
            try:
                found = parse_refs(part)
                for ref in found:
                    check_known(ref, table)
            except QueryError as error:
                raise ParameterError("columns", str(error)) from None
            refs += found
    refs = list(dict.fromkeys(refs))
    if len(refs) > MAX_COLUMNS:
        raise ParameterError("columns", f"at most {MAX_COLUMNS} columns at once, not {len(refs)}")
    return refs


def json_value(value: Any) -> Any:
    """As JSON can carry it: NaN and the infinities as texts."""
    if isinstance(value, float) and not math.isfinite(value):
        return "NaN" if value != value else "Infinity" if value > 0 else "-Infinity"
    return value


def _default(table: Table) -> list[Ref]:
    refs = [field("state")]
    # An empty column says nothing.
    refs += [ref for ref in (field("reason"),) if any(table.column(ref))]
    refs += [field("objective"), field("objectiveStep")]
    if table.has_repeats:
        refs += [Ref(Group.REPEATS, part) for part in ("mean", "std", "n")]
    return refs + table.varying()


def split_columns(text: str) -> list[str]:
    """At commas outside of quotes and brackets; blanks around a part are dropped."""
    parts: list[str] = [""]
    quote = ""
    escaped = False
    for character in text:
        if quote:
            quote = "" if character == quote and not escaped else quote
            escaped = character == "\\" and not escaped
        elif character in "\"'":
            quote = character
        elif character == ",":
            parts.append("")
            continue
        parts[-1] += character
    return [part for part in (part.strip() for part in parts) if part]


def _sort(table: Table, text: str, *, minimize: bool) -> list[tuple[Ref, bool]]:
    if not text.strip():
        return [(field("objective"), not minimize)]
    try:
        sort = parse_sort(text)
        for ref, _ in sort:
            check_known(ref, table)
    except QueryError as error:
        raise ParameterError("sort", str(error)) from None
    return sort


def _items(table: Table, refs: Sequence[Ref], indices: Sequence[int]) -> list[Item]:
    keys = [ref.key for ref in refs]
    return [
        dict(zip(keys, row, strict=True)) for row in zip(*(table.values(ref, indices) for ref in refs), strict=True)
    ]


# --- cursors: the last row's values in the sorted columns, so that rows that come or go move no other ---


def _signature(sort: Sequence[tuple[Ref, bool]]) -> str:
    text = ",".join(("-" if descending else "") + ref.key for ref, descending in sort)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _encode(table: Table, index: int, sort: Sequence[tuple[Ref, bool]]) -> str:
    values = [_portable(table.column(ref)[index]) for ref, _ in sort]
    content = [_signature(sort), values, table.rows[index].name]
    text = json.dumps(content, separators=(",", ":"), allow_nan=False, ensure_ascii=False)
    return base64.urlsafe_b64encode(text.encode(errors="surrogatepass")).decode().rstrip("=")


def _decode(cursor: str, sort: Sequence[tuple[Ref, bool]]) -> tuple[list[Any], str]:
    bad = ParameterError("cursor", "use `next` of an earlier answer to the same filter and sort")
    try:
        content = json.loads(base64.urlsafe_b64decode(cursor + "=" * (-len(cursor) % 4)))
        signature, values, name = content
        if signature != _signature(sort) or len(values) != len(sort) or not isinstance(name, str):
            raise bad
        return [_restored(value) for value in values], name
    except (ValueError, TypeError, KeyError, binascii.Error, RecursionError):
        raise bad from None


def _portable(value: Any) -> Any:
    if isinstance(value, float) and not math.isfinite(value):
        return {"float": str(value)}
    return [value] if isinstance(value, dict | list) else value


def _restored(value: Any) -> Any:
    if isinstance(value, dict):
        return float(value["float"])
    return value[0] if isinstance(value, list) else value


def _find(table: Table, matched: Sequence[int], sort: Sequence[tuple[Ref, bool]], after: tuple[list[Any], str]) -> int:
    """Where the rows after the cursor's begin."""
    columns = [(table.column(ref), descending) for ref, descending in sort]
    values, name = after

    def is_after(index: int) -> bool:
        for (column, descending), value in zip(columns, values, strict=True):
            order = compare(column[index], value, descending=descending)
            if order:
                return order > 0
        return table.rows[index].name > name

    low, high = 0, len(matched)
    while low < high:
        middle = (low + high) // 2
        if is_after(matched[middle]):
            high = middle
        else:
            low = middle + 1
    return low


def compare(a: Any, b: Any, *, descending: bool) -> int:
    """Below 0: a stands before b. The order is Table.order's."""
    rank_a, rank_b = _rank(a), _rank(b)
    if rank_a != rank_b:
        # NaN and missing stay at the end.
        turned = descending and max(rank_a, rank_b) < _NAN
        return (rank_b - rank_a) if turned else (rank_a - rank_b)
    if rank_a >= _NAN:
        return 0
    if rank_a == _OTHER:
        a, b = json.dumps(a, sort_keys=True), json.dumps(b, sort_keys=True)
    order = int(a > b) - int(a < b)
    return -order if descending else order


_OTHER, _NAN, _MISSING = 3, 4, 5


def _rank(value: Any) -> int:
    if value is None:
        return _MISSING
    if isinstance(value, bool):
        return 2
    if isinstance(value, float | int):
        return 0 if is_number(value) else _NAN
    return 1 if isinstance(value, str) else _OTHER
