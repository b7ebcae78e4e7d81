"""When which attempt ran where: data of the plot, and as a file."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Annotated, Any

from fastapi import APIRouter, Query, Request
from starlette.responses import Response

from orkhaven.hub.api.ingest import Name, Namespace
from orkhaven.hub.context import hub_of
from orkhaven.hub.pages.context import pages_of, viewer_in
from orkhaven.hub.pages.data import asked
from orkhaven.hub.pages.plots import AsFile, JsonRoute, Text, as_plot_file, shared
from orkhaven.hub.pages.views import plots
from orkhaven.hub.pages.views.board import BoardState
from orkhaven.hub.query.export import Row
from orkhaven.hub.query.rows import ExperimentRow
from orkhaven.hub.query.timeline import Bar, Timeline, spans_of, timeline

FILE_COLUMNS = (
    "experiment", "attempt", "node", "gpu", "start", "end", "seconds", "outcome", "reason", "exitCode",
)  # fmt: skip
REDRAWN = 5
"""Seconds by which the bars of running attempts may lag behind."""
Moment = Annotated[float | None, Query(ge=0, le=1e11, description="Seconds since the epoch.")]

router = APIRouter(include_in_schema=False, route_class=JsonRoute)


@router.get("/n/{namespace}/sweeps/{name}/timeline")
async def sweep_timeline(
    request: Request,
    namespace: Namespace,
    name: Name,
    filter: Text = "",
    brush: Text = "",
    ta: Moment = None,
    tz: Moment = None,
    format: AsFile = None,
) -> Response:
    """Attempts between `ta` and `tz`."""
    await viewer_in(request, namespace)
    now = pages_of(request).wall()
    chosen = BoardState(filter=filter, brush=brush).whole_filter
    hub = hub_of(request)

    async def gather() -> list[ExperimentRow]:
        with asked():
            return await hub.queries.rows(namespace, name, filter=chosen)

    if format is not None:
        return as_plot_file(format, list(FILE_COLUMNS), _lines(await gather(), now=now), name=f"{name}-timeline")
    window = (ta, tz) if ta is not None and tz is not None and ta < tz else None

    def draw(rows: list[ExperimentRow]) -> dict[str, Any]:
        return timeline_json(timeline(rows, now=now, window=window), sweep=name, filtered=bool(chosen))

    with asked():
        sweep = hub.queries.sweep(namespace, name)
    # What goes on grows with the clock.
    return await shared(request, namespace, name, gather, draw, also=None if sweep.finished else now // REDRAWN)


def timeline_json(found: Timeline, *, sweep: str, filtered: bool = False) -> dict[str, Any]:
    """Columns; times are whole seconds since `start`."""
    names = [bar.experiment for bar in found.bars]
    reasons = sorted({bar.reason for bar in found.bars})
    codes = {reason: code for code, reason in enumerate(reasons)}

    def since(moment: float) -> int:
        return round(moment - found.start)

    def column(get: Any) -> list[Any]:
        return [get(bar) for bar in found.bars]

    where = "that the filter leaves has" if filtered else "of this sweep has"
    return {
        "start": int(found.start),
        "span": max(1, since(found.end)),
        "sweep": sweep,
        "lanes": [[lane.node, lane.gpu_model, lane.slot] for lane in found.lanes],
        "lane": column(lambda bar: bar.lane),
        "from": column(lambda bar: since(bar.start)),
        "to": column(lambda bar: since(bar.end)),
        "counts": column(_counts),
        # A run's name without the sweep's, which all share.
        "names": [name and name.removeprefix(f"{sweep}-") for name in names],
        "numbers": column(lambda bar: bar.number),
        "reasons": reasons,
        "reason": [codes[bar.reason] for bar in found.bars],
        "attempts": found.attempts,
        "merged": found.merged,
        "hiddenNodes": found.hidden_nodes,
        "hiddenAttempts": found.hidden_attempts,
        "empty": plots.empty("No attempt has started.", f"No run {where} been given a node yet."),
    }


def _counts(bar: Bar) -> int | list[int]:
    """The outcome of one attempt, or how many there are of each."""
    return bar.counts.index(1) if sum(bar.counts) == 1 else bar.counts


def _lines(rows: list[ExperimentRow], *, now: float) -> list[Row]:
    return [
        {
            "experiment": span.experiment,
            "attempt": span.attempt.number,
            "node": span.attempt.node,
            "gpu": span.attempt.gpu_model,
            "start": _text(span.attempt.start),
            "end": _text(span.attempt.end) if span.attempt.end is not None else None,
            "seconds": round(span.end - span.attempt.start, 3),
            "outcome": ("succeeded", "failed", "interrupted", "running")[span.outcome],
            "reason": span.attempt.reason,
            "exitCode": span.attempt.exit_code,
        }
        for span in spans_of(rows, now=now)
    ]


def _text(moment: float) -> str:
    return datetime.fromtimestamp(moment, UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
