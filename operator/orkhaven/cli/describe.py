"""`describe` and `diff`: all about one run, and what differs between two."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from orkhaven.cli import find
from orkhaven.cli.output import (
    Column,
    Format,
    View,
    ago,
    bold,
    dump,
    emit,
    facts,
    instant,
    number,
    printable,
    span,
    text_of,
    tinted,
)
from orkhaven.cli.session import Session
from orkhaven.cli.trouble import ATTEMPTS, EVENTS, attempt_row, event_row, explain, retry_facts
from orkhaven.client.board import flatten
from orkhaven.client.kube import Body, event_time

METRICS = (
    Column("METRIC", "name"),
    Column("BEST", "best", right=True),
    Column("STEP", "bestStep", right=True),
    Column("LAST", "last", right=True),
)


def describe(session: Session, name: str) -> int:
    body = find.experiment(session.kube, name)
    if session.output in (Format.JSON, Format.YAML):
        body["metadata"].pop("managedFields", None)
        dump(body, session.output)
        return 0
    status, spec = body.get("status") or {}, body["spec"]
    params = flatten(spec.get("params") or {})
    if session.output is not Format.TABLE:
        rows = [{"name": key, "value": value} for key, value in params.items()]
        emit(View((Column("PARAMETER", "name"), Column("VALUE", "value")), rows), session.output)
        return 0
    told = explain(body)
    reason = f": {told['reason']}" if told["reason"] not in ("", "Completed") else ""
    print(f"{bold(name)}  {tinted(told['state'])}{reason}")
    print(facts(_about(session, body)))
    for title, view in _tables(session, body, params):
        if view.rows:
            print(f"\n{bold(title)}")
            emit(view, Format.TABLE)
    failure = status.get("failure") or {}
    if failure.get("excerpt"):
        print(f"\n{bold('Last words')}")
        print("\n".join(f"  {printable(line)}" for line in failure["excerpt"].splitlines()))
    return 0


def _about(session: Session, body: Body) -> list[tuple[str, str]]:
    status, spec, meta = body.get("status") or {}, body["spec"], body["metadata"]
    told, objective, progress = explain(body), status.get("objective"), status.get("progress") or {}
    metric = (spec.get("objective") or {}).get("metric", "")
    resources = spec.get("resources") or {}
    best = (
        f"{number(objective['value'])} at step {objective['step']}" if objective else "no value yet" if metric else ""
    )
    total = f" of {progress['totalSteps']}" if progress.get("totalSteps") else ""
    left = ""
    if progress.get("eta") and told["state"] == "Running":
        left = f", about {span((instant(progress['eta']) - session.now).total_seconds())} left"
    checkpoint = status.get("checkpoint") or {}
    return [
        ("namespace", meta["namespace"]),
        ("sweep", (meta.get("labels") or {}).get("orkhaven.io/sweep", "")),
        ("says", printable(told["message"]) if told["reason"] != "Completed" else ""),
        ("to do", told["suggestion"]),
        ("objective", f"{metric}: {best}" if metric else ""),
        ("progress", f"step {progress['step']}{total}{left}" if progress else ""),
        ("asks for", ", ".join(f"{key} {text_of(value)}" for key, value in resources.items() if value != [])),
        ("image", spec.get("image") or "the operator's default"),
        ("seed", str(spec.get("seed", 0))),
        ("GPU time", span(status["gpuSeconds"]) if status.get("gpuSeconds") else ""),
        *retry_facts(status),
        ("checkpoint", f"step {checkpoint['step']}: {checkpoint['path']}" if checkpoint else ""),
        ("made", f"{ago(meta.get('creationTimestamp'), now=session.now)} ago"),
        ("ended", f"{ago(status['completionTime'], now=session.now)} ago" if status.get("completionTime") else ""),
        ("run hash", status.get("runHash") or ""),
        ("reused from", status.get("reusedFrom") or ""),
        ("in place of", (body["metadata"].get("labels") or {}).get("orkhaven.io/rerun-of") or ""),
        ("output folder", status.get("outputFolder") or ""),
    ]


def _tables(session: Session, body: Body, params: Mapping[str, Any]) -> list[tuple[str, View]]:
    status = body.get("status") or {}
    metrics = [{"name": name, **values} for name, values in (status.get("metrics") or {}).items()]
    values = [{"name": name, "value": value} for name, value in params.items()]
    events = [event_row(one) | {"age": ago(event_time(one), now=session.now)} for one in session.kube.events_of(body)]
    return [
        ("Parameters", View((Column("NAME", "name"), Column("VALUE", "value", shrink=True)), values)),
        ("Metrics", View(METRICS, metrics)),
        ("Attempts", View(ATTEMPTS, [attempt_row(one) for one in status.get("attempts") or []])),
        ("Events", View(EVENTS, events)),
    ]


def diff(session: Session, one: str, other: str) -> int:
    bodies = [find.experiment(session.kube, name) for name in (one, other)]
    rows = differences(*bodies)
    columns = (
        Column("WHAT", "what"),
        Column(bodies[0]["metadata"]["name"], "a", shrink=True),
        Column(bodies[1]["metadata"]["name"], "b", shrink=True),
        Column("B - A", "change", right=True),
    )
    emit(View(columns, rows, empty=f"{one} and {other} do not differ"), session.output)
    return 0


_ABSENT = object()


def differences(a: Body, b: Body) -> list[dict[str, Any]]:
    """Parameters first, then the rest of the spec, then results."""
    sides = [_sides(a), _sides(b)]
    rows = []
    for what in dict.fromkeys([*sides[0], *sides[1]]):
        one, other = (side.get(what, _ABSENT) for side in sides)
        if one is _ABSENT or other is _ABSENT or _differ(one, other):
            change = None
            if _is_number(one) and _is_number(other):
                change = float(f"{other - one:.6g}")
            shown = {key: None if side is _ABSENT else side for key, side in (("a", one), ("b", other))}
            rows.append({"what": what, **shown, "change": change})
    return sorted(rows, key=lambda row: _GROUPS.index(row["what"].partition(".")[0]))


_GROUPS = ("params", "spec", "status", "metrics")


def _sides(body: Body) -> dict[str, Any]:
    spec, status = body["spec"], body.get("status") or {}
    rest = {key: value for key, value in spec.items() if key not in ("params", "suspend")}
    attempts = status.get("attempts") or [{}]
    results = {
        "state": status.get("state"),
        "reason": status.get("reason"),
        "objective": (status.get("objective") or {}).get("value"),
        "objectiveStep": (status.get("objective") or {}).get("step"),
        "attempts": status.get("attemptCount"),
        "gpuSeconds": status.get("gpuSeconds"),
        "gpuModel": attempts[-1].get("gpuModel"),
    }
    return {
        **{f"params.{name}": value for name, value in flatten(spec.get("params") or {}).items()},
        **{f"spec.{name}": value for name, value in flatten(rest).items()},
        **{f"status.{name}": value for name, value in results.items() if value is not None},
        **{f"metrics.{name}": one.get("best") for name, one in (status.get("metrics") or {}).items()},
    }


def _is_number(value: Any) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def _differ(one: Any, other: Any) -> bool:
    """1 and 1.0 are one value, 1 and True are not."""
    if _is_number(one) and _is_number(other):
        return bool(one != other)
    return json.dumps(one, sort_keys=True, default=str) != json.dumps(other, sort_keys=True, default=str)
