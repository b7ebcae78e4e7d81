"""GET of sweeps, experiments and their metrics. Lists come out of the hub's memory; one object with its spec and status
is asked of the API server, the numbers of the store.

Every route needs a token that may `get experiments` in the namespace (settings: read_auth).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from dataclasses import replace
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.exc import SQLAlchemyError
from starlette.responses import Response

from orkhaven.api.expressions import MAX_LENGTH
from orkhaven.errors import ApiError, NotFound
from orkhaven.hub import status
from orkhaven.hub.api import schemas
from orkhaven.hub.api.answers import FILES, Format, as_file, as_json, format_of
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.api.paging import page
from orkhaven.hub.context import Hub, hub_of, storage_trouble
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.ports import Body
from orkhaven.hub.query import leaderboard as boards
from orkhaven.hub.query.lists import EXPERIMENT_COLUMNS, SWEEP_COLUMNS, same, sweep_line
from orkhaven.hub.query.rows import ExperimentRow, SweepRow, experiment_row, sweep_row
from orkhaven.hub.storage.read import MetricSummary, Reader, RunSnapshot, thin_out
from orkrun import contract

T = TypeVar("T")


async def _authorized(request: Request, namespace: Namespace) -> None:
    await hub_of(request).read_auth.require(request.headers.get("authorization"), namespace)


READ: dict[str, Any] = {
    "prefix": "/api/v1/namespaces/{namespace}",
    "tags": ["read"],
    "dependencies": [Depends(_authorized)],
    "responses": {code: {"model": schemas.ErrorBody} for code in (400, 401, 403, 404, 422, 503)},
}
"""What all routers of this kind have."""
router = APIRouter(**READ)

Limit = Annotated[int, Query(ge=1, le=1000, description="Rows of a page.")]
Cursor = Annotated[str | None, Query(max_length=16_384, description="`next` of the page before.")]
Filter = Annotated[
    str,
    Query(
        max_length=MAX_LENGTH,
        description="Which runs: comparisons (==, !=, <, <=, >, >=, ~ contains, in) of columns, joined by and, or, not "
        "and parentheses. See docs/hub-api.md.",
        examples=['state == "Failed" and params.batch_size >= 8'],
    ),
]
Sort = Annotated[
    str,
    Query(
        max_length=MAX_LENGTH,
        description="Columns, separated by commas, `-` before one for descending. What is missing comes last.",
        examples=["-objective,params.lr"],
    ),
]
Formats = Annotated[
    Format | None, Query(description="json, csv or latex. Default: the first of them in the header Accept, or json.")
]


@router.get("/sweeps", response_model=schemas.SweepList, responses=FILES)
async def list_sweeps(
    request: Request, namespace: Namespace, limit: Limit = 50, cursor: Cursor = None, format: Formats = None
) -> Response:
    """Sweeps by name. As CSV or LaTeX: all of them, with their counters."""
    queries = hub_of(request).queries
    found = queries.sweeps(namespace)
    format_ = format_of(request, format)
    if format_ is not Format.JSON:
        return as_file(format_, same(SWEEP_COLUMNS), [sweep_line(row) for row in found], name=namespace)
    rows, following = page(found, key=lambda row: (row.name,), limit=limit, cursor=cursor)
    return as_json(
        {
            "items": [_sweep(row) for row in rows],
            "next": following,
            "staleSeconds": queries.stale_seconds(namespace),
        }
    )


@router.get("/sweeps/{sweep}")
async def get_sweep(request: Request, namespace: Namespace, sweep: Name) -> schemas.SweepDetail:
    """One sweep, with its spec."""
    body = await _get(hub_of(request), "Sweep", namespace, sweep)
    return schemas.SweepDetail(**_sweep(sweep_row(body)), spec=body.get("spec") or {})


@router.get("/sweeps/{sweep}/experiments", response_model=schemas.ExperimentList, responses=FILES)
async def list_sweep_experiments(
    request: Request,
    namespace: Namespace,
    sweep: Name,
    filter: Filter = "",
    sort: Sort = "",
    limit: Limit = 50,
    cursor: Cursor = None,
    format: Formats = None,
) -> Response:
    """A sweep's experiments, best first if not said otherwise; those without a value last, by name."""
    return await _experiments(
        request, namespace, sweep, format, boards.Request(filter=filter, sort=sort, limit=limit, cursor=cursor)
    )


@router.get("/experiments", response_model=schemas.ExperimentList, responses=FILES)
async def list_experiments(
    request: Request,
    namespace: Namespace,
    filter: Filter = "",
    sort: Sort = "",
    limit: Limit = 50,
    cursor: Cursor = None,
    format: Formats = None,
) -> Response:
    """Experiments of the namespace, by name if not said otherwise."""
    return await _experiments(
        request, namespace, None, format, boards.Request(filter=filter, sort=sort, limit=limit, cursor=cursor)
    )


async def _experiments(
    request: Request, namespace: str, sweep: str | None, wanted: Format | None, asked: boards.Request
) -> Response:
    queries = hub_of(request).queries
    format_ = format_of(request, wanted)
    if format_ is not Format.JSON:
        asked = replace(asked, columns=EXPERIMENT_COLUMNS, limit=None)
        board = await queries.leaderboard(namespace, sweep, asked)
        shown = [(column.key, column.label) for column in board.columns]
        return as_file(format_, shown, board.items, name=sweep or namespace)
    board = await queries.leaderboard(namespace, sweep, replace(asked, columns="objective,objectiveStep"))
    return as_json(
        {
            "items": [
                _experiment(
                    queries.experiment(namespace, item["name"]),
                    None if item["objective"] is None else (item["objective"], item["objectiveStep"]),
                )
                for item in board.items
            ],
            "total": board.total,
            "matched": board.matched,
            "next": board.next,
            "staleSeconds": board.stale_seconds,
        }
    )


