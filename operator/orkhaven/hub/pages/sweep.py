"""A sweep's page, and the parts of it that are fetched anew."""

from __future__ import annotations

from dataclasses import replace
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orkhaven.api.remedy import remedy
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.context import Hub, hub_of
from orkhaven.hub.errors import HttpError
from orkhaven.hub.pages.actions import allowed
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import asked, resource
from orkhaven.hub.pages.importance import importance_of
from orkhaven.hub.pages.plots import default_axes
from orkhaven.hub.pages.render import PageRoute, page, url
from orkhaven.hub.pages.start import readable_namespaces
from orkhaven.hub.pages.views.board import Board, BoardState, View, board_of, choices_of, metric_choices, sets_board
from orkhaven.hub.pages.views.sweeps import sweep_view
from orkhaven.hub.query.fields import FIELDS, field, metric, param
from orkhaven.hub.query.leaderboard import Page as TablePage

PLOT_KEYS = ("metric", "top", "band", "x", "log", "smooth", "sx", "sy", "ta", "tz")
AXIS_FIELDS = ("objective", "trial", "objectiveStep", "step", "seconds", "gpuSeconds", "state", "reason", "node", "gpu")

router = APIRouter(include_in_schema=False, route_class=PageRoute)

Text = Annotated[str, Query(max_length=2048)]
Many = Annotated[list[str], Query(max_length=200)]


def _state(
    request: Request,
    *,
    filter: str,
    brush: str,
    sort: str,
    col: list[str],
    run: list[str],
    cursor: str | None,
    view: View,
) -> BoardState:
    others = {key: value for key in PLOT_KEYS if (value := request.query_params.get(key))}
    return BoardState(
        filter=filter,
        brush=brush,
        sort=sort,
        columns=tuple(col),
        runs=tuple(run),
        cursor=cursor,
        view=view,
        others=others,
    )


@router.get("/n/{namespace}/sweeps/{name}")
async def sweep(
    request: Request,
    namespace: Namespace,
    name: Name,
    filter: Text = "",
    brush: Text = "",
    sort: Text = "",
    col: Many = [],  # noqa: B006
    run: Many = [],  # noqa: B006
    cursor: Annotated[str | None, Query(max_length=4096)] = None,
    view: View = View.RUNS,
) -> Response:
    viewer = await viewer_in(request, namespace)
    hub, now = hub_of(request), pages_of(request).now()
    state = _state(request, filter=filter, brush=brush, sort=sort, col=col, run=run, cursor=cursor, view=view)
    in_part = "hx-request" in request.headers
    with asked():
        row = hub.queries.sweep(namespace, name)
    board = await _board(request, namespace, name, state, minimize=row.objective.minimize)
    if in_part:
        return page(request, "leaderboard.html", viewer=viewer, namespace=namespace, name=name, **board)
    shown = sweep_view(row, now=now)
    with asked():
        schema = await hub.queries.schema(namespace, name)
    x, y = await default_axes(hub, namespace, name)
    axes = [*(param(one) for one in schema.varying), *(field(one) for one in AXIS_FIELDS)]
    axes += [metric(one, part) for one in schema.metrics[:20] for part in ("best", "last")]
    return page(
        request,
        "sweep.html",
        viewer=viewer,
        namespace=namespace,
        namespaces=await readable_namespaces(request, viewer),
        events=url("n", namespace, "events", sweep=name),
        crumbs=[(namespace, url("n", namespace, "sweeps")), ("Sweeps", url("n", namespace, "sweeps")), (name, None)],
        sweep=shown,
        name=name,
        allowed=await allowed(request, viewer, kind="Sweep", namespace=namespace, name=name),
        metrics=schema.metrics or [row.objective.metric],
        varying=schema.varying,
        axes=[
            (ref.key, ref.label if ref.key != "objective" else f"{ref.label} ({row.objective.metric})") for ref in axes
        ],
        default_x=x.key,
        default_y=y.key,
        failures=row.status.get("failureClusters") or [],
        remedy=lambda reason: remedy(reason, row.resources),
        reruns=row.status.get("reruns") or [],
        others=row.status.get("otherFailures"),
        has_band=bool(schema.varying),
        **board,
    )


