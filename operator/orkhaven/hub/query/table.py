"""All runs of a sweep (or of a namespace) as columns: what the cluster says joined with what the store knows. Pure.

Columns are made when they are asked for and kept until something changes. Metrics' numbers stand in arrays: 56 bytes
for each metric of each run.
"""

from __future__ import annotations

import json
import math
from array import array
from collections import OrderedDict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from orkhaven.hub.query.fields import FIELDS, Group, Ref, metric, param
from orkhaven.hub.query.rows import ExperimentRow, flatten
from orkhaven.hub.storage.read import SummaryRow
from orkrun import contract

NAN = float("nan")
MAX_COLUMNS = 40
"""Columns kept between two changes: 0.3 MB each with 10,000 runs."""
MAX_ORDERS = 20
Values = list[Any]


class MetricColumns:
    """One metric's numbers, an entry per run. Where `count` is 0 the run never reported it."""

    __slots__ = ("count", "last", "last_step", "max", "max_step", "min", "min_step")

    def __init__(self, size: int) -> None:
        self.count = array("q", bytes(8 * size))
        self.last, self.min, self.max = (array("d", bytes(8 * size)) for _ in range(3))
        self.last_step, self.min_step, self.max_step = (array("q", bytes(8 * size)) for _ in range(3))

    def grow(self) -> None:
        for name in self.__slots__:
            getattr(self, name).append(0)

    def set(self, index: int, row: SummaryRow) -> None:
        self.count[index] = row.points
        self.last[index] = NAN if row.last is None else row.last
        self.last_step[index] = row.last_step
        self.min[index] = NAN if row.min is None else row.min
        self.min_step[index] = row.min_step or 0
        self.max[index] = NAN if row.max is None else row.max
        self.max_step[index] = row.max_step or 0

    def clear(self, index: int) -> None:
        self.count[index] = 0


@dataclass(frozen=True, slots=True)
class Repeats:
    """Over the runs with the same parameters, of their objective."""

    n: int
    mean: float | None
    std: float | None
    """Of the sample; None below two values."""


