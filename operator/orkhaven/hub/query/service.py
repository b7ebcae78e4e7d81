"""`Queries`: what pages and JSON API ask, in plain calls. Knows nothing of HTTP and asks nobody's rights: whoever calls
has checked that (ReadAuthorizer.require).

Raises NotSynced where the cluster has not been read yet, Unknown where something is not there, ParameterError where a
filter, sort or column is wrong, SQLAlchemyError where the store fails.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orkhaven.api.expressions import QueryError
from orkhaven.api.sharing import Run
from orkhaven.hub.query.catalogue import Catalogue
from orkhaven.hub.query.curves import Axis, Band, Curve, bands, thin
from orkhaven.hub.query.evaluate import check_known
from orkhaven.hub.query.fields import Group, Ref, field
from orkhaven.hub.query.language import parse_ref
from orkhaven.hub.query.leaderboard import Item, Page, ParameterError, Request, page_of, select_rows
from orkhaven.hub.query.revisions import Revisions
from orkhaven.hub.query.rows import ExperimentRow, SweepRow
from orkhaven.hub.query.sets import SetPage, sets_of
from orkhaven.hub.query.table import Table
from orkhaven.hub.query.tables import Tables
from orkhaven.hub.storage.read import CurvePoint, Reader

TOP = 10
"""Curves shown where none are named."""
MAX_CURVES = 100
MAX_BAND_RUNS = 500
"""Runs of which a band is made, the best ones."""
CURVE_POINTS = 1500


class Unknown(Exception):
    """There is no such thing; the message says what."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Curves:
    metric: str
    axis: Axis
    curves: list[Curve]
    missing: list[str]
    """Experiments that reported no such metric."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Bands:
    metric: str
    axis: Axis
    group: str
    bands: list[Band]
    runs: int
    """Runs in the bands."""
    matched: int
    """Runs that the filter fits; more than `runs`: only the best ones were taken, or some reported nothing."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Schema:
    """What can be filtered and sorted by."""

    params: list[str]
    varying: list[str]
    metrics: list[str]