@router.get("/experiments/{experiment}")
async def get_experiment(request: Request, namespace: Namespace, experiment: Name) -> schemas.ExperimentDetail:
    """One experiment: spec, status, and a summary of every metric."""
    hub = hub_of(request)
    body = await _get(hub, "Experiment", namespace, experiment)
    run = await _read(hub, lambda reader: reader.snapshot_by_name(namespace, experiment, uid=body["metadata"]["uid"]))
    return schemas.ExperimentDetail(
        **_experiment(experiment_row(body), _best(run)),
        spec=body.get("spec") or {},
        status=body.get("status") or {},
        metrics=_metrics(run),
    )


@router.get("/experiments/{experiment}/metrics")
async def list_metrics(request: Request, namespace: Namespace, experiment: Name) -> schemas.MetricList:
    """A summary of each metric that the run reported. Also after the Experiment is gone: then of the last one of that
    name.
    """
    run = await _run(hub_of(request), namespace, experiment)
    return schemas.MetricList(namespace=namespace, experiment=experiment, uid=run.uid, items=_metrics(run))


@router.get("/experiments/{experiment}/metrics/{metric:path}")
async def get_series(
    request: Request,
    namespace: Namespace,
    experiment: Name,
    metric: str,
    from_step: Annotated[int, Query(ge=0, description="First step wanted.")] = 0,
    max_points: Annotated[
        int, Query(ge=4, le=100_000, description="At most so many; smallest and largest of each stretch are kept.")
    ] = 1500,
) -> schemas.Series:
    """A metric's curve in order of step. Where a later attempt resumed, its points replace those of earlier ones."""
    hub = hub_of(request)
    run = await _run(hub, namespace, experiment)
    points = await _read(hub, lambda reader: reader.series(run.id, metric, from_step=from_step))
    if points is None:
        known = ", ".join(summary.name for summary in run.metrics[:20])
        raise HttpError(404, "NotFound", f"{experiment} reported no metric {metric!r}; it reported: {known}")
    shown = thin_out(points, max_points)
    return schemas.Series(
        namespace=namespace,
        experiment=experiment,
        uid=run.uid,
        metric=metric,
        total=len(points),
        step=[point.step for point in shown],
        value=[schemas.json_number(point.value) for point in shown],
        time=[point.time for point in shown],
        attempt=[point.attempt for point in shown],
    )


# --- where it comes from ---


async def _read(hub: Hub, query: Callable[[Reader], T]) -> T:
    try:
        return await asyncio.to_thread(query, hub.store.reader)
    except SQLAlchemyError as error:
        raise storage_trouble(error) from error


async def _get(hub: Hub, kind: str, namespace: str, name: str) -> Body:
    try:
        return await hub.gateway.get(kind, namespace, name)
    except NotFound:
        raise HttpError(404, "NotFound", f"there is no {kind} {name!r} in namespace {namespace!r}") from None
    except ApiError as error:
        raise unavailable(f"the API server did not answer: {error}") from error


async def _run(hub: Hub, namespace: str, experiment: str) -> RunSnapshot:
    """The Experiment's run, or the newest of its name where that is gone, or was made anew and is silent yet."""
    run = await _read(hub, lambda reader: reader.snapshot_by_name(namespace, experiment))
    if run is None:
        raise HttpError(404, "NotFound", f"no run {experiment!r} in namespace {namespace!r} has reported anything")
    return run


# --- how it is shown ---


def _sweep(row: SweepRow) -> dict[str, Any]:
    objective = {"metric": row.objective.metric, "direction": row.objective.direction}
    return {
        "namespace": row.namespace,
        "name": row.name,
        "uid": row.uid,
        "created": row.created,
        "objective": objective if row.goal is None else {**objective, "goal": row.goal},
        "status": dict(row.status),
    }


def _experiment(row: ExperimentRow, best: tuple[float, int] | None) -> dict[str, Any]:
    """`best` is the store's; without it the status' own counts, which a finished run may have from its final record."""
    if best is None and row.value is not None and row.value_step is not None:
        best = (row.value, row.value_step)
    value, step = best or (None, None)
    progress = {"step": row.step, "totalSteps": row.total_steps, "eta": row.eta}
    return {
        "namespace": row.namespace,
        "name": row.name,
        "uid": row.uid,
        "created": row.created,
        "sweep": row.sweep,
        "trial": row.trial,
        "state": row.state,
        "reason": row.reason,
        "message": row.message,
        "params": row.params,
        "objective": None
        if row.objective is None
        else {"metric": row.objective.metric, "direction": row.objective.direction, "value": value, "step": step},
        "progress": None if row.step is None else {key: entry for key, entry in progress.items() if entry is not None},
    }


def _best(run: RunSnapshot | None) -> tuple[float, int] | None:
    for summary in run.metrics if run else ():
        if run and summary.name == run.objective:
            return summary.best(minimize=bool(run.minimize))
    return None


def _metrics(run: RunSnapshot | None) -> list[schemas.MetricItem]:
    return [_metric(summary, status.objective_of(run)) for summary in run.metrics] if run else []


def _metric(summary: MetricSummary, objective: contract.Objective | None) -> schemas.MetricItem:
    best = summary.best(minimize=contract.is_minimized(summary.name, objective))
    return schemas.MetricItem(
        name=summary.name,
        count=summary.count,
        last=schemas.json_number(summary.last),
        last_step=summary.last_step,
        best=best[0] if best else None,
        best_step=best[1] if best else None,
        min=summary.min,
        min_step=summary.min_step,
        max=summary.max,
        max_step=summary.max_step,
    )
