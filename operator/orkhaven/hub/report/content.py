"""What stands in a sweep's report, bounded however large the sweep is."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from orkhaven.hub.pages.plots import MAX_AXES, searched_first
from orkhaven.hub.pages.timeline import timeline_json
from orkhaven.hub.pages.views import plots
from orkhaven.hub.pages.views.board import Board, BoardState, board_of
from orkhaven.hub.query import Queries
from orkhaven.hub.query.fields import Ref, field, metric, param
from orkhaven.hub.query.leaderboard import Request as TableRequest
from orkhaven.hub.query.rows import SweepRow
from orkhaven.hub.query.timeline import timeline

MAX_ROWS = 500
"""Of the leaderboard, the best ones."""
MAX_FAILED = 1_000
"""Rows of failed runs; their causes are counted whole."""
MAX_CURVES = 20
CURVE_POINTS = 200
MAX_METRICS = 8
"""With curves, and as axes of the scatter."""
MAX_CELLS = 240_000
"""Values of the plots' columns: about 1.5 MB."""
MAX_BARS = 3_000
FAILED_COLUMNS = "reason,message,attempts,exitCode,node,gpu,seconds"
AXES = ("trial", "objectiveStep", "seconds", "gpuSeconds", "state", "reason", "gpu")


@dataclass(frozen=True, slots=True, kw_only=True)
class Content:
    board: Board
    failed: Board
    runs: int
    data: dict[str, Any]
    """For the plots."""
    metrics: list[str]
    axes: list[tuple[str, str]]
    """Of the scatter: (key, label)."""
    default_x: str
    has_parallel: bool


async def content_of(queries: Queries, sweep: SweepRow, *, now: float) -> Content:
    """`now`: seconds since the epoch. Raises what `Queries` does."""
    namespace, name = sweep.namespace, sweep.name
    schema = await queries.schema(namespace, name)
    varying = searched_first(schema.varying, sweep.parameters)
    metrics = [one for one in (sweep.objective.metric, *schema.metrics) if one]
    metrics = list(dict.fromkeys(metrics))[:MAX_METRICS]
    best = await queries.leaderboard(namespace, name, TableRequest(limit=MAX_ROWS))
    failed = await queries.leaderboard(
        namespace,
        name,
        TableRequest(filter='state == "Failed"', columns=FAILED_COLUMNS, sort="reason", limit=MAX_FAILED),
    )
    curves = {one: await _curves(queries, sweep, one) for one in metrics}
    params = [param(one) for one in varying[: MAX_AXES - 1]]
    rest = [*(field(one) for one in AXES), *(metric(one, part) for one in metrics for part in ("best", "last"))]
    rest += [param(one) for one in varying[MAX_AXES - 1 :]]
    wanted = [*params, field("objective"), *rest]
    wanted = wanted[: max(len(params) + 1, MAX_CELLS // max(1, best.total))]
    names, values = await queries.values(namespace, name, wanted)
    rows = await queries.rows(namespace, name)
    lanes = await asyncio.to_thread(timeline, rows, now=now, most=MAX_BARS)
    table = await asyncio.to_thread(_table, wanted, params, values)
    table["objective"]["label"] = sweep.objective.metric
    drawn = [(one.key, column) for one, column in zip(params, values, strict=False) if one.key in table]
    first = plots.first_axis([column for _, column in drawn], values[len(params)])
    return Content(
        board=board_of(best, BoardState(), base=(), minimize=sweep.objective.minimize, sweep=name),
        failed=board_of(failed, BoardState(), base=(), minimize=sweep.objective.minimize, sweep=name),
        runs=best.total,
        data={
            "sweep": name,
            "minimize": sweep.objective.minimize,
            "names": [one.removeprefix(f"{name}-") for one in names],
            "columns": table,
            "parallel": [one.key for one in params if one.key in table],
            "curves": curves,
            "timeline": timeline_json(lanes, sweep=name),
            "empty": plots.empty("Nothing to draw.", "No run has a value yet."),
        },
        metrics=metrics,
        axes=[(key, column["label"]) for key, column in table.items()],
        default_x="trial" if first is None else drawn[first][0],
        has_parallel=bool(params),
    )


async def _curves(queries: Queries, sweep: SweepRow, name: str) -> dict[str, Any]:
    found = await queries.curves(sweep.namespace, sweep.name, metric=name, top=MAX_CURVES, points=CURVE_POINTS)
    return {
        "metric": name,
        "x": "step",
        "xLabel": "step",
        "series": [plots.curve(one.experiment, one.x, one.y, sweep=sweep.name) for one in found.curves],
        "empty": plots.empty("No curve.", f"None of the best runs has reported {name!r}."),
    }


def _table(wanted: Sequence[Ref], params: Sequence[Ref], values: Sequence[Sequence[Any]]) -> dict[str, Any]:
    """By key; without columns of too many different texts. The objective is always there."""
    chosen = set(params)
    made = {
        ref.key: plots.column(ref, column, few_as_texts=ref in chosen)
        for ref, column in zip(wanted, values, strict=True)
    }
    objective = made["objective"] or {"key": "objective", "label": "", "values": []}
    if "values" not in objective:  # no run has one: a column of gaps
        objective = {"key": "objective", "label": "", "values": [None] * len(values[0])}
    return {**{key: column for key, column in made.items() if column is not None}, "objective": objective}
