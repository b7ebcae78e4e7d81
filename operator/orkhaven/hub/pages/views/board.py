"""The leaderboard as a page shows it: columns with their sort links, rows of cells, what can be picked."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from orkhaven.hub.pages.render import url
from orkhaven.hub.pages.text import NONE, number, parameter
from orkhaven.hub.query.fields import FIELDS, Group, Kind, Ref, field, metric, param
from orkhaven.hub.query.leaderboard import Item, Page
from orkhaven.hub.query.leaderboard import Request as TableRequest
from orkhaven.hub.query.service import Schema
from orkhaven.hub.query.sets import ParameterSet, SetPage

PAGE_ROWS = 50
PICKABLE_PARTS = ("best", "bestStep", "last", "lastStep", "min", "minStep", "max", "maxStep", "count")
PICKABLE_FIELDS = (
    "trial", "state", "reason", "message", "objective", "objectiveStep", "step", "progress", "attempts", "node", "gpu",
    "exitCode", "gpuSeconds", "seconds", "created", "started", "ended", "seed",
)  # fmt: skip
MAX_PICKABLE_METRICS = 60
"""A picker of more is a list that nobody reads; the filter's language knows them all."""


class View(StrEnum):
    RUNS = "runs"
    SETS = "sets"
    """A row per set of parameters, over its repeats."""


@dataclass(frozen=True, slots=True, kw_only=True)
class BoardState:
    """The leaderboard's part of the URL."""

    filter: str = ""
    brush: str = ""
    """What the parallel coordinates were brushed to, in the filter's language."""
    sort: str = ""
    columns: tuple[str, ...] = ()
    runs: tuple[str, ...] = ()
    """Pinned."""
    cursor: str | None = None
    view: View = View.RUNS
    others: Mapping[str, str] | None = None
    """The plots' part of the URL, which the links keep."""

    def request(self, *, limit: int | None = PAGE_ROWS) -> TableRequest:
        """What is asked of the table."""
        return TableRequest(
            filter=self.whole_filter,
            sort=self.sort,
            columns=",".join(self.columns),
            pinned=self.runs,
            limit=limit,
            cursor=self.cursor if limit is not None else None,
        )

    @property
    def whole_filter(self) -> str:
        parts = [part for part in (self.filter.strip(), self.brush.strip()) if part]
        return " and ".join(f"({part})" for part in parts) if len(parts) > 1 else "".join(parts)

    def query(self, **changes: Any) -> dict[str, Any]:
        """The URL's query with these changes; a change of what is shown goes back to the first page."""
        return {
            **(self.others or {}),
            "filter": self.filter,
            "brush": self.brush,
            "sort": self.sort,
            "col": list(self.columns),
            "run": list(self.runs),
            "view": self.view.value if self.view is not View.RUNS else None,
            "cursor": None,
            **changes,
        }

    @property
    def export(self) -> dict[str, Any]:
        """The query of a file with all that is filtered, as it is sorted, in the columns that are shown."""
        shown = self.query()
        return {key: shown[key] for key in ("filter", "brush", "sort", "col", "run", "view")}


@dataclass(frozen=True, slots=True)
class Head:
    key: str
    label: str
    is_number: bool
    is_text: bool
    href: str
    sorted: str
    """ascending, descending or empty."""


@dataclass(frozen=True, slots=True)
class Cell:
    kind: str
    """name, state, time, number or text: how the template draws it."""
    text: str
    title: str
    """The whole of it, where the text is only a part."""


@dataclass(frozen=True, slots=True)
class Row:
    name: str
    pinned: bool
    cells: tuple[Cell, ...]
    href: str = ""
    """Of a set of parameters: to its runs."""


@dataclass(frozen=True, slots=True)
class Choice:
    key: str
    label: str
    on: bool


@dataclass(frozen=True, slots=True, kw_only=True)
class Board:
    heads: tuple[Head, ...]
    pinned: tuple[Row, ...]
    rows: tuple[Row, ...]
    total: int
    matched: int
    first: str | None
    """To the first page, from a later one."""
    next: str | None


