"""`queue`: the runs that wait for GPUs, in the queue's order as far as their status tells it."""

from __future__ import annotations

from collections.abc import Iterator
from typing import TYPE_CHECKING

from orkhaven.cli.output import Column, Format, View, ago, bold, emit
from orkhaven.cli.session import Session
from orkhaven.client.errors import Invalid
from orkhaven.client.kube import Kube

if TYPE_CHECKING:
    from orkhaven.api.sharing import Run

NAMESPACE = Column("NAMESPACE", "namespace")
COLUMNS = (
    Column("#", "position", right=True),
    Column("EXPERIMENT", "experiment"),
    Column("SWEEP", "sweep"),
    Column("USER", "user"),
    Column("PRIORITY", "priority"),
    Column("GPUS", "gpus", right=True),
    Column("WAITING", "waiting", right=True),
    Column("REASON", "reason"),
    Column("MESSAGE", "message", shrink=True),
)
UNFINISHED = "status.state!=Succeeded,status.state!=Failed,status.state!=Pruned,status.state!=Skipped"


def queue(session: Session) -> int:
    from orkhaven.api.sharing import in_order, queue_row, totals

    everywhere = session.everywhere
    where = "any namespace" if everywhere else f"namespace {session.kube.namespace!r}"
    found = list(runs(session.kube, everywhere=everywhere, labels=session.selector))
    waiting = in_order(found)
    rows = [{**queue_row(run), "waiting": ago(run.since, now=session.now)} for run in waiting]
    columns = (NAMESPACE, *COLUMNS) if everywhere else COLUMNS
    data = {"waiting": len(waiting), "gpus": sum(run.gpus for run in waiting), "runs": rows}
    if session.output is Format.TABLE:
        print(bold(f"{'all namespaces' if everywhere else session.kube.namespace}: {totals(found)}"))
    emit(View(columns, rows, data=data, empty=f"nothing waits in {where}"), session.output)
    return 0


def runs(kube: Kube, *, everywhere: bool = False, labels: str | None = None, but: str = "") -> Iterator[Run]:
    """Those that have not ended; `but`: nor are in this state. Where the API server cannot choose by state, it sends
    all of them. Raises Forbidden."""
    from orkhaven.api.sharing import run_of

    fields = UNFINISHED + (f",status.state!={but}" if but else "")
    try:
        bodies = list(kube.each("Experiment", everywhere=everywhere, labels=labels, fields=fields))
    except Invalid as error:
        if "field" not in str(error):
            raise
        bodies = list(kube.each("Experiment", everywhere=everywhere, labels=labels))
    for body in bodies:
        run = run_of(body)
        if run and run.state != but:
            yield run
