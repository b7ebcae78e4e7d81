"""Leaderboards: rows of trials, best first, out of a sweep's status or of its Experiments. Pure."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from orkhaven.client.errors import Invalid
from orkhaven.client.kube import Body
from orkhaven.client.wire import segment

if TYPE_CHECKING:
    from orkhaven.client.hub import Hub

Row = dict[str, Any]

REPEATS = ("mean", "std", "n")


@dataclass(slots=True, kw_only=True)
class Board:
    """Rows: rank, experiment, value, step, and `params.NAME`, `metrics.NAME` of what is listed here."""

    sweep: str
    metric: str
    rows: list[Row]
    params: Sequence[str]
    """Dotted names of the parameters that vary."""
    metrics: Sequence[str] = field(default=())
    has_states: bool = False
    """Rows have `state`: trials that have not succeeded are among them."""
    has_repeats: bool = False
    """Rows have `mean`, `std` and `n` of the objective over the runs of the same parameters."""


def board_from_status(sweep: Body, *, count: int = 10) -> Board:
    """The ten best trials that have succeeded; of a sweep with repeats the ten best combinations, by their mean."""
    best = ((sweep.get("status") or {}).get("leaderboard") or [])[:count]
    params = list(dict.fromkeys(name for row in best for name in row.get("params") or {}))
    has_repeats = any("n" in row for row in best)
    rows = [
        {
            "rank": rank,
            "experiment": row["experiment"],
            "value": row["value"],
            "step": row.get("step"),
            **({"mean": row["value"], "std": row.get("std"), "n": row.get("n")} if has_repeats else {}),
            **{f"params.{name}": (row.get("params") or {}).get(name) for name in params},
        }
        for rank, row in enumerate(best, 1)
    ]
    metric = sweep["spec"]["objective"]["metric"]
    return Board(sweep=sweep["metadata"]["name"], metric=metric, rows=rows, params=params, has_repeats=has_repeats)


def board_from_hub(
    hub: Hub,
    sweep: Body,
    *,
    metric: str | None = None,
    expression: str | None = None,
    sort: str | None = None,
    count: int | None = None,
) -> Board:
    """As the hub has it: with the history's own values, filtered and sorted by its language. Raises NoHub, NoToken,
    Invalid, Forbidden.
    """
    objective = sweep["spec"]["objective"]
    value, step, order = "objective", "objectiveStep", ""
    if metric is not None and metric != objective["metric"]:
        one = f"metrics[{json.dumps(metric)}]"
        value, step = f"{one}.best", f"{one}.bestStep"
        order = value if smaller_is_better(metric) else f"-{value}"
    path = f"{segment(sweep['metadata']['namespace'])}/sweeps/{segment(sweep['metadata']['name'])}/leaderboard"
    query: dict[str, Any] = {"filter": expression, "sort": sort or order or None, "columns": f"default,{value},{step}"}
    items = list(hub.pages(path, most=count, **query))
    params = [key.removeprefix("params.") for key in (items[0] if items else {}) if key.startswith("params.")]
    has_repeats = any("repeats.n" in item for item in items[:1])
    rows = [
        {
            "rank": rank,
            "experiment": item["name"],
            "state": item.get("state"),
            "value": item.get(value),
            "step": item.get(step),
            **{part: item.get(f"repeats.{part}") for part in REPEATS if has_repeats},
            **{f"params.{name}": item.get(f"params.{name}") for name in params},
        }
        for rank, item in enumerate(items, 1)
    ]
    return Board(
        sweep=sweep["metadata"]["name"],
        metric=metric or objective["metric"],
        rows=rows,
        params=params,
        has_states=True,
        has_repeats=has_repeats,
    )


def without_replaced(trials: Iterable[Body]) -> list[Body]:
    """But those that failed and in whose place there is another."""
    from orkrun.contract import LABEL_RERUN_OF

    bodies = list(trials)
    replaced = {(body["metadata"].get("labels") or {}).get(LABEL_RERUN_OF) for body in bodies}
    return [body for body in bodies if body["metadata"]["name"] not in replaced]


def board_of(
    sweep: Body,
    trials: Iterable[Body],
    *,
    metric: str | None = None,
    sort: str | None = None,
    count: int | None = None,
    metrics: Sequence[str] = (),
) -> Board:
    """All trials, best first, those without a value last. `sort`: a column, with "-" from large to small."""
    objective = sweep["spec"]["objective"]
    flat = [(body, flatten(body["spec"].get("params") or {})) for body in without_replaced(trials)]
    params = varying(params for _, params in flat)
    rows = []
    for body, own in flat:
        status = body.get("status") or {}
        value, step = _value(status, metric)
        row: Row = {
            "rank": None,
            "experiment": body["metadata"]["name"],
            "state": status.get("state"),
            "reason": status.get("reason"),
            "value": value,
            "step": step,
            **{f"params.{name}": own.get(name) for name in params},
        }
        reported = status.get("metrics") or {}
        row |= {f"metrics.{name}": (reported.get(name) or {}).get("best") for name in metrics}
        rows.append(row)
    shown = metric or objective["metric"]
    minimize = objective.get("direction") == "Minimize" if shown == objective["metric"] else smaller_is_better(shown)
    rows.sort(key=lambda row: _key(row["value"], largest=not minimize, name=row["experiment"]))
    for rank, row in enumerate(rows, 1):
        row["rank"] = rank if row["value"] is not None else None
    if sort:
        column = _column(sort.removeprefix("-"), rows, params)
        rows.sort(key=lambda row: _key(row.get(column), largest=sort.startswith("-"), name=row["experiment"]))
    return Board(
        sweep=sweep["metadata"]["name"],
        metric=shown,
        rows=rows[:count],
        params=params,
        metrics=list(metrics),
        has_states=True,
    )


def smaller_is_better(metric: str) -> bool:
    """By its name, as operator and hub judge a metric that is not the objective."""
    from orkrun.contract import is_minimized

    return is_minimized(metric)


def flatten(params: Mapping[str, Any], prefix: str = "") -> dict[str, Any]:
    """Dotted names; an empty object is a value."""
    flat: dict[str, Any] = {}
    for key, value in params.items():
        if isinstance(value, Mapping) and value:
            flat |= flatten(value, f"{prefix}{key}.")
        else:
            flat[f"{prefix}{key}"] = value
    return flat


def varying(flat: Iterable[Mapping[str, Any]]) -> list[str]:
    """The names whose value, or whose being there, differs."""
    seen: dict[str, set[str]] = {}
    there: dict[str, int] = {}
    count = 0
    for params in flat:
        count += 1
        for name, value in params.items():
            seen.setdefault(name, set()).add(json.dumps(value, sort_keys=True, default=str))
            there[name] = there.get(name, 0) + 1
    return [name for name, values in seen.items() if len(values) > 1 or there[name] < count]


def _value(status: Body, metric: str | None) -> tuple[float | None, int | None]:
    if metric is None:
        objective = status.get("objective") or {}
        return objective.get("value"), objective.get("step")
    reported = (status.get("metrics") or {}).get(metric) or {}
    return reported.get("best"), reported.get("bestStep")


def _column(name: str, rows: Sequence[Row], params: Sequence[str]) -> str:
    """A key of the rows: as it is, or a parameter by its dotted name or the end of it. Raises Invalid."""
    known = list(rows[0]) if rows else []
    if not rows or name in known:
        return name
    ends = [f"params.{full}" for full in params if full == name or full.endswith(f".{name}")]
    if len(ends) == 1:
        return ends[0]
    raise Invalid(f"--sort {name}: no such column; there are: {', '.join(known)}")


def _key(value: Any, *, largest: bool, name: str) -> tuple[int, float, str, str]:
    """Numbers by size, then texts, what has no value last."""
    if isinstance(value, bool) or (value is not None and not isinstance(value, int | float)):
        return (1, 0.0, json.dumps(value, sort_keys=True, default=str), name)
    if value is None or math.isnan(value):
        return (2, 0.0, "", name)
    return (0, -value if largest else value, "", name)
