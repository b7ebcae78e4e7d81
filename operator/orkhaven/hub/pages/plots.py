"""The plots' data: columns of a sweep's runs, and learning curves, as JSON for the page's own scripts."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Query, Request
from starlette.responses import JSONResponse, Response

from orkhaven.api.expressions import QueryError
from orkhaven.hub.api.answers import Format, as_download, only
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.context import Hub, hub_of
from orkhaven.hub.errors import HttpError
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import asked
from orkhaven.hub.pages.render import Packed, PageRoute, columns, pack, packed
from orkhaven.hub.pages.security import HEADERS
from orkhaven.hub.pages.views import plots
from orkhaven.hub.pages.views.board import BoardState
from orkhaven.hub.query.curves import Axis, Band, Curve
from orkhaven.hub.query.export import Row
from orkhaven.hub.query.fields import Ref, field, param
from orkhaven.hub.query.language import parse_ref
from orkhaven.hub.query.lists import same
from orkhaven.hub.query.rows import SweepRow

MAX_AXES = 12
"""Of the parallel coordinates: more stand closer than a label is wide."""
MAX_TOP = 50
X_LABELS = {Axis.STEP: "step", Axis.EPOCH: "epoch", Axis.TIME: "time since its start"}

T = TypeVar("T")
Gathered = tuple[list[Ref], list[str], list[list[Any]]]
"""Columns, names of runs, values column by column."""

Text = Annotated[str, Query(max_length=2048)]
Runs = Annotated[list[str], Query(alias="run", max_length=100)]
Top = Annotated[int, Query(ge=1, le=MAX_TOP)]
AsFile = Annotated[Format | None, Query(alias="format")]
"""None: as the page's script draws it. Otherwise what is drawn, as a file."""


class JsonRoute(PageRoute):
    """Errors as JSON: a script reads them."""

    def get_route_handler(self) -> Any:
        handle = super(PageRoute, self).get_route_handler()

        async def handled(request: Request) -> Response:
            try:
                return await handle(request)
            except HttpError as error:
                if error.status == 400 and error.where == "filter":
                    # The leaderboard says where it is wrong; a plot just has nothing to show.
                    why = plots.empty("The filter cannot be read.", f"{error.message}.")
                    return columns(request, {"series": [], "names": [], "columns": [], "metric": "", "empty": why})
                answer: JSONResponse = error.response()
                answer.headers.update({**HEADERS, "Cache-Control": "no-store"})
                return answer

        return handled


router = APIRouter(include_in_schema=False, route_class=JsonRoute)


@router.get("/n/{namespace}/sweeps/{name}/curves")
async def sweep_curves(
    request: Request,
    namespace: Namespace,
    name: Name,
    metric: Text = "",
    filter: Text = "",
    brush: Text = "",
    band: Text = "",
    x: Axis = Axis.STEP,
    top: Top = 10,
    run: Runs = [],  # noqa: B006
    format: AsFile = None,
) -> Response:
    await viewer_in(request, namespace)
    hub = hub_of(request)
    with asked():
        sweep = hub.queries.sweep(namespace, name)
    metric = metric or sweep.objective.metric
    chosen = BoardState(filter=filter, brush=brush).whole_filter
    head = {"metric": metric, "x": x.value, "xLabel": X_LABELS[x]}
    if band:
        with asked():
            found = await hub.queries.bands(namespace, name, metric=metric, group=band, filter=chosen, axis=x)
        if format is not None:
            return as_plot_file(format, *_band_rows(found.bands, x), name=f"{name}-{metric}-by-{band}")
        made = [plots.band(one.label, one.x, one.mean, one.std, runs=len(one.experiments)) for one in found.bands]
        return columns(request, {**head, "series": made, "empty": _no_curves(metric, chosen, band=True)})
    series: list[tuple[Curve, bool]] = []
    with asked():
        if run:
            known = [one for one in run if hub.queries.catalogue.experiment(namespace, one) is not None]
            pinned = (
                await hub.queries.curves(namespace, name, metric=metric, experiments=known, axis=x) if known else None
            )
            series = [(one, True) for one in pinned.curves] if pinned else []
        best = await hub.queries.curves(namespace, name, metric=metric, top=top, filter=chosen, axis=x)
    above = {one.experiment for one, _ in series}
    series += [(one, False) for one in best.curves if one.experiment not in above]
    if format is not None:
        return as_plot_file(format, *_curve_rows([one for one, _ in series], metric, x), name=f"{name}-{metric}")
    drawn = [plots.curve(one.experiment, one.x, one.y, pinned=is_pinned, sweep=name) for one, is_pinned in series]
    return columns(request, {**head, "series": drawn, "empty": _no_curves(metric, chosen)})


