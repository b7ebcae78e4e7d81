"""GET of sweeps, experiments and their metrics: the resources from the API server, the numbers from the store.

Every route needs a token that may `get experiments` in the namespace (settings: read_auth).
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Annotated, Any, TypeVar

from fastapi import APIRouter, Depends, Query, Request
from sqlalchemy.exc import SQLAlchemyError

from orkhaven.errors import ApiError, Gone, NotFound
from orkhaven.hub import status
from orkhaven.hub.api import schemas
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.api.paging import page
from orkhaven.hub.context import Hub, hub_of, storage_trouble
from orkhaven.hub.errors import HttpError, unavailable
from orkhaven.hub.ports import Body
from orkhaven.hub.storage.read import MetricSummary, Reader, RunSnapshot, thin_out
from orkrun import contract

T = TypeVar("T")


async def _authorized(request: Request, namespace: Namespace) -> None:
    await hub_of(request).read_auth.require(request.headers.get("authorization"), namespace)


router = APIRouter(
    prefix="/api/v1/namespaces/{namespace}",
    tags=["read"],
    dependencies=[Depends(_authorized)],
    responses={code: {"model": schemas.ErrorBody} for code in (400, 401, 403, 404, 503)},
)

Limit = Annotated[int, Query(ge=1, le=1000, description="Rows of a page.")]
Cursor = Annotated[str | None, Query(max_length=2048, description="`next` of the page before.")]


@router.get("/sweeps")
async def list_sweeps(
    request: Request, namespace: Namespace, limit: Limit = 50, cursor: Cursor = None
) -> schemas.SweepList:
    """Sweeps by name."""
    bodies = await _list(hub_of(request), "Sweep", namespace)
    rows, following = page(bodies, key=lambda body: (body["metadata"]["name"],), limit=limit, cursor=cursor)
    return schemas.SweepList(items=[schemas.SweepItem(**_sweep(body)) for body in rows], next=following)


@router.get("/sweeps/{sweep}")
async def get_sweep(request: Request, namespace: Namespace, sweep: Name) -> schemas.SweepDetail:
    """One sweep, with its spec."""
    body = await _get(hub_of(request), "Sweep", namespace, sweep)
    return schemas.SweepDetail(**_sweep(body), spec=body.get("spec") or {})


@router.get("/sweeps/{sweep}/experiments")
async def leaderboard(
    request: Request, namespace: Namespace, sweep: Name, limit: Limit = 50, cursor: Cursor = None
) -> schemas.ExperimentList:
    """A sweep's experiments, best first; those without a value last, by name."""
    hub = hub_of(request)
    body = await _get(hub, "Sweep", namespace, sweep)
    minimize = ((body.get("spec") or {}).get("objective") or {}).get("direction") == "Minimize"
    bodies = await _list(hub, "Experiment", namespace, labels=f"{contract.LABEL_SWEEP}={sweep}")
    best = await _read(hub, lambda reader: reader.best_of_sweep(namespace, sweep))
    items = [_experiment(body, best.get(body["metadata"]["uid"])) for body in bodies]

    def rank(item: dict[str, Any]) -> tuple[int | float | str, ...]:
        value = item["objective"].value if item["objective"] else None
        return (1, 0.0, item["name"]) if value is None else (0, value if minimize else -value, item["name"])

    rows, following = page(items, key=rank, limit=limit, cursor=cursor)
    return schemas.ExperimentList(items=[schemas.ExperimentItem(**row) for row in rows], next=following)


@router.get("/experiments")
async def list_experiments(
    request: Request, namespace: Namespace, limit: Limit = 50, cursor: Cursor = None
) -> schemas.ExperimentList:
    """Experiments by name."""
    bodies = await _list(hub_of(request), "Experiment", namespace)
    rows, following = page(bodies, key=lambda body: (body["metadata"]["name"],), limit=limit, cursor=cursor)
    return schemas.ExperimentList(
        items=[schemas.ExperimentItem(**_experiment(body, None)) for body in rows], next=following
    )


@router.get("/experiments/{experiment}")
async def get_experiment(request: Request, namespace: Namespace, experiment: Name) -> schemas.ExperimentDetail:
    """One experiment: spec, status, and a summary of every metric."""
    hub = hub_of(request)
    body = await _get(hub, "Experiment", namespace, experiment)
    run = await _read(hub, lambda reader: reader.snapshot_by_name(namespace, experiment, uid=body["metadata"]["uid"]))
    return schemas.ExperimentDetail(
        **_experiment(body, _best(run)),
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


async def _list(hub: Hub, kind: str, namespace: str, *, labels: str | None = None) -> list[Body]:
    try:
        found: list[Body] = []
        async for bodies, _version in hub.gateway.pages(kind, namespace=namespace, label_selector=labels):
            found += bodies
        return found
    except Gone:
        raise unavailable("the list changed too fast; try again") from None
    except ApiError as error:
        raise unavailable(f"the API server did not answer: {error}") from error


async def _run(hub: Hub, namespace: str, experiment: str) -> RunSnapshot:
    """The Experiment's run, or the newest of its name where that is gone, or was made anew and is silent yet."""
    run = await _read(hub, lambda reader: reader.snapshot_by_name(namespace, experiment))
    if run is None:
        raise HttpError(404, "NotFound", f"no run {experiment!r} in namespace {namespace!r} has reported anything")
    return run


# --- how it is shown ---


def _sweep(body: Body) -> dict[str, Any]:
    metadata = body["metadata"]
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "created": metadata.get("creationTimestamp"),
        "objective": (body.get("spec") or {}).get("objective") or {},
        "status": body.get("status") or {},
    }


def _experiment(body: Body, best: tuple[float, int] | None) -> dict[str, Any]:
    """`best` is the store's; without it the status' own counts, which a finished run may have from its final record."""
    metadata, spec, state = body["metadata"], body.get("spec") or {}, body.get("status") or {}
    labels = metadata.get("labels") or {}
    trial = labels.get(contract.LABEL_TRIAL, "")
    return {
        "namespace": metadata["namespace"],
        "name": metadata["name"],
        "uid": metadata["uid"],
        "created": metadata.get("creationTimestamp"),
        "sweep": labels.get(contract.LABEL_SWEEP),
        "trial": int(trial) if trial.isdigit() else None,
        "state": state.get("state"),
        "reason": state.get("reason"),
        "message": state.get("message"),
        "params": spec.get("params") or {},
        "objective": _objective(spec.get("objective"), state.get("objective"), best),
        "progress": state.get("progress"),
    }


def _objective(
    spec: Body | None, reported: Body | None, best: tuple[float, int] | None
) -> schemas.ObjectiveItem | None:
    if not spec:
        return None
    if best is None and reported:
        best = (reported["value"], reported["step"])
    value, step = best if best is not None else (None, None)
    return schemas.ObjectiveItem(
        metric=spec["metric"], direction=spec.get("direction", "Maximize"), value=value, step=step
    )


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