class Table:
    """Rows are numbered as they came; a run that goes makes a new table. `version` rises with every change."""

    def __init__(self) -> None:
        self.version = 0
        self.rows: list[ExperimentRow] = []
        self.index: dict[str, int] = {}
        """By uid."""
        self.in_store: set[int] = set()
        """Rows whose metrics are the store's; the others' are their status'."""
        self._unsettled: set[int] = set()
        """Rows whose status may have metrics that the store has not."""
        self._params: dict[str, Values] = {}
        self._metrics: dict[str, MetricColumns] = {}
        self._columns: OrderedDict[Ref, Values] = OrderedDict()
        self._orders: OrderedDict[tuple[tuple[Ref, bool], ...], list[int]] = OrderedDict()
        self._by_name: list[int] | None = None
        self._varying: list[Ref] | None = None
        self._repeats: list[Repeats] | None = None

    def __len__(self) -> int:
        return len(self.rows)

    @property
    def cells(self) -> int:
        """Metrics times runs: what its memory goes by."""
        return len(self.rows) * len(self._metrics)

    # --- what changes it ---

    def covers(self, rows: Mapping[str, ExperimentRow]) -> bool:
        """Whether every run of the table is still there: otherwise it has to be made anew."""
        return all((now := rows.get(row.name)) is not None and now.uid == row.uid for row in self.rows)

    def put(self, rows: Iterable[ExperimentRow]) -> None:
        changed = False
        for row in rows:
            index = self.index.get(row.uid)
            if index is None:
                self._append(row)
                self._by_name = None
            elif self.rows[index] is row:
                continue
            else:
                self.rows[index] = row
                self._unsettled.add(index)
            changed = True
        if changed:
            self._changed()

    def put_summaries(self, summaries: Iterable[tuple[str, SummaryRow]]) -> None:
        """(uid, a metric's summary) out of the store. Of a run that is not in the table: passed over."""
        changed = False
        for uid, summary in summaries:
            index = self.index.get(uid)
            if index is None:
                continue
            if index not in self.in_store:
                self.in_store.add(index)
                for columns in self._metrics.values():
                    columns.clear(index)
            self._metric(summary.name).set(index, summary)
            changed = True
        if changed:
            self._changed()

    def settle(self) -> None:
        """Takes from the status what the store has nothing of; to be called once the store has been looked into."""
        unsettled = [index for index in self._unsettled if index not in self.in_store]
        self._unsettled.clear()
        for index in unsettled:
            self._from_status(index)
        if unsettled:
            self._changed()

    def _append(self, row: ExperimentRow) -> None:
        index = self.index[row.uid] = len(self.rows)
        self.rows.append(row)
        for columns in self._metrics.values():
            columns.grow()
        flat = flatten(row.params)
        for name in flat.keys() - self._params.keys():
            self._params[name] = [None] * index
        for name, values in self._params.items():
            values.append(flat.get(name))
        self._unsettled.add(index)

    def _from_status(self, index: int) -> None:
        row = self.rows[index]
        for name, last, best, best_step in row.metrics or ():
            low = self._is_minimized(row, name)
            summary = SummaryRow(
                name=name,
                points=1,
                last=last,
                last_step=row.step or 0,
                min=best if low else None,
                min_step=best_step if low else None,
                max=None if low else best,
                max_step=None if low else best_step,
            )
            self._metric(name).set(index, summary)

    def _metric(self, name: str) -> MetricColumns:
        columns = self._metrics.get(name)
        if columns is None:
            columns = self._metrics[name] = MetricColumns(len(self.rows))
        return columns

    def _changed(self) -> None:
        self.version += 1
        self._columns.clear()
        self._orders.clear()
        self._varying = self._repeats = None

    # --- what it has ---

    @property
    def params(self) -> list[str]:
        return sorted(self._params)

    @property
    def metrics(self) -> list[str]:
        return sorted(self._metrics)

    def knows(self, ref: Ref) -> bool:
        if ref.group is Group.PARAM:
            return ref.name in self._params
        return ref.group is not Group.METRIC or ref.name in self._metrics

    def varying(self) -> list[Ref]:
        """The parameters that differ between runs, by name."""
        if self._varying is None:
            self._varying = [param(name) for name in self.params if _varies(self._params[name])]
        return self._varying

    def repeats(self) -> list[Repeats]:
        """Of each run's set of parameters."""
        if self._repeats is None:
            self._repeats = self._count_repeats()
        return self._repeats

    @property
    def has_repeats(self) -> bool:
        return any(one.n > 1 for one in self.repeats())

    def column(self, ref: Ref) -> Values:
        """An entry per run; None: the run has none. Not to be changed by the caller."""
        values = self._columns.get(ref)
        if values is None:
            values = self._columns[ref] = self._make(ref, range(len(self.rows)))
            if len(self._columns) > MAX_COLUMNS:
                self._columns.popitem(last=False)
        self._columns.move_to_end(ref)
        return values

    def values(self, ref: Ref, rows: Sequence[int]) -> Values:
        """The column's entries of these rows; nothing is kept, so that a page costs what it shows."""
        whole = self._columns.get(ref)
        if whole is None and ref.group is Group.METRIC:
            return self._make(ref, rows)
        if whole is None:
            whole = self.column(ref)
        return [whole[index] for index in rows]

    def order(self, sort: Sequence[tuple[Ref, bool]]) -> list[int]:
        """Rows' numbers in that order (column, descending?); what is missing comes last, NaN just before it; equal ones
        by name.
        """
        key = tuple(sort)
        order = self._orders.get(key)
        if order is None:
            order = self._by_name
            if order is None:
                rows = self.rows
                order = self._by_name = sorted(range(len(rows)), key=lambda index: rows[index].name)
            # Python's sort is stable: from the least important column to the most important one.
            for ref, descending in reversed(key):
                order = sorted_by(order, self.column(ref), descending=descending)
            self._orders[key] = order
            if len(self._orders) > MAX_ORDERS:
                self._orders.popitem(last=False)
        return order

    def _make(self, ref: Ref, rows: Sequence[int]) -> Values:
        match ref.group:
            case Group.PARAM:
                return self._params.get(ref.name) or [None] * len(rows)
            case Group.REPEATS:
                return [getattr(one, ref.name) for one in self.repeats()]
            case Group.METRIC:
                return self._metric_values(ref.name, ref.part, rows)
        if ref.name in ("objective", "objectiveStep"):
            return self._objectives(step=ref.name == "objectiveStep")
        get = FIELDS[ref.name].get
        assert get is not None
        return [get(row) for row in self.rows]

    def _metric_values(self, name: str, part: str, rows: Sequence[int]) -> Values:
        columns = self._metrics.get(name)
        if columns is None:
            return [None] * len(rows)
        count = columns.count
        match part:
            case "count":
                # What comes out of a status says nothing of how many points there were.
                return [count[row] or None if row in self.in_store else None for row in rows]
            case "last":
                return [columns.last[row] if count[row] else None for row in rows]
            case "lastStep":
                return [columns.last_step[row] if count[row] else None for row in rows]
            case "min" | "minStep":
                return _finite(columns.min if part == "min" else columns.min_step, columns.min, count, rows)
            case "max" | "maxStep":
                return _finite(columns.max if part == "max" else columns.max_step, columns.max, count, rows)
        low = _finite(columns.min if part == "best" else columns.min_step, columns.min, count, rows)
        high = _finite(columns.max if part == "best" else columns.max_step, columns.max, count, rows)
        # Objectives are shared between rows: their identity is enough, and there is mostly one.
        falls: dict[int, bool] = {}
        for row in rows:
            objective = self.rows[row].objective
            if id(objective) not in falls:
                falls[id(objective)] = self._is_minimized(self.rows[row], name)
        return [a if falls[id(self.rows[row].objective)] else b for row, a, b in zip(rows, low, high, strict=True)]

    def _objectives(self, *, step: bool) -> Values:
        """Out of the store where the run is there, otherwise as its status says: its final record may have come without
        the hub.
        """
        part = "bestStep" if step else "best"
        # One column per metric, not per row: there is mostly one, and a live sweep of 10,000 runs makes this anew all
        # the time.
        names = {row.objective.metric for row in self.rows if row.objective is not None}
        best = {name: self.column(metric(name, part)) for name in names}
        values: Values = []
        for index, row in enumerate(self.rows):
            value = best[row.objective.metric][index] if row.objective is not None else None
            if value is None:
                value = row.value_step if step else row.value
            values.append(value)
        return values

    @staticmethod
    def _is_minimized(row: ExperimentRow, name: str) -> bool:
        objective = row.objective
        if objective is not None and objective.metric == name:
            return objective.minimize
        return contract.is_minimized(name)

    def _count_repeats(self) -> list[Repeats]:
        groups: dict[str, list[int]] = {}
        for index, row in enumerate(self.rows):
            key = row.param_hash or json.dumps(row.params, sort_keys=True)
            groups.setdefault(key, []).append(index)
        objectives = self.column(Ref(Group.FIELD, "objective"))
        found = [Repeats(1, None, None)] * len(self.rows)
        for members in groups.values():
            if len(members) == 1:
                found[members[0]] = Repeats(1, objectives[members[0]], None)
                continue
            values = [value for index in members if (value := objectives[index]) is not None]
            repeats = Repeats(len(members), *(mean_and_std(values) if values else (None, None)))
            for index in members:
                found[index] = repeats
        return found


