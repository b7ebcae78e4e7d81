"""Nodes with GPUs, and who holds them.

Nodes and pods are asked for with the person's own token, as `kubectl get` would: the hub itself needs no right to any.
Who may not list them gets what the runs' status tells. Runs of namespaces that a person may not read have no name here.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from fastapi import APIRouter, Request
from starlette.responses import Response

from orkhaven.api.holding import (
    GPU_COLUMNS,
    LIVE_PODS,
    Node,
    PodHold,
    avoided_by,
    bare_nodes,
    gpus_in_all,
    holder_row,
    node_row,
    nodes_of,
    pod_holds,
)
from orkhaven.errors import ApiError, Forbidden
from orkhaven.hub.api.answers import Format, as_download
from orkhaven.hub.context import hub_of
from orkhaven.hub.pages.context import pages_of
from orkhaven.hub.pages.data import asked
from orkhaven.hub.pages.exports import FILE_HEADERS
from orkhaven.hub.pages.queue import Where, Words, readers_view, sharing_of
from orkhaven.hub.pages.render import PageRoute, page, url
from orkhaven.hub.query.lists import same
from orkhaven.hub.session import Viewer

router = APIRouter(include_in_schema=False, route_class=PageRoute)


@dataclass(frozen=True, slots=True)
class Cluster:
    """What one person may see of it."""

    nodes: Sequence[Node] | None
    pods: Sequence[PodHold] | None
    notes: tuple[str, ...] = ()
    """Sentences about what is missing."""


@router.get("/gpus")
async def gpus(request: Request, namespace: Where = "", q: Words = "") -> Response:
    viewer, namespaces = await readers_view(request, namespace)
    nodes, notes = await _seen(request, viewer, namespaces)
    found = select(nodes, q)
    in_part = "hx-request" in request.headers
    return page(
        request,
        "gpus_table.html" if in_part else "gpus.html",
        viewer=viewer,
        namespace=namespace or None,
        namespaces=namespaces,
        events=url("n", namespace, "events") if namespace else None,
        nodes=found,
        total=len(nodes),
        totals=gpus_in_all(nodes),
        notes=notes,
        plain=all(node.device == "nvidia.com/gpu" for node in nodes),
        q=q,
        here=url("gpus", namespace=namespace, q=q),
        export=url("gpus", "export", q=q),
    )


@router.get("/gpus/export")
async def export(request: Request, format: Format = Format.CSV, q: Words = "") -> Response:
    """A row for each that holds something, one for a node where nobody does."""
    viewer, namespaces = await readers_view(request, "")
    nodes, _ = await _seen(request, viewer, namespaces)
    lines = [line for node in select(nodes, q) for line in _lines(node)]
    return as_download(format, same(GPU_COLUMNS), lines, name="gpus", headers=FILE_HEADERS)


async def _seen(request: Request, viewer: Viewer, namespaces: list[str]) -> tuple[list[Node], tuple[str, ...]]:
    cluster = await _cluster(request, viewer)
    runs = sharing_of(request, namespaces)
    with asked():
        sweeps = [row for one in namespaces for row in hub_of(request).queries.sweeps(one) if not row.finished]
    avoided = avoided_by(row.status for row in sweeps)
    return nodes_of(cluster.nodes, runs, cluster.pods, avoided=avoided), cluster.notes


async def _cluster(request: Request, viewer: Viewer) -> Cluster:
    if viewer.token is None:
        note = "This hub is open to all readers, so it does not know whether you may list nodes: kubectl ork gpus does."
        return Cluster(None, None, (note,))
    token, people = viewer.token, hub_of(request).gateway.people()

    async def ask() -> Cluster:
        try:
            nodes = bare_nodes([body async for body in people.each(token, "Node")])
        except Forbidden:
            note = "You may not list nodes: these are those that runs name; how many GPUs they have is not known."
            return Cluster(None, None, (note,))
        pods: list[PodHold] = []
        try:
            async for body in people.each(token, "Pod", fields=LIVE_PODS):
                pods += pod_holds([body])
        except Forbidden:
            note = (
                "You may not list pods of all namespaces: what else runs on a node is not counted, so that fewer GPUs "
                "may be free."
            )
            return Cluster(nodes, None, (note,))
        return Cluster(nodes, pods)

    try:
        return await pages_of(request).clusters.get(viewer.csrf, ask)
    except ApiError as error:
        return Cluster(None, None, (f"The API server did not answer, so this is what the runs tell: {error}",))


def select(nodes: list[Node], words: str) -> list[Node]:
    """Those that have every word in what is shown of them."""
    wanted = words.lower().split()
    return [node for node in nodes if all(word in _text(node) for word in wanted)]


def _text(node: Node) -> str:
    held = " ".join(f"{one.namespace} {one.experiment} {one.user} {one.priority}" for one in node.holders)
    return f"{node.name} {node.device} {node.model or ''} {' '.join(node.notes)} {held}".lower()


def _lines(node: Node) -> list[dict[str, object]]:
    about = node_row(node)
    return [{**about, **holder_row(one)} for one in node.holders] or [about]
