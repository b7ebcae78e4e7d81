"""`gpus`: nodes with GPUs, and who holds them.

Nodes and pods are the cluster's: who may not list them gets what the runs' status tells, and is told so.
"""

from __future__ import annotations

import sys
from collections.abc import Callable
from dataclasses import dataclass, field
from datetime import datetime
from typing import TYPE_CHECKING, TypeVar

from orkhaven.cli.output import Column, Format, Row, View, ago, bold, emit
from orkhaven.cli.queue import runs
from orkhaven.cli.session import Session
from orkhaven.client.errors import Forbidden, Invalid, NotFound
from orkhaven.client.kube import Kube

if TYPE_CHECKING:
    from orkhaven.api.holding import Holder, Node
    from orkhaven.api.sharing import Run

T = TypeVar("T")

NODES = (
    Column("NODE", "node"),
    Column("MODEL", "model"),
    Column("MEMORY", "memoryMib", right=True, show=lambda mib: memory(mib)),
    Column("GPUS", "gpus", right=True),
    Column("FREE", "free", right=True),
    Column("RUNS", "held", right=True),
    Column("OTHERS", "others", right=True),
    Column("NOTES", "notes", shrink=True),
)
DEVICE = Column("DEVICE", "device")
HOLDERS = (
    Column("NODE", "node"),
    Column("EXPERIMENT", "experiment"),
    Column("NAMESPACE", "namespace"),
    Column("USER", "user", shrink=True),
    Column("PRIORITY", "priority"),
    Column("GPUS", "holds", right=True),
    Column("SINCE", "for", right=True),
    Column("NOTE", "note"),
)


@dataclass(slots=True)
class Seen:
    """What one may see of a cluster, and sentences about what one may not."""

    runs: list[Run] = field(default_factory=list)
    nodes: list[Node] = field(default_factory=list)
    notes: list[str] = field(default_factory=list)


def gpus(session: Session) -> int:
    from orkhaven.api.holding import gpus_in_all

    seen = look(session.kube)
    rows = [line(node) for node in seen.nodes]
    held = [{**line(node), **holder(one, now=session.now)} for node in seen.nodes for one in node.holders]
    plain = all(node.device == "nvidia.com/gpu" for node in seen.nodes)
    columns = NODES if plain else (NODES[0], DEVICE, *NODES[1:])
    match session.output:
        case Format.TABLE:
            print(bold(gpus_in_all(seen.nodes)))
            if rows:
                emit(View(columns, rows), Format.TABLE)
            if held:
                print()
                emit(View(HOLDERS, held), Format.TABLE)
            for note in seen.notes:
                print(note, file=sys.stderr)
        case Format.JSON | Format.YAML:
            nodes = [
                {**row, "holders": [holder(one, now=session.now) for one in node.holders]}
                for row, node in zip(rows, seen.nodes, strict=True)
            ]
            emit(View(columns, rows, data={"nodes": nodes, "notes": seen.notes}), session.output)
        case _:
            # One table: a row for each that holds something, one for a node where nobody does.
            idle = [row for row, node in zip(rows, seen.nodes, strict=True) if not node.holders]
            flat = sorted([*held, *idle], key=lambda row: row["node"])
            emit(View((*columns, *HOLDERS[1:]), flat, notes=seen.notes), session.output)
    return 0


def look(kube: Kube, *, but: str = "") -> Seen:
    """Of the whole cluster, as far as one may; `but`: no runs of this state."""
    from orkhaven.api.holding import LIVE_PODS, avoided_by, bare_nodes, nodes_of, pod_holds

    seen = Seen()
    try:
        seen.runs = list(runs(kube, everywhere=True, but=but))
    except Forbidden:
        seen.runs = list(runs(kube, but=but))
        seen.notes.append(f"you may not list the runs of all namespaces: names are those of {kube.namespace!r} alone")
    sweeps = if_allowed(lambda: list(kube.each("Sweep", everywhere=True, fields="status.state=Running"))) or []
    nodes = if_allowed(lambda: bare_nodes(kube.each("Node")))
    pods = None
    if nodes is None:
        seen.notes.append(
            "you may not list nodes: these are the ones that runs name, and how many GPUs they have is not known"
        )
    else:
        pods = if_allowed(lambda: pod_holds(kube.each("Pod", everywhere=True, fields=LIVE_PODS)))
        if pods is None:
            seen.notes.append(
                "you may not list pods of all namespaces: what else runs on a node is not counted, so that fewer "
                "GPUs may be free"
            )
    seen.nodes = nodes_of(nodes, seen.runs, pods, avoided=avoided_by(one.get("status") for one in sweeps))
    return seen


def if_allowed(ask: Callable[[], T]) -> T | None:
    """None: one may not, or it is not there."""
    try:
        return ask()
    except (Forbidden, Invalid, NotFound):
        return None


def line(node: Node) -> Row:
    from orkhaven.api.holding import node_row

    return {**node_row(node), "held": sum(one.gpus for one in node.holders)}


def holder(one: Holder, *, now: datetime) -> Row:
    from orkhaven.api.holding import holder_row

    return {**holder_row(one), "for": ago(one.since, now=now)}


def memory(mib: int) -> str:
    return f"{mib / 1024:.0f}Gi"