def mean_and_std(values: Sequence[float]) -> tuple[float, float | None]:
    """Of a sample of at least one; no deviation below two. `statistics` is exact, in fractions, and much slower."""
    mean = math.fsum(values) / len(values)
    if len(values) < 2:
        return mean, None
    return mean, math.sqrt(math.fsum((value - mean) ** 2 for value in values) / (len(values) - 1))


def _finite(values: Sequence[float], extremes: Sequence[float], count: Sequence[int], rows: Sequence[int]) -> Values:
    """Of the rows that reported anything finite."""
    return [values[row] if count[row] and extremes[row] == extremes[row] else None for row in rows]


def _varies(values: Values) -> bool:
    first = values[0] if values else None
    kind = type(first)
    return any(value != first or type(value) is not kind for value in values)


def sorted_by(order: list[int], values: Values, *, descending: bool) -> list[int]:
    """Numbers, then texts, then truth values, then other JSON; NaN and missing last, whichever direction."""
    numbers: list[int] = []
    texts: list[int] = []
    truths: list[int] = []
    others: list[int] = []
    nans: list[int] = []
    missing: list[int] = []
    for index in order:
        value = values[index]
        if value is None:
            missing.append(index)
        elif isinstance(value, bool):
            truths.append(index)
        elif isinstance(value, float | int):
            (numbers if value == value else nans).append(index)
        elif isinstance(value, str):
            texts.append(index)
        else:
            others.append(index)
    for part in (numbers, texts, truths):
        # reverse=True keeps equal ones in their order.
        part.sort(key=values.__getitem__, reverse=descending)
    others.sort(key=lambda index: json.dumps(values[index], sort_keys=True), reverse=descending)
    parts = [numbers, texts, truths, others]
    if descending:
        parts.reverse()
    return [index for part in (*parts, nans, missing) for index in part]


def is_number(value: Any) -> bool:
    return isinstance(value, float | int) and not isinstance(value, bool) and not math.isnan(value)