def as_plot_file(format: Format, keys: list[str], rows: list[Row], *, name: str) -> Response:
    only(format, Format.JSON, Format.CSV)
    return as_download(format, same(keys), rows, name=name, headers={**HEADERS, "Cache-Control": "no-store"})


def _curve_rows(curves: list[Curve], metric: str, x: Axis) -> tuple[list[str], list[Row]]:
    """A line per point; where the metric is called as the axis is, its column is `value`."""
    y = metric if metric not in ("experiment", x.value) else "value"
    rows: list[Row] = [
        {"experiment": one.experiment, x.value: at, y: float("nan") if value is None else value}
        for one in curves
        for at, value in zip(one.x, one.y, strict=True)
    ]
    return ["experiment", x.value, y], rows


def _band_rows(bands: list[Band], x: Axis) -> tuple[list[str], list[Row]]:
    parts = ("mean", "std", "low", "high", "n")
    rows: list[Row] = [
        {"group": one.label, x.value: at, **dict(zip(parts, values, strict=True))}
        for one in bands
        for at, *values in zip(one.x, *(getattr(one, part) for part in parts), strict=True)
    ]
    return ["group", x.value, *parts], rows


def _no_curves(metric: str, filter: str, *, band: bool = False) -> dict[str, str]:
    where = "that the filter leaves" if filter else "of this sweep"
    what = "No run" if not band else "No group of runs"
    return plots.empty("No curve yet.", f"{what} {where} has reported {metric!r}. It is drawn with the first report.")


@router.get("/n/{namespace}/experiments/{name}/curves")
async def run_curves(
    request: Request,
    namespace: Namespace,
    name: Name,
    metric: Text = "",
    x: Axis = Axis.STEP,
    format: AsFile = None,
) -> Response:
    await viewer_in(request, namespace)
    with asked():
        row = hub_of(request).queries.experiment(namespace, name)
    metric = metric or (row.objective.metric if row.objective else "")
    return await _curves_of(request, namespace, [name], metric=metric, x=x, format=format)


@router.get("/n/{namespace}/compare/curves")
async def compared_curves(
    request: Request,
    namespace: Namespace,
    metric: Text = "",
    x: Axis = Axis.STEP,
    run: Runs = [],  # noqa: B006
    format: AsFile = None,
) -> Response:
    await viewer_in(request, namespace)
    hub = hub_of(request)
    known = [row for one in run[:8] if (row := hub.queries.catalogue.experiment(namespace, one)) is not None]
    metric = metric or next((row.objective.metric for row in known if row.objective), "")
    return await _curves_of(request, namespace, [row.name for row in known], metric=metric, x=x, format=format)


async def _curves_of(
    request: Request, namespace: str, names: list[str], *, metric: str, x: Axis, format: Format | None
) -> Response:
    curves: list[Curve] = []
    if names:
        with asked():
            found = await hub_of(request).queries.curves(namespace, None, metric=metric, experiments=names, axis=x)
        curves = found.curves
    if format is not None:
        name = f"{names[0] if len(names) == 1 else 'compared'}-{metric}"
        return as_plot_file(format, *_curve_rows(curves, metric, x), name=name)
    series = [plots.curve(one.experiment, one.x, one.y) for one in curves]
    why = plots.empty(
        "No curve yet.", f"Nothing was reported under {metric!r}." if metric else "No metric was reported."
    )
    return columns(request, {"metric": metric, "x": x.value, "xLabel": X_LABELS[x], "series": series, "empty": why})


@router.get("/n/{namespace}/sweeps/{name}/parallel")
async def parallel(
    request: Request, namespace: Namespace, name: Name, filter: Text = "", format: AsFile = None
) -> Response:
    """A column per parameter that differs, then the objective."""
    await viewer_in(request, namespace)
    hub = hub_of(request)
    with asked():
        sweep = hub.queries.sweep(namespace, name)

    async def gather() -> Gathered:
        with asked():
            schema = await hub.queries.schema(namespace, name)
            refs = [
                *(param(one) for one in searched_first(schema.varying, sweep.parameters)[: MAX_AXES - 1]),
                field("objective"),
            ]
            return refs, *await hub.queries.values(namespace, name, refs, filter=filter)

    if format is not None:
        return as_plot_file(format, *_value_rows(*await gather()), name=f"{name}-parameters")
    return await shared(request, namespace, name, gather, lambda found: _parallel(sweep, *found))


