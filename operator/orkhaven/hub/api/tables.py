"""GET of leaderboards and curves: what pages, `kubectl ork` and notebooks draw."""

from __future__ import annotations

from typing import Annotated

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orkhaven.hub.api import schemas
from orkhaven.hub.api.answers import (
    CSV_FILE,
    FILES,
    NOT_MODIFIED,
    Format,
    as_file,
    as_json,
    etag,
    format_of,
    is_known,
    not_modified,
    only,
)
from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.api.reads import READ, Cursor, Filter, Formats, Sort
from orkhaven.hub.context import hub_of
from orkhaven.hub.query import leaderboard as boards
from orkhaven.hub.query.curves import Axis
from orkhaven.hub.query.fields import FIELDS, METRIC_PARTS
from orkhaven.hub.query.service import CURVE_POINTS, MAX_CURVES, TOP

router = APIRouter(**READ)

Limit = Annotated[
    int | None, Query(ge=1, le=10_000, description="Rows of a page. Default: 50; of CSV and LaTeX all rows.")
]
Columns = Annotated[
    str,
    Query(
        max_length=8000,
        description="Columns, separated by commas: as in `filter`, and `default` (state, objective, the parameters "
        "that differ), `params` and `metrics` for all of theirs.",
        examples=['default,metrics["val/loss"].last'],
    ),
]
Pinned = Annotated[
    list[str],
    Query(max_length=50, description="Experiments that come whether the filter fits or not. May be repeated."),
]
Metric = Annotated[str, Query(min_length=1, max_length=128, description="Name of the metric.")]
X = Annotated[
    Axis,
    Query(
        description="step; epoch: the metric `epoch` of the same line; time: seconds since the curve's first point, by "
        "the trainer's clock."
    ),
]
Points = Annotated[
    int, Query(ge=3, le=100_000, description="At most so many points of each curve, the ones that show most (LTTB).")
]
DEFAULT_LIMIT = 50


@router.get("/sweeps/{sweep}/leaderboard", response_model=schemas.Leaderboard, responses={**FILES, **NOT_MODIFIED})
async def get_leaderboard(
    request: Request,
    namespace: Namespace,
    sweep: Name,
    filter: Filter = "",
    sort: Sort = "",
    columns: Columns = "",
    pinned: Pinned = [],  # noqa: B006 - FastAPI copies it
    limit: Limit = None,
    cursor: Cursor = None,
    format: Formats = None,
) -> Response:
    """A sweep's runs: filtered, sorted (best first by default), with the columns that differ.

    A run's numbers are the store's, or, where that has nothing of it, its status'. `repeats.n`, `.mean` and `.std` are
    of the objective over the runs with the same parameters.
    """
    return await _leaderboard(
        request, namespace, sweep, format,
        filter=filter, sort=sort, columns=columns, pinned=tuple(pinned), limit=limit, cursor=cursor,
    )  # fmt: skip


@router.get("/leaderboard", response_model=schemas.Leaderboard, responses={**FILES, **NOT_MODIFIED})
async def get_namespace_leaderboard(
    request: Request,
    namespace: Namespace,
    filter: Filter = "",
    sort: Sort = "",
    columns: Columns = "",
    pinned: Pinned = [],  # noqa: B006 - FastAPI copies it
    limit: Limit = None,
    cursor: Cursor = None,
    format: Formats = None,
) -> Response:
    """The same over all runs of the namespace, by name if not said otherwise."""
    return await _leaderboard(
        request, namespace, None, format,
        filter=filter, sort=sort, columns=columns, pinned=tuple(pinned), limit=limit, cursor=cursor,
    )  # fmt: skip


@router.get("/sweeps/{sweep}/columns")
async def get_columns(request: Request, namespace: Namespace, sweep: Name) -> schemas.ColumnNames:
    """What a leaderboard can be filtered and sorted by, and show."""
    queries = hub_of(request).queries
    queries.sweep(namespace, sweep)
    found = await queries.schema(namespace, sweep)
    return schemas.ColumnNames(
        fields=[schemas.Column(key=key, label=one.label, kind=one.kind, group="field") for key, one in FIELDS.items()],
        params=found.params,
        varying=found.varying,
        metrics=found.metrics,
        metric_parts=list(METRIC_PARTS),
    )