class Queries:
    def __init__(self, catalogue: Catalogue, revisions: Revisions, tables: Tables, reader: Reader) -> None:
        self.catalogue = catalogue
        self._revisions = revisions
        self._tables = tables
        self._reader = reader

    # --- what there is, out of memory ---

    def sweeps(self, namespace: str) -> list[SweepRow]:
        """By name."""
        self.catalogue.require(namespace)
        return self.catalogue.sweeps(namespace)

    def sweep(self, namespace: str, name: str) -> SweepRow:
        self.catalogue.require(namespace)
        row = self.catalogue.sweep(namespace, name)
        if row is None:
            raise Unknown(f"there is no Sweep {name!r} in namespace {namespace!r}")
        return row

    def experiment(self, namespace: str, name: str) -> ExperimentRow:
        self.catalogue.require(namespace)
        row = self.catalogue.experiment(namespace, name)
        if row is None:
            raise Unknown(f"there is no Experiment {name!r} in namespace {namespace!r}")
        return row

    def sharing(self, namespace: str) -> list[Run]:
        """Its runs that have not ended, in no order."""
        self.catalogue.require(namespace)
        rows = self.catalogue.experiments(namespace).values()
        return [row.sharing for row in rows if row.sharing is not None]

    def stale_seconds(self, namespace: str) -> float:
        """For how long the API server has not been heard; 0: what is shown is up to date."""
        return self.catalogue.stale_seconds(namespace)

    # --- changes ---

    def revision(self, namespace: str, sweep: str | None = None) -> int:
        """Rises with every change in the sweep (None: in the namespace), of the resources or of metrics."""
        return self._revisions.of(namespace, sweep)

    async def changed(self, namespace: str, sweep: str | None = None, *, after: int) -> int:
        """The revision, as soon as it is another than `after`. Wait a while between two calls, e.g. 0.5 s."""
        return await self._revisions.changed(namespace, sweep, after=after)

    def touch(self, namespace: str, sweep: str | None) -> None:
        """A run of the sweep has reported something: whoever waits is woken."""
        self._revisions.bump(namespace, sweep)

    # --- tables ---

    async def leaderboard(self, namespace: str, sweep: str | None, request: Request) -> Page:
        """A page of the sweep's runs, or, with None, of all in the namespace."""
        minimize = self.sweep(namespace, sweep).objective.minimize if sweep is not None else False
        table, state = await self._table(namespace, sweep)
        if sweep is None and not request.sort.strip():
            # Runs of many sweeps have objectives that cannot be compared.
            request = _by_name(request)
        return page_of(table, request, state=state, stale_seconds=self.stale_seconds(namespace), minimize=minimize)

    async def sets(self, namespace: str, sweep: str, request: Request) -> SetPage:
        """A page of the sweep's parameter sets: runs that differ in their seed alone are one row."""
        minimize = self.sweep(namespace, sweep).objective.minimize
        table, _ = await self._table(namespace, sweep)
        return sets_of(table, request, minimize=minimize)

    async def has_repeats(self, namespace: str, sweep: str) -> bool:
        """Whether two runs have the same parameters."""
        return (await self._table(namespace, sweep))[0].has_repeats

    async def state(self, namespace: str, sweep: str | None) -> str:
        """Tells the data of a leaderboard from all others of this process: where it is the same, so is the answer."""
        if sweep is not None:
            self.sweep(namespace, sweep)
        return (await self._table(namespace, sweep))[1]

    async def schema(self, namespace: str, sweep: str | None) -> Schema:
        """Names for a column picker, and for whoever writes a filter."""
        table, _ = await self._table(namespace, sweep)
        return Schema(params=table.params, varying=[ref.name for ref in table.varying()], metrics=table.metrics)

    async def values(
        self, namespace: str, sweep: str | None, columns: Sequence[Ref], *, filter: str = ""
    ) -> tuple[list[str], list[list[Any]]]:
        """Names of the runs that the filter fits, and their values column by column: what plots are made of."""
        table, _ = await self._table(namespace, sweep)
        mask = select_rows(table, filter)
        rows = [index for index in range(len(table)) if mask is None or mask[index]]
        names = table.column(field("name"))
        return [names[i] for i in rows], [[values[i] for i in rows] for values in map(table.column, columns)]

    async def rows(self, namespace: str, sweep: str, *, filter: str = "") -> list[ExperimentRow]:
        """Runs of the sweep that the filter fits."""
        self.sweep(namespace, sweep)
        table, _ = await self._table(namespace, sweep)
        mask = select_rows(table, filter)
        return [row for index, row in enumerate(table.rows) if mask is None or mask[index]]

    # --- curves ---

    async def curves(
        self,
        namespace: str,
        sweep: str | None,
        *,
        metric: str,
        experiments: Sequence[str] = (),
        top: int = TOP,
        filter: str = "",
        axis: Axis = Axis.STEP,
        points: int = CURVE_POINTS,
    ) -> Curves:
        """Of the experiments named, in that order; without names of the `top` best that the filter fits."""
        if len(experiments) > MAX_CURVES:
            raise ParameterError("experiment", f"at most {MAX_CURVES} curves at once, not {len(experiments)}")
        if experiments:
            rows = [self.experiment(namespace, name) for name in dict.fromkeys(experiments)]
        else:
            rows = (await self._best(namespace, sweep, filter=filter))[0][: min(top, MAX_CURVES)]
        found = await self._read(rows, metric, axis)
        return Curves(
            metric=metric,
            axis=axis,
            curves=[_curve(row.name, found[row.uid], axis, points) for row in rows if row.uid in found],
            missing=[row.name for row in rows if row.uid not in found],
        )

    async def bands(
        self,
        namespace: str,
        sweep: str,
        *,
        metric: str,
        group: str,
        filter: str = "",
        axis: Axis = Axis.STEP,
        points: int = CURVE_POINTS,
    ) -> Bands:
        """The mean with its spread of the runs that have the same value in the column `group`."""
        try:
            ref = parse_ref(group)
            if ref.group is not Group.PARAM and ref not in (field("state"), field("reason"), field("seed")):
                raise QueryError("group by a parameter (params.NAME), state, reason or seed", position=0)
            table, _ = await self._table(namespace, sweep)
            check_known(ref, table)
        except QueryError as error:
            raise ParameterError("group", str(error)) from None
        rows, table = await self._best(namespace, sweep, filter=filter)
        values = {row.uid: table.column(ref)[table.index[row.uid]] for row in rows}
        found = await self._read(rows[:MAX_BAND_RUNS], metric, axis)
        curves = [(values[row.uid], _curve(row.name, found[row.uid], axis, None)) for row in rows if row.uid in found]
        made = await asyncio.to_thread(bands, curves, points=points)
        return Bands(metric=metric, axis=axis, group=ref.key, bands=made, runs=len(curves), matched=len(rows))

    async def _best(self, namespace: str, sweep: str | None, *, filter: str) -> tuple[list[ExperimentRow], Table]:
        """Runs that the filter fits, best first, and their table as it is now."""
        minimize = self.sweep(namespace, sweep).objective.minimize if sweep is not None else False
        table, _ = await self._table(namespace, sweep)
        mask = select_rows(table, filter)
        order = table.order([(field("objective"), not minimize)])
        return [table.rows[index] for index in order if mask is None or mask[index]], table

    async def _table(self, namespace: str, sweep: str | None) -> tuple[Table, str]:
        self.catalogue.require(namespace)
        return await self._tables.of(namespace, sweep)

    async def _read(self, rows: Sequence[ExperimentRow], metric: str, axis: Axis) -> dict[str, list[CurvePoint]]:
        return await asyncio.to_thread(
            self._reader.curves,
            [row.uid for row in rows],
            metric,
            with_time=axis is Axis.TIME,
            x_metric="epoch" if axis is Axis.EPOCH else None,
        )


def _curve(name: str, found: list[CurvePoint], axis: Axis, points: int | None) -> Curve:
    xs: list[float] = [point.x for point in found]
    ys = [point.value for point in found]
    if axis is Axis.TIME and xs:
        start = min(xs)
        xs = [x - start for x in xs]
    if points is not None and len(xs) > points:
        kept = thin(xs, ys, points)
        xs, ys = [xs[index] for index in kept], [ys[index] for index in kept]
    return Curve(experiment=name, x=xs, y=ys, total=len(found))


def _by_name(request: Request) -> Request:
    return Request(
        filter=request.filter,
        sort="name",
        columns=request.columns,
        pinned=request.pinned,
        limit=request.limit,
        cursor=request.cursor,
    )


__all__ = ["Axis", "Curves", "Item", "Page", "Queries", "Request", "Schema", "Unknown"]
