"""`top` and `export`: a sweep's trials, ranked; all of them, as a table for other programs.

The ten best by the objective stand in the sweep's own status. Another metric, a filter, another order or more rows are
the hub's; where it cannot be asked and nothing is filtered, the Experiments themselves have the answer too.
"""

from __future__ import annotations

import sys
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass

from orkhaven.cli import find
from orkhaven.cli.output import Column, Format, Row, View, drawn, emit, live, number, redraw
from orkhaven.cli.session import Session
from orkhaven.cli.status import follow
from orkhaven.client.board import Board, board_from_hub, board_from_status, board_of
from orkhaven.client.errors import Invalid, NoHub, NoKubectl, NotFound, NoToken
from orkhaven.client.kube import Body
from orkhaven.client.waiting import finished, line
from orkhaven.client.wire import segment

REPEATS = (
    Column("MEAN", "mean", right=True),
    Column("STD", "std", right=True, show=lambda std: f"± {number(std)}"),
    Column("RUNS", "n", right=True),
)
"""Of the objective, over the runs of the same parameters under several seeds."""


@dataclass(frozen=True, slots=True, kw_only=True)
class Asked:
    """What a person wants to see of a leaderboard."""

    metric: str | None = None
    expression: str | None = None
    sort: str | None = None
    count: int = 10

    @property
    def is_in_status(self) -> bool:
        return self.metric is None and self.expression is None and self.sort is None and self.count <= 10


def top(session: Session, name: str, asked: Asked, *, watch: bool = False) -> int:
    body = latest = find.sweep(session.kube, name)
    if not watch:
        emit(_view(session, body, asked), session.output)
        return 0
    for latest in follow(session.kube, body):
        view = _view(session, latest, asked)
        if session.output is Format.TABLE and live():
            redraw(f"{line(latest)}\n\n{drawn(view)}")
        else:
            emit(view, session.output)
            sys.stdout.flush()
    return find.exit_code(latest) if finished(latest) else 1


def _view(session: Session, body: Body, asked: Asked) -> View:
    notes: list[str] = []
    if asked.is_in_status:
        board = board_from_status(body, count=asked.count)
        if not board.rows:
            notes.append(_nothing_yet(body))
    else:
        board = _ask(session, body, asked, notes)
    return View(_columns(board), board.rows, empty="no trial is in it", notes=notes)


def _nothing_yet(body: Body) -> str:
    trials = (body.get("status") or {}).get("trials") or {}
    return (
        f"the leaderboard has trials that have succeeded: none yet, {trials.get('running', 0)} running, "
        f"{trials.get('failed', 0)} failed"
    )


def _ask(session: Session, body: Body, asked: Asked, notes: list[str]) -> Board:
    name, metric, sort, count = body["metadata"]["name"], asked.metric, asked.sort, asked.count
    try:
        return board_from_hub(session.hub, body, metric=metric, expression=asked.expression, sort=sort, count=count)
    except (NoHub, NoToken, NoKubectl) as error:
        if asked.expression is not None:
            raise
        notes.append(f"from the resources' status, which has at most 32 metrics of a run: {error}")
    trials = list(session.kube.each("Experiment", labels=f"orkhaven.io/sweep={name}"))
    board = board_of(body, trials, metric=metric, sort=sort, count=count)
    if metric is not None and trials and all(row["value"] is None for row in board.rows):
        raise Invalid(f"no trial reports a metric {metric!r}; there are: {', '.join(_metrics(trials)) or 'none'}")
    return board


def _metrics(trials: Iterable[Body]) -> list[str]:
    return sorted({metric for body in trials for metric in (body.get("status") or {}).get("metrics") or {}})


CURVES = (
    Column("EXPERIMENT", "experiment"),
    Column("METRIC", "metric"),
    Column("STEP", "step", right=True),
    Column("TIME", "time"),
    Column("VALUE", "value", right=True),
    Column("ATTEMPT", "attempt", right=True),
)


def export(session: Session, name: str, *, curves: str | None = None) -> int:
    form = Format.CSV if session.output is Format.TABLE and not sys.stdout.isatty() else session.output
    body = find.sweep(session.kube, name)
    trials = list(session.kube.each("Experiment", labels=f"orkhaven.io/sweep={body['metadata']['name']}"))
    if curves is not None:
        points = list(_points(session, trials, curves))
        if not points:
            known = ", ".join(_metrics(trials))
            raise NotFound(f"no trial has reported {curves}" + (f"; there are: {known}" if known else " or anything"))
        emit(View(CURVES, points), form)
        return 0
    board = board_of(body, trials, metrics=_metrics(trials))
    columns = _columns(board, every=True)
    rows: Sequence[Row] = board.rows
    emit(
        View(columns, rows, data=rows if form in (Format.JSON, Format.YAML) else None, empty="no trial was made yet"),
        form,
    )
    return 0


def _points(session: Session, trials: Iterable[Body], metric: str) -> Iterator[Row]:
    """Every point of every trial, a row each: what a table program calls the long form."""
    for trial in trials:
        meta = trial["metadata"]
        path = f"{segment(meta['namespace'])}/experiments/{segment(meta['name'])}/metrics/{segment(metric)}"
        try:
            answer = session.hub.get(path)
        except NotFound:  # it has not reported that one
            continue
        parts = (answer[part] for part in ("step", "time", "value", "attempt"))
        for step, time, value, attempt in zip(*parts, strict=True):
            point = {"step": step, "time": time, "value": value, "attempt": attempt}
            yield {"experiment": meta["name"], "metric": metric, **point}


def _columns(board: Board, *, every: bool = False) -> list[Column]:
    shown = [
        Column("#", "rank", right=True),
        Column("EXPERIMENT", "experiment"),
        *([Column("STATE", "state", colour=True)] if every or board.has_states else []),
        *([Column("REASON", "reason", colour=True)] if every else []),
        Column(board.metric, "value", right=True),
        Column("STEP", "step", right=True),
        *(REPEATS if board.has_repeats else ()),
        *(Column(_short(parameter, board.params), f"params.{parameter}", shrink=True) for parameter in board.params),
        *(Column(metric, f"metrics.{metric}", right=True) for metric in board.metrics),
    ]
    return shown


def _short(name: str, among: Sequence[str]) -> str:
    """The last part of a dotted name where that says it: not "name", and no other of these has the same."""
    last = name.rsplit(".", 1)[-1]
    alone = sum(other.rsplit(".", 1)[-1] == last for other in among) == 1
    return last if alone and last not in ("name", "kind") else name