@router.get("/sweeps/{sweep}/curves", response_model=schemas.CurveList, responses=CSV_FILE)
async def get_curves(
    request: Request,
    namespace: Namespace,
    sweep: Name,
    metric: Metric,
    experiment: Annotated[
        list[str],
        Query(max_length=MAX_CURVES, description="Experiments wanted. May be repeated; none: the best ones."),
    ] = [],  # noqa: B006 - FastAPI copies it
    top: Annotated[int, Query(ge=1, le=MAX_CURVES, description="How many of the best where none are named.")] = TOP,
    filter: Filter = "",
    x: X = Axis.STEP,
    points: Points = CURVE_POINTS,
    format: Formats = None,
) -> Response:
    """Learning curves of one metric. What an attempt did again after it resumed is there once. CSV: a line a point."""
    chosen = format_of(request, format)
    only(chosen, Format.JSON, Format.CSV)
    queries = hub_of(request).queries
    queries.sweep(namespace, sweep)
    found = await queries.curves(
        namespace, sweep, metric=metric, experiments=experiment, top=top, filter=filter, axis=x, points=points
    )
    if chosen is Format.CSV:
        rows = [
            {"experiment": curve.experiment, x: at, metric: float("nan") if y is None else y}
            for curve in found.curves
            for at, y in zip(curve.x, curve.y, strict=True)
        ]
        return as_file(chosen, [(key, key) for key in ("experiment", x, metric)], rows, name=f"{sweep}-{metric}")
    return as_json(
        {
            "metric": metric,
            "x": x,
            "curves": [
                {"experiment": curve.experiment, "x": curve.x, "y": curve.y, "total": curve.total}
                for curve in found.curves
            ],
            "missing": found.missing,
        }
    )


@router.get("/sweeps/{sweep}/bands", response_model=schemas.BandList, responses=CSV_FILE)
async def get_bands(
    request: Request,
    namespace: Namespace,
    sweep: Name,
    metric: Metric,
    group: Annotated[str, Query(max_length=500, description="params.NAME, state, reason or seed.")],
    filter: Filter = "",
    x: X = Axis.STEP,
    points: Points = CURVE_POINTS,
    format: Formats = None,
) -> Response:
    """The mean learning curve of the runs that have one value in common, with its spread: of the 500 best at most."""
    chosen = format_of(request, format)
    only(chosen, Format.JSON, Format.CSV)
    found = await hub_of(request).queries.bands(
        namespace, sweep, metric=metric, group=group, filter=filter, axis=x, points=points
    )
    parts = ("x", "mean", "std", "low", "high", "n")
    if chosen is Format.CSV:
        rows = [
            {"group": band.label, **dict(zip(parts, values, strict=True))}
            for band in found.bands
            for values in zip(*(getattr(band, part) for part in parts), strict=True)
        ]
        return as_file(chosen, [(key, key) for key in ("group", *parts)], rows, name=f"{sweep}-{metric}-{group}")
    return as_json(
        {
            "metric": metric,
            "x": x,
            "group": found.group,
            "runs": found.runs,
            "matched": found.matched,
            "bands": [
                {
                    "label": band.label,
                    "value": band.value,
                    "experiments": band.experiments,
                    **{part: getattr(band, part) for part in parts},
                }
                for band in found.bands
            ],
        }
    )


async def _leaderboard(
    request: Request,
    namespace: str,
    sweep: str | None,
    wanted: Format | None,
    *,
    filter: str,
    sort: str,
    columns: str,
    pinned: tuple[str, ...],
    limit: int | None,
    cursor: str | None,
) -> Response:
    queries = hub_of(request).queries
    format_ = format_of(request, wanted)
    state = await queries.state(namespace, sweep)
    # Every user's answer may be kept by that user's browser alone, and is asked about each time.
    headers = {"ETag": etag(state, format_), "Cache-Control": "private, no-cache", "Vary": "Accept, Authorization"}
    stale = queries.stale_seconds(namespace)
    if not stale and is_known(request, headers["ETag"]):
        return not_modified(headers)
    if limit is None and format_ is Format.JSON:
        limit = DEFAULT_LIMIT
    page = await queries.leaderboard(
        namespace,
        sweep,
        boards.Request(filter=filter, sort=sort, columns=columns, pinned=pinned, limit=limit, cursor=cursor),
    )
    headers["ETag"] = etag(page.state, format_)
    if format_ is not Format.JSON:
        shown = [(column.key, column.label) for column in page.columns]
        pinned_names = {item["name"] for item in page.pinned}
        rows = page.pinned + [item for item in page.items if item["name"] not in pinned_names]
        return as_file(format_, shown, rows, name=sweep or namespace, headers=headers)
    return as_json(
        {
            "columns": [
                {"key": column.key, "label": column.label, "kind": column.kind, "group": column.group}
                for column in page.columns
            ],
            "items": page.items,
            "pinned": page.pinned,
            "total": page.total,
            "matched": page.matched,
            "next": page.next,
            "staleSeconds": page.stale_seconds,
        },
        headers=headers,
    )
