"""Runs with the same parameters as one row: mean and spread of their objective, the best, the worst, who failed. Pure.

The mean is over the runs that have a value and have neither failed nor been stopped early: half a training says nothing
of the parameters. How many failed stands beside it.
"""

from __future__ import annotations

import json
import math
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any

from orkhaven.hub.query.fields import Group, Kind
from orkhaven.hub.query.fields import field as column_of
from orkhaven.hub.query.leaderboard import ColumnInfo, Item, ParameterError, select_rows, split_columns
from orkhaven.hub.query.leaderboard import Request as TableRequest
from orkhaven.hub.query.table import Table, mean_and_std, sorted_by

NUMBERS = {
    "mean": "Mean", "std": "Std", "n": "n", "best": "Best", "worst": "Worst", "runs": "Runs", "failed": "Failed",
}  # fmt: skip
NAMED = 20
"""Runs of a set that are named one by one, where they have no hash in common."""


@dataclass(frozen=True, slots=True)
class ParameterSet:
    item: Item
    """By column key; `name` is the best run's."""
    filter: str
    """Picks its runs out of the leaderboard."""


@dataclass(frozen=True, slots=True, kw_only=True)
class SetPage:
    columns: tuple[ColumnInfo, ...]
    sets: list[ParameterSet]
    total: int
    """Sets of the runs that the filter fits."""
    runs: int
    next: str | None


@dataclass(slots=True)
class _Group:
    key: str
    members: list[int] = field(default_factory=list)


def sets_of(table: Table, request: TableRequest, *, minimize: bool) -> SetPage:
    """Of the runs that the filter fits. Raises ParameterError. Without a sort by the mean, the best first."""
    mask = select_rows(table, request.filter)
    groups = _grouped(table, mask)
    varying = table.varying()
    keys = ["name", *NUMBERS, *(ref.key for ref in varying)]
    values = {ref.key: table.column(ref) for ref in varying}
    items = [_item(table, group, values, minimize=minimize) for group in groups]
    order = _ordered(items, keys, request.sort or ("mean" if minimize else "-mean"))
    start = 0
    if request.cursor is not None:
        # The last set of the page before; where it is gone, the list begins anew.
        at = {groups[index].key: position for position, index in enumerate(order)}
        start = at.get(request.cursor, -1) + 1
    end = len(order) if request.limit is None else start + request.limit
    shown = order[start:end]
    return SetPage(
        columns=(
            ColumnInfo("name", "Best run", Kind.TEXT, Group.FIELD),
            *(ColumnInfo(key, label, Kind.NUMBER, Group.REPEATS) for key, label in NUMBERS.items()),
            *(ColumnInfo(ref.key, ref.label, Kind.JSON, Group.PARAM) for ref in varying),
        ),
        sets=[ParameterSet(items[index], _filter(table, groups[index])) for index in shown],
        total=len(groups),
        runs=sum(len(group.members) for group in groups),
        next=groups[shown[-1]].key if shown and end < len(order) else None,
    )


def _grouped(table: Table, mask: Sequence[bool] | None) -> list[_Group]:
    groups: dict[str, _Group] = {}
    for index, row in enumerate(table.rows):
        if mask is not None and not mask[index]:
            continue
        key = row.param_hash or json.dumps(row.params, sort_keys=True)
        groups.setdefault(key, _Group(key)).members.append(index)
    return list(groups.values())


def _item(table: Table, group: _Group, values: dict[str, list[Any]], *, minimize: bool) -> Item:
    objective = table.column(column_of("objective"))
    failed = {index for index in group.members if table.rows[index].state == "Failed"}
    cut = {index for index in group.members if table.rows[index].state == "Pruned"}
    reached = [
        (value, index)
        for index in group.members
        if index not in failed | cut and (value := objective[index]) is not None and math.isfinite(value)
    ]
    reached.sort(key=lambda pair: pair[0], reverse=not minimize)
    mean, std = mean_and_std([value for value, _ in reached]) if reached else (None, None)
    best = reached[0][1] if reached else group.members[0]
    return {
        "name": table.rows[best].name,
        "mean": mean,
        "std": std,
        "n": len(reached),
        "best": reached[0][0] if reached else None,
        "worst": reached[-1][0] if reached else None,
        "runs": len(group.members),
        "failed": len(failed),
        **{key: column[best] for key, column in values.items()},
    }


def _ordered(items: list[Item], keys: Sequence[str], sort: str) -> list[int]:
    order = sorted(range(len(items)), key=lambda index: items[index]["name"])
    for part in reversed(split_columns(sort)):
        key = part.removeprefix("-")
        if key not in keys:
            known = ", ".join(keys[:9])
            raise ParameterError("sort", f"parameter sets have no column {key}; there are {known} and the parameters")
        order = sorted_by(order, [item[key] for item in items], descending=part.startswith("-"))
    return order


def _filter(table: Table, group: _Group) -> str:
    shared = table.rows[group.members[0]].param_hash
    if shared is not None:
        return f'paramHash == "{shared}"'
    names = ", ".join(json.dumps(table.rows[index].name) for index in group.members[:NAMED])
    return f"name in ({names})"