def _parallel(sweep: SweepRow, refs: list[Ref], names: list[str], values: list[list[Any]]) -> dict[str, Any]:
    # A run without the objective (failed, or not that far) has no end for its line.
    rows = [row for row, value in enumerate(values[-1]) if isinstance(value, int | float) and value == value]
    made = [
        plots.column(ref, [one[row] for row in rows], few_as_texts=ref != refs[-1])
        for ref, one in zip(refs, values, strict=True)
    ]
    kept = [one for one in made if one is not None]
    if kept:
        kept[-1]["label"] = sweep.objective.metric
    without = len(names) - len(rows)
    why = (
        plots.empty("No two runs have a value yet.", f"A line is a run with a value of {sweep.objective.metric}.")
        if len(rows) < 2
        else plots.empty("No parameter differs.", "All runs that the filter leaves have the same parameters.")
    )
    return {
        "names": [names[row] for row in rows],
        "columns": kept,
        "minimize": sweep.objective.minimize,
        "without": without,
        "empty": why,
    }


async def shared(
    request: Request,
    namespace: str,
    sweep: str,
    gather: Callable[[], Awaitable[T]],
    draw: Callable[[T], dict[str, Any]],
    *,
    also: object = None,
) -> Response:
    """What `draw` makes of what `gather` finds, once for all who look at the sweep as it is now; in a thread, so that
    metrics are taken in meanwhile. `also`: what it depends on beside the URL and the sweep.
    """
    with asked():
        state = await hub_of(request).queries.state(namespace, sweep)
    key = (request.url.path, request.url.query, state, also)

    async def make() -> Packed:
        found = await gather()
        return await asyncio.to_thread(lambda: pack(draw(found)))

    return packed(request, await pages_of(request).drawn.get(key, make))


def searched_first(varying: list[str], searched: tuple[str, ...]) -> list[str]:
    """Those that the sweep searches first, in its order; then what differs besides."""
    known = [name for name in searched if name in varying]
    return known + [name for name in varying if name not in known]


@router.get("/n/{namespace}/sweeps/{name}/scatter")
async def scatter(
    request: Request,
    namespace: Namespace,
    name: Name,
    sx: Text = "",
    sy: Text = "",
    filter: Text = "",
    brush: Text = "",
    format: AsFile = None,
) -> Response:
    await viewer_in(request, namespace)
    hub = hub_of(request)
    with asked():
        sweep = hub.queries.sweep(namespace, name)

    async def gather() -> Gathered:
        if sx and sy:
            x, y = _ref(sx, "sx"), _ref(sy, "sy")
        else:
            by_default = await default_axes(hub, namespace, name)
            x, y = (_ref(sx, "sx") if sx else by_default[0]), (_ref(sy, "sy") if sy else by_default[1])
        refs = [x, y, field("objective")]
        chosen = BoardState(filter=filter, brush=brush).whole_filter
        with asked():
            return refs, *await hub.queries.values(namespace, name, refs, filter=chosen)

    if format is not None:
        return as_plot_file(format, *_value_rows(*await gather()), name=f"{name}-scatter")
    return await shared(request, namespace, name, gather, lambda found: _scatter(sweep, *found))


def _scatter(sweep: SweepRow, refs: list[Ref], names: list[str], values: list[list[Any]]) -> dict[str, Any]:
    rows = [row for row in range(len(names)) if values[0][row] is not None and values[1][row] is not None]
    made = [plots.column(ref, [one[row] for row in rows]) for ref, one in zip(refs, values, strict=True)]
    too_many = next((ref.label for ref, one in zip(refs, made, strict=True) if one is None), None)
    why = (
        plots.empty("Too many different values.", f"{too_many} has more than {plots.MAX_TEXTS} that are no numbers.")
        if too_many
        else plots.empty("Nothing to draw.", f"No run has both {refs[0].label} and {refs[1].label}.")
    )
    shown = [] if too_many else [names[row] for row in rows]
    return {"names": shown, "columns": [] if too_many else made, "minimize": sweep.objective.minimize, "empty": why}


def _value_rows(refs: list[Ref], names: list[str], values: list[list[Any]]) -> tuple[list[str], list[Row]]:
    keys = [ref.key for ref in refs]
    rows: list[Row] = [
        {"name": name, **dict(zip(keys, row, strict=True))}
        for name, row in zip(names, zip(*values, strict=True), strict=True)
    ]
    return list(dict.fromkeys(["name", *keys])), rows


async def default_axes(hub: Hub, namespace: str, name: str) -> tuple[Ref, Ref]:
    with asked():
        sweep = hub.queries.sweep(namespace, name)
        varying = searched_first((await hub.queries.schema(namespace, name)).varying, sweep.parameters)
        refs = [field("objective"), *(param(one) for one in varying)]
        _, (objective, *values) = await hub.queries.values(namespace, name, refs)
    place = plots.first_axis(values, objective)
    return (field("trial") if place is None else refs[1 + place]), refs[0]


def _ref(text: str, where: str) -> Ref:
    try:
        return parse_ref(text)
    except QueryError as error:
        raise HttpError(400, "InvalidParameter", str(error), where=where) from None