async def _board(request: Request, namespace: str, name: str, state: BoardState, *, minimize: bool) -> dict[str, Any]:
    """The leaderboard's values for the template. A filter that cannot be read is said above all runs."""
    hub = hub_of(request)
    base = ("n", namespace, "sweeps", name)
    problem: str | None = None
    try:
        board, found = await _asked(hub, namespace, name, state, minimize=minimize)
    except HttpError as error:
        if error.status != 400:
            raise
        problem = f"{error.where}: {error.message}"
        plain = replace(state, filter="", brush="", sort="", columns=(), cursor=None)
        board, found = await _asked(hub, namespace, name, plain, minimize=minimize)
    with asked():
        schema = await hub.queries.schema(namespace, name)
        has_repeats = await hub.queries.has_repeats(namespace, name)
    return {
        "board": board,
        "state": state,
        "problem": problem,
        "stale": hub.queries.stale_seconds(namespace),
        "choices": choices_of(schema, found) if found is not None else {},
        "metric_choices": metric_choices(schema, found) if found is not None else [],
        "other_view": url(*base, **state.query(sort=None, view=None if state.view is View.SETS else View.SETS.value))
        if has_repeats or state.view is View.SETS
        else None,
        "export": url(*base, "export", **state.export),
        "here": url(*base, **state.query(cursor=state.cursor)),
        "raw_query": f"?{request.url.query}" if request.url.query else "",
        "here_without_filter": url(*base, sort=state.sort, col=list(state.columns)),
        "without_filter": url(*base, **state.query(filter=None, brush=None)),
        "without_brush": url(*base, **state.query(brush=None)),
        "compare": url("n", namespace, "compare", run=list(state.runs)) if len(state.runs) >= 2 else None,
        "hints": _hints(schema.varying, schema.metrics),
        "fields": list(FIELDS),
    }


async def _asked(
    hub: Hub, namespace: str, name: str, state: BoardState, *, minimize: bool
) -> tuple[Board, TablePage | None]:
    """Raises HttpError 400 where a filter, sort or column is wrong. The table's page, where it is one of runs."""
    base = ("n", namespace, "sweeps", name)
    with asked():
        if state.view is View.SETS:
            sets = await hub.queries.sets(namespace, name, state.request())
            return sets_board(sets, state, base=base, minimize=minimize, sweep=name), None
        found = await hub.queries.leaderboard(namespace, name, state.request())
    return board_of(found, state, base=base, minimize=minimize, sweep=name), found


def _hints(varying: list[str], metrics: list[str]) -> list[str]:
    """Examples of filters that fit this very sweep."""
    made = ['state == "Failed"', "objective > 0.7"]
    if varying:
        made.append(f"{param(varying[0]).key} != null")
    if metrics:
        made.append(f"{metric(metrics[0], 'last').key} < 1")
    return made


@router.get("/n/{namespace}/sweeps/{name}/head")
async def head(request: Request, namespace: Namespace, name: Name) -> Response:
    viewer = await viewer_in(request, namespace)
    with asked():
        row = hub_of(request).queries.sweep(namespace, name)
    view = sweep_view(row, now=pages_of(request).now())
    return page(request, "sweep_head.html", viewer=viewer, namespace=namespace, sweep=view)


@router.get("/n/{namespace}/sweeps/{name}/failures")
async def failures(request: Request, namespace: Namespace, name: Name) -> Response:
    viewer = await viewer_in(request, namespace)
    with asked():
        row = hub_of(request).queries.sweep(namespace, name)
    view, found = sweep_view(row, now=pages_of(request).now()), row.status.get("failureClusters") or []
    return page(
        request,
        "failures.html",
        viewer=viewer,
        namespace=namespace,
        name=name,
        sweep=view,
        failures=found,
        remedy=lambda reason: remedy(reason, row.resources),
        reruns=row.status.get("reruns") or [],
        others=row.status.get("otherFailures"),
        allowed=await allowed(request, viewer, kind="Sweep", namespace=namespace, name=name),
    )


@router.get("/n/{namespace}/sweeps/{name}/importance")
async def importance(request: Request, namespace: Namespace, name: Name) -> Response:
    viewer = await viewer_in(request, namespace)
    found = await importance_of(request, namespace, name)
    return page(request, "importance.html", viewer=viewer, namespace=namespace, name=name, found=found)


@router.get("/n/{namespace}/sweeps/{name}/yaml")
async def yaml(request: Request, namespace: Namespace, name: Name) -> Response:
    viewer = await viewer_in(request, namespace)
    body = await resource(hub_of(request), "Sweep", namespace, name)
    return page(request, "yaml.html", viewer=viewer, body=body)
