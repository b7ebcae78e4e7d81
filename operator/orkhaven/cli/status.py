"""`status`: the sweeps of a namespace, or one of them."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from datetime import datetime
from typing import Any

from orkhaven.cli import find
from orkhaven.cli.output import (
    Column,
    Format,
    View,
    ago,
    bold,
    drawn,
    dump,
    emit,
    facts,
    instant,
    live,
    number,
    printable,
    redraw,
    span,
    text_of,
    tinted,
)
from orkhaven.cli.session import Session
from orkhaven.client.kube import Body, Kube
from orkhaven.client.waiting import condition, finished, line

COLUMNS = (
    Column("NAME", "name"),
    Column("STATE", "state", colour=True),
    Column("PROGRESS", "progress", right=True),
    Column("RUNNING", "running", right=True),
    Column("FAILED", "failed", right=True),
    Column("BEST", "best", right=True),
    Column("OBJECTIVE", "metric", shrink=True),
    Column("GPU-H", "gpuHours", right=True),
    Column("AGE", "age", right=True),
)


def status(session: Session, name: str | None, *, watch: bool) -> int:
    kube = session.kube
    if name is None:
        return _all(session, kube, watch=watch)
    body = find.sweep(kube, name)
    if session.output is not Format.TABLE and not watch:
        _show(session, body)
        return 0
    if not watch:
        print(told(body, session=session))
        return 0
    for latest in follow(kube, body):
        if session.output is not Format.TABLE:
            dump(latest, session.output)
        else:
            # In a log a line for each change.
            redraw(told(latest, session=session)) if live() else print(line(latest), flush=True)
        body = latest
    return find.exit_code(body) if finished(body) else 1


def _show(session: Session, body: Body) -> None:
    if session.output in (Format.JSON, Format.YAML):
        dump(body, session.output)
    else:
        emit(View(COLUMNS, [row(body, now=session.now)]), session.output)


def _all(session: Session, kube: Kube, *, watch: bool) -> int:
    columns = (Column("NAMESPACE", "namespace"), *COLUMNS) if session.everywhere else COLUMNS
    where = "any namespace" if session.everywhere else f"namespace {kube.namespace!r}"
    while True:
        bodies = list(kube.each("Sweep", everywhere=session.everywhere, labels=session.selector))
        rows = [row(body, now=session.now) for body in bodies]
        empty = f"no sweeps in {where}" + (f" with labels {session.selector}" if session.selector else "")
        view = View(columns, rows, data=bodies, empty=empty)
        if watch and session.output is Format.TABLE and live():
            redraw(drawn(view), what="sweeps")
        else:
            emit(view, session.output)
        if not watch:
            return 0
        sys.stdout.flush()
        kube.change_of("Sweep", everywhere=session.everywhere)


def row(body: Body, *, now: datetime) -> dict[str, Any]:
    status = body.get("status") or {}
    trials = status.get("trials") or {}
    return {
        "namespace": body["metadata"]["namespace"],
        "name": body["metadata"]["name"],
        "state": status.get("state") or "Pending",
        "progress": status.get("progress"),
        "running": trials.get("running", 0),
        "failed": trials.get("failed", 0),
        "best": (status.get("best") or {}).get("value"),
        "metric": body["spec"]["objective"]["metric"],
        "gpuHours": (status.get("gpuHours") or {}).get("total"),
        "age": ago(body["metadata"].get("creationTimestamp"), now=now),
    }


def told(body: Body, *, session: Session) -> str:
    """One sweep for a person."""
    from orkhaven.api.retry import avoided_in_words

    status, spec, name = body.get("status") or {}, body["spec"], body["metadata"]["name"]
    trials, hours, search = status.get("trials") or {}, status.get("gpuHours") or {}, spec.get("search") or {}
    state = status.get("state") or "Pending"
    head = f"{bold(name)}  {tinted(state)}  {status.get('progress') or ''}".rstrip()
    pairs = [
        ("namespace", body["metadata"]["namespace"]),
        ("why", _why(body)),
        ("objective", f"{spec['objective']['metric']}, {spec['objective'].get('direction', 'Maximize')}"),
        ("search", f"{search.get('algorithm', 'Grid')}, at most {spec.get('parallelism', 4)} at a time"),
        ("trials", _trials(trials)),
        ("best", _best(status.get("best"))),
        ("GPU-hours", _hours(hours)),
        ("time", _time(body, now=session.now)),
    ]
    if avoided := avoided_in_words(status.get("avoidedNodes")):
        pairs.append(("goes past", printable(avoided)))
    clusters = status.get("failureClusters") or []
    if clusters:
        lines = [f"{one['count']} x {one['reason']}: {printable(one.get('message', ''))[:100]}" for one in clusters[:3]]
        if len(clusters) > 3:
            lines.append(f"and {len(clusters) - 3} more causes")
        pairs.append(("failures", "\n".join(lines)))
    pairs.append(("next", "\n".join(_next(name, status, session))))
    return f"{head}\n{facts(pairs)}"


def _why(body: Body) -> str:
    """What stands in the way, where something does."""
    from orkhaven.api.policy import held_message

    if words := held_message(body.get("status")):
        return printable(words)
    for kind, wanted in (("Accepted", "True"), ("Finished", None), ("Running", None)):
        one = condition(body, kind)
        if one.get("message") and one.get("status") != wanted:
            return printable(str(one["message"]))
    if not body.get("status"):
        return "the operator has not looked at it yet: is it running? kubectl ork version says"
    return ""


def _trials(trials: dict[str, int]) -> str:
    if not trials:
        return ""
    shown = ("succeeded", "failed", "pruned", "skipped", "running", "queued", "suspended")
    words = [f"{trials[key]} {key}" for key in shown if trials.get(key)]
    if trials.get("reused"):
        words = [f"{word} ({trials['reused']} reused)" if word.endswith(" succeeded") else word for word in words]
    rest = trials.get("total", 0) - trials.get("created", 0)
    return ", ".join([*words, *([f"{rest} not made yet"] if rest > 0 else [])]) or "none yet"


def _best(best: Body | None) -> str:
    if not best:
        return ""
    step = f" at step {best['step']}" if best.get("step") is not None else ""
    params = ", ".join(f"{name}={text_of(value)}" for name, value in (best.get("params") or {}).items())
    spread = "" if best.get("std") is None else f" ± {number(best['std'])}"
    if best.get("n") is not None:
        of = best["n"] + (best.get("failed") or 0)
        spread += f" (mean of {best['n']} of {of} repeats)" if best.get("failed") else f" (mean of {of} repeats)"
    return f"{number(best['value'])}{spread}{step} by {best['experiment']}" + (
        f"\n{printable(params)}" if params else ""
    )


def _hours(hours: dict[str, float]) -> str:
    if not hours.get("total"):
        return ""
    parts = ", ".join(
        f"{number(hours[key])} {key}" for key in ("succeeded", "failed", "pruned", "running") if hours.get(key)
    )
    return f"{number(hours['total'])}" + (f": {parts}" if parts else "")


def _time(body: Body, *, now: datetime) -> str:
    status = body.get("status") or {}
    start, end = status.get("startTime"), status.get("completionTime")
    if not start:
        return ""
    if end:
        return f"ended {ago(end, now=now)} ago, took {span((instant(end) - instant(start)).total_seconds())}"
    left = eta(status, now=now)
    return f"started {ago(start, now=now)} ago" + (f", about {span(left)} left at this pace" if left else "")


def ended_trials(status: Body) -> int:
    """Trials of a sweep that have come to an end of any kind."""
    trials = status.get("trials") or {}
    return sum(trials.get(key, 0) for key in ("succeeded", "failed", "pruned", "skipped"))


def eta(status: Body, *, now: datetime) -> float | None:
    """Seconds until the end at the mean pace so far. None before the third trial has ended, and while suspended."""
    ended = ended_trials(status)
    left = (status.get("trials") or {}).get("total", 0) - ended
    if ended < 3 or left <= 0 or status.get("state") != "Running" or not status.get("startTime"):
        return None
    return float((now - instant(status["startTime"])).total_seconds() / ended * left)


def _next(name: str, status: Body, session: Session) -> list[str]:
    lines = []
    if status.get("leaderboard"):
        lines.append(session.command("top", name))
    if status.get("failureClusters"):
        lines.append(session.command("failures", name))
    return lines


def follow(kube: Kube, body: Body) -> Iterator[Body]:
    """The object now and after each change of its status, until it has ended."""
    yield body
    if finished(body):
        return
    last = body.get("status")
    for latest in kube.states(body):
        if latest.get("status") != last:
            last = latest.get("status")
            yield latest
        if finished(latest):
            return