def board_of(page: Page, state: BoardState, *, base: Sequence[str], minimize: bool, sweep: str | None = None) -> Board:
    """`base` are the parts of the page's path. Of a sweep, its own name is left out of its runs'."""
    best = "objective" if minimize else "-objective"
    current = state.sort or best
    heads = []
    for column in page.columns:
        up, down = column.key, f"-{column.key}"
        # What is worth seeing first: names from A, measured numbers from the largest, a loss from the smallest.
        first = best if column.key == "objective" else (up if column.kind is Kind.TEXT else down)
        second = up if first == down else down
        wanted = second if current == first else first
        heads.append(
            Head(
                column.key,
                column.label,
                column.kind is Kind.NUMBER or _all_numbers(page.items, column.key),
                column.group is Group.PARAM,
                url(*base, **state.query(sort="" if wanted == best else wanted)),
                "ascending" if current == up else "descending" if current == down else "",
            )
        )
    numbers = {head.key for head in heads if head.is_number}
    kinds = {column.key: column.kind for column in page.columns}

    def row(item: Item, *, pinned: bool) -> Row:
        cells = (_cell(key, item[key], kinds[key], is_number=key in numbers, sweep=sweep) for key in item)
        return Row(item["name"], pinned, tuple(cells))

    pinned = tuple(row(item, pinned=True) for item in page.pinned)
    above = {one.name for one in pinned}
    return Board(
        heads=tuple(heads),
        pinned=pinned,
        rows=tuple(row(item, pinned=False) for item in page.items if item["name"] not in above),
        total=page.total,
        matched=page.matched,
        first=url(*base, **state.query()) if state.cursor else None,
        next=url(*base, **state.query(cursor=page.next)) if page.next else None,
    )


def sets_board(page: SetPage, state: BoardState, *, base: Sequence[str], minimize: bool, sweep: str) -> Board:
    """A row per set of parameters; `runs` leads to its runs."""
    best = "mean" if minimize else "-mean"
    current = state.sort or best
    items = [one.item for one in page.sets]
    heads = []
    for column in page.columns:
        is_number = column.kind is Kind.NUMBER or _all_numbers(items, column.key)
        up, down = column.key, f"-{column.key}"
        first = up if column.kind is Kind.TEXT or (minimize and column.key in ("mean", "best", "worst")) else down
        wanted = (up if first == down else down) if current == first else first
        heads.append(
            Head(
                column.key,
                column.label,
                is_number,
                column.group is Group.PARAM,
                url(*base, **state.query(sort="" if wanted == best else wanted)),
                "ascending" if current == up else "descending" if current == down else "",
            )
        )
    numbers = {head.key for head in heads if head.is_number}
    kinds = {column.key: column.kind for column in page.columns}

    def row(one: ParameterSet) -> Row:
        cells = []
        for key, value in one.item.items():
            cell = _cell(key, value, kinds[key], is_number=key in numbers, sweep=sweep)
            if key == "runs":
                cell = Cell("runs", str(value), "")
            elif key == "failed" and value:
                cell = Cell("partly", "all" if value == one.item["runs"] else f"{value} of {one.item['runs']}", "")
            cells.append(cell)
        runs = state.query(view=None, sort=None, filter=one.filter, brush=None)
        return Row(one.item["name"], False, tuple(cells), url(*base, **runs))

    return Board(
        heads=tuple(heads),
        pinned=(),
        rows=tuple(row(one) for one in page.sets),
        total=page.total,
        matched=page.total,
        first=url(*base, **state.query()) if state.cursor else None,
        next=url(*base, **state.query(cursor=page.next)) if page.next else None,
    )


def _all_numbers(items: Sequence[Item], key: str) -> bool:
    values = [item[key] for item in items if item[key] is not None]
    return bool(values) and all(isinstance(value, int | float) and not isinstance(value, bool) for value in values)


def _cell(key: str, value: Any, kind: Kind, *, is_number: bool, sweep: str | None) -> Cell:
    if key == "name":
        return Cell("name", value.removeprefix(f"{sweep}-") if sweep else value, value)
    if value is None:
        return Cell("number" if is_number else "text", NONE, "")
    if key == "state":
        return Cell("state", str(value), "")
    if kind is Kind.TIME:
        return Cell("time", str(value), "")
    if is_number:
        return Cell("number", number(value), repr(value) if isinstance(value, float) else "")
    text = parameter(value)
    return Cell("text", text, text if len(text) > 18 else "")


def metric_choices(schema: Schema, page: Page) -> list[tuple[str, list[Choice]]]:
    """The metrics' part of the column picker: a line per metric, a box per number."""
    shown = {column.key for column in page.columns}
    return [
        (
            name,
            [Choice(key, f"{name} {part}", key in shown) for part in PICKABLE_PARTS if (key := metric(name, part).key)],
        )
        for name in schema.metrics[:MAX_PICKABLE_METRICS]
    ]


def choices_of(schema: Schema, page: Page) -> dict[str, list[Choice]]:
    """What the column picker offers, in groups; ticked is what is shown."""
    shown = {column.key for column in page.columns}

    def choice(ref: Ref, label: str) -> Choice:
        return Choice(ref.key, label, ref.key in shown)

    varying = set(schema.varying)
    groups = {
        "Parameters that differ": [choice(param(name), name) for name in schema.varying],
        "Run": [choice(field(name), FIELDS[name].label) for name in PICKABLE_FIELDS],
        "Parameters that are all the same": [
            choice(param(name), name) for name in schema.params if name not in varying
        ],
    }
    return {label: choices for label, choices in groups.items() if choices}
